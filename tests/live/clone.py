"""A clone of the project with its live stack, and how a test asks it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from evergreen.settings import Settings

# One for all: each would read the system's certificates anew. No connection outlives a request, as servers are killed.
API = httpx.Client(timeout=120, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass(frozen=True)
class Stack:
    """The clone, its state and the server of its stack."""

    project: Path
    home: Path
    url: str
    environment: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, models=self.project / "models")

    def evergreen(self, *words: str, timeout: float = 600, check: bool = True, **variables: str) -> dict[str, Any]:
        """Run a command with `--json` and more variables; what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *words, "--json"],
            env={**self.environment, **variables},
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def ask(self, path: str, **body: Any) -> Any:
        """POST to the API where there is a body, GET otherwise."""
        answer = API.post(f"{self.url}/{path}", json=body) if body else API.get(f"{self.url}/{path}")
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def runs(self, name: str) -> list[dict[str, Any]]:
        """Every run of a deployment, oldest first; no schedule plans any."""
        wanted = {"deployments": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found: list[dict[str, Any]] = self.ask("flow_runs/filter", **wanted)
        return found

    def start(self, flow: str, name: str, **parameters: Any) -> str:
        """Start a run of a deployment; its id."""
        deployment = self.ask(f"deployments/name/{flow}/{name}")
        made = self.ask(f"deployments/{deployment['id']}/create_flow_run", parameters=parameters)
        return str(made["id"])

    def ended(self, run: str, seconds: float = 300) -> dict[str, Any]:
        """A run, once it has ended."""
        return until(
            lambda: (found := self.ask(f"flow_runs/{run}"))["state_type"]
            in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") and found,
            f"run {run} ends",
            seconds,
        )  # fmt: skip

    def completed(self, run: str) -> None:
        """Wait until a run has ended; fails with its log unless it completed."""
        ended = self.ended(run)
        if ended["state_type"] != "COMPLETED":
            lines = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC")
            log = "\n".join(f"{line['timestamp']} {line['message']}" for line in lines)
            pytest.fail(f"run {run}: {ended['state']['name']}: {ended['state']['message']}\n{log}")

    def land(self, model: str, name: str, rows: pd.DataFrame) -> None:
        """Put a batch where a model's source looks."""
        folder = self.settings.landing / model
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / f"{name}.tmp"
        rows.to_csv(half, index=False)
        half.rename(folder / f"{name}.csv")


def until(found: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    """What `found` gives once it gives something; a server that is starting is asked again.

    The deadline ends a test that hangs; how long something takes says how busy the machine is.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = found()
        except httpx.HTTPError:
            answer = None
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)
