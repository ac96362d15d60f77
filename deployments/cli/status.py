"""Looking without touching: what is in production, what was decided, what happened. Needs no Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from deployments.cli.command import Json, Name, guard, prepare
from deployments.cli.console import coloured, grid, out
from evergreen.actor import who
from evergreen.decision import Decision
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions, champion_at
from evergreen.registry.approval import with_approval
from evergreen.registry.client import Registry
from evergreen.registry.version import CHALLENGER, CHAMPION, PREVIOUS
from evergreen.runs.history import Runs
from evergreen.settings import Settings
from evergreen.timestamps import parse_time


def status(name: Name, as_json: Json = False) -> None:
    """What is in production, and what was decided last."""

    def work() -> None:
        from deployments.cli import console

        told = describe_status(prepare(name), name)
        if as_json:
            console.emit_json(told)
        else:
            show_status(told)

    guard(work, as_json)


def history(
    name: Name,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="ISO 8601; without an offset, UTC.")] = None,
    as_json: Json = False,
) -> None:
    """What was in production when, and why."""

    def work() -> None:
        from deployments.cli import console

        told = describe_history(prepare(name), name, parse_time(at, "--at"))
        if as_json:
            console.emit_json(told)
        else:
            show_history(told)

    guard(work, as_json)


def describe_status(settings: Settings, model: str) -> dict[str, Any]:
    """Aliases, and the last decisions; None for what is not there yet."""
    registry = Registry(settings)
    decisions = Decisions(settings.lake_uri, model)
    last = decisions.last("retrain")
    versions = {alias: registry.by_alias(model, alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}
    numbers = {alias: version.number if version else None for alias, version in versions.items()}
    return {
        "model": model,
        **numbers,
        "last_drift": _told(decisions.last("drift"), ("share", "columns", "report")),
        "last_performance": _told(decisions.last("performance"), ("metric", "value", "interval", "rows")),
        "last_retrain": _told(last and with_approval(decisions, last), ("version", "metric")),
        "last_run": _run(settings, model),
    }


def describe_history(settings: Settings, model: str, at: datetime | None) -> dict[str, Any]:
    """Every move of the champion alias, oldest first, with what led to it; with `at`, what was in production then."""
    moves = Promotions(settings.lake_uri, model).done()
    retrains = {entry.id: entry for entry in Decisions(settings.lake_uri, model).all("retrain")}
    told: dict[str, Any] = {"model": model}
    if at is not None:
        found = champion_at(moves, at)
        told |= {"at": at.isoformat(), "champion": found.after if found else None}
        told["reason"] = found.reason if found else None
        moves = tuple(move for move in moves if move.at <= at)
    return told | {"moves": [_move(move, retrains.get(move.decision_id)) for move in moves]}


def show_status(told: Mapping[str, Any]) -> None:
    """The status as a few lines."""
    out.print(f"[bold]{told['model']}[/]")
    for alias in (CHAMPION, CHALLENGER, PREVIOUS):
        out.print(f"  {alias:<11}{f'version {told[alias]}' if told[alias] else '[dim]none[/]'}")
    for name in ("last_drift", "last_performance", "last_retrain", "last_run"):
        entry = told[name]
        line = (
            "[dim]none[/]"
            if entry is None
            else f"{coloured(entry['outcome'])} {entry['at'][:19]} UTC: {escape(entry['reason'])}"
        )
        out.print(f"  {name.replace('_', ' '):<18}{line}")


def show_history(told: Mapping[str, Any]) -> None:
    """The moves as a table."""
    if "at" in told:
        what = f"version {told['champion']}" if told["champion"] else "nothing"
        out.print(f"At {told['at']}, [bold]{what}[/] was in production.")
    if not told["moves"]:
        out.print(f"{told['model']} was never promoted. Run: evergreen retrain {told['model']}")
        return
    rows = [(m["at"][:19], m["action"], m["before"], m["champion"], who(m["by"]), m["reason"]) for m in told["moves"]]
    out.print(grid(f"History of {told['model']}", ("time (UTC)", "action", "from", "champion", "by", "reason"), rows))
    for move in told["moves"]:
        if move["flow_run"]:
            out.print(f"[dim]version {move['champion']} came of {escape(_chain(move))}[/]", soft_wrap=True)


def _run(settings: Settings, model: str) -> dict[str, Any] | None:
    """The last run of any flow, and what it cost."""
    for run in Runs(settings.lake_uri, model).newest(1):
        cost = f"{run.flow}, {run.rows} rows in {run.seconds:.1f} s, queued for {run.queue_seconds:.1f} s"
        return asdict(run) | {"at": run.at.isoformat(), "rows_per_second": run.rows_per_second, "reason": cost}
    return None


def _told(decision: Decision | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    if decision is None:
        return None
    told = {
        "at": decision.at.isoformat(),
        "outcome": decision.outcome,
        "reason": decision.reason,
        "decision_id": decision.id,
        "flow_run": decision.flow_run or None,
    }
    return told | {key: decision.detail.get(key) for key in keys}


def _chain(move: Mapping[str, Any]) -> str:
    """What led to a version, from the event to the run; the ids as the Prefect UI shows them."""
    parts = (("event", "event_id"), ("decision", "decision_id"), ("flow run", "flow_run"))
    return ", ".join(f"{name} {move[part]}" for name, part in parts if move[part])


def _move(move: Move, retrain: Decision | None) -> dict[str, Any]:
    retrain = retrain if move.action == "promote" else None
    return {
        "at": move.at.isoformat(),
        "action": move.action,
        "champion": move.after,
        "before": move.before,
        "reason": move.reason,
        "decision_id": move.decision_id or None,
        "event_id": retrain.detail.get("event_id") if retrain else None,
        "flow_run": (retrain.flow_run or None) if retrain else None,
        "by": move.by,
    }
