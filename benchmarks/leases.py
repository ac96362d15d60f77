"""What a lock costs: taken and given back, as a file and as a lease on a disk and on an S3-compatible store.

A retraining holds its lease for as long as it runs and renews it four times a minute. Before each of its writes that
only a holder may make it renews it once more.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Finding, Scale, free_port, fresh, python, table

_TIMES = 30


def run(scale: Scale, folder: Path, _api: str) -> list[Finding]:
    """Measure each kind in a process of its own; nothing is judged, for a store may be anywhere."""
    times = _TIMES if scale.details else 2
    rows: list[tuple[object, ...]] = []
    with ExitStack() as stack:
        environment = _store(stack)
        places = {"a file": "", "a lease in a folder": str(folder / "leases")}
        places |= {"a lease in an object store": "s3://leases/lake"} if environment else {}
        for what, place in places.items():
            told = fresh(python("benchmarks.leases", folder / "locks", times, place), environment).told
            rows.append((what, *(f"{told[key]:.1f}" for key in ("hold", "slowest", "renew"))))
    table(f"Locks, {times} times each", ("", "taken and given back, ms", "the slowest, ms", "renewed, ms"), rows)
    return []


def _store(stack: ExitStack) -> dict[str, str]:
    """Start an S3-compatible store on this machine; empty where moto is not installed."""
    try:
        import moto.server  # noqa: F401
    except ImportError:
        return {}
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(f"{url}/leases", method="PUT"), timeout=5).close()  # noqa: S310
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    return keys | {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}


def measure(folder: Path, times: int, place: str) -> dict[str, float]:
    """Milliseconds of a hold, median and slowest, and of a renewal; `place` is empty for files in `folder`."""
    from evergreen.storage.leases import LakeLocks
    from evergreen.storage.locks import FileLocks, Locks

    locks: Locks = LakeLocks(place) if place else FileLocks(folder)
    holds, renewals = [], []
    for _ in range(times + 1):
        began = time.perf_counter()
        with locks.hold("toy", "retrain", wait=0, now=datetime.now(UTC)) as held:
            taken = time.perf_counter()
            held.require()
            renewed = time.perf_counter()
        holds.append(1e3 * (time.perf_counter() - renewed + taken - began))
        renewals.append(1e3 * (renewed - taken))
    # The first one makes the table and loads the library.
    return {
        "hold": statistics.median(holds[1:]),
        "slowest": max(holds[1:]),
        "renew": statistics.median(renewals[1:]),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
