"""Rows of small tables by their files: what is read is what the table holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from evergreen.errors import EvergreenError
from evergreen.storage.delta_table import Table
from evergreen.storage.row_files import RowReader, list_row_files, newest_metadata, newest_version, read_all_rows

START = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
EARLIER = [("kind", pa.string()), ("at", pa.timestamp("us", "UTC"))]
SCHEMA = pa.schema([*EARLIER, ("number", pa.int64())])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Seven rows: of a table that got a column later, and whose files were joined in between."""
    uri = str(tmp_path / "table")
    for number in range(7):
        schema = pa.schema(EARLIER) if number < 2 else SCHEMA
        row = {"kind": "a" if number % 2 else "b", "at": START + timedelta(seconds=number), "number": number}
        frame = pd.DataFrame([row])[schema.names]
        Table(uri, schema, compact_every=5).append(frame, f"commit-{number}", {"count": str(number)})
    return Table(uri, SCHEMA)


def test_every_row_is_read(table: Table) -> None:
    """Times to the microsecond, in UTC; a column that came later is None in the rows before."""
    rows = sorted(read_all_rows(table, table.open()), key=lambda row: row["at"])
    assert [row["at"] for row in rows] == [START + timedelta(seconds=number) for number in range(7)]
    assert [row["number"] for row in rows] == [None, None, 2, 3, 4, 5, 6]
    assert {row["at"].tzinfo for row in rows} == {UTC}


def test_a_file_is_known_by_the_log(table: Table) -> None:
    """The one value of a column in a file with one row, and None where the file has several."""
    files = list_row_files(table.open(), ("kind", "at"))
    known = {file.only("kind") for file in files}
    assert None in known and len(files) < 7
    single = [file for file in files if file.only("kind") is not None]
    assert all(file.least["at"] == file.most["at"] for file in single)
    reader = RowReader(table, table.open(), [file.path for file in single])
    for path, (kinds,) in reader.keys(("kind",)):
        (file,) = (each for each in single if each.path == path)
        assert kinds == [file.only("kind")]
        ((_, row),) = reader.rows([(path, 0)])
        assert row["kind"] == kinds[0]


def test_the_newest_commit_is_read_alone(table: Table, tmp_path: Path) -> None:
    """Its metadata and number are those that the opened table gives, also where its files were joined since."""
    assert newest_metadata(table) == table.commit_metadata(table.open())
    table.open().optimize.compact()
    assert newest_metadata(table)["count"] == "6"
    assert newest_version(table) == table.open().version()
    nothing = Table(str(tmp_path / "nothing"), SCHEMA)
    assert (newest_metadata(nothing), newest_version(nothing), nothing.exists()) == ({}, None, False)


def test_a_damaged_file_is_one_line(table: Table) -> None:
    """The error names the table."""
    for file in Path(table.uri).glob("*.parquet"):
        file.write_bytes(b"torn")
    with pytest.raises(EvergreenError, match="table cannot be read"):
        read_all_rows(table, table.open())
