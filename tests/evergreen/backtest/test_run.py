"""The order of policies is that of a plain simulation; what is chosen is proven; what is applied is loaded again."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from evergreen.backtest.history import History
from evergreen.backtest.job_cache import JobCache
from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.jobs import JobContext
from evergreen.backtest.report import Backtest
from evergreen.backtest.request import Request
from evergreen.backtest.run import run
from evergreen.backtest.scores import Prices, Series, choose, difference, interval, picks
from evergreen.backtest.simulation import SimulationPlan
from evergreen.data.observations import Observations
from evergreen.data.split import split_rows
from evergreen.data.windows import cluster_ids
from evergreen.drift.compare import compare
from evergreen.errors import ModelFileError
from evergreen.evaluation.bootstrap import bootstrap, paired_bootstrap
from evergreen.evaluation.measure import measure
from evergreen.model_files.policy_edit import with_policy, with_routine_margin
from evergreen.pages.backtest_page import frontier, page
from evergreen.performance.check import judge
from evergreen.settings import PROJECT
from evergreen.sources.simulator import simulate
from evergreen.spec.data import Features
from evergreen.spec.fields import Rows
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import PerformanceThresholds, Shadow
from evergreen.spec.policies import Budget, Every, Never, OnDrift, OnPerformance, any_of
from evergreen.spec.training import Holdout, Search, Training
from evergreen.training.fit import fit
from evergreen.training.predict import baseline, predict, target_of
from evergreen.verdicts import Verdict

WEATHER = ("temp", "atemp", "hum", "windspeed")
WEEK = timedelta(days=7)
FIRST = datetime(2011, 2, 10, tzinfo=UTC)
"""A Thursday, on which the windows turn."""
CHANGE = date(2011, 2, 24)
POLICIES: dict[str, Any] = {
    "never": Never(),
    "weekly": Every(days=7),
    "every 28 days": Every(days=28),
    "on drift": OnDrift(),
    "on performance": OnPerformance(),
    "on drift or every 21 days": any_of(OnDrift(), Every(days=21)),
}


def _tree(seed: int) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder
    from sklearn.tree import DecisionTreeRegressor

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("encode", encode, ["weathersit"])], remainder="passthrough")
    return Pipeline([("columns", columns), ("model", DecisionTreeRegressor(min_samples_leaf=8, random_state=seed))])


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """The bikes that ship with a tree that is fitted in milliseconds, without what the plain simulation leaves out."""
    shipped = models.load("bike_demand", PROJECT / "models").spec
    changes = {
        "pipeline": _tree,
        "search": Search(),
        "shadow": Shadow(windows=0),
        "slices": (),
        "gates": Gates(),
        "trusted": ("sklearn.tree._tree.Tree",),
        "metric": Metric(name="mae"),
        "features": Features(numeric=(*WEATHER, "hr", "weekday", "workingday"), categorical=("weathersit",)),
        "training": Training(last=timedelta(days=28), min_rows=336),
        "holdout": Holdout(strategy="blocked", every=3, recent=timedelta(days=14), min_rows=48),
        "performance": PerformanceThresholds(tolerance=0.25),
    }
    return shipped.model_copy(update=changes)


@functools.cache
def _stream(scenario: Any) -> pd.DataFrame:
    from models.bike_demand import prepare

    change = None if scenario == "none" else CHANGE
    rows = prepare(simulate(date(2011, 1, 1), 140, seed=5, scenario=scenario, change=change, growth=0.0, seasonal=0.0))
    clock = rows["at"].dt.tz_localize("America/New_York", ambiguous="NaT", nonexistent="NaT")
    return rows.assign(at=clock.dt.tz_convert("UTC"), cnt=rows["cnt"].astype(float))[clock.notna()]


class Plain:
    """One policy, week by week, on frames: nothing is kept, nothing is shared."""

    def __init__(self, spec: ModelSpec, rows: pd.DataFrame, policy: str, steps: list[datetime]) -> None:
        self.steps = steps
        self.spec, self.rows, self.policy = spec, rows.reset_index(drop=True), policy
        self.champion: Any = None
        self.last: datetime | None = None
        self.errors: list[float] = []
        self.retrains = 0

    def live(self) -> float:
        """The mean absolute error of what was served from the second step on."""
        for now, end in itertools.pairwise(self.steps):
            known = self.rows[self.rows["at"] < now].reset_index(drop=True)
            former = self.champion
            if self.champion is None or self.wants(known, now):
                self.train(known, now)
            coming = self.rows[(self.rows["at"] >= now) & (self.rows["at"] < end)].reset_index(drop=True)
            if former is None:
                continue
            # Training takes a moment: the row of that very moment is still the former champion's.
            mine, old = (predict(one["pipeline"], self.spec, coming).values for one in (self.champion, former))
            given = np.where(coming["at"] == now, old, mine)
            self.errors += np.abs(given - coming["cnt"]).tolist()
        return float(np.mean(self.errors))

    def wants(self, known: pd.DataFrame, now: datetime) -> bool:
        since = (now - self.last) / timedelta(days=1) if self.last else np.inf
        days = {"weekly": 7, "every 28 days": 28, "on drift or every 21 days": 21}.get(self.policy, np.inf)
        drifted = "drift" in self.policy and self.drifted(known)
        return drifted or (self.policy == "on performance" and self.worse(known)) or since >= days

    def drifted(self, known: pd.DataFrame) -> bool:
        fresh = known[(known["at"] > self.champion["end"]) & (known["at"] >= known["at"].max() - timedelta(weeks=4))]
        before, after = (
            one.assign(prediction=predict(self.champion["pipeline"], self.spec, one).values)
            for one in (self.champion["reference"], fresh.reset_index(drop=True))
        )
        numeric = ["temp", "atemp", "hum", "windspeed", "prediction"]
        kinds = {"numeric": numeric, "categorical": ["weathersit"]}
        return compare(before, after, self.spec.drift, folder=None, seed=42, **kinds).verdict is Verdict.FAIL

    def worse(self, known: pd.DataFrame) -> bool:
        fresh = known[known["at"] > self.champion["end"]].reset_index(drop=True)
        given = predict(self.champion["pipeline"], self.spec, fresh)
        y, level = target_of(self.spec, fresh), self.spec.performance.level
        found = bootstrap(self.spec.metric, y, given, groups=cluster_ids(self.spec, fresh), level=level, seed=42)
        told = judge(self.spec, found, at_promotion=self.champion["holdout"], rows=len(fresh))
        return told.verdict is Verdict.FAIL

    def train(self, known: pd.DataFrame, now: datetime) -> None:
        self.last, recent = now, known[known["at"] >= known["at"].max() - timedelta(days=28)].reset_index(drop=True)
        held = split_rows(self.spec, recent).holdout
        train, judging = recent[~held].reset_index(drop=True), recent[held]
        pipeline = fit(self.spec, train, None).pipeline
        if self.champion is not None:
            self.retrains += 1
            judging = judging[~judging["at"].isin(self.champion["reference"]["at"])]
        judging = judging.reset_index(drop=True)
        y, mine = target_of(self.spec, judging), predict(pipeline, self.spec, judging)
        if self.champion is not None:
            theirs = predict(self.champion["pipeline"], self.spec, judging)
            nobody = baseline(self.spec, target_of(self.spec, train), len(judging))
            groups = cluster_ids(self.spec, judging)
            for other in (theirs, nobody):
                found = paired_bootstrap(self.spec.metric, y, mine, other, groups=groups, level=0.05, seed=42)
                if not found.low > 0:
                    return
        value = measure(self.spec.metric, y, mine)
        self.champion = {"pipeline": pipeline, "end": recent["at"].max(), "reference": train, "holdout": value}


def _replayed(spec: ModelSpec, rows: pd.DataFrame, folder: Path, steps: list[datetime], **asked: Any) -> Backtest:
    observations = Observations(str(folder / "lake"), spec)
    observations.land(rows[list(observations.content)], "b", "test", now=FIRST)
    bench = JobContext(spec, History.of(observations), JobCache(folder / "backtest"))
    return run(JobRunner(bench), SimulationPlan(steps, "hash"), Request(policies=POLICIES, **asked))


@pytest.mark.parametrize(
    ("scenario", "weeks"),
    [
        ("concept", 8),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("covariate", 8), ("gradual", 8), ("none", 14))),
    ],
)
def test_the_order_is_that_of_a_plain_simulation(scenario: str, weeks: int, spec: ModelSpec, tmp_path: Path) -> None:
    """Six policies have the very errors of a loop that shares nothing; without a change little is retrained."""
    rows = _stream(scenario)
    steps = [FIRST + number * WEEK for number in range(weeks + 1)]
    asked = {"report_from": steps[-2]} if scenario == "none" else {"change": datetime(2011, 2, 24, tzinfo=UTC)}
    found = _replayed(spec, rows, tmp_path, steps, **asked)
    replayed = {row.variant.name: row.series.value() for row in found.rows}
    walked = {name: Plain(spec, rows, name, steps) for name in POLICIES}
    plain = {name: one.live() for name, one in walked.items()}
    print(
        scenario, {name: (round(error, 3), walked[name].retrains) for name, error in plain.items()}, found.recommended
    )
    assert replayed == pytest.approx(plain, rel=1e-9)
    assert {row.variant.name: row.all_retrains for row in found.rows} == {n: one.retrains for n, one in walked.items()}
    order = sorted(plain, key=plain.__getitem__)
    assert sorted(replayed, key=replayed.__getitem__) == order
    if scenario == "none":
        assert found.recommended is not None
        assert found.row(found.recommended).all_retrains <= found.row("every 28 days").all_retrains
    else:
        assert found.recommended is None and "too few" in found.reason
        told = page(found, FIRST)
        table = told.partition("<tbody>")[2].partition("</tbody>")[0]
        assert table.count("<tr") == 6 and "on drift or every 21 days" in table
        assert found.row("never") in frontier(found)


def _series(values: Any) -> Series:
    return Series(Metric(name="mae"), np.asarray(values, dtype=float) * 100, np.full(len(values), 100.0))


def test_the_cheapest_policy_that_is_not_proven_worse_is_chosen() -> None:
    """A difference within chance buys no retraining, a proven one does, and prices decide where they are known."""
    chance = np.random.default_rng(1).normal(size=(2, 60))
    found = {"never": _series(20 + chance[0]), "weekly": _series(10 + chance[0]), "monthly": _series(10 + chance[1])}
    counts = {"never": 0, "weekly": 60, "monthly": 14}
    name, beside = choose(found, counts, Prices(), seed=1)
    assert name == "monthly" and beside["never"].proven and not beside["monthly"].proven
    assert choose(found, counts, Prices(retrain=1e9, error=1.0), seed=1)[0] == "never"
    assert choose(found, counts, Prices(retrain=0.0, error=1.0), seed=1)[0] in ("weekly", "monthly")
    few = {name: one.part(slice(0, 4)) for name, one in found.items()}
    assert choose(few, counts, Prices(), seed=1)[0] is None
    assert picks(4, seed=1) is None and difference(few["never"], few["weekly"], None).interval is None


def test_blocks_of_steps_widen_the_interval_of_alike_steps() -> None:
    """Errors that go up and down over months have a wider interval than the same ones shuffled."""
    slow = 20 + 5 * np.sin(np.arange(100) / 8)
    shuffled = np.random.default_rng(0).permutation(slow)
    drawn = picks(100, seed=3)
    assert drawn is not None
    widths = [np.diff(interval(_series(one).draws(drawn)) or (0, 0))[0] for one in (slow, shuffled)]
    assert widths[0] > 1.4 * widths[1]


EDITS: Mapping[str, Callable[[str], Any]] = {
    "plain": lambda text: text,
    "with a policy": lambda text: with_policy(text, Path("x.py"), Every(days=3)),
    "with retrain_on": lambda text: text.replace(
        '    target="cnt",\n', '    target="cnt",\n    retrain_on=("data",),\n'
    ),
    "on one line": lambda text: text.replace("    timezone=", "    retrain_on=(), timezone="),
}


@pytest.mark.parametrize("before", EDITS)
def test_a_policy_is_written_into_the_model_file(before: str, tmp_path: Path) -> None:
    """The file is loaded with the new policy and window, everything else as it was, and a second time nothing moves."""
    text = EDITS[before]((PROJECT / "models" / "bike_demand.py").read_text())
    policy, training = Budget(any_of(OnDrift(), Every(days=90)), at_most=2, days=30), Training(last=timedelta(days=90))
    place = tmp_path / "bike_demand.py"
    after = with_policy(text, place, policy, training)
    place.write_text(after)
    spec = models.load("bike_demand", tmp_path).spec
    assert (spec.retraining.policy, spec.training, spec.retraining.triggers) == (policy, training, ("drift",))
    assert with_policy(after, place, policy, training) == after
    kept = set(text.splitlines()) - set(after.splitlines())
    assert all(any(word in line for word in ("training=", "polic", "retrain_on")) for line in kept), kept
    with pytest.raises(ModelFileError, match=r"MODEL is not written as ModelSpec"):
        with_policy("MODEL = SHIPPED.model_copy()\n", place, policy)


def test_a_window_of_rows_is_written_into_the_model_file() -> None:
    """As `Rows(...)`, with its import."""
    text = (PROJECT / "models" / "bike_demand.py").read_text()
    after = with_policy(text, Path("x.py"), Every(rows=400), Training(last=Rows(5000)))
    assert "training=Training(last=Rows(5000))," in after
    spec = next(node for node in ast.parse(after).body if isinstance(node, ast.ImportFrom) and "Rows" in ast.dump(node))
    assert spec.module == "evergreen.spec"


@pytest.mark.parametrize("before", ["    gates=Gates(margin=0.0, slice_margin=0.25),\n", ""])
def test_a_burden_of_proof_is_written_into_the_model_file(before: str, tmp_path: Path) -> None:
    """The other gates stay, gates are added where there were none, and a second time nothing moves."""
    text = (PROJECT / "models" / "bike_demand.py").read_text()
    text = re.sub(r"    gates=Gates\(.*\),\n", before, text)
    place = tmp_path / "bike_demand.py"
    after = with_routine_margin(text, place, 0.2)
    place.write_text(after)
    expected = Gates(slice_margin=0.25, routine_margin=0.2) if before else Gates(routine_margin=0.2)
    assert models.load("bike_demand", tmp_path).spec.gates == expected
    assert with_routine_margin(after, place, 0.2) == after
    assert "routine_margin=0.3" in with_routine_margin(after, place, 0.3)
    with pytest.raises(ModelFileError, match=r"gates is not written as Gates\(...\)"):
        with_routine_margin("MODEL = ModelSpec(gates=OURS)\n", place, 0.2)
