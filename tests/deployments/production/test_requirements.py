"""What a server needs of the lock, by the lock's own words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from deployments.production.requirements import NOT_SERVING, serving_requirements
from evergreen.errors import EvergreenError

PROJECT = Path(__file__).resolve().parents[3]
LOCK = """# made by uv
direct==1.0 \\
    --hash=sha256:aa
    # via evergreen (pyproject.toml)
inner==2.0 ; python_full_version < '3.12' \\
    --hash=sha256:bb
    # via
    #   direct
    #   other
inner==3.0 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
    # via
    #   direct
    #   other
leaf==4.0 \\
    --hash=sha256:dd
    # via inner[extra]
model-library==5.0 \\
    --hash=sha256:ee
    # via evergreen (pyproject.toml)
other==6.0 \\
    --hash=sha256:ff
    # via evergreen (pyproject.toml)
"""
PYPROJECT = """
[project]
dependencies = ["Direct[extra]>=1,<2", "prefect>=3"]
[project.optional-dependencies]
serve = []
redis = []
postgres = []
dask = ["other"]
"""


def _packages(text: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", text, flags=re.MULTILINE))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


def test_what_is_needed_comes_along_with_what_that_needs(project: Path) -> None:
    """Each version of a package for its own platforms, with hashes; nothing of another extra, and no Prefect."""
    text, count = serving_requirements(project, (), follow=False)
    assert (_packages(text), count) == ({"direct", "inner", "leaf"}, 3)
    assert "inner==2.0 ; python_full_version < '3.12' \\\n    --hash=sha256:bb\ninner==3.0" in text
    assert "#" not in text


def test_what_the_lock_does_not_have_is_told(project: Path) -> None:
    """A library that the model file imports, and that `make lock` has not seen."""
    with pytest.raises(EvergreenError, match="does not have pytest"):
        serving_requirements(project, ("pytest", "no_such_library"), follow=False)


def test_the_projects_own_lock_is_cut_down() -> None:
    """By more than half without a registry; every line is of the lock, and every package has a hash."""
    pinned, few = serving_requirements(PROJECT, ("sklearn", "pandera"), follow=False)
    following, more = serving_requirements(PROJECT, (), follow=True)
    assert {"scikit-learn", "pandas", "deltalake", "uvicorn", "uvloop", "redis", "psycopg"} <= _packages(pinned)
    assert not _packages(pinned) & {*NOT_SERVING, "mlflow", "dask", "pytest"} - {"pyyaml"}
    assert "mlflow" in _packages(following)
    locked = (PROJECT / "requirements.lock").read_text()
    assert few * 2 < more < len(_packages(locked)) / 2
    assert set(pinned.splitlines()) <= set(following.splitlines()) <= set(locked.splitlines())
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", pinned.strip()))


def test_what_is_left_out_is_something_that_the_project_asks_for() -> None:
    """A name that is no dependency any more is taken off the list."""
    asked = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = [*asked["dependencies"], *(line for each in asked["optional-dependencies"].values() for line in each)]
    assert {re.split(r"[^\w.-]", line)[0] for line in lines} >= NOT_SERVING
