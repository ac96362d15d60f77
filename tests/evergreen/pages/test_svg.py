"""The still pictures: where values stand, what is drawn of a thousand points, and what is left out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from evergreen.pages.distributions import spread
from evergreen.pages.figure_parts import axis_of, layout_of
from evergreen.pages.page_data import DriftPoint, Mark, MetricPoint
from evergreen.pages.plots import distribution_figure, drift_figure, metric_figure, windows_figure
from evergreen.pages.svg import picture

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def drift(day: int, share: float, verdict: str = "PASS") -> DriftPoint:
    """A drift report of a day."""
    return DriftPoint(f"d{day}", NOW + timedelta(days=day), verdict, share, 1, "", "x", 1 + share, "")


def measure(day: int, value: float | None, low: float | None = None, high: float | None = None) -> MetricPoint:
    """A performance report of a day."""
    return MetricPoint(NOW + timedelta(days=day), "PASS", value, low, high, None, 100, 1)


def drawn(figure: dict[str, Any]) -> ElementTree.Element:
    """The picture, which is whole XML."""
    return ElementTree.fromstring(f"<div>{picture(figure)}</div>")  # noqa: S314


def simple(y: list[float | None], **axis: Any) -> dict[str, Any]:
    """A line of a few values over their numbers, 100 pixels high."""
    layout = layout_of(100) | {"yaxis": axis_of([0, 1], "", **axis), "margin": {"l": 0, "r": 0, "t": 0, "b": 0}}
    line = {"color": "@line", "width": 1}
    trace = {"type": "scatter", "mode": "lines", "x": list(range(len(y))), "y": y, "line": line}
    return {"data": [trace], "layout": layout}


def way(figure: dict[str, Any]) -> str:
    """The path of the line."""
    return next(one.get("d", "") for one in drawn(figure).iter("path") if "--line" in one.get("style", ""))


def test_values_stand_where_the_axis_says() -> None:
    """The lowest at the bottom, the highest at the top; a logarithmic axis by powers; a missing value is a gap."""
    assert way(simple([0.0, 1.0, 0.5], range=[0, 1])) == "M0 100L500 0L1000 50"
    assert way(simple([1.0, 10.0, 100.0], type="log", range=[0, 2])) == "M0 100L500 50L1000 0"
    assert way(simple([0.0, None, 1.0], range=[0, 1])) == "M0 100M1000 0"
    # Without a range a little is left free, and a constant is in the middle.
    assert way(simple([0.0, 1.0])) == "M0 95.5L1000 4.5"
    assert way(simple([7.0, 7.0])) == "M0 50L1000 50"


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 1.0], ["0.0", "0.2", "0.4"]),
        ([0.0, 60_000.0], ["0", "20k"]),
        ([0.8e6, 1.4e6], ["0.8M", "1.0M"]),
        ([0.0, 6_000.0], ["0", "2,000"]),
        ([-2e-5, 2e-5], ["-0.00002", "-0.00001"]),
    ],
)
def test_ticks_are_round_numbers(values: list[float | None], labels: list[str]) -> None:
    """Ones, twos and fives, with as many digits as tell them apart."""
    texts = [one.text for one in drawn(simple(values)).iter("text") if one.get("x") == "-8"]
    assert texts[: len(labels)] == labels


@pytest.mark.parametrize(
    ("days", "first"),
    [(0.5, ("06:00", "1 Jan")), (20, ("3 Jan", "2026")), (1_000, ("Jan", "2026")), (9_000, ("2030", ""))],
)
def test_ticks_of_time_fit_its_length(days: float, first: tuple[str, str]) -> None:
    """Hours, days, months or years, never more than fit."""
    points = [
        MetricPoint(NOW + timedelta(days=days * part, hours=6), "PASS", 1.0, None, None, None, 1, 1) for part in (0, 1)
    ]
    texts = [one for one in drawn(metric_figure(points, (), "mae")).iter("text") if one.get("text-anchor") != "end"]
    ticks = [
        (one.text or "", "".join(more.text or "" for more in one)) for one in texts if "tick" in one.get("class", "")
    ]
    assert 2 <= len(ticks) <= 9
    assert first in ticks


def test_a_thousand_reports_are_a_few_paths() -> None:
    """A line, a band and a threshold are a path each; a mark each has only what did not pass or happened."""
    reports = [drift(day, 0.9 if day % 100 == 0 else 0.1, "FAIL" if day % 100 == 0 else "PASS") for day in range(1_000)]
    marks = [Mark(NOW, what, "done", 2, "") for what in ("retrained", "promoted", "rolled back")]
    found = drawn(drift_figure(reports, marks, 0.3))
    assert sum(1 for _ in found.iter()) < 150
    assert len([one for one in found.iter("use") if one.get("href") == "#mark-x"]) == 10 + 1
    assert {"#mark-diamond-open", "#mark-triangle-up", "#mark-triangle-down"} <= {
        one.get("href") for one in found.iter("use")
    }
    assert "fails from 30%" in [one.text for one in found.iter("text")]
    # The share fills 38 % of the height, from -4 % to 104 %; the threshold lies where a share of 30 % would.
    across = [one.get("d") for one in found.iter("path") if one.get("class") == "shape"]
    height = 470 - 28 - 36
    wanted = height * (0.6 - 0.38 * 0.34 / 1.08)
    assert float(re.sub(r"M0 |H1000", "", across[0] or "")) == pytest.approx(wanted, abs=0.06)
    band = drawn(metric_figure([measure(day, 2.0, 1.0, 3.0) for day in range(1_000)], (), "mae"))
    filled = [one.get("d", "") for one in band.iter("path") if "--band" in one.get("style", "")]
    assert len(filled) == 1 and filled[0].count("L") == 1_999 and filled[0].endswith("Z")
    assert len(str(picture(drift_figure(reports, marks, 0.3)))) < 60_000


def test_few_intervals_are_bars_of_their_own_and_unknown_ones_are_none() -> None:
    """Each from its low to its high end; a window that has none has a point alone."""
    found = drawn(windows_figure([measure(0, 2.0, 1.0, 4.0), measure(7, 3.0)], "mae"))
    bars = [one.get("d", "") for one in found.iter("path") if "--interval" in one.get("style", "")]
    assert len(bars) == 1 and bars[0].count("V") == 1
    assert len(list(found.iter("use"))) == 2


def test_bars_are_as_long_as_their_shares() -> None:
    """Reference beside current, few short names upright and long ones lying; nothing at all is no error."""
    upright = drawn(distribution_figure(spread("few", "numeric", pd.Series([1, 2, 2, 2]), pd.Series([2, 2]))))
    heights = [float(one.get("height", "")) for one in upright.iter("rect")]
    full = 200 - 8 - 30
    assert heights == pytest.approx([full * 0.25, full * 0.75, 0, full], abs=0.06)
    names = pd.Series(["a long name", "another long name"])
    lying = drawn(distribution_figure(spread("k", "categorical", names, names[:1])))
    assert [one.get("width") for one in lying.iter("rect")] == ["50.00%", "50.00%", "100.00%", "0.00%"]
    nothing = pd.Series([None, None], dtype=object)
    assert not list(drawn(distribution_figure(spread("k", "categorical", nothing, nothing))).iter("rect"))
