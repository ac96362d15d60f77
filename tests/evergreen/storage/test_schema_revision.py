"""A database that a newer library has used is known by its revision, and named with what the installed one knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from evergreen.storage.schema_revision import describe_newer, sqlite_revision

MIGRATIONS = {"mlflow": "store/db_migrations/versions", "prefect": "server/database/_migrations/versions/sqlite"}


@pytest.mark.parametrize("library", MIGRATIONS)
def test_a_revision_that_is_not_known(library: str) -> None:
    """Both versions are named; the newest known one is itself known, and so is none at all."""
    newer = describe_newer("0123456789ab", library, MIGRATIONS[library])
    assert newer is not None
    what, fix = newer
    assert "has the schema 0123456789ab" in what
    assert version(library) in what
    assert "restore it from a backup" in fix
    newest = what.partition("up to ")[2].partition(":")[0]
    assert len(newest) == 12
    assert describe_newer(newest, library, MIGRATIONS[library]) is None
    assert describe_newer(None, library, MIGRATIONS[library]) is None


def test_the_revision_of_a_file(tmp_path: Path) -> None:
    """None of a file that is not there, has no such table, or is no database: others say so."""
    assert sqlite_revision(tmp_path / "none.db") is None
    (tmp_path / "text.db").write_text("no database" * 100)
    assert sqlite_revision(tmp_path / "text.db") is None
    with closing(sqlite3.connect(tmp_path / "some.db")) as database, database:
        assert sqlite_revision(tmp_path / "some.db") is None
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        assert sqlite_revision(tmp_path / "some.db") is None
        database.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
        database.commit()
        assert sqlite_revision(tmp_path / "some.db") == "0123456789ab"
