"""The parts that the plots of all pages share, in the words of Vega-Lite.

A plot is one Vega-Lite specification: `drawing` makes still pictures of it, and a browser draws it again. A colour is
the name of a style rule, so that both drawings follow light, dark and paper. Specifications are plain dictionaries:
building the same plots with Altair's classes took a second of processor time a page, and a test holds every word of
them to Vega-Lite's schema.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""
Row = Mapping[str, Any]

CROSS = "M-.7,-.7L.7,.7M.7,-.7L-.7,.7"
STAR = "M0,-1.3L.4,-.4L1.3,-.3L.6,.3L.8,1.2L0,.7L-.8,1.2L-.6,.3L-1.3,-.3L-.4,-.4Z"
DASHED, DOTTED = [6, 4], [1.5, 3]
ABOVE: Spec = {"align": "right", "baseline": "bottom", "dy": -3}
"""Where words stand that end at a line's right end."""
EXPLORED = "explored"
"""The parameter that says whether a plot answers to the pointer; the page's script sets it, and `since` and `zoom`."""
WHEN = {
    "field": "at",
    "type": "temporal",
    "timeUnit": "utcyearmonthdatehoursminutes",
    "title": "time",
    "format": "%Y-%m-%d %H:%M",
}
"""The time of a row, for whoever points at it."""
BESIDE = 72
"""Pixels beside the panels of a plot that has several: Vega-Lite fits only a single panel into a width."""
SHORT = "abs(datum.value) >= 1e4 ? format(datum.value, '~s') : datum.label"
"""The label of a number: from ten thousand on it is shortened."""
_TIMES = dict.fromkeys(("week", "date", "day"), "%-d %b %Y") | dict.fromkeys(("hours", "minutes"), "%-d %b %H:%M")
_TIMES |= dict.fromkeys(("quarter", "month"), "%b %Y") | {"year": "%Y"}
_WHEEL = "wheel![event.ctrlKey || event.metaKey || event.shiftKey]"
"""What zooms: the wheel alone goes on scrolling the page."""
_LOOKS = {
    "background": "transparent",
    "aria": False,
    "font": "system-ui, sans-serif",
    "padding": {"left": 4, "right": 16, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--border)",
        "tickColor": "var(--border)",
        "gridColor": "var(--grid)",
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "axisX": {"tickCount": {"expr": "width / 90"}, "labelOverlap": "parity", "labelSeparation": 12},
    "axisY": {
        "labelOverlap": "greedy",
        "domain": False,
        "ticks": False,
        "tickCount": 5,
        "minExtent": 44,
        "labelPadding": 8,
    },
    "legend": {
        "title": None,
        "orient": "top",
        "labelColor": "var(--text)",
        "labelFontSize": 12,
        "labelLimit": 300,
        "symbolStrokeWidth": 1.6,
    },
    "line": {"strokeWidth": 1.5},
    "point": {"strokeWidth": 1.6, "opacity": 1},
    "text": {"fontSize": 11.5},
}


def drawn(
    data: str,
    mark: str,
    encoding: Mapping[str, Any],
    *,
    only: Any = None,
    name: str = "",
    **look: Any,
) -> Spec:
    """A layer: the rows of a data set as marks.

    Args:
        encoding: by channel, what decides on it.
        only: an expression or a parameter; rows for which it does not hold are left out.
        name: by which the panel is zoomed; none twice in a plot.
    """
    # What is cut off at the edges needs an identifier, and a page has each once: nothing is before a plot is explored.
    marks = {"type": mark, "clip": {"expr": EXPLORED}} | look
    layer: Spec = {"data": {"name": data}, "mark": marks, "encoding": dict(encoding)}
    return layer | ({"transform": [{"filter": only}]} if only else {}) | ({"name": name} if name else {})


def hover(data: str, encoding: Mapping[str, Any], *facts: Spec, only: Any = None) -> Spec:
    """Points that nobody sees and the pointer finds, with some `facts`; only where a plot is explored."""
    layer = drawn(data, "circle", {**encoding, "tooltip": list(facts)}, size=250, opacity=0)
    return layer | {"transform": [{"filter": condition} for condition in (EXPLORED, only) if condition]}


def line_across(value: float, words: str) -> Spec:
    """A dashed line at a value, with words above its right end."""
    at = {"datum": value}
    line = drawn("one", "rule", {"y": at}, strokeDash=DASHED, strokeWidth=1.5)
    text = drawn("one", "text", {"y": at, "x": {"value": "width"}}, text=words, **ABOVE)
    return {"encoding": {"color": {"value": "var(--threshold)"}}, "layer": [line, text]}


def number(field: str, title: str | None = None, **more: Any) -> Spec:
    """A field that is a number."""
    return {"field": field, "type": "quantitative", "title": title or field, **more}


def word(field: str, title: str | None = None, **more: Any) -> Spec:
    """A field that is text."""
    return {"field": field, "type": "nominal", "title": title or field, **more}


def times(*, labelled: bool = True) -> Spec:
    """The field `at` across; of panels above each other only the lowest has labels."""
    axis = {"title": None, "grid": False, "format": _TIMES}
    scale = {"type": "utc", "padding": 8, "domainMin": {"expr": "since ? toDate(since) : null"}}
    return {"field": "at", "type": "temporal", "scale": scale, "axis": axis if labelled else None}


def landed_rows() -> Spec:
    """The field `row` across: the number of a row in the order of landing."""
    axis = {"grid": False, "labelExpr": SHORT, "format": ",d"}
    return number("row", "row, as they landed", scale={"zero": False, "nice": False, "padding": 8}, axis=axis)


def values(field: str, title: str, *, axis: Mapping[str, Any] | None = None, **scale: Any) -> Spec:
    """Numbers upwards, which need not begin at zero, with short labels."""
    scale = {"nice": False, "padding": 8} | ({} if "type" in scale else {"zero": False}) | scale
    return number(field, title, scale=scale, axis={"labelExpr": SHORT} | dict(axis or {}))


def looks(field: str, marks: Mapping[str, Mapping[str, Any]], **more: Any) -> dict[str, Spec]:
    """How each value of a field looks: every channel that `marks` has for it."""
    channels = next(iter(marks.values()), {})
    return {
        channel: {
            "field": field,
            # Vega-Lite warns of a size that has no order and of a shape that has one.
            "type": "ordinal" if channel == "size" else "nominal",
            "scale": {"type": "ordinal", "domain": list(marks), "range": [mark[channel] for mark in marks.values()]},
            **more,
        }
        for channel in channels
    }


def plot_of(panels: Sequence[Spec], data: Mapping[str, Sequence[Row]], *zoomed: str, up: bool = False) -> Spec:
    """A plot of one panel, or of several over the same time.

    Args:
        data: the rows of each data set; `at` is a time as `stamp` writes it.
        zoomed: the name of one layer in each panel that is moved and zoomed along the time, or in both directions
            (`up`).
    """
    params: list[Spec] = [{"name": "since", "value": None}, {"name": EXPLORED, "value": False}]
    if zoomed:
        select = {"type": "interval", "encodings": ["x", "y"] if up else ["x"], "zoom": _WHEEL}
        params.append({"name": "zoom", "select": select, "bind": "scales", "views": list(zoomed)})
    plot = {
        "datasets": {"one": [{}]} | {name: list(rows) for name, rows in data.items()},
        "params": params,
        "config": _LOOKS,
    }
    if len(panels) == 1:
        fit = {"type": "fit-x", "contains": "padding"}
        return plot | panels[0] | {"autosize": fit, "usermeta": {"beside": 0}}
    apart = dict.fromkeys(("color", "fill", "stroke", "shape", "size"), "independent")
    resolve = {"scale": {"x": "shared"} | apart}
    return plot | {"vconcat": list(panels), "spacing": 14, "resolve": resolve, "usermeta": {"beside": BESIDE}}


def stamp(at: datetime) -> str:
    """A time as Vega reads it."""
    return f"{at:%Y-%m-%dT%H:%MZ}"


def short(value: float | None) -> float | None:
    """Four significant figures: the page is read by eye."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
