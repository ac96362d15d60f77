"""Landing what a source has: each batch once, checked against the contract, what is refused kept with its reason.

Rows come first, then the labels that waited for them, then new labels, where the model has a source of labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.contract import Checked, check, contract_digest, labels_digest, schema_of
from evergreen.data.label_rules import KNOWN, check_labels, rows_schema
from evergreen.data.observations import Observations
from evergreen.errors import DataError, ModelFileError
from evergreen.ingest.landing import BatchReport, Landing
from evergreen.ingest.pending_labels import Inbox
from evergreen.ingest.quarantine import keep_batch, keep_labels, keep_rows, quarantine_table
from evergreen.ingest.read_position import Reader
from evergreen.settings import Settings
from evergreen.sources.base import Batch, Source, Waiting
from evergreen.sources.simulator import SIMULATED
from evergreen.spec.data import Labels
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema


def ingest(
    spec: ModelSpec, settings: Settings, *, now: datetime, step: Callable[[str], None] = lambda _origin: None
) -> Landing:
    """Land every new batch of the model's source, then of its labels.

    `now` is aware; `step` is told the origin of each batch before it is checked.

    Raises:
        DataError: simulated and real rows would mix.
        BusyError: another run wrote at the same time.
    """
    run = _Run(spec, settings, now, step)
    waiting: list[Waiting] = []
    batches = _rows(run, waiting)
    if spec.labels is None:
        return Landing(batches, tuple(waiting))
    inbox = Inbox(settings.lake_uri, run.observations, run.quarantine, labels_digest(spec, spec.labels))
    labels = _labels(run, spec.labels, inbox, waiting)
    early = inbox.waiting()
    if early:
        waiting.append(Waiting("labels", f"{early} wait for a row with their key"))
    return Landing(batches, tuple(waiting), labels, early)


class _Run:
    """What the steps of one ingest share."""

    def __init__(self, spec: ModelSpec, settings: Settings, now: datetime, step: Callable[[str], None]) -> None:
        self.spec, self.settings, self.now, self.step = spec, settings, now, step
        self.observations = Observations(settings.lake_uri, spec)
        self.quarantine = quarantine_table(settings.lake_uri, spec.name)
        self.schema = schema_of(spec)

    def refuse(self, item: Batch, problem: str, contract: str) -> BatchReport:
        keep_batch(self.quarantine, self.settings, self.spec, item, problem, contract, self.now)
        return BatchReport(item.id, item.name, problem=problem)

    def reader(
        self, source: Source, mark: str, contract: str, commit: Callable[[str], str] = lambda batch: batch
    ) -> Reader:
        """What reads a source on from `mark`, a fact of the observations; `commit` is the id that a batch lands as."""
        landed, refused = self.observations.table.commit_lookup(), self.quarantine.commit_lookup()
        return Reader(
            source,
            lambda: str(getattr(self.observations.snapshot(), mark)),
            contract,
            lambda batch: landed(commit(batch)),
            lambda batch: refused(f"{batch}:{contract}:whole"),
        )


def _rows(run: _Run, waiting: list[Waiting]) -> tuple[BatchReport, ...]:
    spec, contract = run.spec, contract_digest(run.spec)
    _require_keys(spec, spec.source)
    reader = run.reader(spec.source, "rows_mark", contract)
    schema = rows_schema(spec, run.schema)
    reports: list[BatchReport] = []
    for item in reader.read(run.settings.landing):
        if isinstance(item, Waiting):
            waiting.append(item)
            continue
        run.step(item.name)
        if not reports:
            _refuse_mixture(run.observations, item)
        checked = _late(spec, run.observations, _checked(item, spec, schema, run.now))
        if checked.problem:
            reader.passed(item)
            reports.append(run.refuse(item, checked.problem, contract))
        else:
            reports.append(_land(run, item, checked, contract, reader.landing(item)))
    if reader.loose:
        run.observations.note({"rows_mark": reader.text})
    return tuple(reports)


def _land(run: _Run, item: Batch, checked: Checked, contract: str, mark: str) -> BatchReport:
    # Quarantine first: a crash between the two commits leaves a batch that the next run lands, none that is lost.
    keep_rows(run.quarantine, item, checked, contract, run.now)
    beaten = 0

    def losing(by: npt.NDArray[np.int64], rows: pa.Table) -> None:
        nonlocal beaten
        beaten = len(by)
        lost = rows.select([*run.spec.keys, run.spec.target, KNOWN]).to_pandas()
        place = np.asarray(checked.rows.index, dtype=np.int64)[by] + 1
        lost = lost.assign(_batch=item.id, _origin=item.origin, _row=place)
        reasons = [f"{run.spec.target}: the row came again with a target of its own"] * beaten
        keep_labels(run.quarantine, lost, reasons, f"{item.id}:{contract}:beaten", contract, run.now)

    told = {"rows_mark": mark, "revision": item.name if item.revision else ""}
    counts = run.observations.land(checked.rows, item.id, item.origin, now=run.now, losing=losing, told=told)
    repeated, rejected = counts.repeated + checked.repeated, len(checked.rejected)
    return BatchReport(item.id, item.name, counts.added, counts.replaced, repeated, rejected, beaten=beaten)


def _labels(run: _Run, labels: Labels, inbox: Inbox, waiting: list[Waiting]) -> tuple[BatchReport, ...]:
    settled = inbox.settle(now=run.now)
    reports = [BatchReport.of_labels("", "labels that waited", settled)] if settled else []
    reader = run.reader(labels.source, "labels_mark", inbox.contract, inbox.commit)
    for item in reader.read(run.settings.landing):
        if isinstance(item, Waiting):
            waiting.append(item)
            continue
        run.step(item.name)
        checked = None if item.frame is None else check_labels(item.frame, run.spec, labels, run.schema, now=run.now)
        if checked is None or checked.problem:
            reader.passed(item)
            reports.append(run.refuse(item, checked.problem if checked else item.problem, inbox.contract))
            continue
        keep_rows(run.quarantine, item, checked, inbox.contract, run.now)
        joined = inbox.land(item, checked, now=run.now, told={"labels_mark": reader.landing(item)})
        reports.append(BatchReport.of_labels(item.id, item.name, joined, checked))
    if reader.loose:
        run.observations.note({"labels_mark": reader.text})
    return tuple(reports)


def _require_keys(spec: ModelSpec, source: Source) -> None:
    if not spec.keys and getattr(source, "needs_keys", False):
        raise ModelFileError(
            f"models/{spec.name}.py: keys: {type(source).__name__} may give a row again, and without keys it would be "
            "there twice.",
            "Name the columns that tell a row, such as keys=('id',).",
        )


def _checked(item: Batch, spec: ModelSpec, schema: DataFrameSchema, now: datetime) -> Checked:
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
