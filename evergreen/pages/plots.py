"""The plots of a model's page, as the figures that plotly.js draws.

Plain dictionaries: what Plotly's Python classes would add is a check of every word, which a test does. Marks differ in
shape as well as in colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from evergreen.pages.distributions import Distribution
from evergreen.pages.figure_parts import (
    Figure,
    axis_of,
    layout_of,
    line_of,
    note,
    plain,
    plain_axis,
    short,
    stamp,
    threshold_line,
    timed,
)
from evergreen.pages.page_data import DriftPoint, Mark, MetricPoint

SHAPES = {"PASS": ("circle", 5), "FAIL": ("x", 8), "INCONCLUSIVE": ("circle-open", 7)}
LANES = {"retrained": "diamond-open", "rolled back": "triangle-down", "promoted": "triangle-up"}
GUIDES = 60
"""Promotions and rollbacks that are drawn through the plot as well, at most: more of them would cover it."""
FEW = 60
"""Points with an interval of their own; more are drawn as a band."""
CROWD = 200
"""Points that are all marked; of more, only those that did not pass, which is also what takes the time to draw."""
BESIDE = 4, 24
"""Letters of a label below an upright bar, and of all of them, at most; bars with longer ones lie."""
LABEL = 14
"""Letters of a label; the table beside it has the rest."""


def drift_figure(reports: Sequence[DriftPoint], marks: Sequence[Mark], threshold: float) -> Figure:
    """What happened, the share of the columns that drifted, and the worst column, over time."""
    # A logarithmic axis has no nought.
    times = [report for report in reports if report.times]
    worst = [
        {
            **line_of([report.at for report in times], [short(report.times) for report in times], "@accent"),
            "yaxis": "y3",
            "customdata": [plain(report.worst) for report in times],
            "hovertemplate": "%{x}<br>%{customdata}: %{y} times its threshold<extra></extra>",
            "showlegend": False,
        }
    ]
    shown = _verdicts(reports, [short(report.share) for report in reports], "%{y:.0%} drifted")
    layout = timed(
        470,
        yaxis=axis_of([0.4, 0.78], "columns drifted", range=[-0.04, 1.04], tickformat=".0%", dtick=0.25),
        yaxis3=axis_of([0, 0.3], "worst ÷ threshold", type="log", dtick=1, rangemode="tozero"),
        yaxis2=_lane_axis([0.83, 1]),
    )
    layout["shapes"] = [threshold_line("y", threshold), threshold_line("y3", 1)]
    layout["annotations"] = [
        note("y", threshold, f"fails from {threshold:.0%}"),
        # On a logarithmic axis a note stands at the power of ten.
        note("y3", 0, "a column drifts above 1"),
    ]
    return {"data": [*_guides(marks, 1.04), *shown, *worst, *_lanes(marks)], "layout": layout}


def metric_figure(measures: Sequence[MetricPoint], marks: Sequence[Mark], metric: str) -> Figure:
    """What happened, and the metric of every report with its interval, beside what it was at promotion."""
    known = [point for point in measures if point.value is not None]
    at = [point.at for point in known]
    before = line_of(at, [short(point.before) for point in known], "@muted")
    before["line"] |= {"dash": "dash", "shape": "hv"}
    shown = _verdicts(known, [short(point.value) for point in known], plain(metric) + " %{y}")
    layout = timed(400, yaxis=axis_of([0, 0.72], plain(metric)), yaxis2=_lane_axis([0.79, 1]))
    data = [*_interval(known), before | {"name": "at promotion"}, *shown, *_lanes(marks)]
    return {"data": data, "layout": layout}


def windows_figure(windows: Sequence[MetricPoint], metric: str) -> Figure:
    """The metric of each window that has its labels, with its interval."""
    at, values = [point.at for point in windows], [short(point.value) for point in windows]
    line = line_of(at, values, "@accent") | {"mode": "lines+markers", "name": plain(metric)}
    line |= {"marker": {"color": "@accent", "size": 6}, "hovertemplate": "from %{x}<br>%{y}<extra></extra>"}
    layout = timed(300, yaxis=axis_of([0, 1], plain(metric)))
    found = [point for point in windows if point.before is not None]
    if found:
        layout["shapes"] = [threshold_line("y", float(found[-1].before or 0.0))]
        layout["annotations"] = [note("y", float(found[-1].before or 0.0), "at promotion")]
    return {"data": [*_interval(windows), line], "layout": layout | {"showlegend": False}}


def distribution_figure(found: Distribution) -> Figure:
    """One column: the reference as a filled shape or plain bars, the current rows as a line or hatched bars."""
    sides = zip(("reference", "current"), (found.reference, found.current), strict=True)
    layout = layout_of(200) | {"showlegend": False, "bargap": 0.25, "bargroupgap": 0.05}
    layout["margin"] = {"l": 38, "r": 8, "t": 8, "b": 30}
    shares, values = plain_axis(tickformat=".0%", nticks=4, tickangle=0, fixedrange=True), plain_axis(showgrid=False)
    if found.edges:
        data = [_steps(name, found.edges, side) for name, side in sides]
        return {"data": data, "layout": layout | {"xaxis": values | {"nticks": 6}, "yaxis": shares}}
    names = [_label(name) for name in found.names]
    lying = max(map(len, names), default=0) > BESIDE[0] or sum(map(len, names)) > BESIDE[1]
    values |= {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names, "fixedrange": True}
    data = [_bars(name, names, side, lying) for name, side in sides]
    if not lying:
        return {"data": data, "layout": layout | {"xaxis": values, "yaxis": shares}}
    layout |= {"height": 60 + 26 * len(names), "yaxis": values | {"autorange": "reversed", "automargin": True}}
    return {"data": data, "layout": layout | {"xaxis": shares | {"nticks": 3}}}


def _steps(name: str, edges: Sequence[float], shares: Sequence[float]) -> Figure:
    """One side of a number, as steps over its bins."""
    line = {"shape": "hv", "color": f"@{name}", "width": 2}
    trace = {"type": "scatter", "mode": "lines", "x": list(edges), "y": [*shares, *shares[-1:]], "line": line}
    filled = {"fill": "tozeroy", "fillcolor": "@reference-fill"} if name == "reference" else {}
    return trace | filled | {"name": name, "hovertemplate": "%{x}: %{y:.1%}<extra>" + name + "</extra>"}


def _bars(name: str, names: Sequence[str], shares: Sequence[float], lying: bool) -> Figure:
    """One side of a column of few values, a bar each."""
    places, share = list(range(len(names))), "x" if lying else "y"
    trace = (
        {"type": "bar", "x": list(shares), "y": places} if lying else {"type": "bar", "x": places, "y": list(shares)}
    )
    marker: Figure = {"color": f"@{name}"}
    if name == "current":
        marker["pattern"] = {"shape": "/", "size": 5, "solidity": 0.35}
    hover = "%{customdata}: %{" + share + ":.1%}<extra>" + name + "</extra>"
    told = {"name": name, "customdata": list(names), "hovertemplate": hover, "marker": marker}
    return trace | told | {"orientation": "h" if lying else "v"}


def _label(name: str) -> str:
    return plain(name if len(name) <= LABEL else f"{name[: LABEL - 1]}…")


def _lanes(marks: Sequence[Mark]) -> list[Figure]:
    """A row of marks for each thing that happens."""
    traces = []
    for what, symbol in LANES.items():
        found = [mark for mark in marks if mark.what == what]
        told = [f"version {mark.version}: {mark.outcome}" if mark.version else mark.outcome for mark in found]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [stamp(mark.at) for mark in found],
                "y": [what] * len(found),
                "yaxis": "y2",
                "name": what,
                "marker": {"symbol": symbol, "size": 9, "color": f"@{what.replace(' ', '-')}"},
                "customdata": [plain(text) for text in told],
                "hovertemplate": "%{x}<br>" + what + ", %{customdata}<extra></extra>",
                "showlegend": False,
            }
        )
    return traces


def _guides(marks: Sequence[Mark], top: float) -> list[Figure]:
    """Thin lines where the champion changed."""
    moves = [mark for mark in marks if mark.what != "retrained"]
    if not moves or len(moves) > GUIDES:
        return []
    x = [each for mark in moves for each in (stamp(mark.at), stamp(mark.at), None)]
    line = {"color": "@guide", "width": 1, "dash": "dot"}
    shown = {"type": "scatter", "mode": "lines", "x": x, "y": [-0.04, top, None] * len(moves), "line": line}
    return [shown | {"hoverinfo": "skip", "showlegend": False}]


def _interval(points: Sequence[MetricPoint]) -> list[Figure]:
    """The intervals: one bar each of few, a band of many."""
    known = [point for point in points if point.low is not None and point.high is not None]
    x = [stamp(point.at) for point in known]
    if len(known) <= FEW:
        middle = [short(point.value) for point in known]
        up = [short((point.high or 0.0) - (point.value or 0.0)) for point in known]
        down = [short((point.value or 0.0) - (point.low or 0.0)) for point in known]
        bars = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": "@interval", "width": 4}
        trace = {"type": "scatter", "mode": "markers", "x": x, "y": middle, "error_y": bars | {"thickness": 2}}
        return [trace | {"marker": {"opacity": 0}, "hoverinfo": "skip", "name": "interval", "showlegend": False}]
    edge = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0, "color": "@band"}, "hoverinfo": "skip"}
    lower = edge | {"y": [short(point.low) for point in known], "showlegend": False}
    upper = edge | {"y": [short(point.high) for point in known], "fill": "tonexty", "fillcolor": "@band"}
    return [lower, upper | {"name": "interval"}]


def _verdicts(points: Sequence[DriftPoint | MetricPoint], values: Sequence[float | None], hover: str) -> list[Figure]:
    """The line through all points, and a mark for each verdict."""
    crowd = len(points) > CROWD
    told = "%{x}<br>" + hover + ", champion %{customdata}<extra>name</extra>"
    line = line_of([point.at for point in points], values, "@line") | {"hoverinfo": "skip", "showlegend": False}
    if crowd:
        facts: Figure = {"customdata": [point.champion for point in points], "hovertemplate": told.replace("name", "")}
        line = line | facts | {"name": "no mark: PASS", "showlegend": True}
        del line["hoverinfo"]
    traces = [line]
    for verdict, (symbol, size) in SHAPES.items():
        places = [place for place, point in enumerate(points) if point.verdict == verdict]
        if places and not (crowd and verdict == "PASS"):
            marker = {"symbol": symbol, "size": size * (0.75 if crowd else 1), "color": f"@{verdict.lower()}"}
            found = [points[place] for place in places]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [stamp(point.at) for point in found],
                    "y": [values[place] for place in places],
                    "name": verdict,
                    "marker": marker,
                    "customdata": [point.champion for point in found],
                    "hovertemplate": told.replace("name", verdict),
                }
            )
    return traces


def _lane_axis(domain: Sequence[float]) -> Figure:
    lanes = list(LANES)
    fixed = {"type": "category", "categoryarray": lanes, "range": [-0.6, len(lanes) - 0.4]}
    return plain_axis(domain=list(domain), fixedrange=True, **fixed)
