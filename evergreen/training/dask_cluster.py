"""A Dask cluster: opened, asked for work, and told apart from the work that it does.

What goes wrong with the cluster (no scheduler, no worker, a worker that dies again and again) is an `EvergreenError`
that says so. What goes wrong with the work is raised as it is. What is sent are names, numbers and rows: settings, and
the passwords in them, are read by each process for itself.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

from evergreen.errors import EvergreenError

if TYPE_CHECKING:
    import distributed

ANY_PORT = "127.0.0.1:0"
"""Of the dashboard; two clusters on one machine would claim the same fixed port."""
_CONNECT_SECONDS = 10
_WITHOUT_WORKERS_SECONDS = 60.0
"""How long a cluster may have no worker until what waits for it is given up: a worker is back within a few seconds."""
_LOOK_SECONDS = 1.0
_AGAIN = "Look at the cluster, and run it again; EVERGREEN_RUNNER=threads does the same work on this machine."


class Cluster:
    """An open cluster. Every call may come from any thread.

    Attributes:
        client: Dask's own.
        name: what the messages call it.
    """

    def __init__(
        self, client: distributed.Client, name: str, without_workers: float = _WITHOUT_WORKERS_SECONDS
    ) -> None:
        self.client, self.name = client, name
        self._patience, self._fault = without_workers, ""
        self._pending: WeakSet[distributed.Future[Any]] = WeakSet()
        self._lock = threading.Lock()

    def workers(self) -> int:
        """How many functions the cluster runs at a time, as far as is known now."""
        return max(1, sum(self.client.ncores().values()))  # type: ignore[no-untyped-call]

    def submit(self, function: Callable[..., Any], *words: Any) -> distributed.Future[Any]:
        """Run a function of a module on some worker; the result is to be read by `result`."""
        future = self.client.submit(function, *words, pure=False)
        with self._lock:
            self._pending.add(future)
        return future

    def share(self, value: Any) -> distributed.Future[Any]:
        """Bring a large value to every worker once; the result stands for it among the words of `submit`."""
        return self.client.scatter(value, broadcast=True, hash=False)  # type: ignore[no-untyped-call, no-any-return]

    def cancel(self, futures: list[distributed.Future[Any]]) -> None:
        """Take back what nobody waits for any more."""
        self.client.cancel(futures, force=True)  # type: ignore[no-untyped-call]

    def result(self, future: distributed.Future[Any]) -> Any:
        """What a function came to.

        Raises:
            EvergreenError: the cluster is at fault: its workers died or left, or the scheduler is gone.
        """
        with told_cluster_faults(self.name, lambda: self._fault):
            return future.result()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it, what waits is given up when there was no worker for a while."""
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), name="dask-watch", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _watch(self, ended: threading.Event) -> None:
        since: float | None = None
        while not ended.wait(_LOOK_SECONDS):
            since = None if self._has_workers() else since or time.monotonic()
            if since is not None and time.monotonic() - since > self._patience:
                self._fault = f"{_capital(self.name)} has had no worker for {self._patience:.0f} seconds."
                with self._lock:
                    waiting = [future for future in self._pending if not future.done()]  # type: ignore[no-untyped-call]
                self.cancel(waiting)
                since = None

    def _has_workers(self) -> bool:
        try:
            return bool(self.client.ncores())  # type: ignore[no-untyped-call]
        except Exception:
            # Without a scheduler Dask itself cancels what waits.
            return True


@contextmanager
def told_cluster_faults(name: str, known: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Within it, what is wrong with a cluster is an `EvergreenError`.

    Args:
        name: what the message calls the cluster.
        known: what is known to be wrong; empty where nothing is.
    """
    try:
        yield
    except CancelledError:
        raise EvergreenError(
            known() or f"The scheduler of {name} does not answer any more, or lost what it had.", _AGAIN
        ) from None
    except Exception as error:
        # By its name: where no cluster is used, Dask need not be there.
        if type(error).__name__ != "KilledWorker":
            raise
        raise EvergreenError(
            f"Workers of {name} died at the same piece of work, one after the other.",
            "Look for the reason in their logs, memory first; start workers with more of it, and run it again.",
        ) from None


class ClusterExecutor(Executor):
    """A cluster as Python's own `Executor`: what went wrong with the cluster is the exception of a future."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function of a module on some worker."""
        there = self._cluster.submit(fn, *args, **kwargs)
        here: Future[Any] = Future()
        here.add_done_callback(lambda done: self._cluster.cancel([there]) if done.cancelled() else None)

        def settle(_there: object) -> None:
            if not here.set_running_or_notify_cancel():
                return
            try:
                here.set_result(self._cluster.result(there))
            except BaseException as error:
                here.set_exception(error)

        there.add_done_callback(settle)  # type: ignore[no-untyped-call]
        return here


@contextmanager
def open_cluster(address: str, workers: int) -> Iterator[Cluster]:
    """The cluster of a scheduler, or one of so many processes of this machine that lives as long as the context.

    Args:
        address: of the scheduler; empty for a cluster on this machine.
        workers: processes of the cluster on this machine, one thread each.

    Raises:
        EvergreenError: the `dask` extra is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise without_dask() from None
    # What Dask logs of a lost worker is a page of tracebacks; what matters of it is in the messages.
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        if address:
            require_scheduler(address)
            name, own = f"the Dask cluster at {address}", None
        else:
            name, own = "the Dask cluster of this run", LocalCluster(**own_cluster(workers))  # type: ignore[no-untyped-call]
        try:
            client = _connect(Client, own or address)
            try:
                cluster = Cluster(client, name)
                with cluster.watched():
                    yield cluster
            finally:
                client.close(timeout=_CONNECT_SECONDS)
        finally:
            if own is not None:
                own.close(timeout=_CONNECT_SECONDS)
    finally:
        logger.setLevel(level)


def own_cluster(workers: int) -> dict[str, Any]:
    """The words of a cluster on this machine. One thread a process: they take turns at Python's lock otherwise."""
    return {
        "n_workers": workers,
        "threads_per_worker": 1,
        "dashboard_address": ANY_PORT,
        "silence_logs": logging.CRITICAL,
    }


def without_dask() -> EvergreenError:
    """The error where the extra is not installed."""
    return EvergreenError(
        "EVERGREEN_RUNNER=dask needs the Dask extra, which is not installed.",
        'Run: pip install ".[dask]"; or unset EVERGREEN_RUNNER.',
    )


def require_scheduler(address: str) -> None:
    """Check that something listens there; Dask itself retries for 30 seconds and ends with a traceback.

    Raises:
        EvergreenError: nothing does, or it is no address.
    """
    fix = "Start it: dask scheduler; or set EVERGREEN_DASK to its address, such as tcp://scheduler:8786."
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise EvergreenError("EVERGREEN_DASK is not the address of a Dask scheduler.", fix)
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise EvergreenError(
            f"The Dask scheduler at {host}:{port} does not answer ({type(error).__name__}).", fix
        ) from None


def _connect(client: Callable[..., Any], place: object) -> Any:
    try:
        return client(place, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise EvergreenError(
            f"What listens at EVERGREEN_DASK={place} does not answer as a Dask scheduler ({type(error).__name__}).",
            "Set EVERGREEN_DASK to the address that the scheduler writes into its log, such as tcp://scheduler:8786.",
        ) from None


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
