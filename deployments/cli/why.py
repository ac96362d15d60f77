"""evergreen why: the ledger of one model, for a person or as JSON. It reads what is stored and changes nothing."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import typer

from deployments.cli.command import Name, Seen, guard, seen_settings
from deployments.cli.results import print_result_text
from evergreen.timestamps import parse_time


def why(
    name: Name,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="The ledger as it was then (ISO 8601; UTC without an offset)."),
    ] = None,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="How many entries, the newest ones.")] = 10,
    environment: Seen = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list of entries; all else goes to stderr.")
    ] = False,
) -> None:
    """Show why something happened, or did not.

    Each entry is a check with its figures, the decision, and what followed.
    """

    def work() -> None:
        import models
        from deployments.cli.console import locate_reports
        from deployments.cli.why_view import show_empty, show_entries, show_problem
        from evergreen.ledger.timeline import read_timeline

        settings, time = seen_settings(environment), parse_time(at, "--at")
        spec = models.load(name, settings.models).spec
        entries = read_timeline(settings, name, at=time, last=last, spec=spec)
        if as_json:
            told = locate_reports([entry.to_json() for entry in entries], settings.report_place)
            print_result_text(json.dumps(_finite(told)))
        elif entries:
            show_entries(entries, settings.report_place)
            if time is None:
                show_problem(settings, spec)
        else:
            show_empty(name, time)

    guard(work, as_json)


def _finite(value: Any) -> Any:
    """The value with null for every figure that is not finite, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
