"""Alerts fired for real: a fault is planted in a running installation, its alert fires, and resolves when it is gone.

Prometheus scrapes the pages and a server of predictions, both started by their commands. The rules are the shipped
ones; only their waits and windows are shortened.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from evergreen.registry.client import Registry
from evergreen.settings import PROJECT, Settings
from tests.deployments.monitoring.real_prometheus import Prometheus, needs_prometheus, running_prometheus, wait_for
from tests.serving.conftest import MODEL_FILE
from tests.serving.test_server import free_port

RULES = PROJECT / "deployments" / "monitoring" / "rules"
SILENCE = timedelta(seconds=90)
MODEL = (
    MODEL_FILE.replace("ModelSpec, Serve\n", "Labels, ModelSpec, PerformanceThresholds, Serve\n")
    .replace("from typing import", "from datetime import timedelta\nfrom typing import", 1)
    .replace(
        "drift=DriftThresholds(min_rows=50)",
        f"drift=DriftThresholds(min_rows=50, silence=timedelta(seconds={SILENCE.total_seconds():.0f})),\n"
        '    labels=Labels(source=Folder("toy_labels")),\n'
        "    performance=PerformanceThresholds(window=timedelta(days=1), min_rows=20)",
    )
)
_DAY = 24
_FULL = 500_000
"""Rows that a server keeps in memory, at most."""


@dataclass
class Installation:
    """A home with one model, its pages, its server of predictions, and a Prometheus that asks both."""

    settings: Settings
    folder: Path
    rows: pd.DataFrame
    ports: dict[str, int] = field(default_factory=lambda: {"pages": free_port(), "serving": free_port()})
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "EVERGREEN_"))}
        models = {"EVERGREEN_HOME": str(self.settings.root), "EVERGREEN_MODELS": str(self.settings.models)}
        return kept | models | {"PYTHONPATH": str(PROJECT)}

    def evergreen(self, *words: str) -> None:
        """Run a command to its end."""
        command = [sys.executable, "-m", "deployments.cli", *words]
        done = subprocess.run(
            command, env=self.environment, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def start(self, service: str) -> None:
        """Start the pages or the server of predictions, and wait until it answers."""
        words = ["page", "--serve"] if service == "pages" else ["serve", "--poll", "0.5"]
        port = self.ports[service]
        with (self.folder / f"{service}.log").open("ab") as log:
            self.running[service] = subprocess.Popen(
                [sys.executable, "-m", "deployments.cli", *words, "--port", str(port)],
                env=self.environment,
                cwd=PROJECT,
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self._answers(port), f"{service} answers")

    def kill(self, service: str) -> None:
        """Kill -9."""
        self.running[service].send_signal(signal.SIGKILL)
        self.running[service].wait(30)

    def land(self, name: str, first: int, last: int, *, labels: bool) -> None:
        """Put a file with these days' rows into the landing folder, or one with their labels."""
        days = self.rows.iloc[first * _DAY : last * _DAY]
        folder = self.settings.landing / ("toy_labels" if labels else "toy")
        folder.mkdir(parents=True, exist_ok=True)
        columns = ["id", "y"] if labels else ["id", "at", "x", "kind"]
        days[columns].to_csv(folder / f"{name}.csv", index=False)

    def ask(self, rows: int) -> None:
        """Ask for predictions of so many rows, as dataframe_split."""
        many = {"columns": ["id", "x", "kind"], "data": [[number, 1.0, "a"] for number in range(rows)]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['serving']}/models/toy/invocations",
            json.dumps({"dataframe_split": many}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            assert response.status == 200

    def _answers(self, port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False


def quick(text: str) -> str:
    """A rule file whose alerts wait for a second, and whose windows of minutes and hours are half a minute."""
    text = re.sub(r"\[\d+[mh]\]", "[30s]", text)
    return re.sub(r"(?m)^(\s+for:) \d+[mhd]$", r"\1 1s", text)


@pytest.fixture
def installation(
    tmp_path: Path, settings: Settings, make_rows: Callable[..., pd.DataFrame]
) -> Iterator[tuple[Installation, Prometheus]]:
    """Everything runs, and nothing is wrong."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "toy.py").write_text(MODEL)
    found = Installation(Settings(home=settings.home, models=folder), tmp_path, make_rows(60 * _DAY))
    found.land("first", 0, 40, labels=False)
    found.land("first", 0, 40, labels=True)
    found.evergreen("retrain", "toy")
    rules = []
    for file in RULES.glob("*.yml"):
        rules.append(tmp_path / file.name)
        rules[-1].write_text(quick(file.read_text()))
    jobs = {"evergreen-loop": found.ports["pages"], "evergreen-serving": found.ports["serving"]}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": list(map(str, rules)),
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
        ],
    }
    try:
        for service in found.ports:
            found.start(service)
        with running_prometheus(tmp_path / "prometheus", yaml.safe_dump(config)) as url:
            found.evergreen("monitor", "toy")
            yield found, Prometheus(url)
    finally:
        for process in found.running.values():
            if process.poll() is None:
                process.kill()
                process.wait(30)


@needs_prometheus
@pytest.mark.proof(name="alerts")
def test_planted_faults_fire_their_alerts_and_resolve(installation: tuple[Installation, Prometheus]) -> None:
    """Eight faults, one after another; before the first of them nothing fires."""
    home, prometheus = installation
    wait_for(lambda: prometheus.query("evergreen_champion_resolvable == 1"), "the loop is told of")
    wait_for(lambda: prometheus.query("evergreen_serving_ready == 1"), "the server is told of")
    assert prometheus.firing() == set()

    def fires(alert: str, fault: str) -> None:
        began = time.monotonic()
        wait_for(lambda: alert in prometheus.firing(), f"{alert} fires: {fault}")
        print(f"{alert}: fired {time.monotonic() - began:.0f} s after: {fault}")

    def resolves(alert: str) -> None:
        began = time.monotonic()
        wait_for(lambda: alert not in prometheus.firing(), f"{alert} resolves")
        print(f"{alert}: resolved after {time.monotonic() - began:.0f} s")

    home.kill("serving")
    fires("EvergreenServerDown", "the server was killed")
    home.start("serving")
    resolves("EvergreenServerDown")

    home.kill("pages")
    fires("EvergreenPagesDown", "the pages were killed")
    home.start("pages")
    resolves("EvergreenPagesDown")
    wait_for(lambda: prometheus.query("evergreen_quarantined_batches_total == 0"), "the loop is told of again")

    pd.DataFrame({"id": [1], "nothing": [2]}).to_csv(home.settings.landing / "toy" / "torn.csv", index=False)
    home.evergreen("monitor", "toy")
    fires("EvergreenBatchQuarantined", "a file without its columns landed")
    (home.settings.landing / "toy" / "torn.csv").unlink()
    resolves("EvergreenBatchQuarantined")

    home.land("second", 40, 50, labels=False)
    home.evergreen("monitor", "toy")
    fires("EvergreenLabelsLate", "ten days have no labels")
    home.land("second", 40, 50, labels=True)
    home.evergreen("monitor", "toy")
    resolves("EvergreenLabelsLate")

    fires("EvergreenLoopSilent", f"no monitor runs for {SILENCE}")
    home.evergreen("monitor", "toy")
    resolves("EvergreenLoopSilent")

    process = psutil.Process(home.running["serving"].pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    # The kernel refuses every write to a file, as on a full disk, to this process alone.
    process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    for _ in range(_FULL // 10_000 + 2):
        home.ask(10_000)
    fires("EvergreenAnswersNotKept", "the log is full")
    fires("EvergreenLogBehind", "and cannot be written")
    process.rlimit(psutil.RLIMIT_FSIZE, before)
    resolves("EvergreenLogBehind")
    resolves("EvergreenAnswersNotKept")

    registry = Registry(home.settings)
    registry.client.delete_registered_model_alias("toy", "champion")
    fires("EvergreenNoChampion", "the alias of the champion was deleted")
    fires("EvergreenServedVersionStale", "so that the server cannot follow it")
    registry.set_alias("toy", "champion", 1)
    resolves("EvergreenNoChampion")
    resolves("EvergreenServedVersionStale")
