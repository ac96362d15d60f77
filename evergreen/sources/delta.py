"""A Delta table of another program as a source: what was added since, by the files that the table is made of.

A file of a Delta table never changes. A version with the same files has nothing new; what was appended is in new files,
which alone are read; a file that an update rewrote is read again, and the model's keys tell which of its rows are news.
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
from evergreen.sources.parquet import PIECE, STEP, in_pieces, piece_ids
from evergreen.storage.credentials import resolved
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    from evergreen.storage.delta_table import OpenTable

_FORMS = "a table's folder or URL, such as s3://bucket/table"


@dataclass(frozen=True, slots=True)
class DeltaSource:
    """The rows of a Delta table. The model needs keys.

    A row that is deleted there stays here, as it does where a file is deleted from a landing folder.

    Attributes:
        path: the table's folder, relative to the landing root or absolute, or its URL, or `env:NAME`. Credentials for
            an object store are those of the environment.
        piece: a file of more bytes comes in pieces of about as many, which bounds the memory.
    """

    path: str
    piece: int = PIECE

    needs_keys = True

    def __post_init__(self) -> None:
        """Refuse a URL that holds a password."""
        refuse_secret(self.path)

    def fingerprint(self, root: Path) -> str:
        """The table's id and version."""
        opened = self._opened(root)
        return f"{opened.metadata().id}@{opened.version()}"

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Read the files of which something is new, the oldest first, each in pieces."""
        opened = self._opened(root)
        table, version, name = str(opened.metadata().id), str(opened.version()), self._name(root)
        try:
            dataset = opened.to_pyarrow_dataset()
            fragments = {fragment.path: fragment for fragment in dataset.get_fragments()}
            for path, size in _files(opened):
                ids = piece_ids(("delta", table, path), size, self.piece)
                if not any(map(new, ids)):
                    continue
                fragment = fragments[unquote(path)]
                batches = fragment.to_batches(schema=dataset.schema, batch_size=STEP, batch_readahead=1)
                for number, frame in in_pieces(batches, fragment.count_rows(), [new(each) for each in ids]):
                    yield Batch(ids[number], f"{name}/{unquote(path)}", frame, revision=version)
        except Exception as error:
            # Delta's and Arrow's own words may show rows, or a key.
            raise DataError(
                f"source: version {version} of the Delta table {name} cannot be read ({type(error).__name__}).",
                "Check that its files are there, and that no newer writer's features are on.",
            ) from None

    def _opened(self, root: Path) -> OpenTable:
        import pyarrow as pa

        table = Table(self._place(root), pa.schema([]))
        name = self._name(root)
        try:
            found = table.exists()
        except Exception as error:
            raise DataError(
                f"source: the place of {name} cannot be looked at ({type(error).__name__}).",
                "Check the URL, and the credentials in the environment.",
            ) from None
        if not found:
            raise DataError(f"source: {name} is not a Delta table.", "Check the path: it holds a folder _delta_log.")
        try:
            return table.open()
        except EvergreenError as error:
            raise DataError(f"source: {error.what}", "Check the table with the program that writes it.") from None

    def _place(self, root: Path) -> str:
        text = resolved(self.path, "source", _FORMS)
        return text if "://" in text else str((root / Path(text).expanduser()).absolute())

    def _name(self, root: Path) -> str:
        return self._place(root).rstrip("/").rpartition("/")[2]


def _files(opened: OpenTable) -> list[tuple[str, int]]:
    """Path and size of each of the table's files, in the order in which they were written."""
    import pyarrow as pa

    actions = pa.table(opened.get_add_actions()).select(["modification_time", "path", "size_bytes"])
    rows = zip(*(actions[name].to_pylist() for name in actions.column_names), strict=True)
    return [(path, size) for _, path, size in sorted(rows)]
