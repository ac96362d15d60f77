"""The files that a model file is started from: which are looked at, and which pattern the next ones will match."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from evergreen.errors import DataError
from evergreen.markdown import many
from evergreen.model_files.column_types import quote_name
from evergreen.model_files.literals import literal
from evergreen.sources.base import is_passed_over
from evergreen.sources.file_formats import ending_of, format_of

MAX_SIBLINGS = 50
"""Files of a folder whose columns are looked at, at most."""

Columns = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataFiles:
    """Files of one folder that land together.

    Attributes:
        folder: where they are.
        first: the files whose rows are looked at, by name.
        pattern: of their names, as a shell has it.
        notes: what a person should know of the other files there, one line each.
    """

    folder: Path
    first: tuple[Path, ...]
    pattern: str
    notes: tuple[str, ...] = ()


def choose_files(path: Path, columns_of: Callable[[Path], Columns | None]) -> DataFiles:
    """Choose the files and the pattern for a file, or for a folder of them.

    Args:
        path: as a person gave it.
        columns_of: the names of a file's columns; None for a file that cannot be read.

    Raises:
        DataError: the folder has no data, or files of several kinds.
    """
    if path.is_dir():
        return _choose_of_folder(path, columns_of)
    siblings = [file for file in _data_files(path.parent) if file != path]
    pattern = _pattern_of(path, alone=not siblings)
    mine = columns_of(path) if siblings else None
    others = {file: columns_of(file) for file in siblings[:MAX_SIBLINGS]}
    taken = [file for file in others if fnmatchcase(file.name, pattern)]
    like = [file for file, columns in others.items() if columns == mine and file not in taken]
    unlike = [file for file in taken if others[file] != mine]
    notes = []
    if also := [file for file in taken if file not in unlike]:
        notes.append(f"{_names(also)} in the same folder will land, too: the pattern {pattern!r} matches")
    if unlike:
        notes.append(
            f"{_names(unlike)} in the same folder match{'es' if len(unlike) == 1 else ''} the pattern {pattern!r}, and "
            "the columns differ: they will go to quarantine, unless you narrow the pattern in the file"
        )
    if like:
        notes.append(
            f"{_names(like)} in the same folder ha{'s' if len(like) == 1 else 've'} the same columns and will not "
            f"land: the pattern {pattern!r} does not match. To take every file, write pattern={_everything(path)!r}"
        )
    return DataFiles(path.parent, (path,), pattern, tuple(notes))


def folder_expression(folder: Path, models: Path, landing: Path | None = None) -> str:
    """A folder as the model file writes it: relative where it can be, so that the project works on another machine.

    Args:
        folder: absolute.
        models: the folder of model files; the project is the folder that it is in.
        landing: where the relative paths of a `Folder` start; None if that is not known.
    """
    # A link in the folder's path stays as a person named it.
    project = Path(os.path.realpath(models)).parent
    if landing is not None and folder.is_relative_to(landing) and folder != landing:
        return literal(folder.relative_to(landing).as_posix())
    if folder.is_relative_to(project):
        parts = folder.relative_to(project).parts
        return " / ".join(["Path(__file__).resolve().parents[1]", *map(literal, parts)])
    home = Path(os.path.realpath(Path.home()))
    if folder.is_relative_to(home):
        return literal(f"~/{folder.relative_to(home).as_posix()}")
    return literal(str(folder))


def _choose_of_folder(folder: Path, columns_of: Callable[[Path], Columns | None]) -> DataFiles:
    files = _data_files(folder)
    if not files:
        raise DataError(
            f"{quote_name(str(folder))} is a folder without a CSV or Parquet file.",
            "Name the folder that they land in.",
        )
    columns = {file: columns_of(file) for file in files[:MAX_SIBLINGS]}
    kinds: dict[Columns | None, list[Path]] = {}
    for file, names in columns.items():
        kinds.setdefault(names, []).append(file)
    if len(kinds) == 1:
        return DataFiles(folder, tuple(files), _everything(*files))
    raise DataError(
        f"{quote_name(str(folder))} has files of {len(kinds)} kinds, whose columns differ, such as "
        f"{_names([group[0] for group in kinds.values()])}.",
        f"Name one file of the kind that you want, such as --csv {shlex.quote(str(files[0]))}: the pattern for the "
        "others follows from its name.",
    )


def _data_files(folder: Path) -> list[Path]:
    """The files of a folder that a landing folder would read, by name."""
    files = sorted(file for file in folder.iterdir() if format_of(file) and not is_passed_over(file.name))
    return [file for file in files if file.is_file()]


def _pattern_of(file: Path, *, alone: bool) -> str:
    """The pattern that files named like this one match: digits count on, and a name without any is a beginning."""
    length = len(ending_of(file))
    stem, ending = file.name[:-length], file.name[-length:]
    parts = [escape(part) for part in re.split(r"\d+(?:[-_.T:]\d+)*", stem)]
    if len(parts) == 1:
        return f"*{ending}" if alone else f"{parts[0]}*{ending}"
    return "*".join(parts) + ending


def _everything(*files: Path) -> str:
    """The pattern of all files of these formats."""
    endings = {file.name[-len(ending_of(file)) :] for file in files}
    return f"*{endings.pop()}" if len(endings) == 1 else "*"


def _names(files: Sequence[Path]) -> str:
    listed = ", ".join(quote_name(file.name) for file in files[:3])
    return listed if len(files) <= 3 else f"{listed} and {many(len(files) - 3, 'more file')}"
