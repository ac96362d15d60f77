"""What real runs tell an OpenLineage collector: valid events of ingest, retrain and score, with inputs and outputs."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen import naming
from evergreen.events import REHEARSAL_PREFIX
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from flows.monitor import monitor
from flows.retrain import retrain
from flows.score import score
from flows.shared import lineage
from tests.evergreen.runs.test_lineage_client import Collector, collector  # noqa: F401
from tests.lineage import require_valid

pytestmark = pytest.mark.usefixtures("in_process")
MODEL = "toy"
Event = dict[str, Any]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than a run would wait; where a collector hangs a test says so itself."""
    monkeypatch.setattr("evergreen.runs.lineage_client.WAIT_SECONDS", 60.0)


@pytest.fixture
def send_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Send events to a file or a collector."""

    def to(place: object) -> None:
        lineage._open_client.cache_clear()
        monkeypatch.setenv("EVERGREEN_OPENLINEAGE", str(place))

    return to


@pytest.fixture
def told(tmp_path: Path, send_to: Callable[[object], None]) -> Callable[[], list[Event]]:
    """Send events to a file, and give those that are new, each held to the schema."""
    file, seen = tmp_path / "lineage.jsonl", 0
    send_to(file)

    def read() -> list[Event]:
        nonlocal seen
        events = [json.loads(line) for line in file.read_text().splitlines()][seen:]
        seen += len(events)
        for event in events:
            require_valid(event)
        return events

    return read


def _names(events: list[Event]) -> list[tuple[str, str]]:
    return [(event["job"]["name"], event["eventType"]) for event in events]


def _datasets(event: Event, side: str) -> list[tuple[str, str, str | None, int | None]]:
    """Namespace, name, version and row count of each dataset of a side."""
    return [
        (
            each["namespace"],
            each["name"],
            each["facets"].get("version", {}).get("datasetVersion"),
            each.get("outputFacets", {}).get("outputStatistics", {}).get("rowCount"),
        )
        for each in event[side]
    ]


def test_ingest_retrain_and_score_are_told(
    land_toy: Callable[..., None],
    told: Callable[[], list[Event]],
    settings: Settings,
    tmp_path: Path,
    make_rows: Callable[..., pd.DataFrame],
) -> None:
    """From the landing folder by the table to the version, and from the version to the predictions; each run by its id.

    A run that finds nothing new completes without outputs, and has read no source.
    """
    table, model = str(settings.root / "lake" / MODEL / "observations"), MODEL
    land_toy("a", 300)
    result = retrain(MODEL, reason="schedule")
    events = told()
    assert _names(events) == [
        ("retrain.toy", "START"),
        ("ingest.toy", "START"),
        ("ingest.toy", "COMPLETE"),
        ("retrain.toy", "COMPLETE"),
    ]
    start, _, ingested, trained = events
    assert start["run"]["runId"] == trained["run"]["runId"] == result.flow_run
    assert ingested["run"]["facets"]["parent"]["run"]["runId"] == result.flow_run
    assert "nominalTime" in start["run"]["facets"]
    data = str(result.snapshot.version)
    assert _datasets(ingested, "inputs") == [("file", str(settings.landing / MODEL), None, None)]
    assert _datasets(ingested, "outputs") == [("file", table, data, 300)]
    assert _datasets(trained, "inputs") == [("file", table, data, None)]
    registry = f"mlflow://{settings.root / 'mlflow.db'}"
    assert _datasets(trained, "outputs") == [(registry, model, "1", None)]
    columns = {each["name"]: each["type"] for each in trained["inputs"][0]["facets"]["schema"]["fields"]}
    assert (columns["x"], columns["kind"]) == ("double", "string")
    about = trained["run"]["facets"][naming.LINEAGE_FACET]
    assert (about["outcome"], about["decisionId"], about["reason"]) == ("promoted", result.decision_id, "schedule")
    assert (about["modelVersion"], about["championVersion"], about["dataDigest"]) == (1, 1, result.snapshot.digest)

    assert retrain(MODEL).outcome == "unchanged"
    *_, empty, unchanged = told()
    assert (empty["inputs"], empty["outputs"], unchanged["outputs"]) == ([], [], [])
    assert unchanged["run"]["facets"][naming.LINEAGE_FACET]["outcome"] == "unchanged"

    make_rows(50, start=400).to_csv(tmp_path / "new.csv", index=False)
    scored = score(MODEL, str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    start, done = told()
    assert start["run"]["runId"] == done["run"]["runId"] == scored.run_id
    assert _datasets(done, "inputs") == [("file", str(tmp_path / "new.csv"), None, None), (registry, model, "1", None)]
    (predictions, out) = _datasets(done, "outputs")
    assert predictions[:2] == ("file", str(settings.root / "lake" / MODEL / "predictions"))
    assert (predictions[3], out) == (50, ("file", str(tmp_path / "out.csv"), None, 50))
    assert done["run"]["facets"][naming.LINEAGE_FACET]["batch"] == scored.batch
    monitor(MODEL)
    assert _names(told()) == [("ingest.toy", "START"), ("ingest.toy", "COMPLETE")]


def test_a_refused_row_is_an_output_of_the_ingest(
    land_toy: Callable[..., None], told: Callable[[], list[Event]], settings: Settings
) -> None:
    """Quarantine is told with the number of its rows, beside the rows that were added."""
    land_toy("a", 300)
    retrain(MODEL)
    told()
    land_toy("b", 100, start=1000, slope=0.0)
    file = settings.landing / MODEL / "b.csv"
    file.write_text(file.read_text().replace(",a,", ",neither,", 3))
    monitor(MODEL)
    _, done = told()
    names = [(name.rpartition("/")[2], rows) for _, name, _, rows in _datasets(done, "outputs")]
    assert names == [("observations", 97), ("quarantine", 3)]


def test_a_run_that_fails_is_told_without_its_rows(
    land_toy: Callable[..., None], told: Callable[[], list[Event]], broken_ingest: str
) -> None:
    """The ingest and the flow fail, with type and traceback; a value that the message quotes is nowhere."""
    land_toy("a", 300)
    with pytest.raises(ValueError, match=broken_ingest):
        retrain(MODEL)
    events = told()
    assert _names(events)[1:] == [("ingest.toy", "START"), ("ingest.toy", "FAIL"), ("retrain.toy", "FAIL")]
    for event in events[2:]:
        facet = event["run"]["facets"]["errorMessage"]
        assert (facet["message"], "in fail" in facet["stackTrace"]) == ("ValueError", True)
    assert broken_ingest not in json.dumps(events)


def test_a_rehearsal_and_a_cancelled_run(land_toy: Callable[..., None], told: Callable[[], list[Event]]) -> None:
    """A rehearsal is no run of a model; a run that was cancelled is aborted, one without its process has failed."""
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling, Crashed

    land_toy("a", 300)
    result = retrain(MODEL)
    told()
    assert retrain(MODEL, decision_id=f"{REHEARSAL_PREFIX}1") is None
    assert result.flow_run is not None
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(result.flow_run)  # type: ignore[arg-type]
    retrain.on_cancellation_hooks[0](retrain, run, Cancelling())
    retrain.on_crashed_hooks[0](retrain, run, Crashed(message="Flow run process exited with code -9."))
    cancelled, crashed = told()
    assert (cancelled["eventType"], crashed["eventType"]) == ("ABORT", "FAIL")
    assert crashed["run"]["facets"]["errorMessage"]["message"] == "The run ended as Crashed."


def test_a_collector_gets_the_events(
    land_toy: Callable[..., None],
    send_to: Callable[[object], None],
    collector: Collector,  # noqa: F811 - the fixture
) -> None:
    """Over HTTP, in order, each valid."""
    land_toy("a", 300)
    send_to(f"http://hunter2@{collector.address}")
    assert retrain(MODEL).outcome == "promoted"
    events = [event for _, _, event in collector.seen]
    for event in events:
        require_valid(event)
    assert Counter(_names(events)) == Counter(
        {(f"{job}.toy", state): 1 for job in ("ingest", "retrain") for state in ("START", "COMPLETE")}
    )


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_collector_that_is_away_fails_no_run(
    how: str,
    land_toy: Callable[..., None],
    send_to: Callable[[object], None],
    collector: Collector,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run ends as it would, waits for it once, and warns in one line that holds no secret."""
    land_toy("a", 300)
    collector.let_go.clear()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        send_to(f"http://u:hunter2@{collector.address if how == 'hangs' else f'127.0.0.1:{free.getsockname()[1]}'}")
    if how == "hangs":
        monkeypatch.setattr("evergreen.runs.lineage_client.WAIT_SECONDS", 2.0)
    assert retrain(MODEL).outcome == "promoted"
    champion = Registry(settings).champion(MODEL)
    assert champion is not None and champion.number == 1
    warnings = [record.getMessage() for record in caplog.records if record.getMessage().startswith("lineage:")]
    assert len(warnings) == 1 and "the run goes on" in warnings[0] and "unset EVERGREEN_OPENLINEAGE" in warnings[0]
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("setting", ["", "lineage.jsonl"])
def test_nothing_is_imported_without_the_setting(
    setting: str,
    land_toy: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """Without the extra everything works; with the setting a warning says what to install, and the run goes on."""
    land_toy("a", 300)
    for name in [each for each in sys.modules if each.startswith(("openlineage", "evergreen.runs.lineage_"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openlineage", None)
    monkeypatch.setattr(retrain, "on_completion_hooks", [])
    lineage._open_client.cache_clear()
    monkeypatch.setenv("EVERGREEN_OPENLINEAGE", str(tmp_path / setting) if setting else "")
    caplog.set_level(logging.INFO)
    assert retrain(MODEL).outcome == "promoted"
    warnings = [record.getMessage() for record in caplog.records if record.getMessage().startswith("lineage:")]
    assert bool(warnings) is bool(setting)
    assert all('pip install ".[lineage]"' in line for line in warnings)
    assert "evergreen.runs.lineage_client" not in sys.modules or setting
    assert any("hook" in record.getMessage() for record in caplog.records) is bool(setting)
