"""The steps of prefect.yaml: at a deploy, where this Python and which commit this is; at a run, into the project."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, load_settings

STEP = "deployments.manifest.build_step.here"
MOVED = {"deployments.deploying.here": STEP}
"""The steps that prefect.yaml of version 0.1.0 names, and their names now."""
_RESERVED = set("'\"$`\\")


def here(environment: str = "") -> dict[str, str]:
    """A build step of prefect.yaml: the folder of this Python, the folder of this project and its commit.

    The commit is for a pull step that fetches the code by git; it is empty where the project is no git repository.

    Args:
        environment: whose deployments they are; prefect.yaml has the names without one.

    Raises:
        EvergreenError: the path of this Python has a character that the command of a run cannot contain; or the
            deployments are another environment's than the settings say.
    """
    own = load_settings().environment
    if own != environment:
        raise EvergreenError(
            f"EVERGREEN_ENVIRONMENT is {own!r}, and prefect deploy would write the deployments of prefect.yaml under "
            f"the names of {f'the environment {environment}' if environment else 'no environment'}.",
            "Run: evergreen deployments apply",
        )
    folder = str(Path(sys.executable).parent)
    if reserved := _RESERVED & set(folder):
        raise EvergreenError(
            f"The path of this Python, {folder}, contains {min(reserved)}, which the command of a run cannot contain.",
            "Move the project to a folder without it.",
        )
    return {"bin": folder, "project": str(PROJECT), "commit": _commit()}


@cache
def _commit() -> str:
    """Prefect calls the step for each deployment."""
    from evergreen.registry.lineage import current_commit

    return current_commit()


def enter_project() -> dict[str, str]:
    """A pull step of prefect.yaml: go to the project that this process was started from, wherever it was deployed."""
    os.chdir(PROJECT)
    return {"directory": str(PROJECT)}


def require_current_steps(text: str, path: Path) -> None:
    """Check that no step of prefect.yaml has the name of an earlier version.

    Raises:
        EvergreenError: a step has; names the line to write.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        for old, new in MOVED.items():
            if old in line.partition("#")[0]:
                raise EvergreenError(
                    f"{path.name}, line {number}: {old} is {new} now.",
                    f"Write in {path}: {line.strip().replace(old, new)}",
                )
