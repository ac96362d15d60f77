"""The contracts of imports are real: a planted import breaks the one that forbids it, and no other line is needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
ROOTS = ("deployments", "flows", "serving", "tasks", "models", "evergreen")
CONTRACTS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PLANTED = [
    ("evergreen/evaluation/gates.py", "import tasks.fit", "Imports run one way"),
    ("evergreen/storage/locks.py", "import evergreen.data.windows", "Inside evergreen imports run down"),
    ("evergreen/drift/check.py", "import evergreen.scoring.chunk", "Inside evergreen imports run down"),
    ("deployments/manifest/sync.py", "import deployments.cli.console", "Inside deployments imports run down"),
    ("evergreen/ledger/decisions.py", "import evergreen.ledger.timeline", "No circle anywhere"),
    ("flows/retrain.py", "import flows.monitor", "Flows are independent of each other"),
    ("tasks/fit.py", "import tasks.gate", "Tasks are independent of each other"),
    ("evergreen/evaluation/gates.py", "import prefect", "The logic and the model files know no Prefect"),
    ("serving/__init__.py", "import tasks.fit", "The server knows no Prefect and no task"),
    ("flows/retrain.py", "import mlflow", "Flows and tasks leave the engines to evergreen"),
    ("evergreen/ingest/ingest.py", "import deltalake", "Delta Lake is imported by the storage alone"),
    ("deployments/stack/stack.py", "import filelock", "File locks are taken in one module"),
    ("evergreen/registry/client.py", "import fcntl", "File locks are taken in one module"),
    ("evergreen/training/fit.py", "import mlflow", "MLflow is imported by the registry alone"),
    ("tasks/fit.py", "import distributed", "Dask is imported by the cluster and the task runner alone"),
    ("evergreen/drift/check.py", "import evidently", "Evidently is imported in one module"),
    ("flows/shared/lineage.py", "import openlineage", "OpenLineage is imported where events are made and sent"),
    ("evergreen/data/windows.py", "import sqlalchemy", "SQLAlchemy is imported where databases are read and written"),
    ("deployments/manifest/sync.py", "import yaml_edit", "yaml-edit is imported in one module"),
    ("deployments/stack/stack.py", "import typer", "Typer is imported by the command line alone"),
    ("deployments/manifest/apply.py", "import rich", "Rich is imported by the command line and the demo alone"),
]
TYPING = """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import evergreen.pages.render
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the code and its contracts."""
    for name in ROOTS:
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([linter, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def _broken(folder: Path) -> set[str]:
    report = _lint(folder)
    assert report.returncode == 1, report.stdout
    return {line.partition(" BROKEN")[0] for line in report.stdout.splitlines() if " BROKEN" in line}


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED, ids=[f"{line} in {file}" for file, line, _ in PLANTED])
def test_a_planted_import_breaks_the_check(copied: Path, file: str, line: str, contract: str) -> None:
    """An import against a contract makes the linter fail and name that contract, also inside of a function."""
    place = copied / file
    place.write_text(place.read_text() + f"\n\ndef planted() -> None:\n    {line}\n")
    assert contract in _broken(copied)


def test_every_contract_has_a_planted_import() -> None:
    """A contract that nothing was planted against could be one that catches nothing."""
    assert {contract for _, _, contract in PLANTED} == {contract["name"] for contract in CONTRACTS}


def test_a_typing_import_counts(copied: Path) -> None:
    """An import for types alone that runs up is caught like any other."""
    place = copied / "evergreen" / "data" / "windows.py"
    place.write_text(place.read_text() + TYPING)
    assert "Inside evergreen imports run down" in _broken(copied)


@pytest.mark.parametrize("root", ["evergreen", "deployments"])
def test_a_new_folder_has_to_be_placed(copied: Path, root: str) -> None:
    """A folder that no layer names fails the check, although it imports nothing."""
    (copied / root / "somewhere").mkdir()
    (copied / root / "somewhere" / "__init__.py").write_text('"""A folder that nobody placed."""\n')
    assert f"Inside {root} imports run down" in _broken(copied)


def test_the_code_keeps_its_contracts(copied: Path) -> None:
    """Without a planted import every contract is kept."""
    assert _lint(copied).returncode == 0


def test_every_folder_says_what_it_is_for() -> None:
    """The first line of a package is its charter."""
    for root in ROOTS:
        for package in (PROJECT / root).rglob("__init__.py"):
            first = package.read_text().splitlines()[0]
            assert first.startswith('"""') and len(first) > 20, package
