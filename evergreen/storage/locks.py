"""Every lock of the project.

`Locks` is what a run asks for: one holder at a time of a model and a purpose. The lock lives where the state lives:
`FileLocks` keeps them as files, for runs on one machine, and `evergreen.storage.leases` in a lake outside of the home,
which other machines may reach as well.

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

from evergreen import naming
from evergreen.errors import BusyError, EvergreenError
from evergreen.settings import Settings
from evergreen.storage.delta_errors import require_own


class Held(Protocol):
    """A lock that this process holds, or believes that it holds."""

    def require(self) -> None:
        """Refuse to go on without the lock: for the moment before a write that only its holder may make.

        Raises:
            BusyError: the lock is another's by now, for this process was not heard of for too long.
            EvergreenError: it cannot be known, for the place of the locks is out of reach.
        """


class Locks(Protocol):
    """Mutual exclusion between runs, by model and purpose."""

    def hold(self, model: str, purpose: str, *, wait: float, now: datetime) -> contextlib.AbstractContextManager[Held]:
        """A context manager that holds the lock of a model for a purpose, such as `retrain`.

        The lock is taken when the context manager is entered, which may be done again after it was left.

        Args:
            model: name of the model.
            purpose: what the lock is held for; locks of different purposes do not exclude each other.
            wait: how many seconds to wait for another holder.
            now: when the holder began (aware, UTC), shown to whoever finds the lock taken.

        Raises:
            BusyError: on entering: another process holds the lock.
            EvergreenError: on entering: the lock cannot be taken at all, such as for a folder that cannot be written.
        """


def open_locks(settings: Settings) -> Locks:
    """The locks that guard the state of these settings.

    A lake that was set to a place of its own may be another machine's as well, even if it looks like a folder of this
    one: a network share has locks of files that nobody can vouch for.
    """
    require_own(settings.lake_uri)
    if settings.lake:
        from evergreen.storage.leases import LakeLocks

        return LakeLocks(settings.lake_uri)
    return machine_locks(settings)


def machine_locks(settings: Settings) -> Locks:
    """The locks of this machine alone, for what a process elsewhere does not touch."""
    return FileLocks(settings.locks)


@dataclass(frozen=True, slots=True)
class FileLocks:
    """Locks as files in a folder of this machine."""

    folder: Path

    def hold(self, model: str, purpose: str, *, wait: float, now: datetime) -> contextlib.AbstractContextManager[Held]:
        """Hold the lock of a model for a purpose; see `Locks.hold`."""
        return _HeldFile(self.folder, model, purpose, wait, now)


class _HeldFile(contextlib.AbstractContextManager[Held]):
    """A class, because a generator's context manager can be entered only once."""

    def __init__(self, folder: Path, model: str, purpose: str, wait: float, now: datetime) -> None:
        self._folder, self._model, self._purpose, self._wait, self._now = folder, model, purpose, wait, now
        self._lock = FileLock(folder / f"{naming.lock(model, purpose)}.lock")
        self._holder = folder / f"{naming.lock(model, purpose)}.holder"

    def __enter__(self) -> Held:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=self._wait)
        except Timeout:
            raise BusyError(
                f"Another {self._purpose} of {self._model} is running ({_read_holder(self._holder)}).",
                "Wait for it to end; this one did nothing.",
            ) from None
        except OSError as error:
            what = f"{self._folder} cannot be written: {error.strerror}."
            raise EvergreenError(what, "Check its owner and mode.") from None
        # The note is only for the message above: the lock holds also where it cannot be written.
        with contextlib.suppress(OSError):
            self._holder.write_text(f"process {os.getpid()}, since {self._now:%Y-%m-%d %H:%M:%S} UTC")
        return self

    def require(self) -> None:
        """Nothing to do: the operating system gives the file to nobody else while this process lives."""

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.release()


@contextlib.contextmanager
def hold_file(path: Path) -> Iterator[None]:
    """Wait for the lock of a file and hold it: for what only this machine has, such as its ports."""
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
