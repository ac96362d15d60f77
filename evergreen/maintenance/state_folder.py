"""What the state folder holds, what bounds each part, and giving back what databases have free."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evergreen.errors import EvergreenError
from evergreen.settings import Settings

FREE_SHARE = 0.25
"""A database's free pages are given back from this share of its file on; fewer are used again within days."""

_IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state folder.

    Attributes:
        name: what it is.
        path: its file or folder.
        bytes: its size.
        free: how much of it a database can give back; 0 where that is less than a quarter of its file.
        bound: what keeps it from growing for ever.
    """

    name: str
    path: str
    bytes: int
    free: int
    bound: str


def measure(settings: Settings) -> tuple[Part, ...]:
    """The parts of the state folder that are there. Nothing is opened for writing, and no database is locked."""
    parts = []
    for name, path, bound in (*_databases(settings), *_folders(settings)):
        size = _size(path)
        if size:
            free = _free_bytes(path)
            parts.append(Part(name, str(path), size, free if free >= FREE_SHARE * size else 0, bound))
    return tuple(parts)


def give_back(part: Part) -> bool:
    """Give a database's free pages back to the disk; False, and nothing done, if another process has it open.

    The file is rewritten, which takes as much free disk for a moment. Whoever opens it meanwhile waits.

    Raises:
        EvergreenError: it cannot be rewritten.
    """
    try:
        with contextlib.closing(sqlite3.connect(part.path, timeout=0, isolation_level=None)) as connection:
            # With a write-ahead log this fails as long as anybody else has the file open, also idly.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
            connection.execute("VACUUM")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _IN_USE:
            return False
        fix = "Free some disk, or restore the file, and run it again."
        raise EvergreenError(f"{part.path} cannot be rewritten: {error}.", fix) from None
    return True


def shrink(
    settings: Settings, *, step: Callable[[str], None] = lambda _text: None
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Give back what is free in every database; returns the parts as they were, and the names of those in use."""
    parts, in_use = measure(settings), []
    for part in parts:
        if part.free and not give_back(part):
            in_use.append(part.name)
        elif part.free:
            step(f"database: {part.name} gave back {(part.bytes - _size(Path(part.path))) / 1e6:.2f} MB")
    return parts, tuple(in_use)


def _databases(settings: Settings) -> tuple[tuple[str, Path, str], ...]:
    registry = settings.tracking.removeprefix("sqlite:///").partition("?")[0]
    prefect = (
        "Prefect's database",
        settings.prefect_home / "prefect.db",
        "its server, which keeps ended runs 30 days by default",
    )
    if not settings.tracking.startswith("sqlite:///"):
        return (prefect,)
    return prefect, ("MLflow's database", Path(registry), "a few rows for each version, kept")


def _folders(settings: Settings) -> tuple[tuple[str, Path, str], ...]:
    tables = (
        ()
        if "://" in settings.lake_uri
        else (("tables", Path(settings.lake_uri), "rows are kept; this command merges files"),)
    )
    root = settings.root
    return (
        *tables,
        ("versions' files", settings.artifact_folder, "this command"),
        ("drift reports", root / "reports", "this command"),
        ("quarantine", root / "quarantine", "--quarantine-older-than"),
        ("landing folders", settings.landing, "yours"),
        ("backtests", root / "backtest", "delete it as you like; the next backtest takes longer"),
        ("Prefect's results", settings.prefect_home / "storage", "about 1 kB for each batch"),
        ("logs of the stack", settings.stack / "logs", "30 MB for each of four services, then rotated"),
    )


def _free_bytes(path: Path) -> int:
    """What an SQLite file has free, from its header: https://sqlite.org/fileformat2.html#the_database_header.

    The log of its last transactions counts as free: it goes when the file is rewritten, and a server that was stopped
    may have left in it what its last deletions freed.
    """
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(b"SQLite format 3\0"):
        return 0
    page = int.from_bytes(header[16:18], "big")
    return int.from_bytes(header[36:40], "big") * (65_536 if page == 1 else page) + _log_bytes(path)


def _log_bytes(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return log.stat().st_size if log.is_file() else 0


def _size(path: Path) -> int:
    """The size of a folder, or of a file with the log of its last transactions; 0 if there is none."""
    if path.is_file():
        return path.stat().st_size + _log_bytes(path)
    total = 0
    for file in path.rglob("*"):
        # A run may delete a file at any time.
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total
