"""Files that are written beside their place and then renamed: a reader sees the old file or the new one, never half.

A link stays a link and a file keeps its mode. What fails leaves the old file, and nothing beside it; a process that is
killed leaves a file whose name begins with `.part-`, which every source of rows passes over.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evergreen.naming import PART_PREFIX


@contextmanager
def staged_file(path: Path, part: Path | None = None, *, new: bool = False, durable: bool = True) -> Iterator[Path]:
    """Give a path to write to; the file takes the place of `path` when the block ends well.

    Args:
        path: its folder is there.
        part: the path to write to, on the same disk; one of its own name beside `path` where None.
        new: refuse to replace a file.
        durable: wait until the content is on the disk, so that a power cut leaves no empty file either.

    Raises:
        FileExistsError: with `new`, there is a file by now.
        OSError: it cannot be written.
    """
    target = path.resolve()
    part = part or target.with_name(f"{PART_PREFIX}{uuid.uuid4().hex}")
    try:
        yield part
        if durable:
            with part.open("rb+") as file:
                os.fsync(file)
        if new:
            # A link fails where the name is taken; a rename would overwrite.
            os.link(part, target)
            part.unlink()
        else:
            if target.exists():
                shutil.copymode(target, part)
            part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a whole text as UTF-8; the rest as `staged_file`."""
    with staged_file(path, durable=durable) as part:
        part.write_text(text, encoding="utf-8")
