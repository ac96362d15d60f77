"""A backtest as one HTML file that asks nobody for anything, drawn as the page of a model is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from evergreen.backtest.report import Backtest, Row
from evergreen.pages.environment import fill
from evergreen.pages.figure_parts import Figure, axis_of, layout_of, line_of, plain, plain_axis, short, stamp, timed

DRAWN = 8
"""Policies whose error is drawn over time, the best ones and what they are held against; more lines tell nothing."""
STEPS = 200
"""Lines of the table beside a plot, at most: the newest."""
FEW = 8
"""Retrainings below which the axis counts one by one."""
OTHER = "policy", "circle", 9, "@c0"
BEST = "recommended", "star", 14, "@c1"
SYMBOLS = {"promoted": "triangle-up"}
"""The mark of a retraining by what came of it; any other has a cross."""


def page(found: Backtest, at: datetime) -> str:
    """The page; `at` (aware) is when the backtest was made."""
    drawn = _drawn(found)
    return fill(
        "backtest.html.j2",
        found=found,
        at=at,
        turn=found.steps[found.chosen],
        drawn=drawn,
        steps=_steps(found, drawn),
        figures={"pareto": pareto(found), "errors": over_time(found)},
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


def pareto(found: Backtest) -> Figure:
    """What a policy costs in retrainings against its error on the reported steps."""
    edge, best = frontier(found), [row for row in found.rows if row.variant.label == found.recommended]
    line = {"shape": "hv", "dash": "dot", "width": 1.5, "color": "@muted"}
    steps: Figure = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "line": line}
    steps |= {"x": [row.retrains for row in edge], "y": [short(row.error) for row in edge]}
    numbers = {row.variant.label: str(number) for number, row in enumerate(found.rows, start=1)}
    others = [row for row in found.rows if row not in best]
    data = [
        steps | {"name": "no other is better in both"},
        *(_points(rows, numbers, *look) for rows, look in ((others, OTHER), (best, BEST)) if rows),
    ]
    layout = layout_of(420)
    layout["margin"] |= {"l": 60, "b": 56}
    across = plain_axis(title={"text": "retrainings", "font": {"size": 12, "color": "@muted"}})
    if max(row.retrains for row in found.rows) < FEW:
        across["dtick"] = 1
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "bgcolor": "@none"}
    return {
        "data": data,
        "layout": layout | {"xaxis": across, "yaxis": axis_of([0, 1], plain(found.metric)), "legend": legend},
    }


def _points(rows: Sequence[Row], numbers: Mapping[str, str], name: str, symbol: str, size: int, colour: str) -> Figure:
    """Policies with the intervals of their error; names would cover each other, so each has its number in the table."""
    ends = [row.interval or (row.error, row.error) for row in rows]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [short(high - row.error) for row, (_, high) in zip(rows, ends, strict=True)],
        "arrayminus": [short(row.error - low) for row, (low, _) in zip(rows, ends, strict=True)],
        "color": "@interval",
        "thickness": 1.5,
        "width": 3,
    }
    labels = [plain(row.variant.label) for row in rows]
    costs = [f", cost {row.cost:.4g}" if row.cost is not None else "" for row in rows]
    told = [f"{label}: {row.error:.4g}{cost}" for label, row, cost in zip(labels, rows, costs, strict=True)]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "text": [numbers[row.variant.label] for row in rows],
        "textposition": "top right",
        "x": [row.retrains for row in rows],
        "y": [short(row.error) for row in rows],
        "hovertext": told,
        "hoverinfo": "text",
        "marker": {"size": size, "symbol": symbol, "color": colour},
        "error_y": bars,
    }


def over_time(found: Backtest) -> Figure:
    """The error of every policy in each step, with a mark for each retraining."""
    data: list[Figure] = []
    for place, row in enumerate(_drawn(found)):
        shown = {"visible": _shown(row, found), "legendgroup": row.variant.label}
        values = [short(float(value)) for value in row.series.by_step()]
        data.append(line_of(found.steps, values, f"@c{place}") | shown | {"name": plain(row.variant.label)})
        marks = list(_marks(row, found, values))
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "showlegend": False,
                "x": [mark["at"] for mark in marks],
                "y": [mark["error"] for mark in marks],
                "hovertext": [mark["told"] for mark in marks],
                "hoverinfo": "text",
                "marker": {"size": 9, "symbol": [mark["symbol"] for mark in marks], "color": f"@c{place}"},
                **shown,
            }
        )
    best = line_of(found.steps, [short(float(value)) for value in found.oracle.by_step()], "@muted")
    best["line"] |= {"dash": "dot"}
    data.append(best | {"name": "oracle", "visible": "legendonly"})
    turn = stamp(found.steps[found.chosen])
    line = {"dash": "dash", "width": 1.5, "color": "@muted"}
    shape = {"type": "line", "x0": turn, "x1": turn, "y0": 0, "y1": 1, "yref": "paper", "line": line}
    layout = timed(460, yaxis=axis_of([0, 1], plain(found.metric)))
    layout["margin"] |= {"l": 60}
    return {"data": data, "layout": layout | {"shapes": [shape]}}


def _drawn(found: Backtest) -> list[Row]:
    worse = found.oracle.worse
    first = [row for row in found.rows if row.variant.label in (found.recommended, "never", "every 30 days")]
    rest = sorted((row for row in found.rows if row not in first), key=lambda row: worse * row.error)
    return [*first, *rest][:DRAWN]


def _shown(row: Row, found: Backtest) -> bool | str:
    return True if row.variant.label in (found.recommended, "never", "every 30 days") else "legendonly"


def _marks(row: Row, found: Backtest, errors: Sequence[float | None]) -> Iterator[dict[str, Any]]:
    places = {step: number for number, step in enumerate(found.steps)}
    for one in row.trained:
        number = places.get(one.at)
        if number is not None and errors[number] is not None:
            told = plain(f"{row.variant.label}: {one.outcome}, for {one.reason}")
            symbol = SYMBOLS.get(one.outcome, "x")
            yield {"at": stamp(one.at), "error": errors[number], "told": told, "symbol": symbol}


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
    told = "Error and retrainings on the reported steps; a number is the policy's in the table."
    return f"{told} None is better in both than: {names}."


def _shown_words(found: Backtest) -> str:
    names = ", ".join(row.variant.label for row in _drawn(found) if _shown(row, found) is True)
    return (
        f"The metric in each step of {names or 'the policies'}. A mark is a retraining, "
        "a triangle where it was promoted. The dashed line is where the choice ends and the report begins."
    )
