"""The build step names this machine, and a prefect.yaml of an earlier version gets the line to write."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.cli import doctor_checks as doctor
from deployments.manifest import apply, build_step, sync
from deployments.manifest.build_step import STEP, enter_project, here
from evergreen.errors import EvergreenError
from evergreen.registry.lineage import current_commit
from evergreen.settings import PROJECT, Settings
from tests.shipped import copy_shipped

OLD = (PROJECT / "prefect.yaml").read_text().replace(f"- {STEP}:", "- deployments.deploying.here:")


def test_the_build_step_knows_this_machine() -> None:
    """It gives the folders of this Python and of this project, and the commit for whoever fetches it by git."""
    found = here()
    assert found == {"bin": str(Path(sys.executable).parent), "project": str(PROJECT), "commit": current_commit()}


def test_a_run_is_in_the_project_of_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its code from where the worker has it; no folder of whoever deployed is in the file."""
    monkeypatch.chdir(tmp_path)
    assert enter_project() == {"directory": str(PROJECT)}
    assert Path.cwd() == PROJECT
    document = apply.read_document()
    assert document["pull"] == [{"deployments.manifest.build_step.enter_project": {}}]
    assert "here.project" not in (PROJECT / "prefect.yaml").read_text()


def test_a_path_that_a_command_cannot_contain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quotation mark in the path of this Python would change the command of every run."""
    monkeypatch.setattr(sys, "executable", "/home/o'neill/.venv/bin/python")
    with pytest.raises(EvergreenError, match="contains '"):
        here()


@pytest.fixture
def old_manifest(tmp_path: Path) -> Path:
    """A prefect.yaml of version 0.1.0."""
    path = tmp_path / "prefect.yaml"
    path.write_text(OLD)
    return path


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda path: sync.sync(Settings(), path), id="sync"),
        pytest.param(lambda path: apply.apply("", path), id="apply"),
    ],
)
def test_an_old_step_gets_its_new_line(old_manifest: Path, command: Callable[[Path], object]) -> None:
    """File, line, old and new name, and the whole line to write; nothing is changed, and the new line works."""
    with pytest.raises(EvergreenError) as error:
        command(old_manifest)
    assert re.fullmatch(rf"prefect\.yaml, line \d+: deployments\.deploying\.here is {STEP} now\.", error.value.what)
    line = error.value.fix.removeprefix(f"Write in {old_manifest}: ")
    assert line == f"- {STEP}: {{id: here}}"
    assert old_manifest.read_text() == OLD
    old_manifest.write_text(OLD.replace("- deployments.deploying.here: {id: here}", line))
    assert apply.read_document(old_manifest)["build"] == [{STEP: {"id": "here"}}]
    chosen = Settings(models=copy_shipped(old_manifest.parent / "models"))
    assert not sync.sync(chosen, old_manifest, check=True).changes


def test_the_doctor_finds_an_old_step(old_manifest: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one finding among the others, with the line to write."""
    monkeypatch.setattr(apply.read_document, "__defaults__", (old_manifest,))
    (finding,) = [finding for finding in doctor.examine(settings) if finding.name == "deployments"]
    assert (finding.ok, STEP in finding.detail, STEP in finding.fix) == (False, True, True)


def test_a_comment_may_name_an_old_step() -> None:
    """Only what Prefect would run is refused."""
    build_step.require_current_steps("# - deployments.deploying.here was the name\nbuild: []\n", Path("prefect.yaml"))
