"""A Delta table of another program as a source: what was added since, found by the files of the table.

A file of a Delta table never changes. A version with the same files has nothing new. Appended rows are in new files, so
only those are read. A file that an update rewrote is read again; the model's keys tell which of its rows are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from evergreen.errors import DataError, EvergreenError
from evergreen.sources.base import Batch, Waiting
from evergreen.sources.object_store import refuse_secret
from evergreen.sources.parquet import PIECE_BYTES, READ_ROWS, piece_ids, split_into_pieces
from evergreen.storage.credentials import resolve_env
from evergreen.storage.delta_table import Table
from evergreen.storage.table_files import dataset_of

if TYPE_CHECKING:
    from evergreen.storage.delta_table import OpenTable

_FORMS = "a table's folder or URL, such as s3://bucket/table"


@dataclass(frozen=True, slots=True)
class DeltaSource:
    """The rows of a Delta table. The model needs keys.

    A row that is deleted from the table stays in the observations, as it does when a file is deleted from a landing
    folder.

    Attributes:
        path: the table's folder, relative to the landing root or absolute, or its URL, or `env:NAME`. Credentials for
            an object store come from the environment.
        piece: a larger file is read in pieces of about this many bytes, which bounds the memory.
    """

    path: str
    piece: int = PIECE_BYTES

    needs_keys = True

    def __post_init__(self) -> None:
        """Refuse a URL that holds a password."""
        refuse_secret(self.path)

    def fingerprint(self, root: Path) -> str:
        """The table's id and version."""
        opened = self._open(root)
        return f"{opened.metadata().id}@{opened.version()}"

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Read the files that hold something new, oldest first, each in pieces."""
        opened = self._open(root)
        table, version, name = str(opened.metadata().id), str(opened.version()), self._name(root)
        try:
            dataset = dataset_of(opened)
            fragments = {fragment.path: fragment for fragment in dataset.get_fragments()}
            for path, size in _files_by_age(opened):
                ids = piece_ids(("delta", table, path), size, self.piece)
                if not any(map(new, ids)):
                    continue
                fragment = fragments[unquote(path)]
                batches = fragment.to_batches(schema=dataset.schema, batch_size=READ_ROWS, batch_readahead=1)
                wanted = [new(piece_id) for piece_id in ids]
                for number, frame in split_into_pieces(batches, fragment.count_rows(), wanted):
                    yield Batch(ids[number], f"{name}/{unquote(path)}", frame, revision=version)
        except Exception as error:
            # Delta's and Arrow's own messages may show rows, or a key.
            raise DataError(
                f"source: version {version} of the Delta table {name} cannot be read ({type(error).__name__}).",
                "Check that its files are there, and that the table uses no feature of a newer Delta writer.",
            ) from None

    def _open(self, root: Path) -> OpenTable:
        import pyarrow as pa

        table = Table(self._uri(root), pa.schema([]))
        name = self._name(root)
        try:
            exists = table.exists()
        except Exception as error:
            raise DataError(
                f"source: the location of {name} cannot be looked at ({type(error).__name__}).",
                "Check the URL, and the credentials in the environment.",
            ) from None
        if not exists:
            raise DataError(
                f"source: {name} is not a Delta table.", "Check the path: a Delta table holds a folder _delta_log."
            )
        try:
            return table.open()
        except EvergreenError as error:
            raise DataError(f"source: {error.what}", "Check the table with the program that writes it.") from None

    def _uri(self, root: Path) -> str:
        text = resolve_env(self.path, "source", _FORMS)
        return text if "://" in text else str((root / Path(text).expanduser()).absolute())

    def _name(self, root: Path) -> str:
        return self._uri(root).rstrip("/").rpartition("/")[2]


def _files_by_age(opened: OpenTable) -> list[tuple[str, int]]:
    """Path and size (bytes) of each of the table's files, in the order in which they were written."""
    import pyarrow as pa

    actions = pa.table(opened.get_add_actions()).select(["modification_time", "path", "size_bytes"])
    rows = zip(*(actions[name].to_pylist() for name in actions.column_names), strict=True)
    return [(path, size) for _, path, size in sorted(rows)]
