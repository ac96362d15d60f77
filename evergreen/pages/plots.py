"""The plots of a model's page. Marks differ in shape as well as in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from evergreen.details.canary import CanaryDetail, CanaryPoint
from evergreen.ledger.timeline_entries import Entry
from evergreen.pages.distributions import Distribution
from evergreen.pages.figure_parts import (
    ABOVE,
    CROSS,
    DASHED,
    DOTTED,
    SHORT,
    WHEN,
    Row,
    Spec,
    drawn,
    hover,
    landed_rows,
    line_across,
    looks,
    number,
    plot_of,
    short,
    stamp,
    times,
    values,
    word,
)
from evergreen.pages.page_data import DriftPoint, Mark, MetricPoint

VERDICTS = {
    "PASS": {"shape": "circle", "size": 14, "fill": "var(--pass)", "stroke": "var(--pass)"},
    "FAIL": {"shape": CROSS, "size": 90, "fill": "none", "stroke": "var(--fail)"},
    "INCONCLUSIVE": {"shape": "circle", "size": 40, "fill": "none", "stroke": "var(--inconclusive)"},
}
LANES = {
    "promoted": {"shape": "triangle-up", "fill": "var(--promoted)", "stroke": "var(--promoted)"},
    "rolled back": {"shape": "triangle-down", "fill": "var(--rolled-back)", "stroke": "var(--rolled-back)"},
    "lost": {"shape": CROSS, "fill": "none", "stroke": "var(--rolled-back)"},
    "retrained": {"shape": "diamond", "fill": "none", "stroke": "var(--retrained)"},
}
SIDES = {
    "reference": {"fill": "var(--reference)", "stroke": "var(--reference)"},
    "current": {"fill": "url(#hatch)", "stroke": "var(--current)"},
}
GUIDES = 60
"""Promotions and rollbacks that are drawn through the plot as well, at most: more of them would cover it."""
FEW = 60
"""Points with an interval of their own; more are drawn as a band."""
CROWD = 200
"""Points that are all marked; of more, only those that did not pass, which is also what takes the time to draw."""
UPRIGHT = 4, 24
"""Letters of a label below an upright bar, and of all of them, at most; bars with longer ones lie."""


def drift_plot(reports: Sequence[DriftPoint], marks: Sequence[Mark], threshold: float) -> Spec:
    """What happened, the share of the columns that drifted, and the worst column, over time."""
    rows = [
        _report(report) | {"share": short(report.share), "times": short(report.times), "worst": report.worst}
        for report in reports
    ]
    quarters = {"format": ".0%", "values": [0, 0.25, 0.5, 0.75, 1]}
    across = {"x": times(labelled=False), "y": values("share", "columns drifted", axis=quarters, domain=[0, 1])}
    bound = line_across(threshold, f"fails from {threshold:.0%}")
    verdicts = _verdicts(rows, across, number("share", "columns drifted", format=".0%"))
    shares = {"height": 154, "layer": [*_guides(marks), *verdicts, bound]}
    powers = {"values": [step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5)]}
    across = {"x": times(), "y": values("times", "worst ÷ threshold", axis=powers, type="log")}
    # A logarithmic axis has no zero.
    line = drawn("reports", "line", across, only="datum.times > 0", name="worst", color="var(--accent)")
    facts = hover("reports", across, WHEN, word("worst", "column"), number("times", "÷ threshold"))
    worst = {"height": 124, "layer": [line, line_across(1, "a column drifts above 1"), facts]}
    return _below_lanes(marks, {"reports": rows}, {"verdicts": shares, "worst": worst})


def metric_plot(measures: Sequence[MetricPoint], marks: Sequence[Mark], metric: str) -> Spec:
    """What happened, and the metric of every report with its interval, beside what it was at promotion."""
    rows = [_measure(point) for point in measures if point.value is not None]
    before = {"x": times(), "y": number("before", metric)}
    line = drawn("reports", "line", before, color="var(--muted)", strokeDash=DASHED, interpolate="step-after")
    words = drawn("newest", "text", before, text="at promotion", color="var(--muted)", **ABOVE)
    verdicts = _verdicts(rows, {"x": times(), "y": values("value", metric)}, number("value", metric))
    panel = {"height": 240, "layer": [_intervals("reports", rows, metric, times()), line, words, *verdicts]}
    newest = [row for row in rows if row["before"] is not None][-1:]
    return _below_lanes(marks, {"reports": rows, "newest": newest}, {"verdicts": panel})


def windows_plot(windows: Sequence[MetricPoint], metric: str) -> Spec:
    """The metric of each window that has its labels, with its interval, over time or over the rows as they landed."""
    rows = [_measure(point) | {"row": point.row} for point in windows]
    by_row = any(point.row is not None for point in windows)
    x, where = (landed_rows(), number("row", "from row", format=",d")) if by_row else (times(), WHEN)
    across = {"x": x, "y": values("value", metric)}
    point = {"color": "var(--accent)", "size": 36}
    line = drawn("windows", "line", across, name="values", color="var(--accent)", point=point)
    before = [row["before"] for row in rows if row["before"] is not None]
    bounds = [line_across(value, "at promotion") for value in before[-1:]]
    facts = hover("windows", across, where, number("value", metric), number("low", "from"), number("high", "to"))
    panel = {"height": 236, "layer": [_intervals("windows", rows, metric, x), line, *bounds, facts]}
    return plot_of([panel], {"windows": rows}, "values")


def canary_plot(trace: Sequence[CanaryPoint], entries: Sequence[Entry]) -> Spec:
    """How much more the challenger lost than the champion, with its interval, and each step that was taken."""
    rows = [
        {"at": _second(datetime.fromisoformat(point.at)), "rows": point.rows, "seen": short(point.seen)}
        | {"low": short(point.interval[0]), "high": short(point.interval[1])}
        for point in trace
        if point.interval is not None
    ]
    steps = [{"at": _second(entry.at), "what": _step_words(entry)} for entry in entries]
    title, axis = "more loss", {"format": ".0%", "labelExpr": "datum.label"}
    across = {"x": times(), "y": values("seen", title, axis=axis)}
    spans = {"x": times(), "y": number("low", title), "y2": {"field": "high"}}
    band = drawn("trace", "area", spans, color="var(--band)")
    line = drawn("trace", "line", across, name="seen", color="var(--accent)")
    guides = drawn("steps", "rule", {"x": times()}, color="var(--guide)", strokeDash=DOTTED)
    labels = {"x": times(), "y": {"value": 0}}
    words = drawn("steps", "text", labels | {"text": word("what")}, color="var(--muted)", align="left", dx=-2, dy=-18)
    percent = {"format": ".1%"}
    facts = hover("trace", across, WHEN, *(number(name, **percent) for name in ("seen", "low", "high")), number("rows"))
    panel = {"height": 240, "layer": [band, guides, line, words, line_across(0, "as the champion"), facts]}
    return plot_of([panel], {"trace": rows, "steps": steps}, "seen")


def _second(at: datetime) -> str:
    """A time as Vega reads it: the steps of a canary may be minutes apart."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _step_words(entry: Entry) -> str:
    detail = entry.detail_as(CanaryDetail)
    return f"{detail.share} %" if entry.outcome in ("started", "step", "resumed") else entry.outcome


def distribution_plot(found: Distribution) -> Spec:
    """One column: the reference as a filled shape or plain bars, the current rows as a line or hatched bars."""
    return _steps(found) if found.edges else _bars(found)


def _steps(found: Distribution) -> Spec:
    """Both sides of a number, as steps over its bins."""
    data = {
        side: [
            {"value": edge, "share": share} for edge, share in zip(found.edges, (*shares, *shares[-1:]), strict=True)
        ]
        for side, shares in zip(SIDES, (found.reference, found.current), strict=True)
    }
    axis = {"title": None, "grid": False, "labelExpr": SHORT, "tickCount": 5}
    edges = number("value", scale={"zero": False, "nice": False}, axis=axis)
    across = {"x": edges, "y": _SHARE}
    step = {"interpolate": "step-after"}
    filled = drawn(
        "reference", "area", across, color="var(--reference-fill)", line={"color": "var(--reference)"}, **step
    )
    line = drawn("current", "line", across, color="var(--current)", strokeWidth=2, **step)
    facts = [hover(side, across, number("value", found.name), number("share", side, format=".1%")) for side in SIDES]
    return plot_of([{"height": 162, "layer": [filled, line, *facts]}], data)


def _bars(found: Distribution) -> Spec:
    """Both sides of a column of few values, a bar each; they lie where the names are long."""
    rows = [
        {"value": name, "side": side, "share": share}
        for side, shares in zip(SIDES, (found.reference, found.current), strict=True)
        for name, share in zip(found.names, shares, strict=True)
    ]
    lengths = [len(name) for name in found.names] or [0]
    lying = max(lengths) > UPRIGHT[0] or sum(lengths) > UPRIGHT[1]
    axis = {"title": None, "grid": False, "ticks": False, "labelAngle": 0, "labelLimit": 100, "labelOverlap": False}
    # A browser's letters may be wider than those that the room was measured with.
    axis |= {"minExtent": 8 + 8 * min(max(lengths), 13)} if lying else {}
    names = word("value", sort=list(found.names), axis=axis, scale={"paddingInner": 0.25})
    height = 26 * len(found.names) if lying else 162
    along, up = ("y", "x") if lying else ("x", "y")
    sides = looks("side", SIDES, legend=None) | {f"{along}Offset": word("side", sort=list(SIDES))}
    facts = [word("value", found.name), word("side"), number("share", format=".1%")]
    bars = drawn("shares", "bar", {along: names, up: _SHARE, **sides, "tooltip": facts}, name="bars", strokeWidth=1)
    return plot_of([bars | {"height": height}], {"shares": rows})


_SHARE = number("share", axis={"title": None, "format": ".0%", "tickCount": 3}, scale={"nice": False})


def _report(point: DriftPoint | MetricPoint) -> dict[str, Any]:
    return {"at": stamp(point.at), "verdict": point.verdict, "champion": point.champion}


def _measure(point: MetricPoint) -> dict[str, Any]:
    return _report(point) | {name: short(getattr(point, name)) for name in ("value", "low", "high", "before")}


def _below_lanes(marks: Sequence[Mark], data: Mapping[str, Sequence[Row]], panels: Mapping[str, Spec]) -> Spec:
    """Panels over one time, by the name of a layer in each, below a row of marks for each thing that happened."""
    names = ("what", "version", "outcome")
    rows = [{"at": stamp(mark.at)} | {name: getattr(mark, name) for name in names} for mark in marks]
    # Most models never lose a champion, and need no lane for it.
    shown = {lane: look for lane, look in LANES.items() if lane != "lost" or any(mark.what == lane for mark in marks)}
    what = word("what", scale={"domain": list(shown)}, axis={"title": None, "grid": True, "minExtent": 78})
    facts = {"tooltip": [WHEN, *map(word, names)]}
    encoding = {"x": times(labelled=False), "y": what} | looks("what", shown, legend=None) | facts
    lanes = drawn("marks", "point", encoding, name="lanes", size=70) | {"height": 54}
    return plot_of([lanes, *panels.values()], {"marks": rows, **data}, "lanes", *panels)


def _guides(marks: Sequence[Mark]) -> list[Spec]:
    """Thin lines where the champion changed."""
    moves = sum(mark.what != "retrained" for mark in marks)
    x, only = {"x": times(labelled=False)}, "datum.what != 'retrained'"
    guides = drawn("marks", "rule", x, only=only, color="var(--guide)", strokeDash=DOTTED)
    return [guides] if 0 < moves <= GUIDES else []


def _intervals(data: str, rows: Sequence[Row], metric: str, x: Spec) -> Spec:
    """The intervals: one bar each of few, a band of many."""
    spans = {"x": x, "y": number("low", metric), "y2": {"field": "high"}}
    known = "isValid(datum.low) && isValid(datum.high)"
    if sum(row["low"] is not None for row in rows) <= FEW:
        return drawn(data, "rule", spans, only=known, color="var(--interval)", strokeWidth=2)
    return drawn(data, "area", spans, only=known, color="var(--band)")


def _verdicts(rows: Sequence[Row], across: Mapping[str, Spec], fact: Spec) -> list[Spec]:
    """The line through all points, and a mark for each verdict."""
    unmarked = "PASS" if len(rows) > CROWD else ""
    there = {row["verdict"] for row in rows} - {unmarked}
    marks = looks("verdict", {name: look for name, look in VERDICTS.items() if name in there})
    marked = drawn("reports", "point", {**across, **marks}, only=f"datum.verdict != '{unmarked}'", name="verdicts")
    line = drawn("reports", "line", across, color="var(--line)")
    return [line, marked, hover("reports", across, WHEN, word("verdict"), fact, word("champion"))]
