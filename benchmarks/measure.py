"""Timing of fresh processes: wall, CPU and peak memory as the operating system counts them.

A ratio is taken within a pair of runs that follow each other, and the median of the pairs is told: what else the
machine does then hits both sides. This process stays small (no pandas here), because on Linux a child's peak memory
starts from that of its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).resolve().parents[1]
console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Run:
    """One process from its start to its exit.

    Attributes:
        wall: seconds.
        cpu: seconds, user and system, its children included.
        peak_mb: largest resident memory, MB.
        began: seconds since 1970.
        ended: likewise.
        told: the JSON object on the last line of its output; empty where there is none.
        err: what it wrote to stderr.
    """

    wall: float
    cpu: float
    peak_mb: float
    began: float
    ended: float
    told: Mapping[str, Any]
    err: str


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: measured pairs.
        warmups: pairs before them that are not counted.
        retrain_rows: rows of a retraining; a fifth of them are new.
        rows: rows of the large table and the large file.
        many: rows of the larger file at which the memory of scoring is looked at again.
        details: whether a retraining is also measured with a tuned script, and its imports are traced.
        batches: numbers of batches already there, rising, at which memory is looked at.
        windows: windows without drift in which false alarms are counted.
    """

    rounds: int = 5
    warmups: int = 1
    retrain_rows: int = 10_000
    rows: int = 1_000_000
    many: int = 5_000_000
    details: bool = True
    batches: tuple[int, ...] = (20, 100, 200)
    windows: int = 1_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure against its target."""

    what: str
    value: str
    target: str
    met: bool


def python(module: str, *words: str | Path | int, flags: Sequence[str] = ()) -> list[str]:
    """The words of a command that runs a module of this project in this interpreter."""
    return [sys.executable, *flags, "-m", module, *map(str, words)]


def fresh(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command in a process of its own and wait for it.

    Raises:
        RuntimeError: it ended with another status than 0.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began, start = time.time(), time.perf_counter()
        process = subprocess.Popen(words, stdout=out, stderr=err, cwd=PROJECT, env=surroundings(environment or {}))
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ended with status {process.returncode}:\n{texts[1][-3000:]}")
    last = (texts[0].strip().splitlines() or [""])[-1]
    told = json.loads(last) if last.startswith("{") else {}
    scale = 1024 * 1024 if sys.platform == "darwin" else 1024
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / scale, began, began + wall, told, texts[1])


def surroundings(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of every measured process: ours without what would slow one side or lead elsewhere."""
    dropped = ("EVERGREEN_", "PREFECT_", "MLFLOW_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    quiet = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return kept | quiet | dict(extra)


def alternate(sides: Mapping[str, Callable[[], Run]], scale: Scale) -> dict[str, list[Run]]:
    """Run every side in turn, as often as the scale says."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(1 - scale.warmups, scale.rounds + 1):
        for name, run in sides.items():
            done = run()
            console.print(
                f"[dim]  {name}, {'warm-up' if number < 1 else f'{number} of {scale.rounds}'}: {done.wall:.1f} s[/]"
            )
            if number > 0:
                runs[name].append(done)
    return runs


def middle(runs: Sequence[Run], value: Callable[[Run], float] = lambda run: run.wall) -> float:
    """The median of a figure."""
    return statistics.median(value(run) for run in runs)


def ratio(runs: Sequence[Run], against: Sequence[Run], value: Callable[[Run], float] = lambda run: run.wall) -> float:
    """The median of the ratios of the pairs."""
    return statistics.median(value(one) / value(other) for one, other in zip(runs, against, strict=True))


def within(what: str, value: float, most: float, unit: str = "") -> Finding:
    """A figure that must not exceed its target."""
    return Finding(what, f"{value:.2f}{unit}", f"at most {most:g}{unit}", value <= most)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print figures; numbers are aligned on the right."""
    shown = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for number, name in enumerate(header):
        shown.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print()
    console.print(shown)


def sides_table(title: str, runs: Mapping[str, Sequence[Run]], against: str) -> None:
    """Print wall, CPU, memory and ratio of every side."""
    rows = [
        (
            name,
            middle(held),
            min(run.wall for run in held),
            max(run.wall for run in held),
            middle(held, lambda run: run.cpu),
            round(middle(held, lambda run: run.peak_mb)),
            ratio(held, runs[against]),
        )
        for name, held in runs.items()
    ]
    table(title, ("", "wall s", "fastest", "slowest", "CPU s", "peak MB", "ratio"), rows)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """A Prefect server on a free port with a home of its own, ended by its process id; yields the API's URL.

    Raises:
        RuntimeError: it did not come up within two minutes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = surroundings({"PREFECT_HOME": str(folder), "PREFECT_LOGGING_SERVER_LEVEL": "ERROR"})
    words = python("prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            url = f"http://127.0.0.1:{port}/api"
            _until_healthy(url, server, folder / "server.log")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the Prefect server did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def asked(api: str, path: str, body: Mapping[str, Any]) -> Any:
    """Ask a Prefect server's REST API."""
    request = urllib.request.Request(  # noqa: S310
        f"{api}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)
