"""Land what a source has: each batch once, checked against the contract; what is rejected goes to quarantine.

Rows come first. Then come the labels that waited for them, and then new labels, if the model has a source of labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.checked_batch import CheckedBatch, check_batch
from evergreen.data.contract import contract_digest, labels_digest, schema_of
from evergreen.data.label_rules import LABELLED_AT, check_labels, rows_schema
from evergreen.data.observations import Observations
from evergreen.data.snapshot import CONTRACT
from evergreen.errors import DataError, ModelFileError
from evergreen.ingest.landing import BatchReport, Landing
from evergreen.ingest.pending_labels import PendingLabels
from evergreen.ingest.quarantine import quarantine_batch, quarantine_labels, quarantine_rows, quarantine_table
from evergreen.ingest.read_position import Reader
from evergreen.ingest.shared_rows import describe_shared_rows, distinct_columns
from evergreen.settings import Settings
from evergreen.sources.base import Batch, Source, Waiting
from evergreen.sources.simulator import SIMULATED
from evergreen.spec.data import Labels
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema


def ingest(
    spec: ModelSpec, settings: Settings, *, now: datetime, step: Callable[[str], None] = lambda _origin: None
) -> Landing:
    """Land every new batch of the model's source, then of its labels.

    Args:
        spec: the model.
        settings: where its tables and landing folders are.
        now: when the batches land (aware).
        step: called with the origin of each batch before it is checked.

    Raises:
        DataError: simulated and real rows would mix.
        ModelFileError: the model file's own code fails on a batch, and took none before.
        BusyError: another run wrote at the same time.
        EvergreenError: the table holds a column in another type than the contract's.
    """
    run = _Run(spec, settings, now, step)
    # Before anything is read: with a contract of other types nothing could land, and what is stored would mean another.
    run.observations.require_types()
    waiting: list[Waiting] = []
    batches = _ingest_rows(run, waiting)
    doubts = (*run.doubts, *describe_shared_rows(run.observations, run.landed))
    if spec.labels is None:
        return Landing(batches, tuple(waiting), doubts=doubts, version=run.observations.version())
    pending = PendingLabels(settings.lake_uri, run.observations, run.quarantine, labels_digest(spec, spec.labels))
    labels = _ingest_labels(run, spec.labels, pending, waiting)
    pending_count = pending.count()
    if pending_count:
        waiting.append(Waiting("labels", f"{pending_count} wait for a row with their key"))
    return Landing(batches, tuple(waiting), labels, pending_count, doubts, run.observations.version())


class _Run:
    """What the steps of one ingest share."""

    def __init__(self, spec: ModelSpec, settings: Settings, now: datetime, step: Callable[[str], None]) -> None:
        self.spec, self.settings, self.now, self.step = spec, settings, now, step
        self.observations = Observations(settings.lake_uri, spec)
        self.quarantine = quarantine_table(settings.lake_uri, spec.name)
        self.schema = schema_of(spec)
        self.doubts: list[str] = []
        # Of a model without keys: the origins that landed, each with what may tell its rows apart.
        self.landed: dict[str, tuple[str, ...]] = {}
        # The contracts by which a batch landed in this run: their code works.
        self.proven: set[str] = set()

    def take_note(self, item: Batch, checked: CheckedBatch) -> None:
        """Keep what is said at the end of a batch that lands."""
        if checked.doubt:
            self.doubts.append(f"{item.name}, {checked.doubt}")
        if not self.spec.keys and item.frame is not None:
            self.landed[item.origin] = distinct_columns(item.frame, self.schema)

    def reject(self, item: Batch, problem: str, contract: str, remedy: str = "") -> BatchReport:
        """Put a whole batch into quarantine."""
        quarantine_batch(self.quarantine, self.settings, self.spec, item, problem, contract, self.now)
        return BatchReport(item.id, item.name, problem=problem, remedy=remedy)

    def refuse_own_failure(self, item: Batch, checked: CheckedBatch, contract: str) -> None:
        """Stop where the model file's own code failed, and nothing says that the batch is to blame.

        The batch is to blame where the very same code took another one: it is rejected like any other bad batch, so
        that one file does not keep the next ones out.

        Raises:
            ModelFileError: the code has taken no batch yet. Nothing is rejected, and the batch is read again.
        """
        if not checked.failure or contract in self.proven or self.observations.has_landed_by(contract):
            return
        columns = ", ".join(map(str, item.frame.columns)) if item.frame is not None else ""
        raise ModelFileError(
            f"{checked.failure}, on {item.name}, which has the columns {columns}.",
            f"Correct it, or take {item.name} away: nothing was rejected, and the next run reads it again.",
        )

    def open_reader(
        self, source: Source, field: str, contract: str, commit_id: Callable[[str], str] = lambda batch: batch
    ) -> Reader:
        """A reader of a source from its stored position.

        `field` is the snapshot's field with that position, and `commit_id` gives the id of the commit that a batch
        lands in.
        """
        has_commit, was_rejected = self.observations.table.commit_lookup(), self.quarantine.commit_lookup()
        return Reader(
            source,
            lambda: str(getattr(self.observations.snapshot(), field)),
            contract,
            lambda batch: has_commit(commit_id(batch)),
            lambda batch: was_rejected(f"{batch}:{contract}:whole"),
        )


def _ingest_rows(run: _Run, waiting: list[Waiting]) -> tuple[BatchReport, ...]:
    spec, contract = run.spec, contract_digest(run.spec)
    _require_keys(spec, spec.source)
    reader = run.open_reader(spec.source, "rows_position", contract)
    schema = rows_schema(spec, run.schema)
    reports: list[BatchReport] = []
    for item in reader.read(run.settings.landing):
        if isinstance(item, Waiting):
            waiting.append(item)
            continue
        run.step(item.name)
        if not reports:
            _refuse_mixture(run.observations, item)
        checked = _reject_late_rows(spec, run.observations, _check_item(item, spec, schema, run.now))
        run.refuse_own_failure(item, checked, contract)
        if checked.problem:
            reader.skip(item)
            reports.append(run.reject(item, checked.problem, contract, checked.remedy))
        else:
            run.proven.add(contract)
            # Quarantine first: after a crash between the two commits the next run lands the batch, and nothing is lost.
            quarantine_rows(run.quarantine, item, checked, contract, run.now)
            run.take_note(item, checked)
            # The rows as they came are as large as those that land, and are not needed any more.
            item = replace(item, frame=None)  # noqa: PLW2901 - the name has to let go of them
            _release_memory()
            reports.append(_land_rows(run, item, checked, contract, reader.advance(item)))
    if reader.uncommitted:
        run.observations.store_carried({"rows_position": reader.position})
    return tuple(reports)


def _release_memory() -> None:
    """Give back what Arrow has free: the table's writer takes its memory elsewhere."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _land_rows(run: _Run, item: Batch, checked: CheckedBatch, contract: str, position: str) -> BatchReport:
    superseded = 0

    def quarantine_overridden(positions: npt.NDArray[np.int64], rows: pa.Table) -> None:
        nonlocal superseded
        superseded = len(positions)
        labels: pd.DataFrame = rows.select([*run.spec.keys, run.spec.target, LABELLED_AT]).to_pandas()
        places = np.asarray(checked.rows.index, dtype=np.int64)[positions] + 1
        labels = labels.assign(_batch=item.id, _origin=item.origin, _row=places)
        reasons = [f"{run.spec.target}: the row came again with a target of its own"] * superseded
        quarantine_labels(run.quarantine, labels, reasons, f"{item.id}:{contract}:beaten", contract, run.now)

    counts = run.observations.land(
        checked.rows,
        item.id,
        item.origin,
        now=run.now,
        on_overridden=quarantine_overridden,
        carried={"rows_position": position, "revision": item.name if item.revision else "", CONTRACT: contract},
    )
    repeated, rejected = counts.repeated + checked.repeated, len(checked.rejected)
    return BatchReport(
        item.id,
        item.name,
        counts.added,
        counts.replaced,
        repeated,
        rejected,
        superseded=superseded,
    )


def _ingest_labels(
    run: _Run, labels: Labels, pending: PendingLabels, waiting: list[Waiting]
) -> tuple[BatchReport, ...]:
    counts = pending.apply_pending(now=run.now)
    reports = [BatchReport.of_labels("", "labels that waited", counts)] if counts else []
    reader = run.open_reader(labels.source, "labels_position", pending.contract, pending.commit_id)
    for item in reader.read(run.settings.landing):
        if isinstance(item, Waiting):
            waiting.append(item)
            continue
        run.step(item.name)
        checked = None
        if item.frame is not None:
            checked = check_labels(item.frame, run.spec, labels, run.schema, now=run.now, written=item.written)
            run.refuse_own_failure(item, checked, pending.contract)
        if checked is None or checked.problem:
            reader.skip(item)
            reports.append(run.reject(item, checked.problem if checked else item.problem, pending.contract))
            continue
        run.proven.add(pending.contract)
        quarantine_rows(run.quarantine, item, checked, pending.contract, run.now)
        carried = {"labels_position": reader.advance(item), CONTRACT: pending.contract}
        counts = pending.land(item, checked, now=run.now, carried=carried)
        reports.append(BatchReport.of_labels(item.id, item.name, counts, checked))
    if reader.uncommitted:
        run.observations.store_carried({"labels_position": reader.position})
    return tuple(reports)


def _require_keys(spec: ModelSpec, source: Source) -> None:
    if not spec.keys and getattr(source, "needs_keys", False):
        raise ModelFileError(
            f"{spec.place('keys')}: {type(source).__name__} may give a row again, and without keys it would be "
            "there twice.",
            "Name the columns that identify a row, such as keys=('id',).",
        )


def _check_item(item: Batch, spec: ModelSpec, schema: DataFrameSchema, now: datetime) -> CheckedBatch:
    import pandas as pd

    if item.frame is None:
        return CheckedBatch(pd.DataFrame(), pd.Series(dtype="object"), item.problem)
    return check_batch(item.frame, spec, schema, now=now, written=item.written)


def _reject_late_rows(spec: ModelSpec, observations: Observations, checked: CheckedBatch) -> CheckedBatch:
    """Reject rows that are older than the newest known row by more than the model file allows."""
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
    # Simulated and real rows never mix, so that the origin of one row is enough.
    origin = observations.any_origin()
    if origin is not None and item.origin.startswith(SIMULATED) != origin.startswith(SIMULATED):
        raise DataError(
            f"The observations hold {'simulated' if origin.startswith(SIMULATED) else 'real'} rows, and {item.origin} "
            "is of the other kind: they would mix.",
            "Move the state folder away, or set EVERGREEN_HOME to an empty one, to start on your own data.",
        )
