"""Locks that live in the lake, for runs on more than one machine.

A lease is rows of a Delta table: taken, renewed while its holder lives, given back. Each is written in turn, so that
of two processes that take it at once one is refused, wherever they run. A holder that dies, or is cut off, no longer
renews it, and after a minute another may take it: its token is the next number, by which the former one knows that it
is over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from evergreen import naming
from evergreen.errors import BusyError, EvergreenError
from evergreen.storage.delta_table import OpenTable, Table

if TYPE_CHECKING:
    import pyarrow as pa

LEASE_SECONDS = 60.0
"""For how long a lease holds that is not renewed."""
_RENEWALS = 4
"""Renewals within that time: three may fail."""
_SKEW_SECONDS = 15.0
"""How far the clocks of two machines may be apart: so much longer a lease is taken to hold."""
_LOOK_SECONDS = 0.2
_TRIES = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LakeLocks:
    """Locks as leases in a lake; see `Locks`.

    Attributes:
        lake: folder or URL of the Delta tables.
        seconds: for how long a lease holds that is not renewed.
    """

    lake: str
    seconds: float = LEASE_SECONDS

    def hold(
        self, model: str, purpose: str, *, wait: float, now: datetime
    ) -> contextlib.AbstractContextManager[_HeldLease]:
        """Hold the lock of a model for a purpose; see `Locks.hold`."""
        return _HeldLease(Leases(self.lake, model), purpose, wait, now, self.seconds)


@dataclass(frozen=True, slots=True)
class Lease:
    """The newest lease of a purpose.

    Attributes:
        token: the number of the lease, from 1.
        owner: who took it, in words.
        until: when it expires unless it is renewed (aware, UTC, by the clock of its owner).
        released: it was given back.
    """

    token: int
    owner: str
    until: datetime
    released: bool

    def is_held(self, now: datetime) -> bool:
        """Whether it excludes others at a time by their clock."""
        return not self.released and now < self.until + timedelta(seconds=_SKEW_SECONDS)


L = TypeVar("L", Lease, Lease | None)


class Leases:
    """The `leases` table of one model."""

    def __init__(self, lake: str, model: str) -> None:
        self.model = model
        self.table = Table(naming.table(lake, model, "leases"), _schema(), compact_every=50)

    def newest(self, purpose: str, opened: OpenTable) -> Lease | None:
        """The newest lease of a purpose in an opened version; None where there never was one."""
        import pyarrow.dataset as ds

        rows = self.table.read(where=ds.field("purpose") == purpose, version=opened.version())
        if rows.empty:
            return None
        rows = rows[rows["token"] == rows["token"].max()]
        return Lease(
            token=int(rows["token"].iloc[0]),
            owner=str(rows["owner"].iloc[0]),
            until=rows["until"].max().to_pydatetime(),
            released=bool(rows["released"].any()),
        )

    def take(self, purpose: str, owner: str, seconds: float) -> Lease:
        """Take the lease of a purpose.

        Raises:
            BusyError: somebody else holds it.
        """

        def follow(last: Lease | None, now: datetime) -> Lease:
            if last is not None and last.is_held(now):
                raise BusyError(
                    f"Another {purpose} of {self.model} is running ({last.owner}).",
                    "Wait for it to end; this one did nothing.",
                )
            return Lease((last.token if last else 0) + 1, owner, now + timedelta(seconds=seconds), released=False)

        return self._write_next(purpose, follow)

    def extend(self, purpose: str, lease: Lease, seconds: float, *, release: bool = False) -> bool:
        """Renew a lease, or give it back; False where another one was taken since, which is left alone.

        Raises:
            EvergreenError: the table cannot be read or written.
        """

        def follow(last: Lease | None, now: datetime) -> Lease | None:
            # The owner tells two apart who were both let in by a store whose conditional write is not atomic.
            if last is None or (last.token, last.owner) != (lease.token, lease.owner) or last.released:
                return None
            return Lease(lease.token, lease.owner, now + timedelta(seconds=seconds), release)

        return self._write_next(purpose, follow) is not None

    def _write_next(self, purpose: str, follow: Callable[[Lease | None, datetime], L]) -> L:
        """Write what follows the newest lease, looked at anew where somebody wrote meanwhile; None where nothing does.

        Who wrote meanwhile may have done it for another purpose, which takes nobody's turn.
        """
        import pandas as pd

        for attempt in range(_TRIES):
            opened = self.table.open()
            lease = follow(self.newest(purpose, opened), datetime.now(UTC))
            if lease is None:
                return lease
            row = {"purpose": purpose, "token": lease.token, "owner": lease.owner}
            row |= {"until": pd.Timestamp(lease.until), "released": lease.released}
            try:
                self.table.append_in_turn(pd.DataFrame([row]), opened)
            except BusyError:
                time.sleep(_LOOK_SECONDS * attempt / _TRIES)
                continue
            return lease
        raise BusyError(f"{self.table.uri} is written by too many at once.", "Run it again.")


def require_free(lake: str, models: Iterable[str], purposes: Sequence[str], *, now: datetime) -> None:
    """Refuse to go on where somebody holds a lease of one of these models, for one of these purposes; none is taken.

    Raises:
        BusyError: somebody does.
    """
    for model in models:
        leases = Leases(lake, model)
        opened = leases.table.open_existing()
        if opened is None:
            continue
        for purpose in purposes:
            lease = leases.newest(purpose, opened)
            if lease is not None and lease.is_held(now):
                raise BusyError(f"A {purpose} of {model} is running ({lease.owner}).", "Wait for it to end.")


class _HeldLease(contextlib.AbstractContextManager["_HeldLease"]):
    """A class, because a generator's context manager can be entered only once."""

    def __init__(self, leases: Leases, purpose: str, wait: float, now: datetime, seconds: float) -> None:
        self._leases, self._purpose, self._wait, self._seconds = leases, purpose, wait, seconds
        self._owner = f"process {os.getpid()} on {platform.node()}, since {now:%Y-%m-%d %H:%M:%S} UTC"
        self._lease: Lease | None = None
        self._over = threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> _HeldLease:
        deadline = time.monotonic() + self._wait
        while True:
            try:
                self._lease = self._leases.take(self._purpose, self._owner, self._seconds)
                break
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_LOOK_SECONDS)
        self._over.clear()
        self._renewing = threading.Thread(target=self._renew, args=(self._lease,), name="lease", daemon=True)
        self._renewing.start()
        return self

    def require(self) -> None:
        """Renew the lease, or refuse; see `Held.require`."""
        lease = self._lease
        if lease is None or not self._leases.extend(self._purpose, lease, self._seconds):
            raise BusyError(
                f"This {self._purpose} of {self._leases.model} was taken for dead, and another one may have begun.",
                "Nothing more was changed by this one; see what the other one comes to.",
            )

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        if self._renewing is not None:
            self._renewing.join()
        if self._lease is not None and not self._extend(self._lease, release=True):
            _LOG.warning(
                "The %s of %s was taken for dead, and another one may have begun meanwhile; what it changed stands.",
                *(self._purpose, self._leases.model),
            )

    def _renew(self, lease: Lease) -> None:
        while not self._over.wait(self._seconds / _RENEWALS):
            if not self._extend(lease):
                return

    def _extend(self, lease: Lease, *, release: bool = False) -> bool:
        """Renew or give back; what fails for the lake is tried again, or expires."""
        try:
            return self._leases.extend(self._purpose, lease, self._seconds, release=release)
        except EvergreenError as error:
            _LOG.warning("The lease of %s of %s could not be written: %s", self._purpose, self._leases.model, error)
            return True


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    fields = [("purpose", text), ("token", pa.int64()), ("owner", text), ("until", pa.timestamp("us", "UTC"))]
    return pa.schema([*fields, ("released", pa.bool_())])
