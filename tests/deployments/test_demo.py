"""The demo plays through, and refuses to wipe a folder that is not its own."""

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
        timeout=1200,  # It ends a demo that hangs; how long one takes says how busy the machine is.
        check=False,
    )


@pytest.mark.slow
def test_the_demo_plays_seven_scenes(tmp_path: Path) -> None:
    """Status 0 over the state that an earlier one left, the scenes end as they should, no locked database."""
    home = tmp_path / "demo"
    (home / "lake" / "left-by-an-earlier-one").mkdir(parents=True)
    done = _play(home)
    assert done.returncode == 0, done.stderr
    assert not (home / "lake" / "left-by-an-earlier-one").exists()
    logs = {log.name: log.read_text(errors="replace") for log in (home / "stack" / "logs").glob("*.log")}
    assert {"prefect-server.log", "worker.log"} <= set(logs)
    assert not [name for name, text in logs.items() if "database is locked" in text]
    outcomes = re.findall(r"^ +outcome ([a-z ]+)", done.stdout, flags=re.MULTILINE)
    assert [outcome.strip() for outcome in outcomes] == [
        "promoted",
        "no retrain",
        "promoted",
        "quarantined",
        "rejected",
        "rolled back",
        "rejected",
    ]
    # The server of predictions followed the rollback, and no client noticed it but by the version.
    assert re.search(
        r"predictions were asked for, none failed: [\d,]+ answers? of version 2, [\d,]+ answers? of version 1",
        done.stdout,
    )
    assert re.findall(r"^(\d)\. ", done.stdout, flags=re.MULTILINE) == list("1234567")


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds other things is not wiped."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = _play(tmp_path)
    assert done.returncode == 2
    assert "is not used" in done.stderr
    assert (tmp_path / "thesis.txt").exists()
