"""`GET /metrics` of the pages: a snapshot that is made in the background, of all models that can be read."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import models
from deployments.stack import loop_monitor
from deployments.stack.health import WorkerState
from deployments.stack.loop_monitor import LoopMonitor
from deployments.stack.page_server import PageCache, Server
from deployments.stack.services import Ports, write_ports
from evergreen.ledger.decisions import Decisions
from evergreen.pages.links import PageLinks
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from tests.fleet import TOY, store_fleet
from tests.series import Series

COUNT = 5


@pytest.fixture
def stored(tmp_path: Path) -> Settings:
    """A few models with a champion by the log, but the last."""
    found = Settings(home=tmp_path / "home", models=tmp_path / "models")
    store_fleet(found, datetime.now(UTC), COUNT)
    return found


def text_after(monitor: LoopMonitor) -> Series:
    """What a scrape gets once the snapshot is read that is due now."""
    monitor._due = 0.0
    thread = monitor.refresh()
    assert thread is not None
    thread.join(60)
    return Series(monitor.text().decode())


def tear(settings: Settings, model: str) -> None:
    for path in (Path(Decisions(settings.lake_uri, model).table.uri) / "_delta_log").glob("*.json"):
        path.write_text("{ torn")


def test_a_torn_table_silences_no_other_model(stored: Settings) -> None:
    """Neither does a model file that is broken; both are told by name."""
    tear(stored, "model_2")
    (stored.models / "model_3.py").write_text("MODEL = 1 +")
    told = text_after(LoopMonitor(stored))
    problems = {labels[0] for labels, value in told.all("model_problem").items() if value}
    assert problems == {"model_2", "model_3"}
    assert len(told.all("champion_version")) == COUNT - 3
    assert told.value("registry_readable") == 1
    assert set(told.all("champion_resolvable").values()) == {0}


def test_a_scrape_answers_before_the_first_snapshot_and_waits_for_none(
    stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered while a snapshot takes its time, from the one before; only one is read at a time."""
    monitor, go_on, began = LoopMonitor(stored), threading.Event(), threading.Event()
    read = loop_monitor.read_facts

    def slow(*words: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        return read(*words)

    monkeypatch.setattr(loop_monitor, "read_facts", slow)
    first = Series(monitor.text().decode())
    assert began.wait(60)
    assert first.value("snapshot_timestamp_seconds") is None
    assert first.all("build_info")
    thread = monitor.refresh()
    assert thread is monitor.refresh()
    go_on.set()
    assert thread is not None
    thread.join(60)
    assert Series(monitor.text().decode()).value("snapshot_timestamp_seconds") == pytest.approx(time.time(), abs=60)


def test_a_home_where_nothing_was_stored_yet_is_told_of(tmp_path: Path) -> None:
    """Its models without a champion, and no disk."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "toy.py").write_text(TOY)
    told = text_after(LoopMonitor(Settings(home=tmp_path / "home", models=tmp_path / "models")))
    assert told.all("model_problem") == {("toy",): 0}
    assert told.value("disk_free_bytes") is None
    assert told.value("registry_readable") is None
    assert not (tmp_path / "home").exists()


def test_only_what_was_written_is_read_again(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing at all before a snapshot is due."""
    monitor, read, asked = LoopMonitor(stored), loop_monitor.read_facts, []

    def watched(settings: Settings, model: str, load: Any) -> Any:
        asked.append(model)
        return read(settings, model, load)

    monkeypatch.setattr(loop_monitor, "read_facts", watched)
    text_after(monitor)
    assert sorted(asked) == sorted(models.names(stored.models))
    assert monitor.refresh() is None
    asked.clear()
    (stored.models / "model_1.py").touch()
    text_after(monitor)
    assert asked == ["model_1"]


def test_a_snapshot_that_fails_leaves_the_last_one(
    stored: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its time stands still, which an alert sees; the log says why."""
    monitor = LoopMonitor(stored)
    before = text_after(monitor).value("snapshot_timestamp_seconds")

    def fail(_folder: Path) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr(models, "names", fail)
    after = text_after(monitor)
    assert after.value("snapshot_timestamp_seconds") == before
    assert len(after.all("champion_version")) == COUNT - 1
    assert "planted" in caplog.text


def test_a_registry_that_is_away_is_told(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no champion is called unresolvable for it."""
    (stored.root / "mlflow.db").write_text("no database")
    told = text_after(LoopMonitor(stored))
    assert told.value("registry_readable") == 0
    assert told.all("champion_resolvable") == {}


def test_aliases_are_read_in_one_query(stored: Settings) -> None:
    """By model, whatever their number."""
    client = Registry(stored).client
    for model, alias in (("model_1", "champion"), ("model_2", "other")):
        client.create_registered_model(model)
        client.create_model_version(model, source="runs:/none/model")
        client.set_registered_model_alias(model, alias, 1)
    assert Registry(stored).named_by("champion") == {"model_1": 1}
    assert text_after(LoopMonitor(stored)).value("champion_resolvable", model="model_1") == 1


@pytest.mark.parametrize("state", [WorkerState(False), WorkerState(True), WorkerState(True, datetime.now(UTC))])
def test_the_local_stack_is_told_where_there_is_one(
    stored: Settings, state: WorkerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether Prefect answers, and when a worker was last heard of; without a stack neither."""
    assert text_after(LoopMonitor(stored)).value("prefect_reachable") is None
    stored.stack.mkdir()
    write_ports(stored, Ports(1, 2, 3, 4))
    monkeypatch.setattr(loop_monitor, "worker_state", lambda _settings, _ports: state)
    told = text_after(LoopMonitor(stored))
    assert told.value("prefect_reachable") == state.reachable
    beat = state.heartbeat.timestamp() if state.heartbeat else None
    assert told.value("worker_heartbeat_timestamp_seconds") == beat


@pytest.fixture
def server(stored: Settings) -> Iterator[Server]:
    with Server(PageCache(stored, PageLinks()), 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_the_pages_answer_a_scrape(server: Server) -> None:
    """In the text format, by the type that Prometheus asks for."""
    reading = server.monitor.refresh()
    assert reading is not None
    reading.join(60)
    with urllib.request.urlopen(f"{server.url}/metrics") as response:  # noqa: S310
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        told = Series(response.read().decode())
    assert len(told.all("champion_version")) == COUNT - 1
    assert told.value("disk_free_bytes") > 0  # type: ignore[operator]
