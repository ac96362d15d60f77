"""A Dask scheduler and its workers as processes of their own, as another machine would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evergreen.settings import PROJECT

_SECONDS = 120


@contextmanager
def dask_processes(
    folder: Path, workers: int = 2, environment: Mapping[str, str] | None = None, *, nanny: bool = True
) -> Iterator[str]:
    """The address of a scheduler that has so many workers of one thread; all of them are ended by their process ids.

    Without `nanny` a worker that dies is not started anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    surroundings = {**os.environ, "PYTHONPATH": str(PROJECT), **(environment or {})}
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> None:
        command = [sys.executable, "-m", "dask", *words]
        with (folder / f"{name}.log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=folder, env=surroundings, stdout=log, stderr=log))

    try:
        start(
            "scheduler",
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(file),
        )
        for number in range(workers):
            own = ("--nthreads", "1", "--no-dashboard", *(() if nanny else ("--no-nanny",)))
            start(f"worker-{number}", "worker", "--scheduler-file", str(file), *own)
        yield _address_with(file, workers)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address_with(file: Path, workers: int) -> str:
    """The scheduler's address, once so many workers are there."""
    from distributed import Client

    deadline = time.monotonic() + _SECONDS
    while not file.exists():
        assert time.monotonic() < deadline, "the scheduler did not start"
        time.sleep(0.1)
    while True:
        try:
            address: str = json.loads(file.read_text())["address"]
            break
        except ValueError:
            assert time.monotonic() < deadline, "the scheduler wrote no address"
            time.sleep(0.1)
    with Client(address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        if workers:
            client.wait_for_workers(workers, timeout=_SECONDS)  # type: ignore[no-untyped-call]
    return address
