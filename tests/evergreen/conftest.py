"""Registries for tests: a real one that opens at once, and one in memory that mirrors it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.backtest.in_memory import InMemoryRegistry
from evergreen.data.observations import Observations
from evergreen.errors import ArtifactError
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION, STATUS, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from tests.live.clone import until
from tests.serving.test_server import free_port


@pytest.fixture
def registry(settings: Settings, empty_database: Path) -> Registry:
    """A real registry in the test's own folder, empty."""
    settings.root.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_database, settings.root / "mlflow.db")
    return Registry(settings)


class Files:
    """What is stored with versions: everything that was not damaged."""

    def __init__(self) -> None:
        self.damaged: set[int] = set()

    def load(self, version: Version, spec: Any) -> Any:
        raise ArtifactError(f"{version.label} has no pipeline.", "Train one.")

    def files(self, version: Version) -> Path:
        if version.number in self.damaged:
            raise ArtifactError(f"{version.label} is not what was registered.", "Restore it.")
        return Path()


class Watched(InMemoryRegistry):
    """The registry in memory; every write goes through `wrote`, before and after, which may raise in its place."""

    def __init__(self) -> None:
        self.files = Files()
        super().__init__(self.files)
        self.wrote: Callable[[str], None] = lambda _what: None

    @property
    def damaged(self) -> set[int]:
        return self.files.damaged

    @damaged.setter
    def damaged(self, numbers: set[int]) -> None:
        self.files.damaged = numbers

    def add(
        self, model: str = "toy", model_id: str = "", tags: Any = None, status: str = "PASSED", **more: str
    ) -> Version:
        """Make a version; judged against the present champion unless a tag says otherwise."""
        number, present = self._last + 1, self.aliases.get(CHAMPION)
        facts = {"compared_with": str(present or "none"), "decision_id": f"decision-{number}", STATUS: status}
        return super().add(model, model_id or f"model-{number}", {**facts, **(tags or {}), **more})

    def delete(self, number: int) -> None:
        """As MLflow does: the aliases of a deleted version vanish with it."""
        del self.stored[number]
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != number}

    def set_alias(self, model: str, alias: str, number: int) -> None:
        self._watch(f"{alias}={number}", lambda: super(Watched, self).set_alias(model, alias, number))

    def drop_alias(self, model: str, alias: str) -> None:
        self._watch(f"drop {alias}", lambda: super(Watched, self).drop_alias(model, alias))

    def tag(self, version: Version, key: str, value: str) -> None:
        self._watch(f"tag {key}", lambda: super(Watched, self).tag(version, key, value))

    def untag(self, version: Version, key: str) -> None:
        self._watch(f"untag {key}", lambda: super(Watched, self).untag(version, key))

    def _watch(self, what: str, change: Callable[[], object]) -> None:
        self.wrote(f"{what}:before")
        change()
        self.wrote(f"{what}:after")


@pytest.fixture
def in_memory() -> Watched:
    """A registry in memory, for what is not about MLflow."""
    return Watched()


@pytest.fixture
def make_in_memory() -> Callable[[], Watched]:
    """Build registries in memory, for tests that need many."""
    return Watched


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """Of processes that work on the test's folder."""
    project = Path(__file__).resolve().parents[2]
    return os.environ | {"EVERGREEN_HOME": str(home), "PYTHONPATH": str(project)}


@dataclass(frozen=True)
class Store:
    """A bucket `shop` in an object store, and how a test writes it."""

    url: str
    files: Any

    def put(self, name: str, content: bytes) -> None:
        self.files.pipe(f"shop/{name}", content)


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    """A real S3-compatible server with the bucket `shop`; the environment has credentials and endpoint, as a user's."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: the extra s3")
    pytest.importorskip("moto.server")
    import fsspec

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # A process of its own: while delta-rs asks whether a table exists, no other thread of this one could answer it.
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.object_store", "-H", "127.0.0.1", "-p", str(port)],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: answers(port), "the store answers", 60)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ENDPOINT_URL", url), ("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "a-s3cret-of-tests")):
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("shop")
        yield Store(url, files)
    running.terminate()
    running.wait(30)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Repository:
    """A git repository with DVC in it, made if it is not there; `commit` tracks paths and tags the commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.exists():
            return
        root.mkdir()
        for words in (("git", "init", "-q", "-b", "main"), ("dvc", "init", "-q")):
            self.run(*words)

    def run(self, *words: str) -> str:
        named = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
        around = os.environ | dict.fromkeys(named, "tester")
        around |= {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        command = [sys.executable, "-m", "dvc", *words[1:]] if words[0] == "dvc" else words
        done = subprocess.run(
            command, cwd=self.root, env=around, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def put(self, name: str, rows: pd.DataFrame) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(self.root / name, index=False)

    def commit(self, tag: str, *paths: str) -> str:
        self.run("dvc", "add", "-q", *paths)
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", tag)
        self.run("git", "tag", tag)
        return self.run("git", "rev-parse", "HEAD")


@pytest.fixture(scope="session")
def repository() -> type[Repository]:
    """Open or make a repository of git and DVC: repository(folder)."""
    pytest.importorskip("dvc", reason="DVC is not installed: the extra dvc")
    return Repository


@pytest.fixture
def held(settings: Settings) -> Callable[[ModelSpec], pd.DataFrame]:
    """A model's observations as they stand, by id; their digest is checked."""

    def read(spec: ModelSpec) -> pd.DataFrame:
        observations = Observations(settings.lake_uri, spec)
        version = observations.snapshot().version
        assert observations.measure(version) == observations.snapshot(version).digest
        return observations.frame(version).sort_values("id", ignore_index=True)

    return read
