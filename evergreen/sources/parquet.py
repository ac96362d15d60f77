"""A Parquet dataset: a folder of Parquet files, on this machine or in an object store, its partitions as columns.

A file is known by what its listing says, so that only new ones are opened. A large one comes in pieces; how many
follows from its size, so that what landed of it is known without opening it.
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
from evergreen.sources.file_formats import hashed, problem_of
from evergreen.sources.object_store import Entry, Place, fingerprint, half_written, refuse_secret

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PIECE = 32 << 20
"""A file of more bytes comes in pieces of about as many."""

STEP = 65_536
"""So many rows are decoded at a time."""

_NOTHING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class ParquetDataset:
    """Every `.parquet` file below a folder; `year=2011/month=1/` above a file are columns of its rows.

    The model needs keys: a file that changes is read again, and a large one comes in pieces.

    Attributes:
        path: a folder, relative to the landing root or absolute, or a URL such as `s3://bucket/folder`, or `env:NAME`.
        piece: a file of more bytes comes in pieces of about as many, which bounds the memory.
        now: the clock, seconds since 1970.
    """

    path: str
    piece: int = PIECE
    now: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    needs_keys = True

    def __post_init__(self) -> None:
        """Refuse a URL that holds a password."""
        refuse_secret(self.path)

    def fingerprint(self, root: Path) -> str:
        """Hash of the listing, and of which files are still being written."""
        place = Place(self.path, root)
        entries = self._entries(place)
        return hashed(fingerprint(place, entries), *(self._unfinished(place, one) for one in entries))

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Open every file of which something is new, in the order of their names; yield it in pieces."""
        place = Place(self.path, root)
        entries = self._entries(place)
        partitions = _partitions([one.name for one in entries])
        for entry, columns in zip(entries, partitions, strict=True):
            ids = piece_ids(("parquet", entry.name, entry.known), entry.size, self.piece)
            if not any(map(new, ids)):
                continue
            if reason := self._unfinished(place, entry):
                yield Waiting(entry.name, reason)
                continue
            with place.speaking("read"):
                yield from _file(place, entry, columns, ids, new)

    def _entries(self, place: Place) -> list[Entry]:
        if place.local and (Path(place.path) / "_delta_log").is_dir():
            raise DataError(f"source: {place.name} is a Delta table.", "Take DeltaSource for it.")
        return [one for one in place.entries(below=True) if one.name.endswith(".parquet")]

    def _unfinished(self, place: Place, entry: Entry) -> str:
        return half_written(entry, self.now) if place.local else ""


def piece_ids(known: Sequence[str], size: int, piece: int) -> list[str]:
    """The ids of the pieces that a file comes in; `known` is what tells the file from every other."""
    count = max(1, -(-size // max(1, piece)))
    return [hashed(*known, f"{number} of {count}") for number in range(count)]


def in_pieces(
    batches: Iterable[pa.RecordBatch], rows: int, wanted: Sequence[bool]
) -> Iterator[tuple[int, pd.DataFrame]]:
    """A file's rows in as many pieces as there are in `wanted`, those that are: the number of each, and its rows.

    `rows` is how many the file has; at most a piece of them is held.
    """
    import pyarrow as pa

    ends = [rows * (number + 1) // len(wanted) for number in range(len(wanted))]
    held: list[pa.RecordBatch] = []
    passed = number = 0
    for whole in batches:
        batch = whole
        while batch.num_rows:
            part = batch.slice(0, ends[number] - passed)
            batch, passed = batch.slice(part.num_rows), passed + part.num_rows
            if wanted[number] and part.num_rows:
                held.append(part)
            if passed == ends[number]:
                if held:
                    yield number, pa.Table.from_batches(held).to_pandas(ignore_metadata=True)
                held, number = [], number + 1


def _file(
    place: Place, entry: Entry, columns: dict[str, Any], ids: list[str], new: Callable[[str], bool]
) -> Iterator[Batch | Waiting]:
    import pyarrow.parquet as pq

    try:
        with place.files.open(entry.path, "rb") as handle, pq.ParquetFile(handle) as file:
            wanted = [new(each) for each in ids]
            for number, frame in in_pieces(file.iter_batches(STEP), file.metadata.num_rows, wanted):
                yield Batch(ids[number], entry.name, frame.assign(**columns))
    except FileNotFoundError:
        yield Waiting(entry.name, CHANGED)
    except Exception as error:
        problem = problem_of(error, "parquet")
        batch = hashed("damaged", entry.name, entry.known)
        if new(batch):
            yield Batch(batch, entry.name, None, problem, Path(entry.path) if place.local else None)


def _partitions(names: Sequence[str]) -> list[dict[str, Any]]:
    """The partition columns of each file by its name: whole numbers where all values of a column are, else texts."""
    found = [
        {key: None if value == _NOTHING else unquote(value) for key, value in _pairs(name) if key} for name in names
    ]
    texts = {key for each in found for key, value in each.items() if value is not None and not value.isdecimal()}
    return [
        {key: value if value is None or key in texts else int(value) for key, value in each.items()} for each in found
    ]


def _pairs(name: str) -> Iterator[tuple[str, str]]:
    for part in name.split("/")[:-1]:
        key, equals, value = part.partition("=")
        if equals:
            yield key, value
