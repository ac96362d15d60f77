"""The files of an opened Delta table: what its log tells of them, and their rows as Arrow reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from deltalake import DeltaTable


def dataset_of(table: DeltaTable) -> ds.Dataset:
    """The rows of an opened table, for Arrow to read.

    The file system that deltalake gives it is written in Python, and Arrow's threads call it. One that lets go of a
    file while the interpreter already ends aborts the process, so that a local table is read without it.
    """
    from urllib.parse import urlsplit

    if urlsplit(table.table_uri).scheme != "file":
        return table.to_pyarrow_dataset()
    return table.to_pyarrow_dataset(filesystem=file_system_of(table))


def added_files(table: DeltaTable) -> pa.Table:
    """The files of an opened version, as the log tells of them.

    As a stream, because `pyarrow.table` imports pandas to see whether it was given a frame.
    """
    import pyarrow as pa

    return pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()


def files_of(table: DeltaTable, column: str) -> pa.Table:
    """The files of an opened version: `path`, `added` (Unix milliseconds), `rows`, and the range of a text in them.

    `least` and `most` are null where nobody knows; `most` may be cut, and so less than a text that is there.
    """
    import pyarrow as pa

    actions = added_files(table)
    unknown = pa.nulls(actions.num_rows, pa.string())
    names = actions.column_names
    return pa.table(
        {
            "path": actions["path"].cast(pa.string()),
            "added": actions["modification_time"],
            "rows": actions["num_records"],
            "least": actions[f"min.{column}"].cast(pa.string()) if f"min.{column}" in names else unknown,
            "most": actions[f"max.{column}"].cast(pa.string()) if f"max.{column}" in names else unknown,
        }
    )


def read_files(
    table: DeltaTable, paths: Sequence[str], columns: Sequence[str], where: ds.Expression | None = None
) -> pa.Table:
    """Rows of some files of an opened version.

    `dataset_of` makes an expression of the statistics of every file, which takes a millisecond each.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    schema = pa.schema(table.schema())
    if not paths:
        return pa.schema([schema.field(name) for name in columns]).empty_table()
    files = ds.dataset(list(paths), schema=schema, format="parquet", filesystem=file_system_of(table))
    return files.to_table(columns=list(columns), filter=where)


def file_system_of(table: DeltaTable) -> Any:
    """The file system, in the sense of Arrow, in which the paths of a table's files are."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    place = urlsplit(table.table_uri)
    if place.scheme == "file":
        return SubTreeFileSystem(url2pathname(place.path), LocalFileSystem())
    return table.to_pyarrow_dataset().filesystem
