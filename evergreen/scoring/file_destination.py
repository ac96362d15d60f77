"""Predictions as a file, written beside its place and renamed in one step: a reader sees the old file or the new one.

The next run overwrites what a killed run left beside it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import BusyError, EvergreenError
from evergreen.naming import part_file
from evergreen.storage.atomic_write import staged_file
from evergreen.storage.locks import try_lock

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".csv.gz", ".parquet")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class FileDestination:
    """A CSV or Parquet file; an existing file is replaced, whatever batch it holds."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def check(self) -> None:
        """Check that it is a file of a known kind in a folder that can be written."""
        if self._ending is None:
            raise EvergreenError(f"{self.path} is none of {', '.join(ENDINGS)}.", "Give the output another name.")
        if self.path.is_dir():
            raise EvergreenError(f"{self.path} is a folder.", f"Name a file in it: {self.path / 'predictions.csv'}")
        folder = self.path.resolve().parent
        if not folder.is_dir():
            raise EvergreenError(f"There is no folder {folder}.", "Create it, or name another one.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise EvergreenError(f"{folder} cannot be written.", "Check the folder's owner and mode.")

    def write(self, _batch: str, schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Write the rows to the file, in their order."""
        self.check()
        # A file holds one batch.
        schema = schema.remove(schema.get_field_index("batch"))
        with (
            _explain_errors(self.path),
            _claim_part(self.path.resolve()) as part,
            staged_file(self.path, part),
            self._writer(part, schema) as writer,
        ):
            for table in rows:
                writer.write_table(table.select(schema.names))

    @property
    def _ending(self) -> str | None:
        return next((ending for ending in ENDINGS if self.path.name.lower().endswith(ending)), None)

    @contextlib.contextmanager
    def _writer(self, file: Path, schema: pa.Schema) -> Iterator[Any]:
        import pyarrow as pa
        from pyarrow import csv, parquet

        with contextlib.ExitStack() as stack:
            if self._ending == ".parquet":
                yield stack.enter_context(parquet.ParquetWriter(str(file), schema))
            elif self._ending == ".csv":
                yield stack.enter_context(csv.CSVWriter(str(file), schema))
            else:
                compressed = stack.enter_context(pa.CompressedOutputStream(str(file), "gzip"))
                yield stack.enter_context(csv.CSVWriter(compressed, schema))


@contextlib.contextmanager
def _claim_part(destination: Path) -> Iterator[Path]:
    """Hold the lock of the file beside `destination`; the lock of a killed run is free, that of a running one is not.

    Raises:
        BusyError: another run is writing the file.
    """
    part = destination.with_name(part_file(destination.name))
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not try_lock(descriptor):
                raise BusyError(f"Another run is writing {destination}.", "Run it again when that one is done.")
            # The run that held the lock may have renamed the file in the meantime: then it is not ours to write.
            if _is_at(descriptor, part):
                yield part
                return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file still has this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise EvergreenError(f"The disk is full: {path} is as it was.", "Free space, then run it again.") from None
        why = error.strerror or type(error).__name__
        raise EvergreenError(f"{path} cannot be written: {why}.", "Check the folder, its owner and mode.") from None
