"""What the burden of proof of a routine candidate costs and saves: weekly candidates of one recipe, in time order.

Every week a candidate of the last half year is judged by the project's own gates on every fifth day of the last eight
weeks, against the fit that was judged when the champion was promoted: neither learned those days. What is promoted is
deployed as a refit on all rows of its window, holdout rows included, and charged with the error of the week that
follows. Left out are search, slices, drift, labels that come late, the shadow's rollback, and the gates that look at a
stored artifact. Beside the burdens stand who never retrains and who deploys every refit unasked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.alarms import wilson
from benchmarks.measure import PROJECT, Finding, Scale, console, table
from evergreen.backtest.scores import Series, interval, picks
from evergreen.data.predictions import Predictions
from evergreen.data.split import split_rows
from evergreen.data.windows import watched_groups
from evergreen.evaluation.bootstrap import Groups
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.gates import run_gates
from evergreen.evaluation.measure import row_losses
from evergreen.sources import Folder
from evergreen.spec import Features, Gates, Holdout, Metric, ModelSpec, Training
from evergreen.spec.gates import ROUTINE_MARGIN
from evergreen.training.fit import fit
from evergreen.training.predict import baseline, predict, target_of
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

WEEK, AHEAD = timedelta(weeks=1), timedelta(weeks=4)
HARM = 1.02
"""A promotion is called harmful where the four weeks after it have so many times the error of what it replaced."""
MARGINS = (0.0, 0.05, 0.1, 0.15, 0.2)
NEVER, ALWAYS, NO_REFIT = "never", "refit always", "margin 0, without refit"
MEASURED = f"margin {ROUTINE_MARGIN:g}, blocks measured"
HOLDOUT = Holdout(strategy="blocked", block=timedelta(days=1), every=5, recent=timedelta(weeks=8), min_rows=72)
NEWEST = Holdout(strategy="latest", share=0.2, min_rows=72)
TRAINING = Training(last=timedelta(days=180), min_rows=336)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Rows in time order (`at`, UTC), and the model that learns them; steps are weekly from `first` on."""

    name: str
    spec: ModelSpec
    rows: pd.DataFrame
    first: pd.Timestamp
    params: Mapping[str, Any]

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
        """The rows from `start` on and before `end`."""
        at = self.rows["at"]
        first, last = (int(at.searchsorted(time)) for time in (start, end))
        return self.rows.iloc[first:last].reset_index(drop=True)

    def steps(self, most: int) -> list[pd.Timestamp]:
        """The weekly steps that have a week after them."""
        end = self.rows["at"].iloc[-1]
        steps = [self.first + number * WEEK for number in range(most + 1)]
        return [step for step in steps if step + WEEK <= end + timedelta(hours=1)]


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
        weeks = [self.losses(fit_of, week, refit) for week in range(first, min(first + 4, len(self.steps) - 1))]
        return sum(total for total, _ in weeks) / sum(rows for _, rows in weeks)

    def _fits(self, number: int) -> tuple[Pipeline, Pipeline]:
        """The judged fit and the refit of a week's candidate."""
        spec, frame = self.stream.spec, self._window(number)
        train = frame[~split_rows(spec, frame).holdout].reset_index(drop=True)
        judged, refit = (fit(spec, rows, None, params=self.stream.params).pipeline for rows in (train, frame))
        return judged, refit

    def _window(self, number: int) -> pd.DataFrame:
        step = self.steps[number]
        return self.stream.between(step - (TRAINING.last or WEEK), step)

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


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Replay every stream, print a table for each, and say what the default margin comes to."""
    findings: list[Finding] = []
    weeks, seeds = (104, 4) if scale.details else (6, 1)
    for streams in (*all_streams(seeds), *judged_by_newest()):
        console.print(f"[dim]  {streams[0].name}, {len(streams)} of them[/]")
        tallies = _all([Replay(stream, weeks) for stream in streams])
        _show(streams[0], tallies)
        findings += _findings(streams[0], tallies)
    return findings


def all_streams(seeds: int) -> Iterator[Sequence[Stream]]:
    """The UCI file where there is one, and so many draws of each simulated stream."""
    if (file := _uci()).exists():
        yield [bikes(file)]
    else:
        console.print(f"[dim]{file} is not there; it is left out.[/]")
    for build in (autocorrelated_classes, seasons):
        yield [build(seed) for seed in range(seeds)]


def judged_by_newest() -> Iterator[Sequence[Stream]]:
    """The UCI file where there is one, judged by the newest fifth of the window, days in a row, as new files are."""
    if (file := _uci()).exists():
        stream = bikes(file)
        spec = stream.spec.model_copy(update={"holdout": NEWEST})
        yield [replace(stream, name=f"{stream.name}, judged by the newest fifth", spec=spec)]


def _uci() -> Path:
    data = Path(os.environ.get("EVERGREEN_TEST_DATA", PROJECT.parent / "shared" / "data"))
    return data / "bike_sharing" / "hour.csv"


def _all(replays: Sequence[Replay]) -> dict[str, Tally]:
    burdens: dict[str, Callable[[Replay], Tally]] = {
        NEVER: lambda replay: replay.tally(None),
        ALWAYS: lambda replay: replay.tally(None, always=True),
        NO_REFIT: lambda replay: replay.tally(Gates(routine_margin=0.0), refit=False),
        **{f"margin {margin:g}": _burden(margin) for margin in MARGINS},
        MEASURED: lambda replay: replay.tally(Gates(routine_margin=ROUTINE_MARGIN, blocks="measured")),
    }
    found: dict[str, Tally] = {}
    for replay in replays:
        for name, asked in burdens.items():
            tally = asked(replay)
            found[name] = found[name] + tally if name in found else tally
    return found


def _burden(margin: float) -> Callable[[Replay], Tally]:
    return lambda replay: replay.tally(Gates(routine_margin=margin))


def _show(stream: Stream, tallies: Mapping[str, Tally]) -> None:
    metric = stream.spec.metric
    series = {name: _series(metric, tally) for name, tally in tallies.items()}
    drawn = _drawn(series[ALWAYS])
    rows = []
    for name, tally in tallies.items():
        ratio, ends = _ratio(series[name], series[ALWAYS], drawn)
        mine = interval(series[name].draws(drawn)) if drawn is not None else None
        rows.append(
            (
                name,
                f"{series[name].value():.4g}{_between(mine)}",
                f"{ratio:.3f}{_between(ends)}",
                f"{tally.promoted}/{tally.candidates}",
                share(*tally.better_refused),
                share(*tally.harmful),
                tally.by_dummy,
            )
        )
    header = (
        "",
        metric.name,
        "times refit always",
        "promoted",
        "refused, and better",
        "promoted, and harmful",
        "refused by the dummy",
    )
    table(f"{stream.name}, with 95 % intervals", header, rows)


def _findings(stream: Stream, tallies: Mapping[str, Tally]) -> list[Finding]:
    metric = stream.spec.metric
    ours, today = tallies[f"margin {ROUTINE_MARGIN:g}"], tallies["margin 0"]
    always = _series(metric, tallies[ALWAYS])
    ratio, ends = _ratio(_series(metric, ours), always, _drawn(always))
    chance = more_often(ours.harmful, today.harmful)
    return [
        Finding(
            f"{stream.name}: error at margin {ROUTINE_MARGIN:g}, times refit always",
            f"{ratio:.3f}{_between(ends)}",
            "at most 1.02",
            ratio <= 1.02,
        ),
        Finding(
            f"{stream.name}: harmful promotions, against margin 0",
            f"{share(*ours.harmful)} against {share(*today.harmful)}, p = {chance:.2f}",
            "no more than by chance",
            chance > 0.05,
        ),
    ]


def more_often(ours: tuple[int, int], others: tuple[int, int]) -> float:
    """How likely so many more hits than the others' are by chance: Fisher's one-sided test (1922); 1 of nothing."""
    from scipy.stats import fisher_exact

    if not ours[1] or not others[1]:
        return 1.0
    rows = [[hits, of - hits] for hits, of in (ours, others)]
    return float(fisher_exact(rows, alternative="greater").pvalue)


def _series(metric: Metric, tally: Tally) -> Series:
    return Series(metric, np.array(tally.total), np.array(tally.rows, dtype=float))


def _drawn(series: Series) -> npt.NDArray[np.intp] | None:
    return picks(len(series.total), seed=0)


def _ratio(mine: Series, other: Series, drawn: npt.NDArray[np.intp] | None) -> tuple[float, tuple[float, float] | None]:
    ends = None if drawn is None else interval(mine.draws(drawn) / other.draws(drawn))
    return mine.value() / other.value(), ends


def _ends(hits: int, of: int) -> tuple[float, float]:
    """The interval of a share; of nothing, any share may be."""
    return wilson(hits, of) if of else (0.0, 1.0)


def share(hits: int, of: int) -> str:
    """A count with the interval of its share."""
    low, high = _ends(hits, of)
    return f"{hits}/{of} ({100 * low:.0f}-{high:.0%})" if of else "none"


def _between(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:.4g} to {ends[1]:.4g})"


def bikes(file: Path) -> Stream:
    """The UCI hourly file; weekly candidates in its second year, by the model that ships at one point of its grid."""
    import pandas as pd

    import models

    spec = models.load("bike_demand", models.SHIPPED).spec.model_copy(
        update={"holdout": HOLDOUT, "training": TRAINING, "slices": ()}
    )
    assert spec.prepare is not None
    rows = spec.prepare(pd.read_csv(file))
    rows = rows.assign(at=rows["at"].dt.tz_localize("UTC")).sort_values("at", ignore_index=True)
    params = {"model__learning_rate": 0.2, "model__max_leaf_nodes": 15}
    return Stream("UCI bikes 2012", spec, rows, pd.Timestamp("2012-01-01", tz="UTC"), params)


HOURS = 24 * 7 * (27 + 105)


def _clock(seed: int) -> tuple[np.random.Generator, pd.DataFrame]:
    """Hours of two and a half years, with what a calendar and a thermometer say of them."""
    import pandas as pd

    rng, hours = np.random.default_rng(seed), np.arange(HOURS)
    season = -np.cos(2 * np.pi * hours / (24 * 365.25))
    temp = 12 + 10 * season + 4 * np.sin(2 * np.pi * (hours % 24 - 9) / 24) + _autoregressive(rng, 0.98, 3.0)
    at = pd.Timestamp("2020-01-02", tz="UTC") + pd.to_timedelta(hours, unit="h")
    return rng, pd.DataFrame({"at": at, "hour": hours % 24, "weekday": hours // 24 % 7, "temp": temp})


def _autoregressive(rng: np.random.Generator, memory: float, spread: float) -> npt.NDArray[np.float64]:
    """A process of the first order with the stated standard deviation, one value for each hour."""
    from scipy.signal import lfilter

    shocks = spread * np.sqrt(1 - memory**2) * rng.normal(size=HOURS)
    return np.asarray(lfilter([1.0], [1.0, -memory], shocks), dtype=np.float64)


def _drifting(rng: np.random.Generator, start: float, weekly: float) -> npt.NDArray[np.float64]:
    """A coefficient that takes a random step each week, one value for each hour."""
    weeks = HOURS // (24 * 7)
    return np.repeat(start + np.cumsum(weekly * rng.normal(size=weeks)), 24 * 7)


def autocorrelated_classes(seed: int) -> Stream:
    """Up or down each hour: a state that no feature shows keeps neighbours alike; the law takes a step each week."""
    rng, rows = _clock(seed)
    signals = {name: _autoregressive(rng, memory, 1.0) for name, memory in (("fast", 0.5), ("slow", 0.95), ("flat", 0))}
    score = sum(
        _drifting(rng, start, 0.12) * signals[name] for name, start in (("fast", 1.0), ("slow", -0.7), ("flat", 0.5))
    )
    score = score + 0.6 * np.sin(2 * np.pi * rows["hour"].to_numpy() / 24) + _autoregressive(rng, 0.98, 0.8)
    up = (rng.random(HOURS) < 1 / (1 + np.exp(-score))).astype(int)
    spec = _spec("classes", "classification", "log_loss", ("hour", "weekday", "temp", *signals))
    return Stream("simulated, autocorrelated classes", spec, rows.assign(**signals, y=up), _first(rows), {})


def seasons(seed: int) -> Stream:
    """Demand by hour, weekday and weather, which grows, has seasons that half a year does not show, and weeks alike."""
    rng, rows = _clock(seed)
    hour, weekday, temp = (rows[name].to_numpy() for name in ("hour", "weekday", "temp"))
    year = np.sin(2 * np.pi * np.arange(HOURS) / (24 * 365.25))
    level = (
        100 * (1 + 0.3 * np.arange(HOURS) / (24 * 365)) * (1 + 0.35 * year) * np.exp(_autoregressive(rng, 0.995, 0.08))
    )
    shape = (
        1
        + 0.6 * np.sin(2 * np.pi * (hour - 7) / 24)
        + _drifting(rng, 0.2, 0.03) * (weekday >= 5) * np.cos(2 * np.pi * hour / 24)
    )
    warmth = 1 + 0.015 * (temp - 12) - 0.0008 * (temp - 12) ** 2
    demand = level * shape * np.clip(warmth, 0.2, None) * np.exp(0.15 * rng.normal(size=HOURS))
    spec = _spec("seasons", "regression", "mae", ("hour", "weekday", "temp"))
    return Stream("simulated, seasons", spec, rows.assign(y=demand), _first(rows), {})


def _first(rows: pd.DataFrame) -> pd.Timestamp:
    return rows["at"].iloc[0] + 27 * WEEK


def _spec(name: str, task: str, metric: str, numeric: tuple[str, ...]) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": name,
        "task": task,
        "source": Folder(name),
        "contract": lambda: None,
        "time": "at",
        "target": "y",
        "features": Features(numeric=numeric),
        "pipeline": classifier if task == "classification" else regressor,
        "metric": Metric(name=metric),
        "holdout": HOLDOUT,
        "training": TRAINING,
    }
    return ModelSpec(**fields)


def classifier(seed: int) -> Pipeline:
    """Boosted trees of classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=7, random_state=seed))


def regressor(seed: int) -> Pipeline:
    """Boosted trees of a number."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        HistGradientBoostingRegressor(max_iter=60, learning_rate=0.2, max_leaf_nodes=15, random_state=seed)
    )
