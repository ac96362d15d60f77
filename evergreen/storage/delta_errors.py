"""Delta Lake's errors as one line. Its own messages may quote data rows, so they are never passed on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EFBIG, ENOSPC
from importlib.metadata import version
from pathlib import Path

from evergreen.errors import BusyError, EvergreenError, ForeignError
from evergreen.naming import ForeignPlace


@contextmanager
def explain_write_errors(uri: str) -> Iterator[None]:
    """Turn a failed write to the table at `uri` into one line.

    Raises:
        BusyError: another run committed in the meantime; nothing was written.
        EvergreenError: the write failed; the line says why and what to do.
    """
    from deltalake.exceptions import DeltaError

    require_own(uri)
    try:
        yield
    except (OSError, DeltaError) as error:
        raise _write_error(uri, error) from None


def require_own(uri: str) -> None:
    """Refuse a write to a table of another environment.

    Raises:
        ForeignError: it is one.
    """
    if isinstance(uri, ForeignPlace):
        raise ForeignError.of(f"The table {uri}", uri.environment)


def read_error(uri: str, error: Exception) -> EvergreenError:
    """The error for a table at `uri` that cannot be read."""
    if "nsupported" in str(error):
        return EvergreenError(
            f"The table {uri} is beyond deltalake {version('deltalake')}, which is installed: {first_line(error)}.",
            "A newer deltalake or another program has written it: install the newer one, or restore the table's files.",
        )
    return EvergreenError(
        f"The table {uri} cannot be read: {first_line(error)}.",
        "Restore its files from a backup, or move the folder away to start anew.",
    )


def first_line(error: Exception) -> str:
    """The message of an error in one line of at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _write_error(uri: str, error: Exception) -> EvergreenError:
    from deltalake.exceptions import CommitFailedError

    disk_is_full = "No space left" in str(error) or getattr(error, "errno", None) in (EFBIG, ENOSPC)
    folder = Path(uri)
    if disk_is_full or "File too large" in str(error):
        return EvergreenError(f"The disk is full: {uri} was left as it was.", "Free space, then run it again.")
    if folder.exists() and not os.access(folder, os.W_OK):
        return EvergreenError(f"{uri} cannot be written.", "Check the folder's owner and mode.")
    if isinstance(error, CommitFailedError):
        return BusyError(f"Another run wrote {uri} at the same time.", "Run it again.")
    return EvergreenError(f"Writing {uri} failed ({type(error).__name__}); it was left as it was.", "Run it again.")
