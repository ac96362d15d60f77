"""Runs flows in processes of their own that are killed, or stopped, at a named point.

One process imports everything once and then forks for each order that it reads from stdin (a JSON object a line), so
that a killed run costs a second rather than ten. The flows have no hooks for this: functions are wrapped before they
are called. MLflow keeps a database open by its path, and only a new process sees a state folder that was put in the
place of another, so that the state is read here, too. An order is {"flow", "arguments", "point", "signal", "out"}; with
"kill_after" the child is killed so many seconds after its start, with "look" the state before and after the flow is
told beside its result. An order without a flow lets a stopped child go on. The answer on stdout is the child's wait
status.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow.utils import requirements_utils
from prefect import flow_engine

import tests.unsynced  # noqa: F401 - SQLite does not wait for the disk

Match = Callable[[tuple[Any, ...], dict[str, Any]], bool]


def _always(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> bool:
    return True


def _argument(index: int, value: Any) -> Match:
    return lambda args, _kwargs: len(args) > index and args[index] == value


def _phase(phase: str) -> Match:
    return lambda args, _kwargs: args[1].phase == phase


def _kind(kind: str) -> Match:
    return lambda args, _kwargs: args[1].kind == kind


# Name of a point: module, attribute within it, and which of its calls. Methods see `self` as their first argument.
POINTS: dict[str, tuple[str, str, Match]] = {
    "ingest": ("evergreen.ingest.ingest", "ingest", _always),
    "quarantine": ("evergreen.ingest.ingest", "quarantine_rows", _always),
    "land": ("evergreen.data.observations", "Observations.land", _always),
    "plan": ("tasks.plan", "plan_retraining", _always),
    "detect": ("tasks.detect", "check_drift", _always),
    "fit": ("tasks.fit", "build_candidate", _always),
    "store-files": ("evergreen.training.candidate", "_store", _always),
    "log-model": ("mlflow.sklearn", "log_model", _always),
    "save-model": ("mlflow.sklearn", "save_model", _always),
    "log-files": ("mlflow", "MlflowClient.log_artifacts", _always),
    "log-dataset": ("mlflow", "MlflowClient.log_inputs", _always),
    "register-model": ("mlflow", "MlflowClient.create_registered_model", _always),
    "register": ("evergreen.registry.client", "Registry.register", _always),
    "gate": ("tasks.gate", "evaluate_candidate", _always),
    "gate-figures": ("evergreen.registry.client", "Registry.enrich", _always),
    "gate-status": ("mlflow", "MlflowClient.set_model_version_tag", _argument(3, "model_validation_status")),
    "challenger": ("evergreen.registry.client", "Registry.set_alias", _argument(2, "challenger")),
    "intent": ("evergreen.ledger.promotions", "Promotions.write", _phase("intent")),
    "previous": ("evergreen.registry.client", "Registry.set_alias", _argument(2, "previous")),
    "champion": ("evergreen.registry.client", "Registry.set_alias", _argument(2, "champion")),
    "drop-challenger": ("evergreen.registry.client", "Registry.drop_alias", _argument(2, "challenger")),
    "drop-previous": ("evergreen.registry.client", "Registry.drop_alias", _argument(2, "previous")),
    "tag-rolled-back": ("evergreen.registry.client", "Registry.tag", _argument(2, "rolled_back")),
    "done": ("evergreen.ledger.promotions", "Promotions.write", _phase("done")),
    "record-scores": ("evergreen.ledger.decisions", "Decisions.record_scores", _always),
    "record-drift": ("evergreen.ledger.decisions", "Decisions.record", _kind("drift")),
    "record-retrain": ("evergreen.ledger.decisions", "Decisions.record", _kind("retrain")),
    "canary-entry": ("evergreen.ledger.decisions", "Decisions.record", _kind("canary")),
    "canary-share": ("evergreen.registry.client", "Registry.tag", _argument(2, "canary")),
    "canary-over": ("evergreen.registry.client", "Registry.untag", _argument(2, "canary")),
    "approval": ("evergreen.ledger.decisions", "Decisions.record", _kind("approval")),
    "announce": ("tasks.announce", "emit_event", _always),
    "report": ("tasks.report", "create_markdown_artifact", _always),
}


def arm(point: str, how: signal.Signals) -> None:
    """Send the process a signal before or after the function of a point: `fit:before`, `fit:after`."""
    name, _, side = point.partition(":")
    module, path, matches = POINTS[name]
    owner: Any = importlib.import_module(module)
    *parents, last = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, last)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not matches(args, kwargs):
            return real(*args, **kwargs)
        if side == "before":
            os.kill(os.getpid(), how)
        answer = real(*args, **kwargs)
        if side == "after":
            os.kill(os.getpid(), how)
        return answer

    setattr(owner, last, wrapped)


def state() -> dict[str, Any]:
    """What a person would call the state: two runs that ended alike have an equal one.

    The champion, where there is one, is loaded, and has to have passed its gates.
    """
    import pandas as pd

    import models
    from evergreen.data.observations import Observations
    from evergreen.ingest.quarantine import quarantine_table
    from evergreen.ledger.decisions import Decisions
    from evergreen.ledger.promotions import Promotions
    from evergreen.registry.client import Registry
    from evergreen.registry.version import CHALLENGER, CHAMPION, PREVIOUS
    from evergreen.settings import load_settings

    settings = load_settings()
    spec = models.load("toy", settings.models).spec
    registry, promotions = Registry(settings), Promotions(settings.lake_uri, "toy")
    decisions = Decisions(settings.lake_uri, "toy")
    versions = registry.versions("toy")
    aliases = {alias: registry.by_alias("toy", alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}
    champion = aliases[CHAMPION]
    if champion is not None:
        registry.load(champion, spec)
        if champion.status != "PASSED":
            raise AssertionError(f"the champion's status is {champion.status}")
    snapshot = Observations(settings.lake_uri, spec).snapshot()
    scores = decisions.scores.read() if decisions.scores.exists() else pd.DataFrame({"decision_id": [], "column": []})
    return {
        "aliases": {alias: version.number if version else None for alias, version in aliases.items()},
        "versions": [
            (found.number, found.status, found.tags.raw["decision_id"], _figures(found.tags.raw)) for found in versions
        ],
        "rolled_back": [found.tags.raw.get("rolled_back") for found in versions],
        "moves": [(move.action, move.before, move.after, move.reason) for move in promotions.done()],
        "open": promotions.open() is not None,
        "retrain": [(one.id, one.outcome, one.champion, one.digest, one.reason) for one in decisions.all("retrain")],
        "drift": [(one.id, one.outcome, one.champion, one.digest) for one in decisions.all("drift")],
        "scores": sorted(zip(scores["decision_id"], scores["column"], strict=True)),
        "observations": (snapshot.rows, snapshot.digest, snapshot.start, snapshot.end),
        "quarantine": len(quarantine_table(settings.lake_uri, "toy").read()),
        "running": registry.sweep("toy"),
    }


def _figures(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the gates measured, time aside."""
    told = json.loads(tags.get("judgement", "{}"))
    checks = {check["name"]: check["status"] for check in told.pop("checks", [])}
    return told | {"checks": checks}


def _run(order: dict[str, Any]) -> None:
    """In the child: run a flow and leave what came of it in the order's file, and what it imported beside it."""
    if order["point"]:
        arm(order["point"], signal.Signals[order["signal"]])
    from evergreen.ledger.detail_json import to_json

    told: dict[str, Any]
    try:
        before = state() if order.get("look") else None
        if order["flow"] == "state":
            told = state()
        else:
            module = importlib.import_module(f"flows.{order['flow']}")
            told = to_json(getattr(module, order["flow"])(**order["arguments"]))
        if before is not None:
            told = {"told": told, "before": before, "after": state()}
    except BaseException as error:
        told = {"error": str(error), "type": type(error).__name__, "trace": traceback.format_exc()}
    Path(order["out"]).write_text(json.dumps(told, default=str))
    _modules(order).write_text("\n".join(sys.modules))


def _modules(order: dict[str, Any]) -> Path:
    return Path(order["out"]).with_suffix(".modules")


def _warm(modules: Path) -> None:
    """In the parent: import what a child had to import, so that the next one has it already."""
    for name in modules.read_text().splitlines():
        if name not in sys.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    modules.unlink()


def main() -> None:
    """Import what every run needs, say so, then serve orders until stdin ends."""
    for name in (
        "flows.retrain", "flows.rollback", "flows.monitor", "flows.promote",
        "evidently", "evidently.presets", "mlflow.sklearn", "deltalake", "pandera.pandas", "skops.io",
        "pyarrow.dataset", "sklearn.linear_model", "sklearn.compose", "sklearn.model_selection", "sklearn.dummy",
        "sqlalchemy", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
    ):  # fmt: skip
        importlib.import_module(name)
    if "LEASE_SECONDS" in os.environ:
        # A holder that was stopped is taken for dead so soon that a test can wait for it.
        leases = importlib.import_module("evergreen.storage.leases")
        leases._SKEW_SECONDS = 0.0
        leases.LakeLocks.__init__.__defaults__ = (float(os.environ["LEASE_SECONDS"]),)
    # The thread that sends a run's heartbeats sleeps for whole seconds, and a run waits for it at its end.
    flow_engine._send_heartbeats = lambda *_, **__: contextlib.nullcontext()
    # Logging a model looks up every installed package, once a process: half a second.
    requirements_utils._init_packages_to_modules_map()
    print("ready", flush=True)
    child = 0
    for line in sys.stdin:
        order = json.loads(line)
        if order["flow"] is None:
            os.kill(child, signal.SIGCONT)
        else:
            child = os.fork()
            if child == 0:
                try:
                    _run(order)
                finally:
                    os._exit(0)
            if "kill_after" in order:
                time.sleep(order["kill_after"])
                os.kill(child, signal.SIGKILL)
        print(os.waitpid(child, os.WUNTRACED)[1], flush=True)
        if order["flow"] is not None and _modules(order).exists():
            _warm(_modules(order))


if __name__ == "__main__":
    main()
