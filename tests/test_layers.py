"""The layering contracts are real: a planted import breaks the check."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PLANTED = [
    ("flows/retrain.py", "import mlflow", "Flows and tasks leave the engines to evergreen"),
    ("evergreen/gates.py", "import prefect", "The logic and the model files know no Prefect"),
    ("evergreen/gates.py", "import tasks.fit", "Imports run one way"),
    ("tasks/fit.py", "import tasks.gate", "Tasks are independent of each other"),
    ("evergreen/monitoring.py", "import evidently", "Evidently is imported in one module"),
    ("evergreen/ingest.py", "import deltalake", "Delta Lake is imported in one module"),
]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the code and its contracts."""
    for name in ("deployments", "flows", "tasks", "models", "evergreen"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([linter, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED, ids=[f"{line} in {file}" for file, line, _ in PLANTED])
def test_a_planted_import_breaks_the_check(copied: Path, file: str, line: str, contract: str) -> None:
    """An import against a contract makes the linter fail and name that contract."""
    place = copied / file
    place.write_text(place.read_text() + f"\n\ndef planted() -> None:\n    {line}\n")
    found = _lint(copied)
    assert found.returncode == 1
    assert f"{contract} BROKEN" in found.stdout


def test_the_code_keeps_its_contracts(copied: Path) -> None:
    """Without a planted import every contract is kept."""
    assert _lint(copied).returncode == 0
