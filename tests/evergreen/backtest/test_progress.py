"""What a backtest will cost, and how far it is: counted, and timed by an injected clock."""

from __future__ import annotations

import pytest

from evergreen.backtest.job_runner import Spent
from evergreen.backtest.progress import Forecast, Report, Watch, span


@pytest.mark.parametrize(
    ("forecast", "said"),
    [
        (
            Forecast(13, 3, 13),
            "3 policies and 13 steps each: 13 fits to do; how long it takes is told after the first one",
        ),
        (
            Forecast(13, 3, 12, 1, 30.0),
            "3 policies and 13 steps each: 12 fits to do, 1 is known from before; about 3 min for the fits, by those "
            "that are known, and the reports beside them",
        ),
        (
            Forecast(13, 1, 0, 13, 30.0),
            "1 policy and 13 steps each: 0 fits to do, 13 are known from before; reports that are not known are worked "
            "out",
        ),
    ],
)
def test_the_cost_is_told_before(forecast: Forecast, said: str) -> None:
    """What there is to do, what is known, and a time only where a fit was measured before."""
    assert forecast.describe(workers=2) == said


def test_the_time_left_follows_from_what_was_measured() -> None:
    """By the mean fit and the reports of a step, at the pace of the wall clock; unknown before the first fit."""
    now = [0.0]
    shown: list[Report] = []
    watch = Watch(lambda: now[0], show=shown.append)
    watch.begin(Forecast(steps=10, policies=2, fits=5))
    watch.step()
    assert (str(shown[-1]), shown[-1].left) == ("1 of 20 steps of all policies, 0 of 5 fits", None)
    spent = Spent()
    spent.add("fit", 10.0, fresh=True)
    spent.add("drift", 1.0, fresh=True)
    now[0] = 5.5
    watch.spend(spent)
    # Four fits of 10 s and 19 steps of 1 s, with two processes: 11 s of work took 5.5.
    assert shown[-1].left == pytest.approx(29.5)
    assert str(shown[-1]) == "1 of 20 steps of all policies, 1 of 5 fits; about 30 s left"
    for _ in range(19):
        watch.step()
    assert shown[-1].share == 1.0


def test_what_comes_for_other_windows_is_added() -> None:
    """A second forecast adds its steps and fits to those of the first one."""
    shown: list[Report] = []
    watch = Watch(show=shown.append)
    watch.begin(Forecast(10, 2, 5))
    watch.begin(Forecast(10, 1, 7))
    watch.step()
    assert (shown[-1].of, shown[-1].of_fits) == (30, 12)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.1, "about 5 s"), (32, "about 30 s"), (58, "about 1 min"), (7200, "about 2.0 h")]
)
def test_a_time_is_rounded(seconds: float, said: str) -> None:
    """Nobody needs the second of an estimate."""
    assert span(seconds) == said
