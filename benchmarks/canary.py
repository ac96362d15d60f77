"""A flow that imports what a retraining imports, and writes down when each part of its start was over."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
from prefect import flow

import flows.retrain  # noqa: F401 - the imports of a real run are part of what is measured

IMPORTED = time.time()


@flow
def canary(place: str, event: str) -> None:
    """Write the time of this first line into a file of the event's name."""
    reached = time.time()
    told = {"process": psutil.Process().create_time(), "imported": IMPORTED, "first line": reached}
    Path(place, event).with_suffix(".new").write_text(json.dumps(told))
    Path(place, event).with_suffix(".new").replace(Path(place, event))


def emit(event: str) -> None:
    """Emit one event from this process, which has emitted none before, and tell when."""
    from prefect.events import emit_event

    sent = time.time()
    emit_event("benchmark.latency", resource={"prefect.resource.id": "benchmark.canary"}, payload={"event": event})
    print(json.dumps({"sent": sent}))


if __name__ == "__main__":
    import sys

    emit(sys.argv[1])
