"""The data that a model file is started from: a CSV, an SQL query, a Delta table, or a path that DVC tracks.

Each gives its first rows, from which the model file is inferred, and the source as the model file writes it. A URL with
a password is never written: the model file names an environment variable in its place.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.data.column_names import plain_names
from evergreen.errors import DataError, EvergreenError
from evergreen.model_files.column_types import quote_name
from evergreen.model_files.data_files import Columns, DataFiles, choose_files, folder_expression
from evergreen.model_files.literals import literal
from evergreen.sources.base import Source, Waiting
from evergreen.sources.csv_file import RejectedFileError
from evergreen.sources.file_formats import format_of, identify_file, is_written, read_rows
from evergreen.sources.text_encoding import find_encoding
from evergreen.storage.credentials import holds_secret

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 200_000
"""Rows that are looked at, at most; more would not change what is inferred."""

MAX_BYTES = 256 << 20
"""Bytes of a file that are looked at, at most, however wide its rows are."""

HEADER_ROWS = 50
"""Lines in which the header of a file is looked for, and what may stand before it."""

WESTERN = "cp1252"
"""Tried where a file is not UTF-8: what Windows writes in western Europe and America, with Latin-1 in it."""

_OPTIONS = "Take one of --csv PATH, --sql URL --query SELECT, --delta TABLE, --dvc PATH."


@dataclass(frozen=True, slots=True)
class SourceDraft:
    """The source of a model file, as the file writes it.

    Attributes:
        name: of the data, for the docstring.
        kind: of the data, for the docstring if the name cannot be written there.
        module: the module to import the source from.
        source: the source's class.
        lines: the source in the model file, with a comment before it.
        imports: what else the source's lines need, such as `from pathlib import Path`.
        more: there are more rows than were looked at.
        notes: what a person has to do, one line each.
    """

    name: str
    kind: str
    module: str
    source: str
    lines: tuple[str, ...]
    more: bool
    notes: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Where the data is: exactly one of files, a database's URL, a Delta table and a path in DVC.

    Attributes:
        csv: a CSV or Parquet file, or a folder of them.
        sql: a database's URL, or `env:NAME`.
        query: a SELECT for that database.
        watermark: the column by which only new rows are read; None to read the query whole.
        delta: a Delta table's folder or URL.
        dvc: a file or folder that DVC tracks, in the working folder of its repository.
        rev: the revision in DVC; None for what the workspace tracks.
    """

    csv: Path | None = None
    sql: str | None = field(default=None, repr=False)
    query: str | None = None
    watermark: str | None = None
    delta: str | None = None
    dvc: Path | None = None
    rev: str | None = None

    def draft(
        self, model: str, keys: Sequence[str], models: Path, landing: Path | None = None
    ) -> tuple[SourceDraft, pd.DataFrame]:
        """Draft the source for a model file, and read the first rows.

        Args:
            model: its name.
            keys: the columns that identify a row.
            models: the folder of model files.
            landing: where the relative paths of a `Folder` start; None if that is not known.

        Raises:
            DataError: the data cannot be used.
            EvergreenError: the options do not fit together.
        """
        self._check(keys)
        if self.csv is not None:
            return _draft_files(self.csv, keys, models, landing)
        if self.sql is not None and self.query is not None:
            return _draft_sql(self.sql, self.query, self.watermark, model)
        if self.delta is not None:
            return _draft_delta(self.delta)
        return _draft_dvc(Path(self.dvc or ""), self.rev)

    def _check(self, keys: Sequence[str]) -> None:
        kinds = [name for name in ("csv", "sql", "delta", "dvc") if getattr(self, name) is not None]
        if len(kinds) != 1:
            what = f"--{' and --'.join(kinds)} are two" if kinds else "There is nothing"
            raise EvergreenError(f"{what} to start from.", _OPTIONS)
        for option, needs in (("query", "sql"), ("watermark", "sql"), ("rev", "dvc")):
            if getattr(self, option) is not None and kinds != [needs]:
                raise EvergreenError(f"--{option} goes with --{needs}.", _OPTIONS)
        if kinds == ["sql"] and not self.query:
            raise EvergreenError("--sql: there is no query.", "Add --query 'SELECT * FROM trips'.")
        if not keys and (self.watermark is not None or self.delta is not None):
            raise EvergreenError(
                f"--{'watermark' if self.watermark is not None else 'delta'}: a row may come again, and without a key "
                "it would be there twice.",
                "Name the columns that identify a row: --key COL, again for each.",
            )


def read_head(csv: Path, *, rows: int = MAX_ROWS, encoding: str = "utf-8") -> tuple[pd.DataFrame, bool]:
    """Read the first rows of a CSV or Parquet file as a landing folder would; returns them, and whether there are more.

    `encoding` is that of a CSV file that is not UTF-8.

    Raises:
        DataError: the file is missing or empty, has a header only, or is neither text nor Parquet.
    """
    where = quote_name(str(csv))
    try:
        if not csv.is_file():
            what = "is a folder" if csv.is_dir() else "is not a file" if csv.exists() else "is not there"
            raise DataError(f"{where} {what}.", "Give a CSV or Parquet file, or a folder of them, with --csv.")
        if not format_of(csv) or csv.name.startswith((".", "_")):
            raise DataError(
                f"{where}: a landing folder takes files named like data.csv, data.tsv, data.csv.gz or data.parquet.",
                "Rename the file.",
            )
        _, problem = identify_file(csv)
        if problem:
            raise DataError(f"{where} cannot be used: {problem}.", "Give a CSV file in UTF-8, with a header.")
        if format_of(csv) == "parquet":
            return _read_parquet_head(csv, rows)
        with tempfile.TemporaryDirectory() as folder:
            head = _write_head(csv, rows, Path(folder))
            frame, problem = read_rows(head or csv, encoding)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no path"
        raise DataError(f"{where} cannot be read: {reason}.", "Give a CSV file that you may read.") from None
    if frame is None:
        raise DataError(f"{where} cannot be used: {problem}.", "Give a CSV file in UTF-8, with a header and rows.")
    return frame, head is not None


def _write_head(csv: Path, rows: int, folder: Path) -> Path | None:
    """Write the header and the first rows to a file; returns None if they are the whole file."""
    head, lines, quotes, size = folder / "head.csv", 0, 0, 0
    try:
        with gzip.open(csv) if csv.name.lower().endswith(".gz") else csv.open("rb") as source, head.open("wb") as out:
            while piece := source.readline(1 << 20):
                # A line break inside quotes ends no row; outside, the number of quotes so far is even.
                if quotes % 2 == 0 and (lines > rows or size > MAX_BYTES):
                    return head
                out.write(piece)
                size += len(piece)
                quotes += piece.count(b'"')
                lines += quotes % 2 == 0
    except (EOFError, zlib.error, gzip.BadGzipFile):
        # Reading the whole file will say what is wrong with it.
        return None
    return None


def _read_parquet_head(file: Path, rows: int) -> tuple[pd.DataFrame, bool]:
    frame, problem = read_rows(file)
    if frame is None:
        raise DataError(f"{quote_name(str(file))} cannot be used: {problem}.", "Give a Parquet file with rows.")
    return frame.head(rows), len(frame) > rows


def _draft_files(
    path: Path, keys: Sequence[str], models: Path, landing: Path | None
) -> tuple[SourceDraft, pd.DataFrame]:
    real = Path(os.path.realpath(path)) if "\0" not in str(path) else path
    if not _is_folder(real):
        # Said before anything beside it is looked at.
        read_head(real, rows=HEADER_ROWS, encoding=WESTERN)
    files = choose_files(real, _columns_of)
    frame, more = _read_files(files, keys)
    letters = next(filter(None, (_foreign_letters(file, frame) for file in files.first if is_written(file))), "")
    where = folder_expression(files.folder, models, landing)
    arguments = [_lint_comment(where), f"pattern={literal(files.pattern)}"]
    lines = [
        "# Every file of this folder that matches the pattern is a batch; put the next ones beside the first.",
        *_call_lines("Folder", *arguments, *([f"encoding={literal(WESTERN)}"] if letters else [])),
    ]
    said = f"its text is not UTF-8 and is read as {WESTERN}, such as {letters}: see Folder(encoding=...) in the file"
    notes = [*files.notes, *([said] if letters else [])]
    if where.startswith('"/'):
        notes.append(
            f"{quote_name(str(files.folder))} is a path of this machine: put the data below the project's folder, and "
            "the model file works on others, too"
        )
    imports = ("from pathlib import Path",) if where.startswith("Path(") else ()
    name, kind = real.name, "a folder of files" if len(files.first) > 1 else "a file"
    draft = SourceDraft(name, kind, "evergreen.sources", "Folder", tuple(lines), more, tuple(notes), imports)
    return draft, frame


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _columns_of(file: Path) -> Columns | None:
    try:
        return tuple(plain_names(list(read_head(file, rows=HEADER_ROWS, encoding=WESTERN)[0].columns)))
    except DataError:
        return None


def _read_files(files: DataFiles, keys: Sequence[str]) -> tuple[pd.DataFrame, bool]:
    """The first rows of the files together. A row whose key comes again in a later file is there once, as it lands."""
    import pandas as pd

    frames: list[pd.DataFrame] = []
    rows, more = 0, False
    for file in files.first:
        if rows >= MAX_ROWS:
            more = True
            break
        frame, more = read_head(file, rows=MAX_ROWS - rows, encoding=WESTERN)
        frame = frame.set_axis(plain_names(list(frame.columns)), axis=1)
        if keys and set(keys) <= set(frame.columns):
            later = pd.MultiIndex.from_frame(frame[list(keys)].astype("str"))
            kept = [~pd.MultiIndex.from_frame(each[list(keys)].astype("str")).isin(later) for each in frames]
            frames = [each[rows_kept] for each, rows_kept in zip(frames, kept, strict=True)]
        frames.append(frame)
        rows = sum(map(len, frames))
    return (frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)), more


def _foreign_letters(file: Path, frame: pd.DataFrame) -> str:
    """Three values with letters beyond ASCII of a file that is not UTF-8; empty for one that is."""
    try:
        if find_encoding(file, WESTERN, packed=file.name.lower().endswith(".gz")) == "utf-8":
            return ""
    except RejectedFileError:
        # Behind the first rows there is text of neither; each ingest will say so.
        return ""
    texts = [*map(str, frame.columns), *(str(value) for name in frame for value in frame[name].drop_duplicates())]
    foreign = list(dict.fromkeys(text for text in texts if not text.isascii()))
    return ", ".join(map(quote_name, foreign[:3])) or "letters behind the first rows"


def _draft_sql(url: str, query: str, watermark: str | None, model: str) -> tuple[SourceDraft, pd.DataFrame]:
    from evergreen.sources.sql import SqlSource, absolute_url

    variable = f"{model.upper()}_SQL_URL" if holds_secret(url) else ""
    written_url = f"env:{variable}" if variable else absolute_url(url)
    source = SqlSource(written_url, query, watermark)
    with _set_variable(variable, url):
        frame, more = source.head(MAX_ROWS)
    if watermark is None:
        comment = "# Every ingest reads the whole query; with a watermark column only what is new."
    else:
        comment = "# Read on from the newest watermark; a row that changes has to get a newer one."
    lines = ["# The URL holds a password: it is read from the environment."] if variable else []
    arguments = [literal(written_url), literal(query), *([f"watermark={literal(watermark)}"] if watermark else [])]
    lines += [comment, *_call_lines("SqlSource", *arguments)]
    notes = [f"the URL holds a password, and is not written: set {variable} to it where runs are"] if variable else []
    kind = "a SQL query"
    draft = SourceDraft(kind, kind, "evergreen.sources", "SqlSource", tuple(lines), more, tuple(notes))
    return draft, _require_some(frame, "The query")


def _draft_delta(table: str) -> tuple[SourceDraft, pd.DataFrame]:
    from evergreen.sources.delta import DeltaSource

    uri = table if "://" in table or table.startswith("env:") else str(Path(table).expanduser().absolute())
    frame, more = _read_first(DeltaSource(uri))
    name = uri.rstrip("/").rpartition("/")[2]
    lines = [
        "# Rows of new files are read; a row with a known key replaces the earlier one.",
        *_call_lines("DeltaSource", _path_literal(uri)),
    ]
    draft = SourceDraft(name, "a Delta table", "evergreen.sources", "DeltaSource", tuple(lines), more)
    return draft, _require_some(frame, f"The Delta table {name}")


def _draft_dvc(path: Path, rev: str | None) -> tuple[SourceDraft, pd.DataFrame]:
    from evergreen.sources.dvc import DvcSource

    full = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - a link in the workspace may lead into DVC's cache
    repo = next((folder for folder in full.parents if (folder / ".dvc").is_dir()), None)
    if repo is None:
        raise DataError(
            f"--dvc: {quote_name(str(path))} is not in a DVC repository.", "Give a path below a folder .dvc."
        )
    relative = full.relative_to(repo).as_posix()
    frame, more = _read_first(DvcSource(relative, rev, str(repo)))
    arguments = [literal(relative), *([f"rev={literal(rev)}"] if rev else []), f"repo={_path_literal(repo)}"]
    what = "# What this revision says" if rev else "# What the workspace tracks, as dvc add and git checkout move it"
    lines = [f"{what}; a file that changed is read again.", *_call_lines("DvcSource", *arguments)]
    draft = SourceDraft(full.name, "data in DVC", "evergreen.sources", "DvcSource", tuple(lines), more)
    return draft, _require_some(frame, relative)


def _read_first(source: Source) -> tuple[pd.DataFrame | None, bool]:
    """Read the first rows of a source; returns them, None if it has none, and whether there are more."""
    import pandas as pd

    frames: list[pd.DataFrame] = []
    rows = 0
    for item in source.read(Path(), lambda _batch: True):
        if isinstance(item, Waiting):
            continue
        if item.frame is None:
            raise DataError(f"{item.name} cannot be used: {item.problem}.", "Fix it, or leave it out.")
        frames.append(item.frame)
        rows += len(item.frame)
        if rows > MAX_ROWS:
            break
    return (pd.concat(frames, ignore_index=True).head(MAX_ROWS), rows > MAX_ROWS) if frames else (None, False)


def _require_some(frame: pd.DataFrame | None, what: str) -> pd.DataFrame:
    if frame is None or frame.empty:
        raise DataError(f"{what} has no rows.", "Give data with rows: types and categories are inferred from them.")
    return frame


@contextmanager
def _set_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable until the block ends; do nothing if the name is empty."""
    before = os.environ.get(name) if name else None
    if name:
        os.environ[name] = value
    try:
        yield
    finally:
        if name and before is None:
            del os.environ[name]
        elif name and before is not None:
            os.environ[name] = before


def _call_lines(name: str, *arguments: str) -> list[str]:
    """The source's call as the formatter lays it out, one argument a line."""
    lines = (f"    {argument}" if "  #" in argument else f"    {argument}," for argument in arguments)
    return [f"source={name}(", *lines, "),"]


def _path_literal(path: Path | str) -> str:
    """A path as Python source."""
    return _lint_comment(literal(str(path)))


def _lint_comment(expression: str) -> str:
    """A path's source; a temporary folder gets its comma and a comment for the linter, which warns of it."""
    is_temporary = expression.startswith(('"/tmp', '"/var/tmp', '"/dev/shm'))
    return f"{expression},  # noqa: S108" if is_temporary else expression
