"""Events reach a file or a collector; one that is away costs a run two seconds once, and is named without a secret."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evergreen.errors import EvergreenError
from evergreen.runs import lineage_client
from evergreen.runs.lineage_client import PAUSE_SECONDS, LineageClient
from evergreen.runs.lineage_events import Event, LineageRun, run_event
from evergreen.settings import PROJECT
from tests.lineage import require_valid

RUN = LineageRun("f9c4af2e-eff4-4151-aa9c-7e5f6bc211f9", "retrain.toy")
EVENT: Event = run_event("", "START", RUN, now=datetime(2026, 1, 1, tzinfo=UTC))


class Collector(ThreadingHTTPServer):
    """A collector that keeps what it is sent, and answers as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 201
        self.let_go = threading.Event()
        self.let_go.set()
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), event))
        self.server.let_go.wait(60)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than a run would wait; where a collector hangs a test says so itself."""
    monkeypatch.setattr(lineage_client, "WAIT_SECONDS", 60.0)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A real collector on a free port."""
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.let_go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("setting", "path", "header"),
    [
        ("http://{}", "/api/v1/lineage", None),
        ("http://{}/", "/api/v1/lineage", None),
        ("http://{}/own/lineage?tenant=a", "/own/lineage?tenant=a", None),
        ("http://hunter2@{}", "/api/v1/lineage", "Bearer hunter2"),
        ("http://u:hunter2@{}", "/api/v1/lineage", "Basic dTpodW50ZXIy"),
    ],
)
def test_a_collector_gets_the_event(collector: Collector, setting: str, path: str, header: str | None) -> None:
    """At the standard path or at its own, with the key or the user of the URL, as JSON that is valid."""
    LineageClient(setting.format(collector.address)).send(EVENT)
    ((asked, headers, event),) = collector.seen
    assert (asked, headers.get("Authorization"), headers["Content-Type"]) == (path, header, "application/json")
    assert event["run"]["runId"] == RUN.id
    require_valid(event)


def test_a_file_gets_whole_lines(tmp_path: Path) -> None:
    """Processes that write at the same time, and events that are longer than a block of the file, do not mix."""
    file = tmp_path / "new" / "lineage.jsonl"
    code = f"""
from datetime import UTC, datetime
from evergreen.runs.lineage_client import LineageClient
from evergreen.runs.lineage_events import EvergreenModelRunFacet, LineageRun, Touched, run_event
client = LineageClient({str(file)!r})
for number in range(20):
    about = EvergreenModelRunFacet(model="toy", reason="x" * 100_000)
    client.send(run_event("", "START", LineageRun({RUN.id!r}, "a"), Touched(about), now=datetime.now(UTC)))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT) for _ in range(3)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 60
    require_valid(lines[0])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _away(collector: Collector, how: str) -> tuple[str, str]:
    """The setting of a place that is away in some way, and the reason that is told."""
    if how == "refuses":
        return f"http://u:hunter2@127.0.0.1:{_free_port()}/?token=hunter2", "ConnectionError"
    if how == "answers 503":
        collector.status = 503
        return f"http://u:hunter2@{collector.address}", "it answered 503"
    if how == "hangs":
        collector.let_go.clear()
        return f"http://u:hunter2@{collector.address}", "no answer in time"
    return str(PROJECT / "README.md" / "lineage.jsonl"), "Error"


@pytest.mark.parametrize("how", ["refuses", "answers 503", "hangs", "no folder"])
def test_a_place_that_is_away_is_told_once_and_costs_little(
    collector: Collector, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says where and why, and holds no secret; until the pause is over nothing is tried or waited for."""
    now = [0.0]
    setting, reason = _away(collector, how)
    client = LineageClient(setting, lambda: now[0])
    if how == "hangs":
        monkeypatch.setattr(lineage_client, "WAIT_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(EvergreenError, match="the run goes on") as told:
        client.send(EVENT)
    # It would be let go only afterwards.
    assert time.monotonic() - began < lineage_client.WAIT_SECONDS + 30
    assert reason in told.value.what and "EVERGREEN_OPENLINEAGE" in told.value.fix
    assert "hunter2" not in str(told.value)
    monkeypatch.setattr(client, "_try", _fail)
    client.send(EVENT)
    now[0] = PAUSE_SECONDS + 1
    with pytest.raises(EvergreenError):
        client.send(EVENT)


def _fail(_event: Event, faults: list[BaseException]) -> None:
    faults.append(OSError())


def test_after_the_pause_a_collector_that_is_back_gets_events(collector: Collector) -> None:
    """The pause ends, and nothing has to be started again."""
    now, collector.status = [0.0], 500
    client = LineageClient(f"http://{collector.address}", lambda: now[0])
    with pytest.raises(EvergreenError):
        client.send(EVENT)
    now[0], collector.status = PAUSE_SECONDS + 1, 200
    client.send(EVENT)
    assert len(collector.seen) == 2


def test_the_address_of_the_repository_is_not_sent(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would add that of the git remote, which may hold a token."""
    monkeypatch.chdir(PROJECT)
    LineageClient(f"http://{collector.address}").send(EVENT)
    assert "sourceCodeLocation" not in collector.seen[0][2]["job"]["facets"]
