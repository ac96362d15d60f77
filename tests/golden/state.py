"""The golden state folder as one file: pack it, unpack it, and let MLflow find its files at the new place."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS, INPUTS, STATE = HERE / "models", HERE / "inputs", HERE / "state.tar.xz"
MADE_AT = "/var/tmp/evergreen-golden"  # noqa: S108 - nothing is read there: stored texts name it
"""Where the folder was made. Stored links to drift reports name it; the reports themselves are left out."""


def pack(home: Path) -> None:
    """Write a state folder to `STATE`; owners and times are left out."""

    def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 1_300_000_000
        return info

    with tarfile.open(STATE, "w:xz", preset=9) as archive:
        for path in sorted(home.rglob("*")):
            archive.add(path, path.relative_to(home), recursive=False, filter=anonymous)


def unpack(home: Path) -> None:
    """Extract `STATE` to a folder; call `relocate` before a command uses it."""
    with tarfile.open(STATE) as archive:
        # Set, not passed: Python 3.11.2 and 3.11.3 know no such argument.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(home)  # noqa: S202 - the archive is the repository's own


def relocate(home: Path) -> None:
    """Replace `MADE_AT` by `home` in MLflow's database.

    MLflow stores the absolute path of every run's and model's files, and commit 6801be8 looks only there. Nothing else
    in the folder is changed.
    """
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                where = f"typeof({column}) = 'text' AND instr({column}, ?)"
                change = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE {where}"  # noqa: S608
                database.execute(change, (MADE_AT, str(home), MADE_AT))
