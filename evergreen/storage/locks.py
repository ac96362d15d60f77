"""One writer at a time. The operating system frees a lock when its holder dies, so none is ever stale."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from evergreen import naming
from evergreen.errors import BusyError, EvergreenError
from evergreen.settings import Settings


def held(
    settings: Settings, model: str, what: str, *, wait: float, now: datetime
) -> contextlib.AbstractContextManager[None]:
    """Hold the model's lock for `what` (such as `retrain`); wait at most `wait` seconds for it.

    Nothing is held before the context manager is entered. It may be entered again after it was left.

    Raises:
        BusyError: another process holds it.
        EvergreenError: there is nowhere to keep the lock.
    """
    return _ModelLock(settings.locks, model, what, wait, now)


class _ModelLock(contextlib.AbstractContextManager[None]):
    """A class, since a generator's context manager can be entered only once."""

    def __init__(self, folder: Path, model: str, what: str, wait: float, now: datetime) -> None:
        self._folder, self._model, self._what, self._wait, self._now = folder, model, what, wait, now
        self._lock = FileLock(folder / f"{naming.lock(model, what)}.lock")
        self._holder = folder / f"{naming.lock(model, what)}.holder"

    def __enter__(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=self._wait)
        except Timeout:
            raise BusyError(
                f"Another {self._what} of {self._model} is running ({_who(self._holder)}).",
                "Wait for it to end; this one did nothing.",
            ) from None
        except OSError as error:
            what = f"{self._folder} cannot be written: {error.strerror}."
            raise EvergreenError(what, "Check its owner and mode.") from None
        # Only for the message above: the lock holds also where this cannot be written.
        with contextlib.suppress(OSError):
            self._holder.write_text(f"process {os.getpid()}, since {self._now:%Y-%m-%d %H:%M:%S} UTC")

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.release()


def _who(holder: Path) -> str:
    try:
        return holder.read_text().strip() or "another process"
    except OSError:
        return "another process"
