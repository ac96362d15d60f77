"""What `evergreen status` and `evergreen history` read and show; a module of its own, loaded when one of them runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from deployments.cli import console
from deployments.cli.console import coloured, facts
from evergreen.actor import describe_actor, describe_start
from evergreen.decision import Decision
from evergreen.details.decision import RetrainDetail
from evergreen.errors import ArtifactError, ModelFileError, RegistryError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.detail_json import detail_to_json
from evergreen.ledger.promotions import Move, Promotions, champion_at
from evergreen.markdown import many
from evergreen.registry.approval import with_approval
from evergreen.registry.client import Registry
from evergreen.registry.promotion import require_consistent
from evergreen.registry.version import CHALLENGER, CHAMPION, PREVIOUS
from evergreen.runs.history import Runs
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec


def read_status(settings: Settings, model: str, spec: ModelSpec | None = None) -> dict[str, Any]:
    """The versions behind the aliases, the last decisions and the last run; None for what does not exist yet.

    `problem` is there where the champion cannot be used, as far as that is known without opening its pipeline; with
    `spec`, also where the model file does not trust what it holds.
    """
    registry = Registry(settings)
    decisions = Decisions(settings.lake_uri, model)
    retrain, problem = decisions.last("retrain"), _problem(registry, Promotions(settings.lake_uri, model), spec)
    versions = {alias: registry.by_alias(model, alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}
    numbers = {alias: version.number if version else None for alias, version in versions.items()}
    return {
        "model": model,
        **numbers,
        "last_drift": _summary(decisions.last("drift"), ("share", "columns", "report")),
        "last_performance": _summary(decisions.last("performance"), ("metric", "value", "interval", "rows")),
        "last_retrain": _summary(retrain and with_approval(decisions, retrain), ("version", "metric")),
        "last_run": _last_run(settings, model),
    } | _more(settings, registry, spec, problem)


def _more(settings: Settings, registry: Registry, spec: ModelSpec | None, problem: str) -> dict[str, Any]:
    """What is there in some models only: a problem, and a challenger on live traffic."""
    more: dict[str, Any] = {"problem": problem} if problem else {}
    if spec is not None and spec.approval.mode == "canary":
        from evergreen.canary.view import view_canaries

        more["canaries"] = [each.to_json() for each in view_canaries(settings, spec, registry, now=datetime.now(UTC))]
    return more


def _problem(registry: Registry, promotions: Promotions, spec: ModelSpec | None) -> str:
    """Why the champion cannot be used; empty where it can, or where there is none."""
    champion = registry.champion(promotions.model)
    try:
        require_consistent(registry, champion, promotions)
        if champion is not None:
            registry.require_stored(champion)
            if spec is not None and champion.tags.trusted is not None:
                registry.require_trusted(champion, spec)
    except (ArtifactError, ModelFileError, RegistryError) as error:
        return str(error)
    return ""


def read_history(settings: Settings, model: str, at: datetime | None) -> dict[str, Any]:
    """Every move of the champion alias, oldest first, with what led to it; with `at`, also the champion then."""
    moves = Promotions(settings.lake_uri, model).done()
    retrains = {entry.id: entry for entry in Decisions(settings.lake_uri, model).all("retrain")}
    history: dict[str, Any] = {"model": model}
    if at is not None:
        move = champion_at(moves, at)
        history |= {"at": at.isoformat(), "champion": move.after if move else None}
        history["reason"] = move.reason if move else None
        moves = tuple(move for move in moves if move.at <= at)
    return history | {"moves": [_describe_move(move, retrains.get(move.decision_id)) for move in moves]}


def show_status(status: Mapping[str, Any]) -> None:
    """Print the status, one fact a row."""
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=16)
    table.add_column(overflow="fold")
    for alias in (CHAMPION, CHALLENGER, PREVIOUS):
        table.add_row(f"  {alias}", f"version {status[alias]}" if status[alias] else "[dim]none[/]")
    if "problem" in status:
        table.add_row("  problem", f"[red]{escape(status['problem'])}[/]")
    for each in status.get("canaries", ()):
        step = f"step {each['step'] + 1} of {len(each['steps'])}, {each['share']} % of the requests"
        table.add_row(
            "  canary", f"version {each['version']} {coloured(each['stands'])}, {step}: {escape(each['reason'])}"
        )
    for name in ("last_drift", "last_performance", "last_retrain", "last_run"):
        table.add_row(f"  {name.replace('_', ' ')}", _describe_entry(status[name]))
    console.out.print(f"[bold]{status['model']}[/]")
    console.out.print(table)


def show_history(history: Mapping[str, Any]) -> None:
    """Print each move with who made it and why, and what a promoted version came of."""
    if "at" in history:
        champion = f"version {history['champion']}" if history["champion"] else "nothing"
        console.out.print(f"At {_format_time(history['at'])} UTC, [bold]{champion}[/] was in production.")
    if not history["moves"]:
        if "at" not in history:
            name = history["model"]
            console.out.print(f"No version of {name} was ever promoted. Run: evergreen retrain {name}")
        return
    for move in history["moves"]:
        console.out.print(f"[bold]{_format_time(move['at'])} UTC  {move['action']}[/]  {_describe_champion(move)}")
        by = describe_actor(move["by"])
        started = move["by"] == "retrain"
        rows = [("by", f"{by}, {describe_start(move['reason'])}" if started else by)]
        rows.append(("reason", move.get("explanation") or move["reason"]))
        if move["flow_run"]:
            rows.append(("comes from", _origin(move)))
        console.out.print(facts([(label, escape(text)) for label, text in rows]))


def _describe_champion(move: Mapping[str, Any]) -> str:
    """What a move changed, such as `version 2, in place of version 1`."""
    if move["champion"] is None:
        return f"version {move['before']} was given up, there was no champion"
    place = f", in place of version {move['before']}" if move["before"] else ", the first champion"
    return f"version {move['champion']}{place}"


def _describe_entry(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "[dim]none[/]"
    return f"{coloured(entry['outcome'])} {_format_time(entry['at'])} UTC: {escape(entry['reason'])}"


def _format_time(text: str) -> str:
    """An ISO 8601 time to the second, as people read it."""
    return text[:19].replace("T", " ")


def _last_run(settings: Settings, model: str) -> dict[str, Any] | None:
    """The last run of any flow, with its rows, time and wait."""
    for run in Runs(settings.lake_uri, model).newest(1):
        cost = f"{run.flow}, {many(run.rows, 'row')} in {run.seconds:.1f} s, queued for {run.queue_seconds:.1f} s"
        return asdict(run) | {"at": run.at.isoformat(), "rows_per_second": run.rows_per_second, "reason": cost}
    return None


def _summary(decision: Decision | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """A decision as JSON, with the named keys of its detail."""
    if decision is None:
        return None
    summary = {
        "at": decision.at.isoformat(),
        "outcome": decision.outcome,
        "reason": decision.reason,
        "decision_id": decision.id,
        "flow_run": decision.flow_run or None,
    }
    detail = detail_to_json(decision.detail)
    return summary | {key: detail[key] for key in keys}


def _origin(move: Mapping[str, Any]) -> str:
    """The event, decision and flow run that led to a version, with the ids that the Prefect UI shows."""
    parts = (("event", "event_id"), ("decision", "decision_id"), ("flow run", "flow_run"))
    return ", ".join(f"{name} {move[part]}" for name, part in parts if move[part])


def _describe_move(move: Move, retrain: Decision | None) -> dict[str, Any]:
    retrain = retrain if move.action == "promote" else None
    return {
        "at": move.at.isoformat(),
        "action": move.action,
        "champion": move.after,
        "before": move.before,
        "reason": move.reason,
        "decision_id": move.decision_id or None,
        "event_id": retrain.detail_as(RetrainDetail).event_id if retrain else None,
        "flow_run": (retrain.flow_run or None) if retrain else None,
        "by": move.by,
    } | ({"explanation": retrain.reason} if retrain and move.by == "retrain" else {})
