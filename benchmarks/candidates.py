"""Weekly candidates of one recipe on a stream, each fitted once, judged by the project's own gates in time order.

A candidate learns the last half year. What is promoted is deployed as a refit on all rows of its window, holdout rows
included, and charged with the error of the week that follows. Left out are search, slices, drift, labels that come
late, the shadow's rollback, and the gates that look at a stored artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.streams import LEARNED, WEEK, Stream, all_streams
from evergreen.data.predictions import Predictions
from evergreen.data.split import split_rows
from evergreen.data.windows import watched_groups
from evergreen.evaluation.bootstrap import Groups
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.gates import run_gates
from evergreen.evaluation.measure import row_losses
from evergreen.spec import Gates
from evergreen.training.fit import fit
from evergreen.training.predict import baseline, predict, target_of
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

AHEAD = timedelta(weeks=4)
HARM = 1.02
"""A promotion is called harmful where the four weeks after it have so many times the error of what it replaced."""


@dataclass(slots=True)
class Tally:
    """What became of one burden.

    Attributes:
        total: sum of the row losses in each week; `rows`, how many there were.
        promoted: promotions, of so many `candidates`.
        harmful: promotions that were worse by over 2 % in the four weeks after them, of those that had four weeks.
        better_refused: candidates not promoted that would have been better in the four weeks after them, likewise.
        by_dummy: candidates not promoted because they did not pass beside a dummy, whatever the champion.
        moves: the week of each promoted candidate, and that of the champion that it replaced.
    """

    total: list[float]
    rows: list[int]
    promoted: int = 0
    candidates: int = 0
    harmful: tuple[int, int] = (0, 0)
    better_refused: tuple[int, int] = (0, 0)
    by_dummy: int = 0
    moves: list[tuple[int, int]] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        both = [tuple(map(sum, zip(*pair, strict=True))) for pair in (
            (self.harmful, other.harmful), (self.better_refused, other.better_refused)
        )]  # fmt: skip
        return Tally(
            self.total + other.total,
            self.rows + other.rows,
            self.promoted + other.promoted,
            self.candidates + other.candidates,
            (both[0][0], both[0][1]),
            (both[1][0], both[1][1]),
            self.by_dummy + other.by_dummy,
            self.moves + other.moves,
        )


def evidence_of(
    y: Any, candidate: Predictions, champion: Predictions | None, dummy: Predictions, groups: Groups, *, routine: bool
) -> Evidence:
    """What the gates are told of a candidate of a benchmark: predictions alone, everything else is in order."""
    return Evidence(
        y=y,
        candidate=candidate,
        champion=champion,
        baseline=dummy,
        slices={},
        groups=groups,
        overlap=0,
        copies=0,
        order="",
        train_value=float("nan"),
        latency_ms=1.0,
        size_mb=1.0,
        tags={},
        description="A candidate of the benchmark.",
        integrity="",
        same_as_champion=False,
        routine=routine,
    )


class Replay:
    """One stream: every candidate is fitted once, and every pair of judged fits compared once for each burden."""

    def __init__(self, stream: Stream, weeks: int) -> None:
        self.stream = stream
        self.steps = stream.steps(weeks)
        self.fits = cache(self._fits)
        self.refused_by = cache(self._refused_by)
        self.losses = cache(self._losses)

    def tally(self, gates: Gates | None, *, refit: bool = True, always: bool = False) -> Tally:
        """Live through the weeks with one burden; without gates nothing is promoted, or everything is."""
        found, champion = Tally([], []), 0
        for number, step in enumerate(self.steps[:-1]):
            if number > 0:
                new, old = (self.ahead(fit_of, step, refit=refit) for fit_of in (number, champion))
                known = step + AHEAD <= self.steps[-1] + WEEK
                refused_by = () if always or gates is None else self.refused_by(number, champion, gates)
                passed = always or (gates is not None and not refused_by)
                found.by_dummy += "baseline" in refused_by
                found.candidates += 1
                found.promoted += passed
                if passed:
                    hits, of = found.harmful
                    found.harmful = (hits + (known and new > HARM * old), of + known)
                    found.moves.append((number, champion))
                    champion = number
                else:
                    hits, of = found.better_refused
                    found.better_refused = (hits + (known and new < old), of + known)
            total, rows = self.losses(champion, number, refit)
            found.total.append(total)
            found.rows.append(rows)
        return found

    def ahead(self, fit_of: int, step: pd.Timestamp, *, refit: bool = True) -> float:
        """The error of a fit in the four weeks from `step` on, as far as there are rows."""
        first = self.steps.index(step)
        weeks = [self.losses(fit_of, week, refit) for week in range(first, min(first + 4, len(self.steps)))]
        return sum(total for total, _ in weeks) / sum(rows for _, rows in weeks)

    def _fits(self, number: int) -> tuple[Pipeline, Pipeline]:
        """The judged fit and the refit of a week's candidate."""
        spec, frame = self.stream.spec, self._window(number)
        train = frame[~split_rows(spec, frame).holdout].reset_index(drop=True)
        judged, refit = (fit(spec, rows, None, params=self.stream.params).pipeline for rows in (train, frame))
        return judged, refit

    def _window(self, number: int) -> pd.DataFrame:
        step = self.steps[number]
        return self.stream.between(step - LEARNED, step)

    def _refused_by(self, number: int, champion: int, gates: Gates) -> tuple[str, ...]:
        """The gates that a candidate does not pass."""
        spec, frame = self.stream.spec.model_copy(update={"gates": gates}), self._window(number)
        mask = split_rows(spec, frame).holdout
        holdout = frame[mask].reset_index(drop=True)
        y, groups = target_of(spec, holdout), watched_groups(spec, holdout)
        candidate, former = (predict(self.fits(each)[0], spec, holdout) for each in (number, champion))
        dummy = baseline(spec, target_of(spec, frame[~mask]), len(holdout))
        evidence = evidence_of(y, candidate, former, dummy, groups, routine=True)
        checks = run_gates(evidence, spec, seed=spec.seed)
        return tuple(check.name for check in checks if check.status is not Verdict.PASS)

    def _losses(self, number: int, week: int, refit: bool) -> tuple[float, int]:
        """The sum of the row losses of a fit in a week, and the rows."""
        spec, step = self.stream.spec, self.steps[week]
        rows = self.stream.between(step, step + WEEK)
        predictions: Predictions = predict(self.fits(number)[1 if refit else 0], spec, rows)
        losses = row_losses(spec.metric, target_of(spec, rows), predictions)
        assert losses is not None, f"{spec.metric.name} is no mean over rows"
        return float(losses.sum()), len(rows)


@cache
def replays(*, whole: bool) -> Sequence[Sequence[Replay]]:
    """Every stream, the draws of one kind together, or as little as tells anything. Parts of one run share the fits."""
    return [[Replay(stream, weeks(whole=whole)) for stream in streams] for streams in all_streams(4 if whole else 1)]


def weeks(*, whole: bool) -> int:
    """How many weeks are lived through: two years, or as few as have two planted promotions."""
    return 104 if whole else 13
