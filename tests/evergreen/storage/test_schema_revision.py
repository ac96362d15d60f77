"""A database that a newer library has used is known by its revision, and named with what the installed one knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from evergreen.storage.schema_revision import MLFLOW, PREFECT, Schema, describe_newer, is_newest, sqlite_revision


@pytest.mark.parametrize("schema", [MLFLOW, PREFECT], ids=lambda schema: schema.library)
def test_a_revision_that_is_not_known(schema: Schema) -> None:
    """Both versions are named; the newest known one is itself known, and so is none at all."""
    newer = describe_newer("0123456789ab", schema)
    assert newer is not None
    what, fix = newer
    assert "has the schema 0123456789ab" in what
    assert version(schema.library) in what
    assert "restore it from a backup" in fix
    newest = what.partition("up to ")[2].partition(":")[0]
    assert len(newest) == 12
    assert describe_newer(newest, schema) is None
    assert describe_newer(None, schema) is None
    assert is_newest(newest, schema)
    assert not is_newest("0123456789ab", schema)
    assert not is_newest(None, schema)


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
