"""What the figures of all pages have in common: layouts, axes, lines and texts in plotly.js's words.

A colour is the name of a style rule, such as `@fail`; what it is in light or in dark is put in where it is drawn. Texts
from data are escaped, for Plotly reads a little HTML in every label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

Figure = dict[str, Any]


def plain(text: str) -> str:
    """A text that Plotly shows as it stands."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def line_of(at: Sequence[datetime], values: Sequence[float | None], colour: str) -> Figure:
    """A line over time."""
    line = {"color": colour, "width": 1.5}
    return {"type": "scatter", "mode": "lines", "x": [stamp(each) for each in at], "y": list(values), "line": line}


def timed(height: int, **axes: Figure) -> Figure:
    """A layout over time: one axis for all panels, at the bottom of the lowest."""
    lowest = min(axes, key=lambda name: axes[name]["domain"][0]).replace("axis", "")
    x = plain_axis(type="date", anchor=lowest, showgrid=False, automargin=True)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "bgcolor": "@none"}
    return layout_of(height) | {"xaxis": x, "legend": legend, **axes}


def layout_of(height: int) -> Figure:
    """A layout that is as high as asked, in pixels, and as wide as its place."""
    return {
        "height": height,
        "margin": {"l": 84, "r": 12, "t": 28, "b": 36},
        "paper_bgcolor": "@none",
        "plot_bgcolor": "@none",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "@text"},
        "hoverlabel": {"bgcolor": "@surface", "bordercolor": "@border", "font": {"color": "@text"}, "align": "left"},
        "hovermode": "closest",
        "dragmode": "zoom",
        "showlegend": True,
    }


def axis_of(domain: Sequence[float], title: str, **more: Any) -> Figure:
    """An axis of values that takes a part of the height."""
    titled = {"title": {"text": title, "font": {"size": 12, "color": "@muted"}, "standoff": 8}} if title else {}
    return plain_axis(domain=list(domain), fixedrange=True, **titled, **more)


def plain_axis(**more: Any) -> Figure:
    """An axis in the page's colours."""
    return {
        "zeroline": False,
        "gridcolor": "@grid",
        "linecolor": "@border",
        "tickcolor": "@border",
        "tickfont": {"color": "@muted"},
    } | more


def threshold_line(axis: str, value: float) -> Figure:
    """A dashed line across at a value."""
    line = {"color": "@threshold", "width": 1.5, "dash": "dash"}
    ends = {"xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": value, "y1": value}
    return {"type": "line", "name": "threshold", "line": line} | ends


def note(axis: str, value: float, text: str) -> Figure:
    """Words above a line across."""
    place = {"xref": "paper", "x": 1, "xanchor": "right", "yref": axis, "y": value, "yanchor": "bottom"}
    return place | {"text": text, "showarrow": False, "font": {"size": 11, "color": "@threshold"}}


def stamp(at: datetime) -> str:
    """A time as Plotly reads it."""
    return f"{at:%Y-%m-%d %H:%M}"


def short(value: float | None) -> float | None:
    """Four significant figures: the page is read by eye."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
