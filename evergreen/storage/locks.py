"""Every lock of the project.

`Locks` is what a run asks for: one holder at a time of a model and a purpose. `FileLocks` keeps them as files, for runs
on one machine. Locks that live elsewhere are another implementation of `Locks`, which `open_locks` then returns.

The operating system releases a file lock when its holder dies, so no lock is ever stale.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from evergreen.errors import BusyError, EvergreenError
from evergreen.settings import Settings


class Locks(Protocol):
    """Mutual exclusion between runs, by model and purpose."""

    def hold(self, model: str, purpose: str, *, wait: float, now: datetime) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of a model for a purpose, such as `retrain`, until the block ends.

        Args:
            model: name of the model.
            purpose: what the lock is held for; locks of different purposes do not exclude each other.
            wait: how many seconds to wait for another holder.
            now: when the holder began (aware, UTC), shown to whoever finds the lock taken.

        Raises:
            BusyError: another process holds the lock.
            EvergreenError: the lock cannot be taken at all, such as for a folder that cannot be written.
        """


def open_locks(settings: Settings) -> Locks:
    """The locks that guard the state of these settings."""
    return FileLocks(settings.root / "locks")


@dataclass(frozen=True, slots=True)
class FileLocks:
    """Locks as files in a folder of this machine."""

    folder: Path

    @contextlib.contextmanager
    def hold(self, model: str, purpose: str, *, wait: float, now: datetime) -> Iterator[None]:
        """Hold the lock of a model for a purpose; see `Locks.hold`."""
        lock = FileLock(self.folder / f"{model}.{purpose}.lock")
        holder = self.folder / f"{model}.{purpose}.holder"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=wait)
        except Timeout:
            raise BusyError(
                f"Another {purpose} of {model} is running ({_read_holder(holder)}).",
                "Wait for it to end; this one did nothing.",
            ) from None
        except OSError as error:
            raise EvergreenError(
                f"{self.folder} cannot be written: {error.strerror}.", "Check its owner and mode."
            ) from None
        try:
            # The note is only for the message above: the lock holds also where it cannot be written.
            with contextlib.suppress(OSError):
                holder.write_text(f"process {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S} UTC")
            yield
        finally:
            with contextlib.suppress(OSError):
                holder.unlink(missing_ok=True)
            lock.release()


@contextlib.contextmanager
def hold_file(path: Path) -> Iterator[None]:
    """Wait for the lock of a file and hold it: for what only this machine has, such as ports and a local database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting; the lock ends when the last copy of the descriptor is closed.

    A shared lock only excludes an exclusive one. Returns whether the lock was taken.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(note: Path) -> str:
    try:
        return note.read_text().strip() or "another process"
    except OSError:
        return "another process"
