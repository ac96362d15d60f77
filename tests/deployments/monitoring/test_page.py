"""docs/monitoring.md says what is told, and how the programs are started."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
import yaml

from evergreen.settings import PROJECT, Settings
from tests.deployments.monitoring.exposed import loop_labels

PAGE = (PROJECT / "docs" / "monitoring.md").read_text()
FOLDER = PROJECT / "deployments" / "monitoring"
PROGRAMS = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}
"""What each service of compose.yaml is called where no container is."""


def command(program: str) -> list[str]:
    """The line of the page by which a program is started."""
    (line,) = re.findall(rf"^{program} --config.*$", PAGE, flags=re.MULTILINE)
    return shlex.split(line)


def options(words: list[str]) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in words)


def test_the_page_lists_every_series_of_the_loop(settings: Settings) -> None:
    """By its name and labels, and none that is not there."""
    section = PAGE.partition("\n## What is measured, and where\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(evergreen_\w+)(?:\{([\w,]+)\})?` \|", section, flags=re.MULTILINE))
    told = {name: labels for name, labels in loop_labels(settings).items() if name.startswith("evergreen_")}
    assert {name: set(filter(None, labels.split(","))) for name, labels in listed.items()} == told


@pytest.mark.parametrize(("service", "program"), PROGRAMS.items())
def test_programs_are_started_as_in_containers(service: str, program: str) -> None:
    """By the same options, but for where things lie."""
    given = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"][service]["command"]
    here, there = options(command(program)[1:]), options(given)
    paths = {"config.file", "storage.tsdb.path", "storage.path"}
    assert here.keys() == there.keys()
    assert {name: here[name] for name in here if name not in paths} == {
        name: there[name] for name in there if name not in paths
    }
    assert (PROJECT / here["config.file"]).is_file()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("program", PROGRAMS.values())
def test_a_program_listens_on_loopback_alone(program: str, tmp_path: Path) -> None:
    """Started by the line of the page, with a port and a folder of the test's own."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    port = _free_port()
    given = options(command(program)[1:])
    own = {"web.listen-address": f"127.0.0.1:{port}"}
    own |= {name: str(tmp_path) for name in given if name.startswith("storage.") and name.endswith("path")}
    words = [program, *(f"--{name}={value}" for name, value in (given | own).items())]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=PROJECT, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(f"http://127.0.0.1:{port}/-/ready"):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
        listening = [each.laddr for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"]
        assert [(each.ip, each.port) for each in listening] == [("127.0.0.1", port)]
    finally:
        process.terminate()
        process.wait(60)
