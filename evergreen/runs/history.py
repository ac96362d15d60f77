"""How long each flow run took, how many rows it dealt with, and how long it had waited to begin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen import naming
from evergreen.storage.delta_table import Table
from evergreen.storage.row_files import newest_metadata

if TYPE_CHECKING:
    import pyarrow as pa

NEWEST = 12
"""Runs that are shown after each."""

_LOOKED_THROUGH = 100
"""Runs among which the newest of each flow is looked for: a day of two flows that run every half hour."""
_COMPACT_EVERY = 50
"""Commits after which small files are merged. Each run adds one, and every twentieth commit lists all of them: 750 runs
are 0.4 MB of rows and 10 MB of lists otherwise."""


@dataclass(frozen=True, slots=True)
class Run:
    """One flow run.

    Attributes:
        flow: its name, such as `retrain`.
        flow_run: Prefect's id of it.
        at: when it concluded (aware, UTC).
        seconds: from its first instant until then.
        rows: that it dealt with: landed and compared (`monitor`), learned from and judged by (`retrain`), scored
            (`score`).
        queue_seconds: from when it was due until it began; never below 0.
        outcome: what came of it.
        cpu_seconds: of this process and those that it started and that have ended, since the run opened its model; None
            of runs that were stored without it.
    """

    flow: str
    flow_run: str
    at: datetime
    seconds: float
    rows: int
    queue_seconds: float
    outcome: str
    cpu_seconds: float | None = None

    @property
    def rows_per_second(self) -> float:
        """Rows by its whole duration."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def metrics(self) -> dict[str, float]:
        """As they are kept with the run of a candidate."""
        figures = {
            "run_seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
            "queue_seconds": self.queue_seconds,
        }
        return figures if self.cpu_seconds is None else figures | {"cpu_seconds": self.cpu_seconds}

    def to_json(self) -> dict[str, Any]:
        """As one row of a table for people."""
        return {
            "at": f"{self.at:%Y-%m-%d %H:%M:%S}",
            "flow": self.flow,
            "outcome": self.outcome,
            "seconds": round(self.seconds, 2),
            "rows": self.rows,
            "rows a second": round(self.rows_per_second, 1),
            "queued for (s)": round(self.queue_seconds, 2),
            "cpu (s)": None if self.cpu_seconds is None else round(self.cpu_seconds, 2),
            "flow run": self.flow_run,
        }


class Runs:
    """The `runs` table of one model."""

    def __init__(self, lake: str, model: str) -> None:
        self.table = Table(naming.table(lake, model, "runs"), _schema(), compact_every=_COMPACT_EVERY)

    def record(self, run: Run) -> tuple[Run, ...]:
        """Keep a run; one that is there already stays as it is. Returns the newest, this one first, at most 12.

        They are handed on from commit to commit: a year of hourly runs is thousands of files, too many to read again.
        """
        import pandas as pd

        newest = json.loads(self.table.commit_metadata(self.table.open()).get("newest", "[]"))
        others = [entry for entry in newest if entry["flow_run"] != run.flow_run]
        runs = [asdict(run) | {"at": run.at.isoformat()}, *others][:NEWEST]
        row = asdict(run) | {"at": pd.Timestamp(run.at), "rows_per_second": run.rows_per_second}
        self.table.append(pd.DataFrame([row]), f"run:{run.flow_run}", {"newest": json.dumps(runs)})
        return tuple(Run(**each | {"at": datetime.fromisoformat(each["at"])}) for each in runs)

    def newest(self, count: int) -> tuple[Run, ...]:
        """The runs that concluded last, at most `count`, the newest first."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.dataset as ds

        if not self.table.exists():
            return ()
        # The newest runs are in files of their own: by their statistics, only those are opened.
        ends = sorted(most for _, most in self.table.file_ranges(self.table.open(), "at") or ())
        recent = ds.field("at") >= pa.scalar(ends[-count], self.table.schema.field("at").type) if ends[count:] else None
        recent_runs = self.table.read(where=recent)
        recent_runs = recent_runs.sort_values("at", kind="stable", ascending=False).head(count)
        return tuple(
            Run(
                flow=row["flow"],
                flow_run=row["flow_run"],
                at=row["at"].to_pydatetime(),
                seconds=float(row["seconds"]),
                rows=int(row["rows"]),
                queue_seconds=float(row["queue_seconds"]),
                outcome=row["outcome"],
                cpu_seconds=None if pd.isna(row["cpu_seconds"]) else float(row["cpu_seconds"]),
            )
            for _, row in recent_runs.iterrows()
        )


def last_monitor(lake: str, model: str) -> datetime | None:
    """When the newest monitor ended; None before the first. Mostly this is known from the table's log."""
    newest = json.loads(newest_metadata(Runs(lake, model).table).get("newest", "[]"))
    times = [datetime.fromisoformat(run["at"]) for run in newest if run["flow"] == "monitor"]
    if times:
        return max(times)
    run = newest_runs(lake, model).get("monitor")
    return run.at if run is not None else None


def newest_runs(lake: str, model: str) -> Mapping[str, Run]:
    """The newest run of each flow of a model."""
    runs: dict[str, Run] = {}
    for run in Runs(lake, model).newest(_LOOKED_THROUGH):
        runs.setdefault(run.flow, run)
    return runs


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            ("flow", text),
            ("flow_run", text),
            ("at", pa.timestamp("us", "UTC")),
            ("seconds", number),
            ("rows", pa.int64()),
            ("rows_per_second", number),
            ("queue_seconds", number),
            ("outcome", text),
            ("cpu_seconds", number),
        ]
    )
