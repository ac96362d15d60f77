"""A fresh home gets a copy of a database that was migrated at installation; nothing that is there is touched."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.storage import database_template
from evergreen.storage.database_template import TEMPLATES, main, make, place
from evergreen.storage.schema_revision import MLFLOW, PREFECT, Schema, is_newest, sqlite_revision


def _lines(sql: str | None) -> list[str]:
    """The lines of a statement, sorted; none for an index that SQLite made."""
    return sorted(line.strip().rstrip(",") for line in (sql or "").splitlines())


def _database(path: Path, revision: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    return path


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that libraries could be installed in, without templates."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return tmp_path / "venv"


@pytest.fixture
def template(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template of Prefect's with the newest schema; what is newest, the test says."""
    monkeypatch.setattr(database_template, "is_newest", lambda found, schema: found == f"newest {schema.library}")
    return _database(environment / "share" / "evergreen" / f"prefect-{version('prefect')}.db", "newest prefect")


def test_a_fresh_home_gets_a_copy(template: Path, tmp_path: Path) -> None:
    """The copy is whole, nothing is left beside it, and the template stays; the second time it is there already."""
    target = tmp_path / "prefect.db"
    assert place(PREFECT, target)
    assert target.read_bytes() == template.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prefect.db", "venv"]
    assert not place(PREFECT, target)


def test_what_is_there_is_not_touched(template: Path, tmp_path: Path) -> None:
    """A database stays as it is, an empty one too, and so does a journal, which belongs to one that was there."""
    for number, name in enumerate(("prefect.db", "prefect.db-wal", "prefect.db-shm", "prefect.db-journal")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(b"")
        assert not place(PREFECT, folder / "prefect.db")
        assert [path.name for path in folder.iterdir()] == [name]


def test_another_process_is_first(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that appears while the template is copied stays, and the copy goes."""
    target = tmp_path / "home" / "prefect.db"
    target.parent.mkdir()
    copy = database_template.shutil.copyfile

    def late(source: Path, part: Path) -> None:
        copy(source, part)
        target.write_bytes(b"theirs")

    monkeypatch.setattr(database_template.shutil, "copyfile", late)
    assert not place(PREFECT, target)
    assert target.read_bytes() == b"theirs"
    assert [path.name for path in target.parent.iterdir()] == ["prefect.db"]


@pytest.mark.parametrize("revision", ["older", "newer", "newest mlflow"])
def test_a_template_of_another_schema_is_not_used(environment: Path, template: Path, revision: str) -> None:
    """The library was changed without an installation: its own migrations make the database."""
    template.unlink()
    _database(template, revision)
    assert not place(PREFECT, environment / "prefect.db")
    assert not (environment / "prefect.db").exists()


def test_a_template_of_another_version_or_half_of_one_is_not_used(template: Path, tmp_path: Path) -> None:
    """A file of another name is not looked at, and one that is no database is none."""
    whole = template.read_bytes()
    template.rename(template.with_name("prefect-0.0.1.db"))
    assert not place(PREFECT, tmp_path / "prefect.db")
    template.write_bytes(whole[:100])
    assert not place(PREFECT, tmp_path / "prefect.db")


def test_a_folder_that_cannot_be_written(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, no links on its disk, a full disk: the library tries for itself, and says what is wrong."""
    assert not place(PREFECT, tmp_path / "nowhere" / "prefect.db")

    def refused(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    assert not place(PREFECT, tmp_path / "prefect.db")
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]


def test_an_environment_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installation goes on, and says what is missing."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "file"))
    main()
    errors = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in errors] == [
        "No database template of MLflow",
        "No database template of Prefect",
    ]
    assert all(line.endswith("First runs take longer.") for line in errors)


def test_a_crash_while_a_template_is_made(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old template stays until the new one is whole, and nothing stays beside it."""
    whole = template.read_bytes()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for part in ("run", "connect"):
        module = database_template.subprocess if part == "run" else database_template.sqlite3
        with monkeypatch.context() as patch:
            patch.setattr(database_template.subprocess, "run", lambda *_, **__: None)
            patch.setattr(module, part, killed)
            with pytest.raises(KeyboardInterrupt):
                make(next(each for each in TEMPLATES if each.schema == PREFECT))
    assert template.read_bytes() == whole
    assert list(template.parent.iterdir()) == [template]


@pytest.mark.slow
@pytest.mark.parametrize("schema", [MLFLOW, PREFECT], ids=lambda schema: schema.library)
def test_the_real_ones(environment: Path, tmp_path: Path, schema: Schema) -> None:
    """Both libraries make theirs: the newest schema in one file, those of other versions gone, no row of this machine.

    The time of the making is the only thing that Prefect's holds.
    """
    folder = environment / "share" / "evergreen"
    _database(folder / f"{schema.library}-0.0.1.db", "old")
    (template,) = (each for each in TEMPLATES if each.schema == schema)
    make(template)
    assert [path.name for path in folder.iterdir()] == [template.path.name]
    assert is_newest(sqlite_revision(template.path), schema)
    assert place(schema, tmp_path / "copy.db")
    content = (tmp_path / "copy.db").read_bytes()
    assert os.fsencode(tmp_path) not in content
    assert os.uname().nodename.encode() not in content


@pytest.mark.slow
def test_a_registry_on_a_copy_is_like_one_of_its_own(tmp_path: Path) -> None:
    """Tables, indexes and experiments are those that MLflow makes itself."""

    def content(home: Path) -> tuple[list[object], list[object]]:
        registry = Registry(Settings(home=home))
        found = [(one.name, one.artifact_location, one.tags) for one in registry.client.search_experiments()]
        with closing(sqlite3.connect(home / "mlflow.db")) as database:
            query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
            # Alembic writes a table's constraints in no order of its own.
            return found, [(*row[:3], _lines(row[3])) for row in database.execute(query)]

    own = content(tmp_path / "own")
    make(next(template for template in TEMPLATES if template.schema == MLFLOW))
    assert content(tmp_path / "copied") == own
