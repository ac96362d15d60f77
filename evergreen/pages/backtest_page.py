"""A backtest as one HTML file that asks nobody for anything, drawn as the page of a model is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from evergreen.backtest.report import Backtest, Row
from evergreen.backtest.request import ORACLE
from evergreen.pages.environment import fill
from evergreen.pages.figure_parts import (
    CROSS,
    DASHED,
    DOTTED,
    EXPLORED,
    STAR,
    WHEN,
    Spec,
    drawn,
    hover,
    looks,
    number,
    plot_of,
    short,
    stamp,
    times,
    values,
    word,
)

DRAWN = 8
"""Policies whose error is drawn over time, the best ones and what they are held against; more lines tell nothing."""
STEPS = 200
"""Lines of the table beside a plot, at most: the newest."""
FEW = 8
"""Retrainings below which the axis counts one by one."""
KINDS = {
    "policy": {"shape": "circle", "size": 64, "fill": "var(--c0)", "stroke": "var(--c0)"},
    "recommended": {"shape": STAR, "size": 120, "fill": "var(--c1)", "stroke": "var(--c1)"},
}
SYMBOLS = {"promoted": "triangle-up"}
"""The mark of a retraining by what came of it; any other has a cross."""


def page(found: Backtest, at: datetime) -> str:
    """The page; `at` (aware) is when the backtest was made."""
    policies = _drawn(found)
    return fill(
        "backtest.html.j2",
        found=found,
        at=at,
        turn=found.clock.name(found.steps[found.chosen]),
        drawn=True,
        policies=policies,
        steps=_steps(found, policies),
        plots={"pareto": pareto(found), "errors": over_time(found)},
        summaries={"pareto": _told(found), "errors": _shown_words(found)},
    )


def frontier(found: Backtest) -> tuple[Row, ...]:
    """The rows that no other one beats in both error and retrainings, by retrainings."""
    worse = -1.0 if found.oracle.worse < 0 else 1.0
    rows = sorted(found.rows, key=lambda row: (row.retrains, worse * row.error))
    kept: list[Row] = []
    for row in rows:
        if not kept or worse * row.error < worse * kept[-1].error:
            kept.append(row)
    return tuple(kept)


def pareto(found: Backtest) -> Spec:
    """What a policy costs in retrainings against its error on the reported steps."""
    policies = [_policy(row, place, row.variant.label == found.recommended) for place, row in enumerate(found.rows, 1)]
    edge = [{"retrains": row.retrains, "error": short(row.error)} for row in frontier(found)]
    # Where there are few, every retraining has its tick.
    most = max(row.retrains for row in found.rows)
    ticks = {"tickCount": max(most, 1)} if most < FEW else {}
    across = {
        "x": number("retrains", "retrainings", scale={"padding": 20, "nice": False}, axis=ticks),
        "y": values("error", found.metric, padding=20),
    }
    spans = {"x": across["x"], "y": number("low", found.metric), "y2": {"field": "high"}}
    kinds = {kind: look for kind, look in KINDS.items() if any(row["kind"] == kind for row in policies)}
    facts = {
        "tooltip": [word("policy"), number("error", found.metric), number("retrains", "retrainings"), word("cost")]
    }
    # Names would cover each other: each policy has its number in the table.
    text = across | {"text": word("number")}
    layers = [
        drawn("policies", "rule", spans, only="isValid(datum.low)", color="var(--interval)"),
        drawn(
            "edge", "line", across, name="frontier", interpolate="step-after", strokeDash=DOTTED, color="var(--muted)"
        ),
        drawn("policies", "point", {**across, **looks("kind", kinds), **facts}, name="policies"),
        drawn("policies", "text", text, align="left", dx=8, dy=-8, color="var(--text)"),
    ]
    return plot_of([{"height": 330, "layer": layers}], {"policies": policies, "edge": edge}, "frontier", up=True)


def _policy(row: Row, place: int, recommended: bool) -> dict[str, Any]:
    low, high = row.interval or (None, None)
    figures = {"error": short(row.error), "low": short(low), "high": short(high), "cost": short(row.cost)}
    kind = "recommended" if recommended else "policy"
    return {"policy": row.variant.label, "number": str(place), "kind": kind, "retrains": row.retrains, **figures}


def over_time(found: Backtest) -> Spec:
    """The error of every policy in each step, with a mark for each retraining."""
    policies = _drawn(found)
    series = {row.variant.label: row.series for row in policies} | {ORACLE: found.oracle}
    colours = [*(f"var(--c{place})" for place in range(len(policies))), "var(--muted)"]
    shown = [row.variant.label for row in policies if _is_shown(row, found)]
    legend = {"title": None, "values": {"expr": f"{EXPLORED} ? policies : shown"}}
    colour = word("policy", scale={"domain": list(series), "range": colours}, legend=legend)
    # Rows without a time are counted.
    by_rows = found.clock.by_rows
    axis = number("at", "row", scale={"nice": False, "zero": False}) if by_rows else times()
    when = number("at", "row") if by_rows else WHEN
    across = {"x": axis, "y": values("error", found.metric), "color": colour}
    facts = {"tooltip": [word(name) for name in ("policy", "outcome", "reason")]}
    shape = {"shape": word("symbol", scale=None), "fill": colour}
    chosen = {"param": "chosen"}
    dotted = {"condition": {"test": f"datum.policy == '{ORACLE}'", "value": DOTTED}, "value": [1, 0]}
    layers = [
        drawn("turn", "rule", {"x": axis}, color="var(--muted)", strokeDash=DASHED, strokeWidth=1.5),
        drawn("errors", "line", across | {"strokeDash": dotted}, only=chosen, name="policies"),
        hover("errors", across, when, word("policy"), number("error", found.metric), only=chosen),
        drawn("retrainings", "point", across | shape | facts, only=chosen, name="retrainings", size=70),
    ]
    data = {
        "errors": [
            {"at": _stamp(step, found), "policy": name, "error": short(float(error))}
            for name, one in series.items()
            for step, error in zip(found.steps, one.by_step(), strict=True)
        ],
        "retrainings": [mark for row in policies for mark in _marks(row, found)],
        "turn": [{"at": _stamp(found.steps[found.chosen], found)}],
    }
    plot = plot_of([{"height": 380, "layer": layers}], data, "policies")
    select = {"type": "point", "fields": ["policy"], "toggle": "true"}
    value = [{"policy": name} for name in shown]
    legend_select = {"name": "chosen", "select": select, "bind": "legend", "value": value, "views": ["policies"]}
    plot["params"] += [legend_select, {"name": "policies", "value": list(series)}, {"name": "shown", "value": shown}]
    return plot


def _stamp(moment: datetime, found: Backtest) -> str | int:
    return found.clock.row(moment) if found.clock.by_rows else stamp(moment)


def _drawn(found: Backtest) -> list[Row]:
    worse = found.oracle.worse
    first = [row for row in found.rows if _is_shown(row, found)]
    rest = sorted((row for row in found.rows if row not in first), key=lambda row: worse * row.error)
    return [*first, *rest][:DRAWN]


def _is_shown(row: Row, found: Backtest) -> bool:
    return row.variant.label in (found.recommended, "never", found.regular)


def _marks(row: Row, found: Backtest) -> Iterator[dict[str, Any]]:
    errors = dict(zip(found.steps, row.series.by_step(), strict=True))
    for retrain in row.trained:
        error = short(float(errors.get(retrain.at, np.nan)))
        if error is not None:
            mark = {"policy": row.variant.label, "outcome": retrain.outcome, "reason": retrain.reason}
            yield mark | {
                "at": _stamp(retrain.at, found),
                "error": error,
                "symbol": SYMBOLS.get(retrain.outcome, CROSS),
            }


def _steps(found: Backtest, drawn: Sequence[Row]) -> list[tuple[datetime, list[tuple[float | None, str]]]]:
    """The newest steps first: the error of each drawn policy, and what came of a retraining at its begin."""
    errors = [row.series.by_step() for row in drawn]
    came = [{one.at: one.outcome for one in row.trained} for row in drawn]
    lines = [
        (step, [(float(one[place]) if np.isfinite(one[place]) else None, of.get(step, "")) for one, of in
                zip(errors, came, strict=True)])
        for place, step in enumerate(found.steps)
    ]  # fmt: skip
    return lines[::-1][:STEPS]


def _told(found: Backtest) -> str:
    names = ", ".join(row.variant.label for row in frontier(found))
    text = "Error and retrainings on the reported steps; a number is the policy's in the table, a bar is its interval."
    return f"{text} The dotted line joins those that no other beats in both; none is better in both than: {names}."


def _shown_words(found: Backtest) -> str:
    names = ", ".join(row.variant.label for row in _drawn(found) if _is_shown(row, found))
    return (
        f"The metric in each step of {names or 'the policies'}. A mark is a retraining, "
        "a triangle where it was promoted. The dashed line is where the choice ends and the report begins."
    )
