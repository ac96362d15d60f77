"""What a backtest will cost, before it starts, and how far it is, by steps of policies and by fits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from evergreen.backtest.job_runner import Spent
from evergreen.markdown import many


@dataclass(frozen=True, slots=True)
class Forecast:
    """The work of a backtest, counted before it begins.

    Attributes:
        steps: of the history, for each policy.
        policies: those that are simulated, the oracle among them.
        fits: that are to be done now; for other training windows the most that there can be.
        known_fits: those that an earlier run has done.
        fit_seconds: mean processor seconds of the known ones; None where none is known.
    """

    steps: int
    policies: int
    fits: int
    known_fits: int = 0
    fit_seconds: float | None = None

    def describe(self, workers: int) -> str:
        """In words; `workers` is the number of processes that work beside each other."""
        known = f", {self.known_fits} {'is' if self.known_fits == 1 else 'are'} known from before"
        todo = many(self.fits, "fit")
        policies = many(self.policies, "policy", "policies")
        work = f"{policies} and {many(self.steps, 'step')} each: {todo} to do{known if self.known_fits else ''}"
        if not self.fits:
            return f"{work}; reports that are not known are worked out"
        if self.fit_seconds is None:
            return f"{work}; how long it takes is told after the first one"
        seconds = self.fits * self.fit_seconds / workers
        return f"{work}; {span(seconds)} for the fits, by those that are known, and the reports beside them"


@dataclass(frozen=True, slots=True)
class Report:
    """How far a backtest is.

    Attributes:
        steps, of: steps that are done, of those of all policies.
        fits, of_fits: fits that are done, of those that were to do.
        left: seconds that it will take from now on; None where that is not known yet.
    """

    steps: int
    of: int
    fits: int
    of_fits: int
    left: float | None

    @property
    def share(self) -> float:
        """Of the steps of all policies, 0 to 1."""
        return self.steps / self.of if self.of else 0.0

    def __str__(self) -> str:
        left = "" if self.left is None else f"; {span(self.left)} left"
        return (
            f"{self.steps} of {many(self.of, 'step')} of all policies, {self.fits} of {many(self.of_fits, 'fit')}{left}"
        )


class Watch:
    """Counts what is done, and shows it. It is called from the threads of all simulations."""

    def __init__(
        self,
        clock: Callable[[], float] = lambda: 0.0,
        begun: Callable[[Forecast], None] = lambda _forecast: None,
        show: Callable[[Report], None] = lambda _report: None,
    ) -> None:
        """`clock` counts seconds; `begun` gets what is to be done, `show` how far it is, at every step and fit."""
        self._clock, self._begun, self._show = clock, begun, show
        self._lock = threading.Lock()
        self._forecast = Forecast(0, 0, 0)
        self._total = self._steps = 0
        self._spent = Spent()
        self._start = clock()

    def begin(self, forecast: Forecast) -> None:
        """Tell what is to be done; a second time, what is to be done beside it."""
        with self._lock:
            self._total += forecast.steps * forecast.policies
            self._forecast = replace(forecast, fits=self._forecast.fits + forecast.fits)
        self._begun(forecast)

    def step(self) -> None:
        """Count a step of one policy."""
        with self._lock:
            self._steps += 1
            self._show(self._report())

    def spend(self, spent: Spent) -> None:
        """Note what was spent so far."""
        with self._lock:
            self._spent = spent
            self._show(self._report())

    def _report(self) -> Report:
        to_do = self._forecast.fits
        fits = min(self._spent.fresh.get("fit", 0), to_do)
        return Report(self._steps, self._total, fits, to_do, self._left(to_do - fits))

    def _left(self, fits: int) -> float | None:
        """The seconds for so many fits and the steps that are left, at the pace so far; None before there is one."""
        spent, fresh = self._spent, self._spent.fresh.get("fit", 0)
        count = fresh + spent.known.get("fit", 0)
        elapsed = self._clock() - self._start
        if not self._steps or not spent.fresh_seconds or elapsed <= 0 or (fits and not count):
            return None
        of_a_fit = spent.seconds["fit"] / count if count else 0.0
        of_a_step = max(spent.fresh_seconds - fresh * of_a_fit, 0.0) / self._steps
        processor = fits * of_a_fit + (self._total - self._steps) * of_a_step
        return processor * elapsed / spent.fresh_seconds


def span(seconds: float) -> str:
    """A time of work as people say it, such as `about 4 min`."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min"
    return f"about {seconds / 3600:.1f} h"
