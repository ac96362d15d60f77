"""The server as a process: started by its command, asked over sockets, also by others' clients, killed and stopped."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.registry.version import CHAMPION
from evergreen.settings import Settings
from serving.access import add_key
from serving.options import Options
from serving.server import UNREAD_SECONDS, cut_off_who_never_reads, run
from tests.serving.conftest import Home, as_utc

PROJECT = Path(__file__).resolve().parents[2]
ROW = {"x": 1.0, "kind": "a"}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running server of one home."""

    settings: Settings
    environment: dict[str, str]
    port: int
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "deployments.cli", "serve", "--port", str(self.port), "--poll", "0.1"]
        self.process = subprocess.Popen(
            [*command, *self.arguments],
            env=self.environment,
            cwd=PROJECT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        self.wait_for(lambda: self.get("/v2/health/live") == 200, "it answers")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            self.lines.extend(iter(process.stderr.readline, ""))

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, f"not in two minutes: {what}\n{''.join(self.lines)}"
            time.sleep(0.05)

    def request(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, given)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return response.status, json.loads(response.read().strip() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read().strip() or b"null")

    def get(self, path: str) -> int:
        try:
            return self.request(path)[0]
        except (OSError, ValueError):
            return 0

    def served(self) -> list[str]:
        return self.request("/v2/models/toy")[1]["versions"]  # type: ignore[no-any-return]

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        status = self.process.wait(60)
        self.end()
        return status

    def end(self) -> None:
        """Kill what still runs, and read its last line."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        if self.reader is not None:
            self.reader.join()


@pytest.fixture
def server(served_home: Settings) -> Iterator[Server]:
    """A server that was not started yet, in a home of its own with one model file and no version."""
    variables = {"EVERGREEN_HOME": str(served_home.root), "EVERGREEN_MODELS": str(served_home.models)}
    running = Server(served_home, os.environ | variables | {"PYTHONPATH": str(PROJECT)}, free_port())
    yield running
    running.end()


@pytest.fixture
def home_of(server: Server, make_rows: Callable[..., pd.DataFrame]) -> Home:
    return Home(server.settings, as_utc(make_rows(100)))


def ask_by_mlflow(port: int, frame: pd.DataFrame) -> list[float]:
    """Predictions by MLflow's own client of its scoring server."""
    with warnings.catch_warnings():
        # MLflow warns of its own type hints when it is imported.
        warnings.simplefilter("ignore")
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient

        predictions = ScoringServerClient("127.0.0.1", port).invoke(frame).get_predictions()
    return predictions.iloc[:, 0].tolist()  # type: ignore[no-any-return]


class Client(threading.Thread):
    """Asks without pause over one connection, and keeps from when to when which version answered what."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.done = port, threading.Event()
        self.answers: list[tuple[float, float, int, float]] = []
        self.failures: list[str] = []

    def run(self) -> None:
        body, headers = json.dumps(ROW), {"content-type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.done.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", "/models/toy/predict", body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, HTTPException, ValueError) as error:
                self.failures.append(type(error).__name__)
                return
            if response.status != 200:
                self.failures.append(str(answer))
                return
            self.answers.append((began, time.monotonic(), answer["version"], answer["prediction"]))
        connection.close()

    def stop(self) -> None:
        self.done.set()
        self.join()


def swap_under_load(server: Server, home: Home, *, clients: int, swaps: int) -> list[Client]:
    """Move the alias to and fro while clients ask; returns the clients, when all have stopped.

    Asserts that no request failed, that each answer is that of the version that it names, and that no request that
    began after the new version answered got the former one.
    """
    numbers = [home.register(1.0), home.register(10.0)]
    home.promote(numbers[0])
    server.wait_for(lambda: server.served() == [str(numbers[0])], "the first champion")
    said = {}
    for number in numbers:
        home.promote(number)
        server.wait_for(lambda wanted=str(number): server.served() == [wanted], "each champion")  # type: ignore[misc]
        said[number] = server.request("/models/toy/predict", ROW)[1]["prediction"]
    asking = [Client(server.port) for _ in range(clients)]
    for client in asking:
        client.start()
    # From when its alias was set until the next version answered, a version may answer.
    starts, ends = [0.0], []
    for swap in range(swaps):
        starts.append(time.monotonic())
        home.promote(numbers[swap % 2])
        server.wait_for(lambda wanted=str(numbers[swap % 2]): server.served() == [wanted], "the next champion")  # type: ignore[misc]
        ends.append(time.monotonic())
    ends.append(float("inf"))
    champions = [numbers[1], *(numbers[swap % 2] for swap in range(swaps))]
    for client in asking:
        client.stop()
    # Otherwise nothing was swapped while they asked.
    assert {number for client in asking for _, _, number, _ in client.answers} == set(numbers)
    for client in asking:
        assert client.failures == []
        assert client.answers
        for began, ended, number, prediction in client.answers:
            assert prediction == said[number]
            spans = zip(starts, ends, champions, strict=True)
            assert any(start <= ended and began <= end and number == each for start, end, each in spans)
    return asking


def test_a_server_waits_for_its_champion_follows_it_and_keeps_what_it_answered(server: Server, home_of: Home) -> None:
    """From nothing to two versions, with MLflow's own client; the end writes what is left."""
    server.start()
    assert server.request("/models/toy/predict", ROW)[1]["error"]["code"] == "no_champion"
    assert server.get("/v2/health/ready") == 503
    first = home_of.register(1.0)
    home_of.promote(first)
    server.wait_for(lambda: server.get("/ping") == 200, "it is ready")
    status, answer = server.request("/models/toy/predict", ROW | {"id": 5}, x_request_id="mine")
    assert (status, answer["version"], answer["request_id"]) == (200, first, "mine")
    frame = pd.DataFrame([ROW, {"x": -2.0, "kind": "b"}])
    assert ask_by_mlflow(server.port, frame)[0] == answer["prediction"]
    second = home_of.register(2.0)
    home_of.promote(second)
    server.wait_for(lambda: server.served() == [str(second)], "the second champion")
    assert server.request("/models/toy/predict", ROW)[1]["prediction"] == pytest.approx(
        2 * answer["prediction"], rel=0.2
    )
    server.stop()
    log = RequestLog(server.settings.lake_uri, home_of.spec).table
    rows = log.read(("request", "version"))
    assert sorted(rows["version"]) == [first, first, first, second]
    assert "mine" in set(rows["request"])


def _p99(answers: list[tuple[float, float, int, float]]) -> float:
    """In milliseconds."""
    return float(np.quantile([ended - began for began, ended, _, _ in answers], 0.99)) * 1000


def _resident_mb(server: Server) -> float:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


@pytest.mark.parametrize("swaps", [6, pytest.param(100, marks=pytest.mark.proof(name="serving"))])
def test_no_request_is_lost_while_versions_change(server: Server, home_of: Home, swaps: int) -> None:
    """Under load, to and fro; the long form also compares the slowest hundredth with that of a time without swaps."""
    server.start()
    clients = swap_under_load(server, home_of, clients=3, swaps=swaps)
    answers = [answer for client in clients for answer in client.answers]
    if swaps < 100:
        return
    asking = [Client(server.port) for _ in range(3)]
    for client in asking:
        client.start()
    # The alias is set and the server is asked as before, which keeps clients waiting too; but nothing is swapped.
    for _ in range(5 * swaps):
        home_of.promote(int(server.served()[0]))
        asking[0].done.wait(0.05)
    for client in asking:
        client.stop()
    quiet = _p99([answer for client in asking for answer in client.answers])
    print(f"{swaps} swaps, {len(answers)} requests, none failed; p99 {_p99(answers):.2f} ms, without {quiet:.2f} ms.")
    assert _p99(answers) <= 2 * quiet


@pytest.mark.proof(name="serving")
def test_memory_does_not_grow(server: Server, home_of: Home) -> None:
    """Half an hour under load: what the process holds after five minutes is what it holds at the end."""
    home_of.promote(home_of.register(1.0))
    server.start()
    clients = [Client(server.port) for _ in range(3)]
    for client in clients:
        client.start()
    held = []
    for _minute in range(30):
        clients[0].done.wait(60)
        held.append(_resident_mb(server))
        for client in clients:
            client.answers.clear()
    for client in clients:
        client.stop()
        assert client.failures == []
    print(f"Memory by minute, in MB: {', '.join(f'{each:.0f}' for each in held)}")
    assert max(held[20:]) <= 1.05 * max(held[5:15])


def test_a_killed_server_comes_back_without_the_registry(server: Server, home_of: Home) -> None:
    """The verified copy serves; what was answered before the kill and not kept yet is lost, and nothing else."""
    home_of.promote(home_of.register(1.0))
    server.start()
    predicted = server.request("/models/toy/predict", ROW)[1]["prediction"]
    server.stop(signal.SIGKILL)
    database = server.settings.root / "mlflow.db"
    database.rename(database.with_suffix(".away"))
    database.mkdir()
    server.start()
    assert server.request("/models/toy/predict", ROW)[1]["prediction"] == predicted
    described = server.request("/v2/models/toy")[1]
    assert described["parameters"]["stale"]
    assert server.get("/ping") == 200


def test_a_server_that_is_killed_during_a_canary_goes_on_with_it(server: Server, home_of: Home) -> None:
    """The new one sends each key to the version that the former one sent it to; what was committed is there once."""
    first = home_of.register(1.0)
    second = home_of.register(10.0, against=first)
    home_of.promote(first)
    home_of.challenge(second, 50)
    server.start()

    def routes(turn: str) -> dict[str, int]:
        names = [f"customer-{number}" for number in range(40)]
        asked = {
            name: server.request("/models/toy/predict", ROW, x_route_key=name, x_request_id=f"{turn} {name}")
            for name in names
        }
        return {name: answer["version"] for name, (_, answer) in asked.items()}

    before = routes("before")
    assert set(before.values()) == {first, second}
    server.stop(signal.SIGKILL)
    server.start()
    assert routes("after") == before
    assert server.served() == [str(first), str(second)]
    home_of.promote(second)
    server.wait_for(lambda: server.served() == [str(second)], "the challenger is champion")
    assert server.request("/models/toy/predict", ROW)[1]["alias"] == "champion"
    server.stop()
    rows = ComparisonLog(server.settings.lake_uri, home_of.spec).table.read(("request", "served", "challenger_failed"))
    assert rows["request"].is_unique
    said = dict(zip(rows["request"], rows["served"], strict=True))
    # What was asked before the kill may be lost with the process; and on a busy machine not all is compared.
    wanted = {f"after {name}": "champion" if version == first else "challenger" for name, version in before.items()}
    found = {name: side for name, side in said.items() if name in wanted}
    assert found
    assert found == {name: wanted[name] for name in found}
    assert not rows["challenger_failed"].any()


def test_a_running_server_survives_what_breaks_around_it(server: Server, home_of: Home) -> None:
    """The alias deleted, an artifact corrupted, the lake gone: the last good version answers, and it is told."""
    first = home_of.register(1.0)
    home_of.promote(first)
    server.start()
    predicted = server.request("/models/toy/predict", ROW)[1]["prediction"]
    second = home_of.register(2.0)
    stored = next(
        file
        for file in sorted(server.settings.artifact_folder.rglob("model.skops"), key=lambda f: f.stat().st_mtime)[-1:]
    )
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(bytes(content))
    home_of.promote(second)
    stale = lambda: server.request("/v2/models/toy")[1]["parameters"]["stale"]  # noqa: E731
    server.wait_for(lambda: "sha256 differs" in stale(), "the corrupted version is told")
    home_of.registry.drop_alias("toy", CHAMPION)
    server.wait_for(lambda: "No version is the champion" in stale(), "the deleted alias is told")
    assert server.request("/models/toy/predict", ROW)[1] | {"request_id": ""} == {
        "model": "toy",
        "version": first,
        "alias": "champion",
        "request_id": "",
        "prediction": predicted,
    }
    assert server.get("/ping") == 200
    home_of.promote(first)
    server.wait_for(lambda: stale() == "", "it is up to date again")


def test_bad_requests_leave_a_server_as_it_was(server: Server, home_of: Home) -> None:
    """Bodies that never end, are too large, too deep or no JSON; clients that go away: the next one is answered."""
    home_of.promote(home_of.register(1.0))
    server.start()
    head = "POST /models/toy/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    raw = [
        f"{head}Content-Length: 1000000000\r\n\r\n{{",
        f"{head}Content-Length: 100\r\n\r\n{{",
        f"{head}Content-Length: abc\r\n\r\n{{",
        f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "nonsense\r\n\r\n",
        "",
    ]
    for text in raw:
        with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
            connection.sendall(text.encode())
    bodies = [b"[" * 10_000, b"NaN", b'{"x": 1e999}', b"\xff\xfe", json.dumps([ROW] * 20_000).encode()]
    bodies.append(b"[" + b",".join([b'{"x":1}'] * 1_000_000) + b"]")
    assert [server.request("/models/toy/predict", body)[0] for body in bodies] == [400, 400, 400, 400, 413, 413]
    assert server.request("/models/toy/predict", ROW)[0] == 200
    assert "Traceback" not in "".join(server.lines)


@pytest.mark.slow
def test_a_full_disk_keeps_no_answer_back(server: Server, home_of: Home) -> None:
    """No file of the process can grow: answers go on, what waits is told, and is kept when there is room again."""
    home_of.promote(home_of.register(1.0))
    server.start()
    assert server.process is not None
    # The kernel refuses every write to a file, as on a full disk, to this process alone.
    limits = psutil.Process(server.process.pid)
    before = limits.rlimit(psutil.RLIMIT_FSIZE)
    limits.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    assert [server.request("/models/toy/predict", ROW | {"id": number})[0] for number in range(20)] == [200] * 20

    def told() -> dict[str, Any]:
        return server.request("/v2/models/toy")[1]["parameters"]  # type: ignore[no-any-return]

    server.wait_for(lambda: bool(told()["log_problem"]), "it is told that the log cannot be written")
    assert (told()["rows_waiting"], told()["rows_kept"]) == (20, 0)
    assert server.request("/models/toy/predict", ROW | {"id": 20})[0] == 200
    limits.rlimit(psutil.RLIMIT_FSIZE, before)
    server.wait_for(lambda: told()["rows_kept"] == 21, "all rows are kept")
    server.stop()
    kept = PredictionLog(server.settings.lake_uri, home_of.spec).table.read(("id",))
    assert sorted(map(int, kept["id"])) == list(range(21))
    assert "Traceback" not in "".join(server.lines)


def test_a_client_that_never_reads_is_cut_off() -> None:
    """And the memory that its answer takes is free again."""
    with closing(socket.socket()) as listening, closing(socket.socket()) as client:
        cut_off_who_never_reads(listening, 0.5)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listening.getsockname())
        answering, _ = listening.accept()
        answering.settimeout(120)
        with closing(answering), pytest.raises(TimeoutError) as cut_off:
            answering.sendall(bytes(64 << 20))
    # Of the kernel, not the 120 seconds of this test.
    assert cut_off.value.errno == errno.ETIMEDOUT


def test_the_server_listens_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own socket has the limit."""
    import uvicorn

    limits: list[int] = []

    def serve(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        server.started = True
        limits.append(sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", serve)
    run(Options(("toy",), port=free_port()), object())  # type: ignore[arg-type]
    assert limits == [UNREAD_SECONDS * 1000]


def test_tritons_client_is_answered(server: Server, home_of: Home) -> None:
    """The Open Inference Protocol by a client that others wrote: its health, metadata and binary tensors."""
    from tritonclient.http import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    home_of.promote(home_of.register(1.0))
    server.start()
    with closing(InferenceServerClient(f"127.0.0.1:{server.port}")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("toy", "1")
        assert [each["name"] for each in client.get_model_metadata("toy")["inputs"]] == ["x", "kind"]
        inputs = [InferInput("x", [2], "FP64"), InferInput("kind", [2], "BYTES")]
        inputs[0].set_data_from_numpy(np.array([1.0, -2.0]))
        inputs[1].set_data_from_numpy(np.array(["a", "b"], dtype=object))
        answer = client.infer("toy", inputs, request_id="theirs")
        predicted = answer.as_numpy("prediction").tolist()
        unknown = InferInput("colour", [2], "FP64")
        unknown.set_data_from_numpy(np.array([1.0, -2.0]))
        with pytest.raises(InferenceServerException, match="no column"):
            client.infer("toy", [*inputs, unknown])
    assert answer.get_response()["id"] == "theirs"
    rows = [ROW, {"x": -2.0, "kind": "b"}]
    assert predicted == server.request("/models/toy/predict", rows)[1]["predictions"]


def test_nothing_that_the_description_allows_is_a_server_error(server: Server, home_of: Home, tmp_path: Path) -> None:
    """Schemathesis asks by the OpenAPI description, well and badly formed."""
    home_of.promote(home_of.register(1.0))
    server.start()
    words = ["run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", "not_a_server_error", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words, "--max-examples", "15", "--no-color"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.request("/models/toy/predict", ROW)[0] == 200
    assert "Traceback" not in "".join(server.lines)


def test_other_machines_need_a_key(server: Server, home_of: Home) -> None:
    """Without one the server does not start; with one it answers those who have it."""
    server.arguments = ("--host", "0.0.0.0")  # noqa: S104
    with pytest.raises(AssertionError, match="there is no API key"):
        server.start()
    key = add_key(server.settings.serving_keys_file, "shop")
    home_of.promote(home_of.register(1.0))
    server.start()
    assert server.request("/models/toy/predict", ROW)[0] == 401
    assert server.request("/models/toy/predict", ROW, x_api_key=key)[0] == 200


def test_several_processes_share_a_port(server: Server, home_of: Home) -> None:
    """Each follows the champion by itself, and both keep what they answer."""
    server.arguments = ("--workers", "2")
    home_of.promote(home_of.register(1.0))
    server.start()
    answers = [server.request("/models/toy/predict", ROW | {"id": number}) for number in range(20)]
    assert {(status, answer["version"]) for status, answer in answers} == {(200, 1)}
    server.stop()
    kept = PredictionLog(server.settings.lake_uri, home_of.spec).table.read(("id",))
    assert sorted(map(int, kept["id"])) == list(range(20))
