"""One clone of the project with models of its own and its live stack, brought up as a user does, for every test here.

The clone is a copy of the code, so that `evergreen deployments sync` may write into its prefect.yaml.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from deployments.stack.services import Ports, write_ports
from tests.live.clone import Stack

PROJECT = Path(__file__).resolve().parents[2]
PARTS = ("deployments", "evergreen", "flows", "models", "serving", "tasks", "prefect.yaml", "pyproject.toml")
TOY = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
QUICK = ("north", "south", "east", "west")
SLOW = ("long_one", "long_two")
"""Their pipeline takes its time, so that something can happen in the middle of their retraining."""
SERVED = "served"
"""It is asked online, and its champion is judged by the day."""
_SECTIONS = """    drift=DriftThresholds(min_rows=50),
    performance=PerformanceThresholds(window=timedelta(days=1), min_rows=50),
    serve=Serve(),
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


def copy_project(project: Path) -> None:
    """Copy the code, and nothing that was made by running it."""
    for part in PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, project / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / part)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`evergreen deployments sync`, `evergreen up --detach`, and `evergreen down` at the end."""
    folder = tmp_path_factory.mktemp("live")
    project, home = folder / "project", folder / "home"
    copy_project(project)
    for name in QUICK + SLOW:
        text = TOY.replace('"toy"', f'"{name}"')
        if name in SLOW:
            text = text.replace("    columns = ", "    import time\n\n    time.sleep(6)\n    columns = ")
        (project / "models" / f"{name}.py").write_text(text)
    served = TOY.replace('"toy"', f'"{SERVED}"').replace("    drift=DriftThresholds(min_rows=50),\n", _SECTIONS)
    served = served.replace("ModelSpec\n", "ModelSpec, PerformanceThresholds, Serve\n", 1)
    served = served.replace("from typing", "from datetime import timedelta\nfrom typing", 1)
    (project / "models" / f"{SERVED}.py").write_text(served)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "EVERGREEN_"))}
    environment = kept | {"EVERGREEN_HOME": str(home), "COLUMNS": "200"}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    bare = Stack(project, home, "", environment)
    bare.evergreen("deployments", "sync")
    # No run here but those that a test or an event starts, whatever the time of day.
    manifest = project / "prefect.yaml"
    document = yaml.safe_load(manifest.read_text())
    for entry in document["deployments"]:
        for schedule in entry["schedules"]:
            schedule["active"] = False
    manifest.write_text(yaml.safe_dump(document, sort_keys=False))
    # Another stack that starts while a server of this one is killed would take the port that everybody likes.
    bare.settings.stack.mkdir(parents=True)
    write_ports(bare.settings, Ports(prefect=free_port(), mlflow=free_port()))
    try:
        told = bare.evergreen("up", "--detach")
        yield Stack(project, home, f"{told['prefect']}/api", environment)
    finally:
        bare.evergreen("down")


@pytest.fixture
def champion(
    stack: Stack,
    make_rows: Callable[..., pd.DataFrame],
    flows_here: Callable[..., AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], int]:
    """Give a toy model its first champion; returns the rows that it knows."""

    def make(model: str, rows: int = 240) -> int:
        from flows.retrain import retrain

        stack.land(model, "history", make_rows(rows))
        monkeypatch.setenv("EVERGREEN_MODELS", str(stack.project / "models"))
        with flows_here(stack.home, stack.url):
            assert retrain(model, reason="first").outcome == "promoted"
        return rows

    return make
