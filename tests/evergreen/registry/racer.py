"""A process of one machine that takes part in races: it makes ready, waits for a file, and moves at once.

An order is a JSON object on a line of stdin: {"move", "version", "go"}; the answer is one on a line of stdout.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow.sklearn
from mlflow.utils import requirements_utils

import models
import tests.unsynced  # noqa: F401 - SQLite does not wait for the disk
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry.approval import ApprovalResponse, apply_response
from evergreen.registry.client import Registry
from evergreen.registry.promotion import promote, roll_back
from evergreen.settings import load_settings
from evergreen.storage.locks import open_locks
from flows.retrain import retrain

WAIT = 60.0
_SETTINGS = load_settings()
_SPEC, _REGISTRY = models.load("toy", _SETTINGS.models).spec, Registry(_SETTINGS)
_LOG = Promotions(_SETTINGS.lake_uri, "toy")


def move(order: dict[str, Any]) -> str:
    """Move, and say what came of it."""
    if order["move"] == "retrain":
        result = retrain("toy")
        assert result is not None
        return result.outcome
    now, number = datetime.now(UTC), order["version"]
    words: dict[str, Any] = {"now": now, "lock": open_locks(_SETTINGS).hold("toy", "promotion", wait=WAIT, now=now)}
    if order["move"] == "promote":
        promote(_SPEC, _REGISTRY, _LOG, _REGISTRY.get("toy", number), reason="race", by="test", **words)
        return "moved"
    if order["move"] == "rollback":
        roll_back(_SPEC, _REGISTRY, _LOG, number, reason="race", by="test", **words)
        return "moved"
    response = ApprovalResponse(decision=order["move"], reason="race", by="test")
    ledger, version = Decisions(_SETTINGS.lake_uri, "toy"), _REGISTRY.get("toy", number)
    return apply_response(_SPEC, _REGISTRY, _LOG, ledger, version, response, **words).outcome


def main() -> None:
    """Take part in races until stdin ends."""
    requirements_utils._init_packages_to_modules_map()
    assert mlflow.sklearn
    for line in sys.stdin:
        order = json.loads(line)
        print("ready", flush=True)
        while not Path(order["go"]).exists():
            time.sleep(0.001)
        try:
            told = move(order)
        except EvergreenError as error:
            told = f"{type(error).__name__}: {error.what}"
        print(f"TOLD {told}", flush=True)


if __name__ == "__main__":
    main()
