"""The table of runs: one row a flow run, however often it is told."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from evergreen.runs.history import Run, Runs
from evergreen.settings import Settings
from evergreen.storage.delta_table import Table

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = Run("monitor", "run-1", NOW, 4.0, 200, 1.5, "drift PASS, performance PASS")


def test_a_run_is_kept_once(settings: Settings) -> None:
    """A flow run that is told of again, by a retry, stays as it was; the newest come first."""
    runs = Runs(settings.lake_uri, "toy")
    assert runs.newest(10) == ()
    assert runs.record(RUN) == (RUN,)
    runs.record(replace(RUN, seconds=9.0))
    later = replace(RUN, flow="retrain", flow_run="run-2", at=NOW + timedelta(hours=1), outcome="promoted")
    assert [run.flow_run for run in runs.record(later)] == ["run-2", "run-1"]
    assert runs.newest(10) == (later, RUN)
    assert runs.newest(1) == (later,)
    assert runs.newest(2) == (later, RUN)


def test_a_run_of_a_table_without_processor_time_is_read(settings: Settings) -> None:
    """What was stored before it was measured has none, and the next run does."""
    runs = Runs(settings.lake_uri, "toy")
    schema = runs.table.schema
    older = Table(runs.table.uri, schema.remove(schema.get_field_index("cpu_seconds")))
    row = {name: value for name, value in asdict(RUN).items() if name != "cpu_seconds"}
    newest = json.dumps([row | {"at": RUN.at.isoformat()}])
    rows = pd.DataFrame([row | {"at": pd.Timestamp(RUN.at), "rows_per_second": 50.0}])
    older.append(rows, "run:run-1", {"newest": newest})
    measured = replace(RUN, flow_run="run-2", at=NOW + timedelta(hours=1), cpu_seconds=2.5)
    assert runs.newest(5) == (RUN,)
    assert runs.record(measured) == (measured, RUN)
    assert runs.newest(5) == (measured, RUN)


def test_many_runs_are_few_files(settings: Settings) -> None:
    """Files are merged now and then; the newest runs are found as before, by their rows and from commit to commit."""
    runs = Runs(settings.lake_uri, "toy")
    every = [replace(RUN, flow_run=f"run-{number}", at=NOW + timedelta(hours=number)) for number in range(105)]
    for run in every:
        told = runs.record(run)
    assert len(runs.table.open().file_uris()) < 60
    assert runs.newest(200) == tuple(reversed(every))
    assert runs.newest(12) == told == tuple(reversed(every[-12:]))


def test_rates() -> None:
    """Rows by seconds; a run without a duration has no rate rather than an infinite one."""
    assert RUN.metrics == {"run_seconds": 4.0, "rows_per_second": 50.0, "queue_seconds": 1.5}
    assert replace(RUN, seconds=0.0).rows_per_second == 0.0
    assert replace(RUN, cpu_seconds=2.5).metrics["cpu_seconds"] == 2.5
    assert RUN.to_json()["rows a second"] == pytest.approx(50.0)
