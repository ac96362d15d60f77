"""The page of a backtest in a browser: what it shows, what it asks for, and policies that are named like a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evergreen.backtest.job_runner import Spent
from evergreen.backtest.report import Backtest, Row
from evergreen.backtest.request import Variant
from evergreen.backtest.scores import Difference, Series
from evergreen.backtest.simulation import Trained
from evergreen.pages.backtest_page import page
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.policies import Every, Never
from evergreen.spec.training import Training

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = tuple(NOW + timedelta(weeks=number) for number in range(60))
SCRIPT = "<script>alert(1)</script>"


def _series(level: float) -> Series:
    errors = level + np.sin(np.arange(len(STEPS)) / 5)
    errors[7] = np.nan
    return Series(Metric(name="mae"), errors * 100, np.full(len(STEPS), 100.0))


def _row(name: str, level: float, weeks: int, *, cost: float | None = None) -> Row:
    trained = [
        Trained(step, f"{SCRIPT} is due", "promoted" if place % 2 else "rejected", place, 1.0, "")
        for place, step in enumerate(STEPS[::weeks] if weeks else ())
    ]
    late = [one for one in trained if one.at >= STEPS[30]]
    return Row(
        variant=Variant(
            name, Every(days=7 * weeks) if weeks else Never(), "28d", Training(last=timedelta(days=28)), Gates()
        ),
        error=level,
        chosen_error=level,
        interval=(level - 1, level + 2) if weeks else None,
        regret={"never": Difference(level - 30, None)},
        retrains=len(late),
        rejected=0,
        all_retrains=len(trained),
        train_seconds=12.0,
        cost=cost,
        false_triggers=None,
        late=None,
        series=_series(level),
        trained=tuple(trained),
    )


def backtest(*rows: Row, recommended: str | None) -> Backtest:
    """A backtest of some policies over 60 weeks, half of which chose."""
    facts = (f"{SCRIPT} because", f"{SCRIPT} warned", {SCRIPT: "left out"}, Spent())
    return Backtest("toy", "mae", STEPS, 30, rows, _series(5.0), recommended, *facts)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of four policies, of which one is recommended and named like a script."""
    rows = (_row("never", 30.0, 0), _row("weekly", 9.0, 1), _row(SCRIPT, 10.0, 6), _row("every 30 days", 25.0, 4))
    place = tmp_path_factory.mktemp("page") / "backtest.html"
    place.write_text(page(backtest(*rows, recommended=SCRIPT), NOW), encoding="utf-8")
    return place


def test_it_opens_offline_with_both_plots(opened: Callable[..., Any], place: Path) -> None:
    """Without a script: cost against error of each policy, the frontier, the course of three, their retrainings."""
    with opened(place.as_uri(), offline=True, java_script_enabled=False) as visit:
        plot = visit.page.locator("#pareto .still:visible")
        assert plot.count() == 1
        assert plot.locator(".policies_marks path[fill='var(--c0)']").count() == 3
        star = plot.locator(".policies_marks path[fill='var(--c1)']")
        assert star.count() == 1
        assert star.get_attribute("d") != plot.locator(".policies_marks path").first.get_attribute("d")
        assert plot.locator(".mark-text.role-mark text").all_text_contents() == ["1", "2", "3", "4"]
        assert plot.locator("line[stroke='var(--interval)']").count() == 3
        # From never by the recommended one to weekly: every 30 days has more of both than the recommended.
        frontier = plot.locator(".frontier_marks path").get_attribute("d")
        assert len({place.split(",")[1] for place in frontier.strip("M").split("L")}) == 3
        summary = visit.page.locator("#pareto-summary").inner_text()
        assert summary.endswith(f"better in both than: never, {SCRIPT}, weekly.")
        course = visit.page.locator("#errors .still:visible")
        # Ten of the recommended and fifteen every 30 days, every other one promoted.
        shapes = Counter(mark.get_attribute("d") for mark in course.locator(".retrainings_marks path").all())
        assert sorted(shapes.values()) == [5 + 7, 5 + 8]
        assert course.locator("line[stroke='var(--muted)'][stroke-dasharray]").count() == 1
        assert visit.page.locator("#policies tbody tr.taken td").first.inner_text() == "3"
        assert visit.page.locator("#steps tbody tr").count() == len(STEPS)
        assert visit.said == []
        assert visit.asked == [place.as_uri()]


def test_names_and_reasons_stay_text(opened: Callable[..., Any], place: Path) -> None:
    """Shown as they are, in the words, the tables and both drawings of each plot; the policy lets nothing else run."""
    with opened(place.as_uri()) as visit:
        assert visit.page.locator("#recommended .big").inner_text() == SCRIPT
        assert SCRIPT in visit.page.locator("#errors .still:visible .role-legend-label").all_text_contents()
        for plot in ("pareto", "errors"):
            live = visit.explore(plot)
            assert live.locator(".still:visible").count() == 0
        assert SCRIPT in visit.page.locator("#errors .live .role-legend-label").all_text_contents()
        rule = visit.page.locator("meta[http-equiv]").get_attribute("content")
        assert rule.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe-eval" not in rule and "script-src 'unsafe" not in rule
        assert visit.said == []
        assert visit.asked == [place.as_uri()]


def test_it_is_used_by_keyboard_on_a_phone_in_the_dark(opened: Callable[..., Any], place: Path) -> None:
    """Skip link, table, both plots and the steps are reached; nothing is wider than the screen; all has a name."""
    with opened(place.as_uri(), color_scheme="dark", viewport={"width": 390, "height": 844}) as visit:
        page = visit.page
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 28)"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        visit.tab_to("[aria-labelledby='policies-caption']")
        page.keyboard.press("ArrowRight")
        visit.until("document.activeElement.scrollLeft > 0")
        visit.tab_to("[data-explore=pareto]")
        page.keyboard.press("Enter")
        page.locator("#pareto .live svg.marks").wait_for()
        visit.tab_to("[data-explore=errors]")
        visit.tab_to("summary")
        page.keyboard.press("Enter")
        assert "promoted" in page.locator("#steps").inner_text()
        assert page.locator("table").count() == page.locator("caption").count()
        unnamed = "[...document.querySelectorAll('[role=img]')].filter(one => !one.getAttribute('aria-label')).length"
        assert page.evaluate(unnamed) == 0
        assert visit.said == []


def test_nothing_recommended_and_prices(opened: Callable[..., Any], tmp_path: Path) -> None:
    """It says that nothing is, marks no policy, and shows what each costs where prices are known."""
    found = backtest(_row("never", 30.0, 0, cost=5.0), recommended=None)
    place = tmp_path / "b.html"
    place.write_text(page(found, NOW), encoding="utf-8")
    with opened(place.as_uri()) as visit:
        assert visit.page.locator("#recommended .big").inner_text() == "nothing"
        assert visit.page.locator("#policies .taken, #pareto [fill='var(--c1)']").count() == 0
        assert visit.page.locator("#policies thead").inner_text().split()[-1] == "cost"
        assert visit.said == []
