"""Predictions as a file: written beside its place and put there in one step, so that a reader sees the old or the new.

What a killed run left beside it is written over by the next.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import BusyError, EvergreenError
from evergreen.naming import part_file
from evergreen.storage.atomic_write import staged_file

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".csv.gz", ".parquet")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A CSV or Parquet file; one that is there is replaced, whatever batch it held."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def check(self) -> None:
        """Whether it is a file of a known kind in a folder that can be written."""
        if self._ending is None:
            raise EvergreenError(f"{self.path} is none of {', '.join(ENDINGS)}.", "Give the output another name.")
        if self.path.is_dir():
            raise EvergreenError(f"{self.path} is a folder.", f"Name a file in it: {self.path / 'predictions.csv'}")
        folder = self.path.resolve().parent
        if not folder.is_dir():
            raise EvergreenError(f"There is no folder {folder}.", "Make it, or name another one.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise EvergreenError(f"{folder} cannot be written.", "Check the folder's owner and mode.")

    def write(self, _batch: str, schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Put the rows into the file, in their order."""
        self.check()
        # A file holds one batch.
        schema = schema.remove(schema.get_field_index("batch"))
        with (
            _one_line(self.path),
            _alone(self.path.resolve()) as part,
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
                packed = stack.enter_context(pa.CompressedOutputStream(str(file), "gzip"))
                yield stack.enter_context(csv.CSVWriter(packed, schema))


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[Path]:
    """Hold the lock of the file beside `target`: one that a killed run left is taken over, one in use is not."""
    fresh = target.with_name(part_file(target.name))
    while True:
        file = os.open(fresh, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that held it may have put it into its place in the meantime: then it is not ours to write.
            if _is(file, fresh):
                yield fresh
                return
        except BlockingIOError:
            raise BusyError(f"Another run is writing {target}.", "Run it again when that one is done.") from None
        finally:
            os.close(file)


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise EvergreenError(f"The disk is full: {path} is as it was.", "Free space, then run it again.") from None
        why = error.strerror or type(error).__name__
        raise EvergreenError(f"{path} cannot be written: {why}.", "Check the folder, its owner and mode.") from None
