"""What is stored of a model's loop, as plain values for whoever watches it; no registry is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.decision import Decision, Kind
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import count_refusals, quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.reconciliation import LedgerState, look_at_ledger
from evergreen.model_files.finding import find_files
from evergreen.runs.fleet import REPORTS
from evergreen.runs.history import Run, newest_runs
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table
from evergreen.storage.row_files import newest_version

LOOKED_AT: tuple[Kind, ...] = (*REPORTS, "canary")
"""The kinds of decisions of which the newest is told."""
TABLES: tuple[naming.Table, ...] = ("observations", "decisions", "drift", "promotions", "quarantine", "runs")
"""The tables that are read."""
_TRIES = 3


@dataclass(frozen=True, slots=True)
class LoopFacts:
    """What is stored of one model.

    Attributes:
        problem: why nothing else is known; empty where it is.
        spec: the model file's; None where that cannot be read. Then the rest is empty.
        ledger: what calls for a retraining, and what became of it.
        newest: the newest decision of each kind in `LOOKED_AT`, whichever champion it is about.
        worst: the column that drifted most in the newest drift report, and its score as a multiple of its threshold.
        rows: how many have landed.
        data_end: the latest time of a row (aware); None without rows or without a time column.
        batches_refused: in quarantine as a whole.
        rows_refused: rows and labels in quarantine, by the class of their reason.
        runs: the newest of each flow.
    """

    model: str
    problem: str = ""
    spec: ModelSpec | None = None
    ledger: LedgerState = field(default_factory=lambda: LedgerState((), None))
    newest: Mapping[Kind, Decision] = field(default_factory=dict)
    worst: tuple[str, float] | None = None
    rows: int = 0
    data_end: datetime | None = None
    batches_refused: int = 0
    rows_refused: Mapping[str, int] = field(default_factory=Counter)
    runs: Mapping[str, Run] = field(default_factory=dict)


def stored_state(settings: Settings, model: str, tables: Sequence[naming.Table] = TABLES) -> object:
    """Equal as long as nothing was written of a model: its file's time, and the versions of tables.

    Raises:
        EvergreenError: a table cannot be read.
    """
    import pyarrow as pa

    files = find_files(settings.models).get(model, ())
    changed = tuple((file, Path(file).stat().st_mtime_ns) for file in files)
    stored = [Table(naming.table(settings.lake_uri, model, name), pa.schema([])) for name in tables]
    return changed, *map(newest_version, stored)


def read_facts(settings: Settings, model: str, load: Callable[[str], ModelSpec]) -> LoopFacts:
    """What is stored of a model; a model file or a table that cannot be read is its `problem`.

    Of tables that a run writes to meanwhile it is one state or another, and no mixture: it is read again then. After
    the third time it is what was read last.
    """
    try:
        spec = load(model)
        for _ in range(_TRIES):
            before = stored_state(settings, model)
            facts = _read(settings, spec)
            if stored_state(settings, model) == before:
                break
    except EvergreenError as error:
        return LoopFacts(model, problem=str(error))
    return facts


def _read(settings: Settings, spec: ModelSpec) -> LoopFacts:
    lake, model = settings.lake_uri, spec.name
    decisions = Decisions(lake, model)
    ledger, newest = look_at_ledger(settings, spec, LOOKED_AT)
    observations = Observations(lake, spec)
    snapshot = observations.snapshot() if observations.table.exists() else None
    batches, rows = count_refusals(quarantine_table(lake, model))
    return LoopFacts(
        model,
        spec=spec,
        ledger=ledger,
        newest=newest,
        worst=_worst_column(decisions, newest.get("drift")),
        rows=snapshot.rows if snapshot else 0,
        data_end=datetime.fromisoformat(snapshot.end) if snapshot and snapshot.end else None,
        batches_refused=batches,
        rows_refused=rows,
        runs=newest_runs(lake, model),
    )


def _worst_column(decisions: Decisions, report: Decision | None) -> tuple[str, float] | None:
    import pyarrow.dataset as ds

    if report is None or not decisions.scores.exists():
        return None
    wanted = ["column", "score", "threshold"]
    scores = decisions.scores.read(wanted, ds.field("decision_id") == report.id)
    known = scores[(scores["threshold"] > 0) & scores["score"].notna()]
    if known.empty:
        return None
    times = (known["score"] / known["threshold"]).to_numpy()
    worst = int(times.argmax())
    return str(known["column"].iloc[worst]), float(times[worst])
