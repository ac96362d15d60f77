"""The evidence comes from stored artifacts and unseen rows; a better candidate passes, a worse one fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.data.split import split_rows, split_window
from evergreen.data.windows import training_window
from evergreen.errors import ArtifactError
from evergreen.evaluation.judgement import Judgement
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.gates import Gates
from evergreen.spec.training import Holdout, Training
from evergreen.training.candidate import PROBE
from evergreen.training.evaluate import evaluate_candidate
from evergreen.verdicts import Verdict

Make = Callable[..., Any]


@pytest.fixture
def judge(settings: Settings) -> Callable[..., Judgement]:
    """Judge a version against a champion on the newest snapshot."""

    def run(spec: Any, version: Any, champion: Any = None) -> Judgement:
        snapshot = Observations(settings.lake_uri, spec).snapshot()
        return evaluate_candidate(
            Observations(settings.lake_uri, spec),
            Registry(settings),
            version,
            champion,
            training_window(spec, snapshot),
        )

    return run


def _by_name(judgement: Judgement) -> dict[str, Verdict]:
    return {check.name: check.status for check in judgement.checks}


def test_a_first_champion_is_judged_by_the_baseline(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make
) -> None:
    """Without a champion there is no invented score: the baseline and the other gates decide."""
    spec = make_spec()
    found = judge(spec, make_version(spec, make_rows(200)))
    assert found.verdict is Verdict.PASS
    assert "champion" not in _by_name(found)
    assert (found.rows, found.champion_value, found.interval) == (40, None, None)


def test_a_candidate_that_learned_the_new_regime_passes(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make
) -> None:
    """After the law changed, the newcomer is proven better on rows that neither has seen."""
    rule = Holdout(strategy="blocked", block=timedelta(hours=4), every=5, min_rows=10)
    spec = make_spec(holdout=rule, training=Training(last=timedelta(hours=199), min_rows=20))
    champion = make_version(spec, make_rows(200))
    version = make_version(spec, make_rows(200, start=200, slope=-3.0), "second", champion)
    found = judge(spec, version, champion)
    assert found.verdict is Verdict.PASS, found.checks
    assert found.interval is not None
    assert found.interval[0] > 0
    assert found.champion_value is not None
    assert found.value is not None
    assert found.spread is not None
    assert found.spread[0] < found.value < found.spread[1] < found.champion_value
    assert Judgement.of_text(found.to_text()) == found
    old = {name: value for name, value in json.loads(found.to_text()).items() if name != "spread"}
    assert Judgement.of_text(json.dumps(old)).spread is None


def test_rows_that_the_champion_has_seen_do_not_judge(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make
) -> None:
    """Rows of the holdout that the champion was trained on, under whatever rule, are taken out."""
    first = make_spec(holdout=Holdout(strategy="blocked", block=timedelta(hours=4), every=60, min_rows=10))
    champion = make_version(first, make_rows(200))
    second = make_spec()
    version = make_version(second, make_rows(20, start=200), "second", champion)
    found = judge(second, version, champion)
    # The newest fifth of 220 rows is 44: the 20 new ones, and 24 that the champion has seen but for its own holdout.
    held = set(observations_held(first, make_rows(200)))
    assert found.rows == 20 + len([row for row in range(176, 200) if row in held])


def observations_held(spec: Any, rows: pd.DataFrame) -> list[int]:
    """Ids of the rows that a spec's holdout leaves out."""
    utc = rows.assign(at=rows["at"].dt.tz_localize("UTC"))
    found: list[int] = utc.loc[split_rows(spec, utc).holdout, "id"].tolist()
    return found


def test_an_artifact_that_changed_fails_integrity(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, settings: Settings
) -> None:
    """A swapped pipeline is refused before it is loaded; other files that changed fail the gate."""
    spec = make_spec()
    version = make_version(spec, make_rows(200))
    registry = Registry(settings)
    probe = registry.files(version) / PROBE
    rows = pd.read_parquet(probe)
    rows.assign(_prediction=rows["_prediction"] + 1).to_parquet(probe, index=False)
    with pytest.raises(ArtifactError, match="not what was registered"):
        judge(spec, version)
    stored = registry.stored.model_folder(version.model_id) / "model.skops"
    stored.write_bytes(stored.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="sha256 differs"):
        judge(spec, version)


def test_judging_twice_gives_the_same(make_spec: Make, make_rows: Make, make_version: Make, judge: Make) -> None:
    """The judgement is seeded: a rerun after a crash says the same, but for the measured latency."""
    spec = make_spec()
    version = make_version(spec, make_rows(200))
    one, two = judge(spec, version), judge(spec, version)
    assert (one.verdict, one.value, one.interval) == (two.verdict, two.value, two.interval)
    assert np.array_equal(*([check.status for check in found.checks] for found in (one, two)))


@pytest.mark.parametrize(
    ("recipes", "asked"),
    [(("a", "a"), "The same recipe on newer rows: "), (("b", "a"), "A new recipe: "), (("a", ""), "A new recipe: ")],
)
def test_the_recipe_of_both_versions_decides_the_question(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, recipes: tuple[str, str], asked: str
) -> None:
    """A candidate is routine where it and the champion bear the same recipe; a champion of before bears none."""
    rule = Holdout(strategy="blocked", block=timedelta(hours=4), every=5, min_rows=10)
    spec = make_spec(holdout=rule, gates=Gates(routine_margin=0.15))
    champion = make_version(spec, make_rows(200))
    version = make_version(spec, make_rows(200, start=200, slope=-3.0), "second", champion)
    tagged = [
        replace(one, tags=replace(one.tags, recipe=recipe))
        for one, recipe in zip((version, champion), recipes, strict=True)
    ]
    (reason,) = [check.reason for check in judge(spec, *tagged).checks if check.name == "champion"]
    assert reason.startswith(asked)


def _check(judgement: Judgement, name: str) -> Any:
    (found,) = (check for check in judgement.checks if check.name == name)
    return found


@pytest.mark.parametrize("strategy", ["latest", "random"])
def test_no_row_of_a_daily_export_is_on_both_sides(
    strategy: Any, make_spec: Make, make_rows: Make, make_version: Make, judge: Make, settings: Settings
) -> None:
    """Three full exports without a key: copies are on one side, count once, and the check says so."""
    spec = make_spec(keys=(), time=None, holdout=Holdout(strategy=strategy, min_rows=20))
    for day in range(2):
        make_version(spec, make_rows(120).head(100 + 10 * day), f"day {day}")
    version = make_version(spec, make_rows(120), "day 2")
    observations = Observations(settings.lake_uri, spec)
    frame = observations.frame(observations.snapshot().version)
    split, ids = split_window(observations, frame), observations.ids(frame)
    assert len(frame) == 330
    assert not np.isin(ids[split.holdout], ids[split.train]).any()
    assert len(np.unique(ids[split.holdout])) == 24
    check = _check(judge(spec, version), "holdout")
    assert (check.status, check.value) == (Verdict.PASS, 24)
    copies = int(split.holdout.sum()) - 24
    assert f"none of them word for word among the training rows; {copies} repeat others and count with" in check.reason


def test_a_holdout_that_was_trained_on_is_refused(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make
) -> None:
    """The planted fault: a version that learned the rows that judge it, known again by their content alone."""
    spec = make_spec(keys=(), time=None, holdout=Holdout(strategy="latest", min_rows=10))
    version = make_version(spec, make_rows(200))
    check = _check(judge(make_spec(keys=(), time=None, holdout=Holdout(strategy="random")), version), "holdout")
    assert check.status is Verdict.FAIL
    assert "word for word among the training data" in check.reason


@pytest.mark.parametrize("ordered", [True, False])
def test_a_random_holdout_of_ordered_rows_is_told(
    ordered: bool, make_spec: Make, make_rows: Make, make_version: Make, judge: Make
) -> None:
    """Where the targets of rows that follow each other are alike, the check says by how much."""
    spec = make_spec(holdout=Holdout(strategy="random"))
    rows = make_rows(200)
    rows = rows.assign(y=np.sin(np.arange(200) / 10)) if ordered else rows
    reason = _check(judge(spec, make_version(spec, rows)), "holdout").reason
    assert ("rows that follow each other have alike targets (autocorrelation 0." in reason) is ordered
    assert reason.endswith("Set holdout.strategy to latest or blocked.") is ordered
