"""A user id that the system has no name for, as in many containers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.stack.services import Ports, write_ports
from evergreen.settings import PROJECT, Settings

NOBODY = 54321
NAMES = ("USER", "LOGNAME", "LNAME", "USERNAME", "HOME")


@dataclass(frozen=True)
class Nobody:
    """Runs the command line as that user, who owns the folder and nothing else."""

    folder: Path

    def run(self, *words: str, **environment: str) -> str:
        kept = {name: value for name, value in os.environ.items() if name not in NAMES}
        places = {"EVERGREEN_HOME": str(self.folder / "home"), "EVERGREEN_MODELS": str(self.folder / "models")}
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *words],
            env=kept | places | environment,
            cwd=PROJECT,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            umask=0o077,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture
def nobody() -> Iterator[Nobody]:
    """In a folder of its own: those of pytest are closed to other users."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    words = [sys.executable, "-c", "import deployments.cli.main"]
    try:
        subprocess.run(words, cwd=PROJECT, user=NOBODY, group=NOBODY, extra_groups=[], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"another user cannot read this checkout and its Python: {error}")
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "models").mkdir()
        text = (PROJECT / "models" / "iris.py").read_text()
        text = text.replace("ModelSpec(\n", 'ModelSpec(\n    approval="manual",\n', 1)
        (folder / "models" / "iris.py").write_text(text)
        for place in (folder, *folder.rglob("*")):
            os.chown(place, NOBODY, NOBODY)
        yield Nobody(folder)
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_user_without_a_name_promotes(nobody: Nobody, prefect_server: str) -> None:
    """Who approved has no name, and reads "a person"."""
    own = {"HOME": "/nonexistent", "PREFECT_API_URL": prefect_server}
    assert json.loads(nobody.run("retrain", "iris", "--json", **own))["outcome"] == "awaiting-approval"
    nobody.run("promote", "iris", "--reason", "seen", **own)
    (move,) = json.loads(nobody.run("history", "iris", "--json", **own))["moves"]
    assert (move["action"], move["by"], move["reason"]) == ("promote", "person", "seen")
    assert "a person" in nobody.run("history", "iris", **own)


@pytest.mark.slow
def test_user_without_a_name_or_a_home_folder_has_a_stack(nobody: Nobody) -> None:
    """Its worker starts, whoever else has one on this machine; Prefect's UI is there, though Prefect is read-only."""
    settings = Settings(home=nobody.folder / "home")
    settings.stack.mkdir(parents=True)
    with socket.socket() as prefect, socket.socket() as mlflow, socket.socket() as pages:
        for free in (prefect, mlflow, pages):
            free.bind(("127.0.0.1", 0))
        write_ports(settings, Ports(*(free.getsockname()[1] for free in (prefect, mlflow, pages))))
    for place in (settings.root, *settings.root.rglob("*")):
        os.chown(place, NOBODY, NOBODY)
    try:
        up = json.loads(nobody.run("up", "--detach", "--json"))
        with urllib.request.urlopen(up["prefect"]) as page:  # noqa: S310
            assert b"<html" in page.read()
        assert (settings.stack / "ui").is_dir()
    finally:
        nobody.run("down")
