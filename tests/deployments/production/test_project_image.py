"""The project's own image, built by Docker, or by buildah, which needs no daemon: what its user can do in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.production.compose_file import PROJECT
from tests.deployments.production.conftest import Process, free_port

BASE = os.environ.get("EVERGREEN_TEST_BASE", "")
COMMIT = "c0ffee" * 6 + "c0ff"
ISOLATED = ("--isolation", "chroot")


def _engine() -> str | None:
    if not BASE:
        return None
    if shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "docker"
    return "buildah" if shutil.which("buildah") else None


ENGINE = _engine()
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BASE, reason="EVERGREEN_TEST_BASE names no image with this Python and pip"),
    pytest.mark.skipif(ENGINE is None, reason="there is neither a Docker engine nor buildah"),
]


def engine(*words: str) -> str:
    """What a command of Docker or buildah said."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run([str(ENGINE), *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Container:
    """A container of the image, whose processes come and go."""

    name: str

    def command(self, *words: str) -> list[str]:
        if ENGINE == "docker":
            return ["docker", "exec", self.name, *words]
        return ["buildah", "run", *ISOLATED, self.name, "--", *words]

    def run(self, *words: str) -> str:
        """What a command said; and how long it took is printed."""
        began = time.monotonic()
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"{' '.join(words)[:60]}: {time.monotonic() - began:.1f} s")
        return done.stdout.strip()


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """The image is built from this project, and removed afterwards.

    EVERGREEN_TEST_BASE names the base, EVERGREEN_TEST_PIP a pip.conf for the build.
    """
    tag, pip = f"localhost/evergreen-test-{os.getpid()}", os.environ.get("EVERGREEN_TEST_PIP", "")
    built = ["--network", "host", "--build-arg", f"BASE={BASE}"]
    built += ["--build-arg", f"COMMIT={COMMIT}", *(["--secret", f"id=pip,src={pip}"] if pip else [])]
    with ExitStack() as stack:
        began = time.monotonic()
        verb = ["build"] if ENGINE == "docker" else ["bud", *ISOLATED, "--format", "docker"]
        engine(*verb, *built, "--file", str(PROJECT / "deployments/production/Dockerfile"), "--tag", tag, str(PROJECT))
        stack.callback(engine, "rmi", tag)
        print(f"Built after {time.monotonic() - began:.0f} seconds; {_size(tag)}, of which the base is {_size(BASE)}.")
        if ENGINE == "docker":
            # As compose.yaml and the manifests for Kubernetes run it; its ports are this machine's.
            name = engine("run", "--detach", "--rm", "--network", "host", *CONFINED, tag, "sleep", "infinity")
            stack.callback(engine, "rm", "--force", name)
        else:
            name = engine("from", tag)
            stack.callback(engine, "rm", name)
        yield Container(name)


CONFINED = (
    *("--init", "--read-only", "--tmpfs=/tmp", "--tmpfs=/shared:uid=10001"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--memory", "4g", "--pids-limit", "500"),
)


def _size(image: str) -> str:
    if ENGINE == "docker":
        return f"{int(engine('image', 'inspect', '--format', '{{.Size}}', image)) / 1e6:.0f} MB"
    return str(json.loads(engine("images", "--json", image))[0]["size"])


def _config(container: str) -> dict[str, Any]:
    if ENGINE == "docker":
        return dict(json.loads(engine("inspect", container))[0]["Config"])
    return dict(json.loads(engine("inspect", container))["Docker"]["config"])


def test_it_is_what_kubernetes_and_compose_rely_on(container: Container) -> None:
    """No entry point, a user without root, help as its command; all code is there, and nothing else of the clone."""
    told = _config(container.name)
    assert not told.get("Entrypoint")
    assert ENGINE == "docker" or told["Cmd"] == ["evergreen", "--help"]
    assert (told["User"], told["WorkingDir"]) == ("10001:10001", "/app")
    assert told["Labels"]["org.opencontainers.image.revision"] == COMMIT
    assert container.run("id", "-u") == "10001"
    assert container.run("sh", "-c", "touch /app/x /venv/x 2>/dev/null; ls /app/x /venv/x 2>/dev/null; echo no") == "no"
    there = container.run("sh", "-c", "ls -A /app").split()
    assert {"evergreen", "deployments", "flows", "models", "serving", "tasks", "prefect.yaml", "pyproject.toml"} <= {
        *there
    }
    assert not {".git", ".env", ".venv", "tests", "docs", ".evergreen"} & {*there}
    assert "Usage: evergreen" in container.run("evergreen", "--help")
    assert container.run("mlflow", "--version").startswith("mlflow, version 3")
    assert container.run("prefect", "--version").startswith("3.")
    # Everything is compiled: nothing can be written beside it.
    assert container.run("python", "-c", UNCOMPILED) == "[]"
    assert container.run("sh", "-c", "touch /state/landing/x /shared/x /tmp/x && echo yes") == "yes"


def test_a_model_is_trained_and_served_in_it(
    container: Container, start: Callable[..., Process], tmp_path: Path
) -> None:
    """With nothing but what is embedded; the version says which commit trained it, and its answers come over HTTP."""
    told = json.loads(container.run("evergreen", "retrain", "iris", "--json"))
    assert told["outcome"] == "promoted"
    tags = container.run("python", "-c", TAGS)
    assert json.loads(tags) == [COMMIT, False]
    port = free_port()
    began = time.monotonic()
    command = container.command("evergreen", "serve", "iris", "--port", str(port))
    server = start(command, f"http://127.0.0.1:{port}", cwd=tmp_path)
    print(f"Ready after {time.monotonic() - began:.1f} seconds.")
    columns = ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm"]
    status, answer, _ = server.ask("/invocations", {"dataframe_split": {"columns": columns, "data": FLOWERS}})
    assert (status, answer["predictions"]) == (200, ["setosa", "virginica"])
    server.end()


def test_a_drift_report_is_made_in_it(container: Container) -> None:
    """Evidently is whole: parts of it lie in folders called tests."""
    made = json.loads(container.run("python", "-c", REPORT))
    assert made == {"scores": ["x"], "failed": {}, "page": True}


REPORT = """
import json
from pathlib import Path
import pandas as pd
from evergreen.drift.evidently_report import draw
side = pd.Series(["a", "b"] * 50, dtype="str")
drawn = draw({"x": (side, side)}, method="psi", threshold=0.1, missing={"x": 0.1}, folder=Path("/tmp/page"))
print(json.dumps({"scores": list(drawn.scores), "failed": dict(drawn.failed), "page": drawn.html.stat().st_size > 0}))
"""
UNCOMPILED = """
from importlib.util import cache_from_source
from pathlib import Path
print([str(file) for file in Path("/app").rglob("*.py") if not Path(cache_from_source(str(file))).exists()])
"""
TAGS = """
import json
from evergreen.registry.client import Registry
from evergreen.settings import load_settings
tags = Registry(load_settings()).champion("iris").tags
print(json.dumps([tags.git_commit, tags.git_dirty]))
"""
