"""Where OpenLineage events go: a file of JSON lines, or a collector over HTTP. Imported only where the setting says so.

A run never waits long for it, and never fails because of it: what goes wrong is one line that says what to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from openlineage.client import OpenLineageClient
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT
from evergreen.storage.locks import hold_file

if TYPE_CHECKING:
    from openlineage.client.transport import Transport

    from evergreen.runs.lineage_events import Event

WAIT_SECONDS = 2.0
"""How long a run waits for an event to be taken; a slow collector may still take it afterwards."""
PAUSE_SECONDS = 60.0
"""After a collector was away it is not asked again for so long, so that a run waits for it once."""
_REQUEST_SECONDS = 10.0
_ENDPOINT = "api/v1/lineage"
_KEEP_TO_OURSELVES = {"facets": {"source_code_location": {"disabled": True}}}
"""The address of a git remote may hold a token."""


class LineageClient:
    """Sends events to one place.

    Attributes:
        place: as it may be shown.
    """

    def __init__(self, setting: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`setting` is a path or a URL that may hold a secret; `clock` counts seconds."""
        self._clock, self._resting_until = clock, 0.0
        transport, self.place, self._file = _open(setting)
        self._client = OpenLineageClient(transport=transport, config=_KEEP_TO_OURSELVES)

    def send(self, event: Event) -> None:
        """Send an event; nothing is sent while the place rests after a failure.

        Raises:
            EvergreenError: it was not taken in time; the message holds no secret.
        """
        if self._clock() < self._resting_until:
            return
        faults: list[BaseException] = []
        sending = threading.Thread(target=self._try, args=(event, faults), name="openlineage", daemon=True)
        sending.start()
        # A name that is not found, or an answer that trickles, would outlast every timeout of a request.
        sending.join(WAIT_SECONDS)
        if not sending.is_alive() and not faults:
            return
        self._resting_until = self._clock() + PAUSE_SECONDS
        why = "no answer in time" if sending.is_alive() else _describe(faults[0])
        raise EvergreenError(
            f"An OpenLineage event was not taken by {self.place} ({why}); the run goes on.",
            "See that it can be reached, or unset EVERGREEN_OPENLINEAGE.",
        )

    def _try(self, event: Event, faults: list[BaseException]) -> None:
        try:
            if self._file is None:
                self._client.emit(event)
                return
            # A long line is written in pieces, and two runs may write at a time.
            with hold_file(self._file.with_name(naming.lineage_lock(self._file.name))):
                self._client.emit(event)
        except BaseException as error:
            faults.append(error)


def _open(setting: str) -> tuple[Transport, str, Path | None]:
    """The transport of a setting, its place as it may be shown, and its file if it is one."""
    if "://" not in setting:
        file = (PROJECT / Path(setting).expanduser()).resolve()
        return FileTransport(FileConfig(log_file_path=str(file), append=True)), str(file), file
    parts = urlsplit(setting)
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}"
    # A user alone is the collector's API key; with a password it is the user of its proxy.
    is_key = bool(parts.username) and parts.password is None
    auth = ApiKeyTokenProvider({"apiKey": unquote(parts.username or "")}) if is_key else TokenProvider({})
    base = urlunsplit((parts.scheme, host if is_key else parts.netloc, "/", "", ""))
    endpoint = parts.path.strip("/") or _ENDPOINT
    config = HttpConfig(
        url=base,
        endpoint=f"{endpoint}?{parts.query}" if parts.query else endpoint,
        timeout=_REQUEST_SECONDS,
        auth=auth,
        retry={"total": 0},
    )
    return HttpTransport(config), shown, None


def _describe(error: BaseException) -> str:
    """What went wrong, without the texts of libraries, which quote addresses."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"it answered {status}" if status else type(error.__cause__ or error).__name__
