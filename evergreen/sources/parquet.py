"""A Parquet dataset: a folder of Parquet files, on this machine or in an object store, its partitions as columns.

A file is identified by its listing, so that only new files are opened. A large file is read in pieces. How many follows
from its size, so that it is known which pieces landed without opening the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from evergreen.errors import DataError
from evergreen.sources.base import CHANGED, Batch, Waiting
from evergreen.sources.file_formats import describe_error, hash_parts
from evergreen.sources.object_store import Entry, list_entries, listing_fingerprint, refuse_secret, wait_reason
from evergreen.sources.typed_frames import frame_of_table
from evergreen.storage.file_store import FileStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PIECE_BYTES = 32 << 20
"""A larger file is read in pieces of about this size."""

READ_ROWS = 65_536
"""Rows that are decoded at a time."""

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class ParquetDataset:
    """Every `.parquet` file below a folder; `year=2011/month=1/` above a file are columns of its rows.

    The model needs keys: a file that changes is read again, and a large file comes in pieces.

    Attributes:
        path: a folder, relative to the landing root or absolute, or a URL such as `s3://bucket/folder`, or `env:NAME`.
        piece: a larger file is read in pieces of about this many bytes, which bounds the memory.
        now: the clock, seconds since 1970.
    """

    path: str
    piece: int = PIECE_BYTES
    now: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    needs_keys = True

    def __post_init__(self) -> None:
        """Refuse a URL that holds a password."""
        refuse_secret(self.path)

    def fingerprint(self, root: Path) -> str:
        """Hash of the listing, and of which files are still being written."""
        store = FileStore(self.path, root)
        entries = self._entries(store)
        reasons = (self._wait_reason(store, entry) for entry in entries)
        return hash_parts(listing_fingerprint(store, entries), *reasons)

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Open every file that holds something new, in the order of their names; yield it in pieces."""
        store = FileStore(self.path, root)
        entries = self._entries(store)
        partitions = _partition_columns([entry.name for entry in entries])
        for entry, columns in zip(entries, partitions, strict=True):
            ids = piece_ids(("parquet", entry.name, entry.identity), entry.size, self.piece)
            if not any(map(new, ids)):
                continue
            if reason := self._wait_reason(store, entry):
                yield Waiting(entry.name, reason)
                continue
            with store.explain_errors("read"):
                yield from _read_file(store, entry, columns, ids, new)

    def _entries(self, store: FileStore) -> list[Entry]:
        if store.local and (Path(store.path) / "_delta_log").is_dir():
            raise DataError(f"source: {store.name} is a Delta table.", "Take DeltaSource for it.")
        return [entry for entry in list_entries(store, below=True) if entry.name.endswith(".parquet")]

    def _wait_reason(self, store: FileStore, entry: Entry) -> str:
        return wait_reason(entry, self.now) if store.local else ""


def piece_ids(identity: Sequence[str], size: int, piece: int) -> list[str]:
    """The ids of the pieces of a file of `size` bytes; `identity` distinguishes the file from every other."""
    count = max(1, -(-size // max(1, piece)))
    return [hash_parts(*identity, f"{number} of {count}") for number in range(count)]


def split_into_pieces(
    batches: Iterable[pa.RecordBatch], rows: int, wanted: Sequence[bool]
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Split a file's rows into `len(wanted)` pieces; yield the number and the rows of each wanted piece.

    `rows` is how many the file has; at most one piece of them is in memory.
    """
    import pyarrow as pa

    ends = [rows * (number + 1) // len(wanted) for number in range(len(wanted))]
    parts: list[pa.RecordBatch] = []
    position = number = 0
    for whole in batches:
        batch = whole
        while batch.num_rows:
            part = batch.slice(0, ends[number] - position)
            batch, position = batch.slice(part.num_rows), position + part.num_rows
            if wanted[number] and part.num_rows:
                parts.append(part)
            if position == ends[number]:
                if parts:
                    yield number, frame_of_table(pa.Table.from_batches(parts))
                parts, number = [], number + 1


def _read_file(
    store: FileStore, entry: Entry, columns: dict[str, Any], ids: list[str], new: Callable[[str], bool]
) -> Iterator[Batch | Waiting]:
    import pyarrow.parquet as pq

    try:
        with store.files.open(entry.path, "rb") as handle, pq.ParquetFile(handle) as file:
            wanted = [new(piece_id) for piece_id in ids]
            for number, frame in split_into_pieces(file.iter_batches(READ_ROWS), file.metadata.num_rows, wanted):
                yield Batch(ids[number], entry.name, frame.assign(**columns))
    except FileNotFoundError:
        yield Waiting(entry.name, CHANGED)
    except Exception as error:
        problem = describe_error(error, "parquet")
        batch = hash_parts("damaged", entry.name, entry.identity)
        if new(batch):
            yield Batch(batch, entry.name, None, problem, Path(entry.path) if store.local else None)


def _partition_columns(names: Sequence[str]) -> list[dict[str, Any]]:
    """The partition columns of each file by its name: whole numbers if all values of a column are, otherwise texts."""
    by_file = [
        {key: None if value == _NULL_PARTITION else unquote(value) for key, value in _partitions(name) if key}
        for name in names
    ]
    text_columns = {
        key for columns in by_file for key, value in columns.items() if value is not None and not value.isdecimal()
    }
    return [
        {key: value if value is None or key in text_columns else int(value) for key, value in columns.items()}
        for columns in by_file
    ]


def _partitions(name: str) -> Iterator[tuple[str, str]]:
    for part in name.split("/")[:-1]:
        key, equals, value = part.partition("=")
        if equals:
            yield key, value
