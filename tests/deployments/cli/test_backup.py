"""A home that was restored into another folder answers every command as the original did."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli import console
from deployments.cli.main import app
from deployments.stack.supervisor import socket_path
from evergreen.settings import Settings
from tests.deployments.cli.test_words import require_whole_words
from tests.golden import state as golden_state
from tests.golden.answers import ask, differences
from tests.golden.cases import CASES, Case


@pytest.fixture(scope="session")
def original(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The golden state at a place of its own."""

    def make(folder: Path) -> None:
        golden_state.unpack(folder)

    folder = once("golden-original", make)
    golden_state.relocate(folder)
    return folder


@pytest.fixture
def copied(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of it, by the command, with landing folders."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(golden_state.MODELS))
    run("backup", str(tmp_path / "backup"), "--landing", home=original, patch=monkeypatch)
    return tmp_path / "backup"


def run(*words: str, home: Path, patch: pytest.MonkeyPatch, status: int = 0) -> dict[str, Any]:
    """Run a command in a home; returns its answer."""
    patch.setenv("EVERGREEN_HOME", str(home))
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == status, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def answers_after_a_restore(case: Case, copied: Path, home: Path, patch: pytest.MonkeyPatch) -> list[str]:
    run("restore", str(copied), home=home, patch=patch)
    patch.chdir(home)
    return differences(case, ask(case, home))


def _cases(*names: str) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in CASES if case.name in names]


@pytest.mark.parametrize(
    "case",
    [*_cases("trips_as_it_stands"), pytest.param(*_cases("rush_as_it_stands")[0].values, marks=pytest.mark.slow)],
)
def test_status_history_why_and_rebuild_answer_the_same(
    case: Case, copied: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder, to the letter; a rebuilt version is equal to the bit."""
    assert answers_after_a_restore(case, copied, home, monkeypatch) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", _cases("rush_scored"))
def test_score_answers_the_same(
    case: Case, copied: Path, in_process: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions are equal, and a batch that was scored before the backup is known."""
    assert answers_after_a_restore(case, copied, home, monkeypatch) == []


def test_a_lost_file_is_a_different_answer(copied: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison sees what a restore would have left out."""
    case = next(case for case in CASES if case.name == "trips_as_it_stands")
    run("restore", str(copied), home=home, patch=monkeypatch)
    shutil.rmtree(home / "lake" / "golden_trips" / "decisions")
    assert differences(case, ask(case, home)) != []


def test_what_the_commands_print(original: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are whole at 80 columns; a refusal is one line and status 2, also as JSON, and says what to do."""
    monkeypatch.setenv("EVERGREEN_HOME", str(original))
    number = 0

    def draw(width: int) -> str:
        nonlocal number
        number += 1
        monkeypatch.setattr(console, "out", Console(highlight=False, width=width))
        done = CliRunner().invoke(app, ["backup", str(tmp_path / f"b{number}")])
        assert done.exit_code == 0, done.output
        # The time and the path are another one each time.
        text = re.sub(r"\d\d:\d\d:\d\d", "00:00:00", done.stdout)
        return "\n".join(line for line in text.splitlines() if str(tmp_path) not in line)

    require_whole_words(draw)
    backup = tmp_path / "b1"
    told = run("restore", str(backup), home=home, patch=monkeypatch)
    assert (told["home"], told["aside"]) == (str(home), [])
    refused = run("restore", str(backup), home=home, patch=monkeypatch, status=2)
    assert refused["error"].startswith("The restore would replace 3 models in ")
    assert "add --yes" in refused["fix"]
    assert run("restore", str(backup), "--yes", home=home, patch=monkeypatch)["aside"] != []
    assert "is not empty" in run("backup", str(backup), home=home, patch=monkeypatch, status=2)["error"]


def test_a_stack_that_runs_is_stopped_first(copied: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs would write to what is replaced: one line names the command, and nothing was made."""
    path = socket_path(Settings(home=home))
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.bind(str(path))
        supervisor.listen()
        told = run("restore", str(copied), home=home, patch=monkeypatch, status=2)
    path.unlink()
    assert "is running" in told["error"]
    assert told["fix"] == "Stop it first: evergreen down"
    assert not (home / "lake").exists()
