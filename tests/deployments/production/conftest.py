"""A home with one model whose first version is the champion, and servers that are asked over sockets."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

import pandas as pd
import pytest

import models
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION, Version
from evergreen.settings import Settings
from evergreen.training.reference import REFERENCE
from evergreen.verdicts import Verdict
from tests.serving.conftest import MODEL_FILE, as_utc, fitted

ROW = {"x": 1.0, "kind": "a"}


def free_port() -> int:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """A server that was started, and what it said."""

    popen: subprocess.Popen[str]
    url: str
    trusted: ssl.SSLContext | None = None
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as stream:
            self.lines.extend(iter(stream.readline, ""))

    def wait(self, path: str = "/ping") -> None:
        """Until it answers there."""
        deadline = time.monotonic() + 120
        while True:
            try:
                if self.ask(path)[0] == 200:
                    return
            except OSError:
                pass
            assert self.popen.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.05)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        """The status, the body as JSON where it is, and the headers."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, given)  # noqa: S310 - our own server
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.trusted) as response:  # noqa: S310
                return response.status, _parsed(response.read()), response.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read()), error.headers

    def end(self) -> int:
        """Ask it to end, and wait."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            return self.popen.wait(60)
        finally:
            self.popen.kill()
            self.popen.wait(60)
            self.reader.join(60)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start a process that is ended with the test."""
    started: list[Process] = []

    def begin(
        command: list[str], url: str, *, trusted: ssl.SSLContext | None = None, ready: str | None = "/ping", **how: Any
    ) -> Process:
        popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
        started.append(Process(popen, url, trusted))
        if ready:
            started[-1].wait(ready)
        return started[-1]

    yield begin
    for process in started:
        process.end()


@dataclass(frozen=True)
class Shop:
    """A home with a model, `toy`, and its registry."""

    settings: Settings
    registry: Registry
    rows: pd.DataFrame

    def register(self, slope: float = 1.0, verdict: Verdict = Verdict.PASS) -> Version:
        """Another version, gated."""
        spec = models.load_spec("toy", self.settings.models)
        folder = self.settings.root / "candidate"
        folder.mkdir(parents=True, exist_ok=True)
        self.rows.to_parquet(folder / REFERENCE)
        candidate = self.registry.log(
            spec,
            fitted(spec, self.rows.assign(y=self.rows["y"] * slope)),
            run_name="candidate",
            classes=None,
            params={},
            metrics={},
            files=folder,
            dataset={"name": "toy", "digest": "0", "table": "toy", "version": "1", "rows": "100"},
            tags={"decision_id": f"d-{slope}"},
        )
        return self.registry.conclude(self.registry.register("toy", candidate), verdict, "", {})

    def predict(self, version: Version) -> tuple[pd.DataFrame, list[float]]:
        """Rows that it was trained on, and what its pipeline says of them."""
        spec = models.load_spec("toy", self.settings.models)
        rows = self.rows[list(spec.features.all)].head(20)
        return rows, self.registry.load(version, spec).predict(rows).tolist()


@pytest.fixture
def shop(
    tmp_path: Path,
    settings: Settings,
    empty_database: Path,
    make_rows: Callable[..., pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    """A home whose model has a champion, version 1."""
    settings.root.mkdir(parents=True)
    shutil.copy(empty_database, settings.root / "mlflow.db")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "toy.py").write_text(MODEL_FILE)
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))
    own = Settings(home=settings.home, models=folder)
    made = Shop(own, Registry(own), as_utc(make_rows(100)))
    made.registry.set_alias("toy", CHAMPION, made.register().number)
    return made
