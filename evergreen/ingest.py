"""Landing what a source has: each batch once, checked against the contract, what is refused kept with its reason."""

from __future__ import annotations

import hashlib
import inspect
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen.contract import Checked, check, schema_of
from evergreen.errors import DataError, EvergreenError
from evergreen.lake import Table, child
from evergreen.observations import Observations
from evergreen.settings import Settings
from evergreen.simulator import SIMULATED
from evergreen.sources import Batch, Waiting
from evergreen.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of one batch: counts of rows, and why it was refused if it was (`problem`).

    `repeated` rows were there already, or twice in the batch; every row that `prepare` let through is in one count.
    """

    batch: str
    origin: str
    added: int = 0
    replaced: int = 0
    repeated: int = 0
    rejected: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Landing:
    """What an ingest did. A source with nothing new gives an empty one."""

    batches: tuple[BatchReport, ...] = ()
    waiting: tuple[Waiting, ...] = ()

    @property
    def added(self) -> int:
        """Rows that were not there before, or came with another content."""
        return sum(report.added + report.replaced for report in self.batches)

    @property
    def refused(self) -> tuple[BatchReport, ...]:
        """Batches of which something is in quarantine."""
        return tuple(report for report in self.batches if report.problem or report.rejected)


def quarantine_table(lake: str, model: str) -> Table:
    """The `quarantine` table of a model: one row a refused row, or a refused batch (`row` is then -1)."""
    import pyarrow as pa

    text = pa.string()
    fields = [("batch", text), ("origin", text), ("row", pa.int64()), ("reason", text), ("payload", text)]
    return Table(
        child(lake, model, "quarantine"),
        pa.schema([*fields, ("contract", text), ("at", pa.timestamp("us", "UTC"))]),
    )


def contract_digest(spec: ModelSpec) -> str:
    """Changes whenever what a batch is held to does; a refused batch is then looked at again."""
    rules = (spec.keys, spec.time, spec.timezone, spec.lateness, spec.max_rejected)
    code = [_code(function) for function in (spec.contract, spec.prepare) if function is not None]
    # A schema shows a check of one's own by the address that it happens to have.
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(schema_of(spec)))
    return hashlib.sha256(repr((shown, rules, code)).encode()).hexdigest()[:16]


def _code(function: Callable[..., object]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)


def ingest(
    spec: ModelSpec, settings: Settings, *, now: datetime, step: Callable[[str], None] = lambda _origin: None
) -> Landing:
    """Land every new batch of the model's source.

    `now` is aware; `step` is told the origin of each batch before it is checked.

    Raises:
        DataError: simulated and real rows would mix.
    """
    observations = Observations(settings.lake_uri, spec)
    quarantine = quarantine_table(settings.lake_uri, spec.name)
    contract = contract_digest(spec)
    schema = schema_of(spec)

    landed, refused = observations.table.commits(), quarantine.commits()

    def new(batch: str) -> bool:
        return not landed(batch) and not refused(f"{batch}:{contract}:whole")

    reports: list[BatchReport] = []
    waiting: list[Waiting] = []
    for item in spec.source.read(settings.landing, new):
        if isinstance(item, Waiting):
            waiting.append(item)
            continue
        step(item.origin)
        if not reports:
            _refuse_mixture(observations, item)
        checked = _late(spec, observations, _checked(item, spec, schema, now))
        if checked.problem:
            _keep_batch(quarantine, settings, spec, item, checked.problem, contract, now)
            reports.append(BatchReport(item.id, item.origin, problem=checked.problem))
            continue
        # Quarantine first: a crash between the two commits leaves a batch that the next run lands, none that is lost.
        _keep_rows(quarantine, item, checked, contract, now)
        counts = observations.land(checked.rows, item.id, item.origin, now=now)
        repeated = counts.repeated + checked.repeated
        reports.append(
            BatchReport(item.id, item.origin, counts.added, counts.replaced, repeated, len(checked.rejected))
        )
    return Landing(tuple(reports), tuple(waiting))


def _checked(item: Batch, spec: ModelSpec, schema: pa.Schema, now: datetime) -> Checked:
    import pandas as pd

    if item.frame is None:
        return Checked(pd.DataFrame(), pd.Series(dtype="object"), item.problem)
    return check(item.frame, spec, schema, now=now)


def _late(spec: ModelSpec, observations: Observations, checked: Checked) -> Checked:
    """Refuse rows that are older than the newest known one by more than the model file allows."""
    if spec.lateness is None or spec.time is None or checked.problem or checked.rows.empty:
        return checked
    newest = observations.snapshot().end
    if newest is None:
        return checked
    import pandas as pd

    allowed = spec.lateness
    late = checked.rows[spec.time] < datetime.fromisoformat(newest) - allowed
    if late.all():
        return replace(checked, problem=f"every row is late by more than {allowed}")
    reasons = pd.Series(f"{spec.time}: late by more than {allowed}", index=checked.rows.index[late])
    return replace(checked, rows=checked.rows[~late], rejected=pd.concat([checked.rejected, reasons]))


def _refuse_mixture(observations: Observations, item: Batch) -> None:
    # They never mix, so that one of them says what all are.
    held = observations.an_origin()
    if held is not None and item.origin.startswith(SIMULATED) != held.startswith(SIMULATED):
        raise DataError(
            f"The observations hold {'simulated' if held.startswith(SIMULATED) else 'real'} rows, and {item.origin} is "
            "of the other kind: they would mix.",
            "Move the state folder away, or set EVERGREEN_HOME to an empty one, to start on your own data.",
        )


def _keep_rows(quarantine: Table, item: Batch, checked: Checked, contract: str, now: datetime) -> None:
    if checked.rejected.empty or item.frame is None:
        return
    refused = item.frame.reset_index(drop=True).loc[checked.rejected.index]
    # JSON has no infinity: it would become null, which is not what was there.
    infinite = [name for name in refused.select_dtypes("float") if (refused[name].abs() == float("inf")).any()]
    text = refused.astype(dict.fromkeys(infinite, "str")).to_json(
        orient="records", lines=True, date_format="iso", double_precision=15
    )
    rows = (checked.rejected.index + 1).to_list()
    frame = _records(item, contract, now, rows, checked.rejected.to_list(), text.splitlines())
    quarantine.append(frame, f"{item.id}:{contract}:rows")


def _keep_batch(
    quarantine: Table, settings: Settings, spec: ModelSpec, item: Batch, problem: str, contract: str, now: datetime
) -> None:
    """Keep the batch's own bytes (or its rows as Parquet), then the record that points to them."""
    folder = settings.root / "quarantine" / spec.name
    payload = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if item.path is not None:
            # A file's name may be as long as names can be, or no text at all; what a person called it is cut short.
            payload = str(shutil.copy2(item.path, folder / f"{item.id}-{item.origin[-50:].replace('/', '_')}"))
        elif item.frame is not None:
            payload = str(folder / f"{item.id}.parquet")
            item.frame.astype("str").to_parquet(payload)
    except OSError as error:
        raise EvergreenError(
            f"{item.origin} is refused ({problem}), and cannot be kept in {folder}: {error.strerror or error}.",
            "Free space or mend the folder's mode, then run it again.",
        ) from None
    quarantine.append(_records(item, contract, now, [-1], [problem], [payload]), f"{item.id}:{contract}:whole")


def _records(
    item: Batch, contract: str, now: datetime, rows: list[int], reasons: list[str], payloads: list[str]
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "batch": item.id,
            "origin": item.origin,
            "row": rows,
            "reason": reasons,
            "payload": payloads,
            "contract": contract,
            "at": pd.Timestamp(now),
        }
    )
