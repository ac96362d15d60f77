"""The files that a Delta table consists of up to one of its versions, read from the files of its log.

A version is the log up to its number and the files that the log has added by then. None of them is ever written again,
so that they may be copied while others write. The files that former versions need are among them, as far as no cleaning
has deleted them. See https://github.com/delta-io/delta/blob/master/PROTOCOL.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from urllib.parse import unquote

from evergreen.storage.file_tree import FileTree

LOG = "_delta_log"
_HINT = "_last_checkpoint"
"""Names the newest checkpoint. It is written again and again, and a reader without it lists the log."""
_DIGITS = 20


def newest_version(tree: FileTree, table: str) -> int | None:
    """The newest version of the table in a folder; None where there is no table."""
    numbers = [_number(name) for name in tree.children(f"{table}/{LOG}") if name.endswith(".json")]
    return max((number for number in numbers if number is not None), default=None)


def log_files(tree: FileTree, table: str, version: int) -> tuple[str, ...]:
    """The files of the log up to a version, in their order; what names a later version is left out."""
    found = []
    for name in tree.children(f"{table}/{LOG}"):
        number = _number(name)
        if number is not None and number <= version and "compacted" not in name:
            found.append(f"{table}/{LOG}/{name}")
    return tuple(found)


def added_files(tree: FileTree, table: str, log: Iterable[str]) -> tuple[str, ...]:
    """The data files that these files of a log have added; some may be deleted by now.

    Raises:
        DataError: the log cannot be read.
    """
    found = dict[str, None]()
    for name in log:
        if name.endswith(".json"):
            paths = _added_by_commit(tree.read(name))
        elif ".checkpoint" in name and name.endswith(".parquet"):
            paths = _added_by_checkpoint(tree.read(name))
        else:
            continue
        found.update(dict.fromkeys(f"{table}/{unquote(path)}" for path in paths))
    return tuple(found)


def _added_by_commit(content: bytes) -> Iterator[str]:
    for line in content.splitlines():
        # Most lines of a commit are long statistics: only those that add a file are parsed.
        if b'"add"' in line[:16]:
            yield str(json.loads(line)["add"]["path"])


def _added_by_checkpoint(content: bytes) -> Iterator[str]:
    import pyarrow.parquet as pq

    for row in pq.ParquetFile(BytesIO(content)).read(columns=["add.path"])["add"].to_pylist():
        if row is not None and row["path"] is not None:
            yield str(row["path"])


def _number(name: str) -> int | None:
    """The version that a file of a log is of; None for a file that is of none."""
    digits, dot, _ = name.partition(".")
    return int(digits) if dot and len(digits) == _DIGITS and digits.isdigit() else None
