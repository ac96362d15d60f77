"""The doctor finds what is wrong and says what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

import models
from deployments.cli import doctor_checks
from deployments.cli.doctor_checks import Finding, examine
from evergreen import naming
from evergreen.ledger.promotions import Move, Promotions
from evergreen.model_files.new import scaffold
from evergreen.registry.artifacts import PIPELINE
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION
from evergreen.settings import Settings

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured Prefect server."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def _named(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_sound_installation(settings: Settings) -> None:
    """Everything is well on a machine that was installed from the lock file."""
    assert [finding for finding in examine(settings) if not finding.ok] == []


def test_a_broken_model_file_is_found(settings: Settings, tmp_path: Path) -> None:
    """The file and the line are named."""
    (tmp_path / "broken.py").write_text("MODEL = (\n")
    found = _named(examine(settings.model_copy(update={"models": tmp_path})))["model files"]
    assert not found.ok
    assert "broken.py, line 1" in found.detail


def test_every_broken_model_file_is_found(settings: Settings, tmp_path: Path) -> None:
    """Each is named with its line: one that cannot be read, and one whose pipeline cannot be stored."""
    good = Path(models.__file__).with_name("iris.py").read_text(encoding="utf-8")
    (tmp_path / "broken.py").write_text("MODEL = (\n")
    (tmp_path / "good.py").write_text(good.replace('name="iris"', 'name="good"'))
    held = good.replace('name="iris"', 'name="held"').replace("StandardScaler()", "FunctionTransformer(lambda x: x)")
    (tmp_path / "held.py").write_text(held.replace("import StandardScaler", "import FunctionTransformer"))
    found = _named(examine(settings.model_copy(update={"models": tmp_path})))["model files"]
    assert found.detail == (
        f"{tmp_path}/broken.py, line 1: '(' was never closed. {tmp_path}/held.py, line 33: pipeline: step 'scale' "
        "holds a lambda as func, which cannot be stored with the model; name a function at module level."
    )
    assert found.fix == "Correct each of these files."


def test_a_broken_registry_is_found(settings: Settings) -> None:
    """A file that is no database is told, and what to do about it."""
    settings.root.mkdir(parents=True)
    (settings.root / "mlflow.db").write_text("this is no database, and long enough to be looked at" * 50)
    found = _named(examine(settings))["registry"]
    assert not found.ok
    assert "mlflow.db" in found.detail
    assert found.fix


def test_a_server_that_is_down_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured server that does not answer is told with its address."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found = _named(examine(settings))["prefect"]
    assert found == Finding(
        "prefect",
        False,
        "The server at http://127.0.0.1:9/api does not answer: ConnectError.",
        "Start it with evergreen up or prefect server start, or unset PREFECT_API_URL.",
    )


def test_a_champion_is_loaded(
    settings: Settings, tmp_path: Path, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """As a scoring would: the alias alone says nothing of the files behind it."""
    rows = tmp_path / "toy.csv"
    make_rows(100).to_csv(rows, index=False)
    scaffold("toy", rows, tmp_path / "models", target="y")
    settings = settings.model_copy(update={"models": tmp_path / "models"})
    assert _named(examine(settings))["champions"].detail == "none yet"
    registry, version = Registry(settings), make_version(make_spec(), make_rows(100))
    registry.client.set_registered_model_alias(naming.registered_model("", "toy"), CHAMPION, "1")
    Promotions(settings.lake_uri, "toy").write(Move("m1", NOW, "promote", "done", None, 1, "first", "first", "retrain"))
    assert _named(examine(settings))["champions"].detail == "toy version 1 can be loaded"
    (registry.stored.model_folder(version.model_id) / PIPELINE).unlink()
    gone = _named(examine(settings))["champions"]
    registry.client.delete_model_version(naming.registered_model("", "toy"), "1")
    deleted = _named(examine(settings))["champions"]
    for found in (gone, deleted):
        assert not found.ok
        assert "toy version 1" in found.detail
        assert "evergreen accept-loss toy" in found.fix


def test_a_folder_that_cannot_be_made_is_found(settings: Settings, tmp_path: Path) -> None:
    """A file where the state folder should be is told."""
    (tmp_path / "file").write_text("")
    found = _named(examine(settings.model_copy(update={"home": tmp_path / "file" / "home"})))["state folder"]
    assert found == Finding(
        "state folder",
        False,
        f"{tmp_path}/file/home cannot be created: Not a directory.",
        "Set EVERGREEN_HOME to a folder of yours.",
    )


def test_a_full_disk_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The free space is told, and a way to get some."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0.3e9))
    assert _named(examine(settings))["state folder"] == Finding(
        "state folder",
        False,
        f"The disk of {settings.root} has 0.3 GB free.",
        "Free at least 2 GB; evergreen clean removes old files.",
    )


def test_packages_that_do_not_fit_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is missing, and one in another version."""

    def version(name: str) -> str:
        if name == "mlflow":
            raise PackageNotFoundError
        return "0.1" if name == "pandas" else metadata.version(name)

    monkeypatch.setattr(doctor_checks, "version", version)
    found = _named(examine(settings))["packages"]
    wanted = next(Requirement(line) for line in metadata.requires("evergreen") or () if line.startswith("pandas"))
    assert set(re.split(r"(?<=\.) ", found.detail)) == {
        "mlflow is not installed.",
        f"pandas 0.1 is installed, and {wanted.specifier} is needed.",
    }
    assert (found.ok, found.fix) == (False, "Run: make install")


def test_a_project_that_is_not_installed_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that has the code by a path, and knows no requirements of it."""

    def missing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor_checks, "requires", missing)
    found = _named(examine(settings))["packages"]
    assert (found.ok, found.detail, found.fix) == (
        False,
        "The project is not installed in this Python.",
        "Run: make install",
    )


def test_a_login_that_a_server_refuses_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is told, and which settings to look at."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("httpx.get", lambda *_, **__: SimpleNamespace(status_code=401))
    assert _named(examine(settings))["prefect"] == Finding(
        "prefect",
        False,
        "The server at http://127.0.0.1:9/api answers with status 401.",
        "Check PREFECT_API_URL, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING.",
    )


def test_what_is_passed_over_is_listed(settings: Settings, tmp_path: Path) -> None:
    """Files that are no data by their names, and model files that read as before, are named; nothing is wrong."""
    (tmp_path / "models").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("".join(["x,y\n", *(f"{n},{n % 2}\n" for n in range(100))]))
    for name in ("a.csv.md5", "Thumbs.db"):
        (tmp_path / "in" / name).write_text("x")
    made = scaffold("shop", tmp_path / "in" / "a.csv", tmp_path / "models", target="y").path
    text = made.read_text().replace('pattern="*.csv"', 'pattern="*"')
    made.write_text(text)
    (tmp_path / "models" / "older.py").write_text(
        re.sub(r"    reading=Reading\(.*?\n    \),\n", "", text, flags=re.S).replace('name="shop"', 'name="older"')
    )
    found = _named(examine(settings.model_copy(update={"models": tmp_path / "models"})))
    assert found["landing"].ok
    assert "Thumbs.db, a.csv.md5 (shop)" in found["landing"].detail
    assert found["model files"].ok
    assert found["model files"].detail.endswith("are missing in the files of older")
