"""What a model file is started from: a CSV, a SQL query, a Delta table or what DVC tracks.

Of each its first rows, from which the model file is inferred, and the source as the model file has it. A URL with a
password is never written: the model file names an environment variable in its place.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.errors import DataError, EvergreenError
from evergreen.model_files.column_types import shown
from evergreen.model_files.literals import literal
from evergreen.sources.base import Source, Waiting
from evergreen.sources.file_formats import identify_file, read_rows
from evergreen.storage.credentials import holds_secret

if TYPE_CHECKING:
    import pandas as pd

ROWS = 200_000
"""At most so many rows are looked at; more would not change what is inferred."""

HEAD_BYTES = 256 << 20
"""At most so much of a file is looked at, however wide its rows."""

_FORMS = "Take one of --csv FILE, --sql URL --query SELECT, --delta TABLE, --dvc PATH."


@dataclass(frozen=True, slots=True)
class Start:
    """What a model file is started from.

    Attributes:
        name: of the data, for the docstring.
        kind: what to say of it where its name cannot stand there.
        module: where its source is from.
        source: the source's class.
        lines: the source as the model file has it, with a comment before it.
        more: there are more rows than were looked at.
        notes: what a person has to do for it, one line each.
    """

    name: str
    kind: str
    module: str
    source: str
    lines: tuple[str, ...]
    more: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """Where the data is, as it was asked for: one of a CSV file, a database's URL, a Delta table, a path in DVC.

    Attributes:
        csv: a CSV file.
        sql: a database's URL, or `env:NAME`.
        query: what is selected there.
        watermark: the column by which only new rows are read; None to read the query whole.
        delta: a Delta table's folder or URL.
        dvc: a file or folder that DVC tracks, in the working folder of its repository.
        rev: the revision there; None for what the workspace tracks.
    """

    csv: Path | None = None
    sql: str | None = field(default=None, repr=False)
    query: str | None = None
    watermark: str | None = None
    delta: str | None = None
    dvc: Path | None = None
    rev: str | None = None

    def start(self, model: str, keys: Sequence[str]) -> tuple[Start, pd.DataFrame]:
        """What the model file needs to know, and the first rows.

        Raises:
            DataError: the data cannot be used.
            EvergreenError: the options do not fit together.
        """
        self._check(keys)
        if self.csv is not None:
            return _csv(self.csv)
        if self.sql is not None and self.query is not None:
            return _sql(self.sql, self.query, self.watermark, model)
        if self.delta is not None:
            return _delta(self.delta)
        return _dvc(Path(self.dvc or ""), self.rev)

    def _check(self, keys: Sequence[str]) -> None:
        given = [name for name in ("csv", "sql", "delta", "dvc") if getattr(self, name) is not None]
        if len(given) != 1:
            what = f"--{' and --'.join(given)} are two" if given else "There is nothing"
            raise EvergreenError(f"{what} to start from.", _FORMS)
        for option, needs in (("query", "sql"), ("watermark", "sql"), ("rev", "dvc")):
            if getattr(self, option) is not None and given != [needs]:
                raise EvergreenError(f"--{option} goes with --{needs}.", _FORMS)
        if given == ["sql"] and not self.query:
            raise EvergreenError("--sql: there is no query.", "Add --query 'SELECT * FROM trips'.")
        if not keys and (self.watermark is not None or self.delta is not None):
            raise EvergreenError(
                f"--{'watermark' if self.watermark is not None else 'delta'}: a row may come again, and without a key "
                "it would be there twice.",
                "Name the columns that tell a row: --key COL, again for each.",
            )


def read_head(csv: Path, *, rows: int = ROWS) -> tuple[pd.DataFrame, bool]:
    """The first rows of a CSV file as a landing folder would read them, and whether there are more.

    Raises:
        DataError: it is missing, empty, has a header only, or is no text.
    """
    where = shown(str(csv))
    try:
        if not csv.is_file():
            what = "is a folder" if csv.is_dir() else "is not a file" if csv.exists() else "is not there"
            raise DataError(f"{where} {what}.", "Give a CSV file with --csv.")
        if not csv.name.lower().endswith((".csv", ".csv.gz")) or csv.name.startswith((".", "_")):
            raise DataError(
                f"{where}: a landing folder takes files named like data.csv or data.csv.gz.", "Rename the file."
            )
        _, problem = identify_file(csv)
        if problem:
            raise DataError(f"{where} cannot be used: {problem}.", "Give a CSV file in UTF-8, with a header.")
        with ExitStack() as opened:
            head = _cut(csv, rows, Path(opened.enter_context(tempfile.TemporaryDirectory())))
            frame, problem = read_rows(head or csv)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no path"
        raise DataError(f"{where} cannot be read: {reason}.", "Give a CSV file that you may read.") from None
    if frame is None:
        raise DataError(f"{where} cannot be used: {problem}.", "Give a CSV file in UTF-8, with a header and rows.")
    return frame.rename(columns=str), head is not None


def _cut(csv: Path, rows: int, folder: Path) -> Path | None:
    """The header and the first rows as a file of their own; None if that is the whole file already."""
    head, lines, quotes, size = folder / "head.csv", 0, 0, 0
    try:
        with gzip.open(csv) if csv.name.lower().endswith(".gz") else csv.open("rb") as source, head.open("wb") as out:
            while piece := source.readline(1 << 20):
                # A line break within quotes ends no row; outside of them the quotes so far are even in number.
                if quotes % 2 == 0 and (lines > rows or size > HEAD_BYTES):
                    return head
                out.write(piece)
                size += len(piece)
                quotes += piece.count(b'"')
                lines += quotes % 2 == 0
    except (EOFError, zlib.error, gzip.BadGzipFile):
        # Whoever reads the whole file says what is wrong with it.
        return None
    return None


def _csv(csv: Path) -> tuple[Start, pd.DataFrame]:
    file = Path(os.path.realpath(csv)) if "\0" not in str(csv) else csv
    frame, more = read_head(file)
    lines = [
        '# Every file that the pattern names is a batch: widen it, such as to "*.csv", to drop more beside it.',
        *_call("Folder", _path(file.parent), f"pattern={literal(escape(file.name))}"),
    ]
    return Start(file.name, "a CSV file", "evergreen.sources", "Folder", tuple(lines), more), frame


def _sql(url: str, query: str, watermark: str | None, model: str) -> tuple[Start, pd.DataFrame]:
    from evergreen.sources.sql import SqlSource, absolute_url

    hidden = f"{model.upper()}_SQL_URL" if holds_secret(url) else ""
    place = f"env:{hidden}" if hidden else absolute_url(url)
    source = SqlSource(place, query, watermark)
    with _environment(hidden, url):
        frame, more = source.head(ROWS)
    if watermark is None:
        why = "# The query is read whole, at every ingest; with a watermark column only what is new."
    else:
        why = "# Read on from the newest watermark; a row that changes has to get a newer one."
    lines = ["# The URL holds a password: it is read from the environment."] if hidden else []
    words = [literal(place), literal(query), *([f"watermark={literal(watermark)}"] if watermark else [])]
    lines += [why, *_call("SqlSource", *words)]
    notes = [f"the URL holds a password, and is not written: set {hidden} to it where runs are"] if hidden else []
    made = Start("a SQL query", "a SQL query", "evergreen.sources", "SqlSource", tuple(lines), more, tuple(notes))
    return made, _some(frame, "The query")


def _delta(table: str) -> tuple[Start, pd.DataFrame]:
    from evergreen.sources.delta import DeltaSource

    place = table if "://" in table or table.startswith("env:") else str(Path(table).expanduser().absolute())
    frame, more = _first(DeltaSource(place))
    name = place.rstrip("/").rpartition("/")[2]
    lines = [
        "# Rows of new files are read; a row with a known key replaces the earlier one.",
        *_call("DeltaSource", _path(place)),
    ]
    made = Start(name, "a Delta table", "evergreen.sources", "DeltaSource", tuple(lines), more)
    return made, _some(frame, f"The Delta table {name}")


def _dvc(path: Path, rev: str | None) -> tuple[Start, pd.DataFrame]:
    from evergreen.sources.dvc import DvcSource

    full = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - a link in the workspace may lead into DVC's cache
    repo = next((folder for folder in full.parents if (folder / ".dvc").is_dir()), None)
    if repo is None:
        raise DataError(f"--dvc: {shown(str(path))} is not in a DVC repository.", "Give a path below a folder .dvc.")
    within = full.relative_to(repo).as_posix()
    frame, more = _first(DvcSource(within, rev, str(repo)))
    words = [literal(within), *([f"rev={literal(rev)}"] if rev else []), f"repo={_path(repo)}"]
    why = "# What this revision says" if rev else "# What the workspace tracks, as dvc add and git checkout move it"
    lines = [f"{why}; a file that changed is read again.", *_call("DvcSource", *words)]
    made = Start(full.name, "data in DVC", "evergreen.sources", "DvcSource", tuple(lines), more)
    return made, _some(frame, within)


def _first(source: Source) -> tuple[pd.DataFrame | None, bool]:
    """The first rows of a source, and whether there are more; None where it has none."""
    import pandas as pd

    frames: list[pd.DataFrame] = []
    held = 0
    for item in source.read(Path(), lambda _batch: True):
        if isinstance(item, Waiting):
            continue
        if item.frame is None:
            raise DataError(f"{item.name} cannot be used: {item.problem}.", "Mend it, or leave it out.")
        frames.append(item.frame)
        held += len(item.frame)
        if held > ROWS:
            break
    return (pd.concat(frames, ignore_index=True).head(ROWS), held > ROWS) if frames else (None, False)


def _some(frame: pd.DataFrame | None, what: str) -> pd.DataFrame:
    if frame is None or frame.empty:
        raise DataError(f"{what} has no rows.", "Start from data: types and categories are inferred from it.")
    return frame.rename(columns=str)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for as long as it takes; none where the name is empty."""
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


def _call(name: str, *words: str) -> list[str]:
    """A call as the formatter lays it out, where its last comma asks for a line each."""
    return [f"source={name}(", *(f"    {word}" if "  #" in word else f"    {word}," for word in words), "),"]


def _path(path: Path | str) -> str:
    """A path as Python source, with the comma where the linter has to be told that the folder is meant."""
    temporary = str(path).startswith(("/tmp", "/var/tmp", "/dev/shm"))  # noqa: S108
    return f"{literal(str(path))},  # noqa: S108" if temporary else literal(str(path))
