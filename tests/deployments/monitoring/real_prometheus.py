"""A Prometheus of Debian's package for tests: on a port of its own, its data in a folder of the test."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.serving.test_server import free_port

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="Prometheus is not on this machine; Debian has it in the package prometheus."
)
_DEADLINE = 120.0


def wait_for(condition: Callable[[], Any], what: str, seconds: float = _DEADLINE) -> Any:
    """What the condition says once that is true; asked again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(0.2)
    return found


@contextmanager
def running_prometheus(folder: Path, config: str) -> Iterator[str]:
    """The address of a server with a configuration, whose data are in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text(config)
    words = [str(PROMETHEUS), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*words, f"--web.listen-address={url}"], stdout=log, stderr=log)
        try:
            wait_for(lambda: _read(f"http://{url}/-/ready"), "Prometheus is ready")
            yield f"http://{url}"
        finally:
            process.terminate()
            process.wait(60)


@dataclass(frozen=True)
class Prometheus:
    """A running server, asked over HTTP."""

    url: str

    def query(self, expression: str) -> list[Any]:
        """The series that an expression finds now.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        told = _read(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        answer = json.loads(told)
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        found: list[Any] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {each["metric"]["alertname"] for each in self.query('ALERTS{alertstate="firing"}')}


def _read(url: str) -> bytes:
    """The body of an answer, whatever its status; empty where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        return error.read()
    except OSError:
        return b""
