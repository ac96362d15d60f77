"""One writer at a time. The operating system frees a lock when its holder dies, so none is ever stale."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from evergreen import naming
from evergreen.errors import BusyError, EvergreenError
from evergreen.settings import Settings


@contextlib.contextmanager
def held(settings: Settings, model: str, what: str, *, wait: float, now: datetime) -> Iterator[None]:
    """Hold the model's lock for `what` (such as `retrain`); wait at most `wait` seconds for it.

    Raises:
        BusyError: another process holds it.
        EvergreenError: there is nowhere to keep the lock.
    """
    folder = settings.locks
    lock = FileLock(folder / f"{naming.lock(model, what)}.lock")
    holder = folder / f"{naming.lock(model, what)}.holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout:
        raise BusyError(
            f"Another {what} of {model} is running ({_who(holder)}).", "Wait for it to end; this one did nothing."
        ) from None
    except OSError as error:
        raise EvergreenError(f"{folder} cannot be written: {error.strerror}.", "Check its owner and mode.") from None
    try:
        # Only for the message above: the lock holds also where this cannot be written.
        with contextlib.suppress(OSError):
            holder.write_text(f"process {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S} UTC")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    try:
        return holder.read_text().strip() or "another process"
    except OSError:
        return "another process"
