"""A backtest as one HTML file that asks nobody for anything: plotly.js and the figures are within it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from evergreen.backtest_report import Backtest, Row
from evergreen.markdown import number

TEMPLATES = Path(__file__).parent / "templates"
DRAWN = 8
"""Policies whose error is drawn over time, the best ones and what they are held against; more lines tell nothing."""


def page(found: Backtest, at: datetime) -> str:
    """The page; `at` (aware) is when the backtest was made."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"number": number, "signed": _signed}
    template = environment.get_template("backtest.html.j2")
    return template.render(
        found=found,
        at=at,
        turn=found.steps[found.chosen],
        plotly=get_plotlyjs(),
        figures={"pareto": pareto(found), "errors": over_time(found)},
        summaries={"pareto": _told(found), "errors": "The metric in each step; a mark is a retraining."},
    )


def write(text: str, place: Path) -> Path:
    """Write a page under another name, then rename it: a reader never sees half of one."""
    import uuid

    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{uuid.uuid4().hex}-{place.name}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
    return place


def frontier(found: Backtest) -> tuple[Row, ...]:
    """The rows that no other one beats in both error and retrainings, by retrainings."""
    worse = -1.0 if found.oracle.worse < 0 else 1.0
    rows = sorted(found.rows, key=lambda row: (row.retrains, worse * row.error))
    kept: list[Row] = []
    for row in rows:
        if not kept or worse * row.error < worse * kept[-1].error:
            kept.append(row)
    return tuple(kept)


def pareto(found: Backtest) -> dict[str, Any]:
    """What a policy costs against its error on the reported steps, as a figure of plotly.js."""
    edge = frontier(found)
    priced = all(row.cost is not None for row in found.rows)
    return {
        "data": [
            {
                "type": "scatter", "mode": "lines", "name": "no other is better in both", "hoverinfo": "skip",
                "x": [row.retrains for row in edge], "y": [row.error for row in edge],
                "line": {"shape": "hv", "dash": "dot", "width": 1},
            },
            *(_point(row, found, priced=priced) for row in found.rows),
        ],
        "layout": {"xaxis": {"title": {"text": "retrainings"}}, "yaxis": {"title": {"text": found.metric}},
                   "height": 420, "showlegend": False},
    }  # fmt: skip


def _point(row: Row, found: Backtest, *, priced: bool) -> dict[str, Any]:
    label = row.variant.label
    low, high = row.interval or (row.error, row.error)
    cost = f", cost {row.cost:.4g}" if priced else ""
    return {
        "type": "scatter", "mode": "markers+text", "name": label, "text": [label], "textposition": "top center",
        "x": [row.retrains], "y": [row.error], "hovertext": [f"{label}: {row.error:.4g}{cost}"], "hoverinfo": "text",
        "marker": {"size": 13 if label == found.recommended else 9,
                   "symbol": "star" if label == found.recommended else "circle"},
        "error_y": {"type": "data", "symmetric": False, "array": [high - row.error], "arrayminus": [row.error - low],
                    "thickness": 1, "width": 3},
    }  # fmt: skip


def over_time(found: Backtest) -> dict[str, Any]:
    """The error of every policy in each step, with a mark for each retraining, as a figure of plotly.js."""
    starts = [step.isoformat() for step in found.steps]
    data: list[dict[str, Any]] = []
    for colour, row in enumerate(_drawn(found)):
        errors = row.series.by_step()
        data.append(_line(row.variant.label, starts, errors, colour))
        marks = list(_marks(row, found, errors))
        data.append(
            {"type": "scatter", "mode": "markers", "showlegend": False, "legendgroup": row.variant.label,
             "x": [mark["at"] for mark in marks], "y": [mark["error"] for mark in marks],
             "hovertext": [mark["told"] for mark in marks], "hoverinfo": "text", "visible": _shown(row, found),
             "marker": {"size": 8, "symbol": [mark["symbol"] for mark in marks], "color": colour}}
        )  # fmt: skip
        data[-2]["visible"] = _shown(row, found)
    data.append(_line("oracle", starts, found.oracle.by_step(), None) | {"visible": "legendonly"})
    turn = found.steps[found.chosen].isoformat()
    shape = {"type": "line", "x0": turn, "x1": turn, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dash"}}
    return {"data": data, "layout": {"yaxis": {"title": {"text": found.metric}}, "height": 460, "shapes": [shape]}}


def _drawn(found: Backtest) -> list[Row]:
    worse = found.oracle.worse
    first = [row for row in found.rows if row.variant.label in (found.recommended, "never", "every 30 days")]
    rest = sorted((row for row in found.rows if row not in first), key=lambda row: worse * row.error)
    return [*first, *rest][:DRAWN]


def _shown(row: Row, found: Backtest) -> bool | str:
    return True if row.variant.label in (found.recommended, "never", "every 30 days") else "legendonly"


def _line(name: str, starts: list[str], errors: Any, colour: int | None) -> dict[str, Any]:
    values = [None if not np.isfinite(one) else float(one) for one in errors]
    line: Mapping[str, Any] = {"dash": "dot", "width": 1} if colour is None else {"color": colour, "width": 1.6}
    return {"type": "scatter", "mode": "lines", "name": name, "legendgroup": name, "x": starts, "y": values,
            "line": line}  # fmt: skip


def _marks(row: Row, found: Backtest, errors: Any) -> Iterator[dict[str, Any]]:
    places = {step: number for number, step in enumerate(found.steps)}
    for one in row.story.trained:
        number = places.get(one.at)
        if number is not None and np.isfinite(errors[number]):
            told = f"{row.variant.label}: {one.outcome}, for {one.reason}"
            symbol = "triangle-up" if one.outcome == "promoted" else "x-thin-open"
            yield {"at": one.at.isoformat(), "error": float(errors[number]), "told": told, "symbol": symbol}


def _told(found: Backtest) -> str:
    names = ", ".join(row.variant.label for row in frontier(found))
    return f"Error and retrainings on the reported steps. None is better in both than: {names}."


def _signed(value: float) -> str:
    return f"{value:+.4g}" if np.isfinite(value) else ""
