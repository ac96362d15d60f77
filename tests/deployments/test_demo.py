"""The demo decides the same each time, and refuses to wipe a folder that is not its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def _play(home: Path) -> subprocess.CompletedProcess[str]:
    # A server of the user's own is not the demo's business.
    elsewhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(home.with_name("elsewhere"))}
    surroundings = os.environ | elsewhere | {"EVERGREEN_DEMO_HOME": str(home), "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, "-m", "deployments.demo"],
        env=surroundings,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_decides_the_same_twice(tmp_path: Path) -> None:
    """Seven scenes, status 0, the same verdicts and errors over the first one's state, and no locked database."""
    home = tmp_path / "demo"
    one, two = (_play(home) for _ in range(2))
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    logs = {log.name: log.read_text(errors="replace") for log in (home / "stack" / "logs").glob("*.log")}
    assert {"prefect-server.log", "worker.log"} <= set(logs)
    assert not [name for name, text in logs.items() if "database is locked" in text]
    rows = [re.findall(r"^\d  .*", done.stdout, flags=re.MULTILINE) for done in (one, two)]
    without_times = [[re.sub(r" +", " ", re.sub(r"\d+\.\d s", "", row)) for row in table] for table in rows]
    assert len(without_times[0]) == 7
    assert without_times[0] == without_times[1]
    outcomes = ["promoted", "no retrain", "promoted", "quarantined", "rejected", "rolled back", "rejected"]
    assert all(word in row for word, row in zip(outcomes, without_times[0], strict=True))


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds other things is not wiped."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = _play(tmp_path)
    assert done.returncode == 2
    assert "left alone" in done.stderr
    assert (tmp_path / "thesis.txt").exists()
