"""A Prometheus of Debian's package for tests: on a port of its own, its data in a folder of the test."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

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


@dataclass
class Prometheus:
    """A running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, targets: Mapping[str, str], rules: Sequence[Path] = ()) -> None:
        """Scrape targets (host:port, by job) every second, and evaluate rules as often."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(PROMETHEUS),
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self._get("/-/ready") is not None, "Prometheus is ready")

    def query(self, expression: str) -> list[Any]:
        """The series that an expression finds now.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        told = self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        assert told is not None
        answer = json.loads(told)
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        found: list[Any] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {each["metric"]["alertname"] for each in self.query('ALERTS{alertstate="firing"}')}

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)

    def _get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            return error.read()
        except OSError:
            return None
