"""The plots as still pictures: where values stand, what is drawn of a thousand points, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pandas as pd
import pytest

from evergreen.details.canary import CanaryDetail, CanaryPoint
from evergreen.ledger.timeline_entries import Entry
from evergreen.pages.distributions import spread
from evergreen.pages.drawing import NARROW, WIDE, pictures
from evergreen.pages.figure_parts import Spec
from evergreen.pages.page_data import DriftPoint, Mark, MetricPoint
from evergreen.pages.plots import canary_plot, distribution_plot, drift_plot, metric_plot, windows_plot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
Element = ElementTree.Element


def drift(day: int, share: float, verdict: str = "PASS", times: float | None = 1.0) -> DriftPoint:
    """A drift report of a day."""
    return DriftPoint(f"d{day}", NOW + timedelta(days=day), verdict, share, 1, "", "x", times, "")


def measure(day: float, value: float | None, low: float | None = None, high: float | None = None) -> MetricPoint:
    """A performance report of a day."""
    return MetricPoint(NOW + timedelta(days=day), "PASS", value, low, high, None, 100, 1)


def drawn(plot: Spec, width: int = WIDE[-1]) -> Element:
    """The picture of one width, which is whole XML."""
    whole = ElementTree.fromstring(f"<div>{pictures(plot, width in WIDE)}</div>")  # noqa: S314
    return next(one for one in whole if one.get("class") == f"still w{width}" or width not in WIDE)


def marks(picture: Element, name: str, tag: str = "path") -> list[Element]:
    """What a layer has drawn, by its name or its colour."""
    groups = [one for one in picture.iter(f"{SVG}g") if f"{name}_marks" in one.get("class", "").split()]
    if groups:
        return [one for group in groups for one in group.iter(f"{SVG}{tag}")]
    return [one for one in picture.iter(f"{SVG}{tag}") if f"var(--{name})" in (one.get("stroke"), one.get("fill"))]


def labels(picture: Element, axis: str, role: str = "role-axis-label") -> Iterator[str]:
    """The labels of every axis that lies in a direction."""
    for one in picture.iter(f"{SVG}g"):
        if role in one.get("class", "").split() and one:
            anchors = {text.get("text-anchor") for text in one.iter(f"{SVG}text")}
            if ("end" in anchors) == (axis == "y"):
                yield from ("".join(text.itertext()) for text in one.iter(f"{SVG}text") if text.get("opacity") != "0")


def at(element: Element) -> tuple[float, float]:
    """Where a mark stands within its panel."""
    x, y = re.findall(r"-?[\d.]+(?:e-\d+)?", element.get("transform", ""))[:2]
    return float(x), float(y)


def points(line: Element) -> list[tuple[float, float]]:
    """Where a line goes."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.e]+),([-\d.e]+)", line.get("d", ""))]


def test_values_stand_where_the_axis_says() -> None:
    """Shares from the bottom to the top, the worst column by powers; a missing value is a gap, a constant no error."""
    reports = [drift(0, 0.0, times=1.0), drift(1, 1.0, times=10.0), drift(2, 0.5, times=None), drift(3, 0.5, times=100)]
    picture = drawn(drift_plot(reports, (), 0.3))
    high = [146, 8, 77, 77]
    assert [y for _, y in map(at, marks(picture, "verdicts"))] == pytest.approx(high, abs=0.1)
    across = [x for x, _ in map(at, marks(picture, "verdicts"))]
    assert across[1] - across[0] == pytest.approx(across[3] - across[2])
    bound, one = (at(line)[1] for line in marks(picture, "threshold", "line"))
    assert bound == pytest.approx(146 - 0.3 * 138, abs=0.1)
    (worst,) = marks(picture, "worst")
    heights = [y for _, y in points(worst)]
    assert heights[0] == pytest.approx(one, abs=0.1)
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.1)
    assert len(heights) == 3
    constant = drawn(windows_plot([measure(0, 7.0), measure(7, 7.0)], "mae"))
    assert [0 < y < 236 for _, y in points(marks(constant, "values")[0])] == [True, True]
    gap = drawn(windows_plot([measure(0, 1.0), measure(7, None), measure(14, 2.0)], "mae"))
    assert marks(gap, "values")[0].get("d", "").count("M") == 2


@pytest.mark.parametrize(
    ("ends", "some"),
    [
        ((0.0, 1.0), {"0.0", "0.2"}),
        ((0.0, 60_000.0), {"0", "20k"}),
        ((0.8e6, 1.4e6), {"800k", "1M", "1.2M"}),
        ((0.0, 6_000.0), {"0", "2,000"}),
        ((-2e-5, 2e-5), {"\N{MINUS SIGN}0.00001", "0.00000"}),
    ],
)
def test_ticks_are_round_numbers(ends: tuple[float, float], some: set[str]) -> None:
    """Ones, twos and fives, with as many digits as tell them apart, and no longer than there is room for."""
    told = set(labels(drawn(windows_plot([measure(7 * place, end) for place, end in enumerate(ends)], "mae")), "y"))
    assert some <= told
    assert all(len(label) <= 8 for label in told)


@pytest.mark.parametrize(("days", "first"), [(0.5, "1 Jan 06:00"), (20, "2026"), (1_000, "Apr 2026"), (9_000, "2030")])
@pytest.mark.parametrize("width", WIDE)
def test_ticks_of_time_fit_its_length(days: float, first: str, width: int) -> None:
    """Hours, days, months or years, never more than fit."""
    ends = [measure(days * part + 0.25 * (days < 1), 1.0) for part in (0, 1)]
    ticks = list(labels(drawn(metric_plot(ends, (), "mae"), width), "x"))
    assert 1 <= len(ticks) <= width / 60
    assert first in ticks or width < 1_000


def test_a_thousand_reports_are_a_few_paths() -> None:
    """A line, a band and a threshold are a path each; a mark each has only what did not pass or happened."""
    reports = [drift(day, 0.9 if day % 100 == 0 else 0.1, "FAIL" if day % 100 == 0 else "PASS") for day in range(1_000)]
    happened = [Mark(NOW, what, "done", 2, "") for what in ("retrained", "promoted", "rolled back")]
    plot = drift_plot(reports, happened, 0.3)
    picture = drawn(plot)
    assert len(marks(picture, "verdicts")) == 10
    assert len({mark.get("d") for mark in marks(picture, "lanes")}) == 3
    for width in WIDE:
        assert {"promoted", "rolled back", "retrained", "0%", "100%"} <= set(labels(drawn(plot, width), "y"))
    assert len([one for one in picture.iter() if one.tag != f"{SVG}g"]) < 150
    assert {"fails from 30%", "a column drifts above 1"} <= {one.text for one in picture.iter(f"{SVG}text")}
    band = drawn(metric_plot([measure(day, 2.0, 1.0, 3.0) for day in range(1_000)], (), "mae"))
    (filled,) = marks(band, "band")
    assert len(points(filled)) == 2_000 and filled.get("d", "").endswith("Z")
    assert len(pictures(plot)) / len(WIDE) < 60_000


def test_few_intervals_are_bars_of_their_own_and_unknown_ones_are_none() -> None:
    """Each from its low to its high end; a window that has none has a point alone."""
    picture = drawn(windows_plot([measure(0, 2.0, 1.0, 4.0), measure(7, 3.0)], "mae"))
    assert len(marks(picture, "interval", "line")) == 1
    assert len([one for one in marks(picture, "accent") if one.get("transform")]) == 2


def test_windows_in_the_order_of_landing_stand_by_their_first_row() -> None:
    """Across are row numbers, however late a window was measured; intervals and the bound are drawn as over time."""
    windows = [replace(measure(0, 2.0, 1.0, 4.0), row=row, before=2.5) for row in (0, 5_000, 20_000)]
    picture = drawn(windows_plot(windows, "mae"))
    (line,) = (one for one in marks(picture, "values") if one.get("d"))
    first, second, third = (x for x, _ in points(line))
    assert third - second == pytest.approx(3 * (second - first))
    assert {"0", "10k", "20k"} <= set(labels(picture, "x"))
    few = drawn(windows_plot([replace(window, row=(window.row or 0) // 5) for window in windows], "mae"))
    assert {"1,000", "4,000"} <= set(labels(few, "x"))
    assert len(marks(picture, "interval", "line")) == 3
    assert "at promotion" in {one.text for one in picture.iter(f"{SVG}text")}


def test_bars_are_as_long_as_their_shares() -> None:
    """Reference beside current, few short names upright and long ones lying; nothing at all is no error."""
    box = re.compile(r"M[\d.]+,[\d.]+h([\d.]+)v([\d.]+)h")

    def sizes(plot: Spec) -> list[tuple[float, float]]:
        found = (box.match(one.get("d", "")) for one in marks(drawn(plot, NARROW[0]), "bars"))
        return [(float(one[1]), float(one[2])) for one in found if one]

    upright = sizes(distribution_plot(spread("few", "numeric", pd.Series([1, 2, 2, 2]), pd.Series([2, 2]))))
    heights = [height for _, height in upright]
    assert heights == pytest.approx([162 * 0.25, 162 * 0.75, 0, 162], abs=0.1)
    names = pd.Series(["a long name", "another long name"])
    lying = sizes(distribution_plot(spread("k", "categorical", names, names[:1])))
    longest = max(width for width, _ in lying)
    assert [width / longest for width, _ in lying] == pytest.approx([0.5, 0.5, 1, 0], abs=0.01)
    nothing = pd.Series([None, None], dtype=object)
    assert sizes(distribution_plot(spread("k", "categorical", nothing, nothing))) == []


def test_a_canary_is_drawn_with_its_interval_and_its_steps() -> None:
    """The line and its band narrow over time; each step and the end stand where they were taken, with their words."""
    trace = [
        CanaryPoint((NOW + timedelta(hours=hour)).isoformat(), 100 * hour, 0.01, (0.01 - 1 / hour, 0.01 + 1 / hour))
        for hour in range(24, 84)
    ]
    taken = (("started", 5, 0), ("step", 25, 30), ("step", 50, 45), ("passed", 0, 80))
    entries = [
        Entry(
            f"e{hour}",
            NOW + timedelta(hours=hour),
            "canary",
            outcome,
            1,
            2,
            "",
            detail=CanaryDetail(2, 1, "d", 0, (5, 25, 50), share),
        )
        for outcome, share, hour in taken
    ]
    picture = drawn(canary_plot(trace, entries))
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert [word for word in words if word in ("5 %", "25 %", "50 %", "passed")] == ["5 %", "25 %", "50 %", "passed"]
    assert "as the champion" in words
    assert len(marks(picture, "band")) == 1
    assert len(marks(picture, "accent")) == 1
    assert len(marks(picture, "guide", "line")) == len(taken)
