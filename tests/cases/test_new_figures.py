"""What `evergreen new` writes does better where its former default did badly; and what its loss cannot take is refused.

The former default: squared errors for every number, learning rates of 0.05 and 0.1, 15 and 31 leaves, and no text of
more than a hundred values. Each figure is that of a fifth of the rows that was not learned.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from evergreen.data.checked_batch import CheckedBatch, check_batch
from evergreen.data.contract import schema_of
from evergreen.data.split import split_rows
from evergreen.evaluation.measure import measure
from evergreen.model_files.new import scaffold
from evergreen.registry.artifacts import packed
from evergreen.sources.file_formats import read_rows
from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Search
from evergreen.training.fit import fit
from evergreen.training.predict import baseline, labelled, predict, target_of
from tests.cases.tables import with_categories, with_rare, with_zeros

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Figures:
    """A metric of what `new` writes, of its former default, and of a constant, on the same rows."""

    now: float
    before: float
    constant: float


def check(spec: ModelSpec, file: Path) -> CheckedBatch:
    rows, problem = read_rows(file)
    assert rows is not None, problem
    return check_batch(rows, spec, schema_of(spec), now=NOW, written=True)


def new(folder: Path, table: pd.DataFrame, **options: Any) -> tuple[ModelSpec, pd.DataFrame]:
    """The model that `new` writes for a table, and its rows."""
    table.to_csv(folder / "part_1.csv", index=False)
    scaffold("case", folder / "part_1.csv", folder / "models", target="y", now=NOW, **options)
    spec = models.load("case", folder / "models").spec
    return spec, labelled(spec, check(spec, folder / "part_1.csv").rows)


def former(spec: ModelSpec) -> ModelSpec:
    """The same model with the former default."""

    def pipeline(seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        from sklearn.pipeline import Pipeline

        kind = HistGradientBoostingRegressor if spec.task == "regression" else HistGradientBoostingClassifier
        return Pipeline([("model", kind(max_iter=200, random_state=seed))])

    grid = {"model__learning_rate": (0.05, 0.1), "model__max_leaf_nodes": (15, 31)}
    numbers = Features(numeric=spec.features.numeric)
    return spec.model_copy(update={"pipeline": pipeline, "features": numbers, "search": Search(grid=grid)})


def figures(spec: ModelSpec, rows: pd.DataFrame, metric: str) -> Figures:
    held = split_rows(spec, rows).holdout
    learned, judging = rows[~held], rows[held]
    y, named = target_of(spec, judging), Metric(name=metric)
    values = []
    for each in (spec, former(spec)):
        fitted = fit(each, learned, None)
        values.append(measure(named, y, predict(fitted.pipeline, each, judging)))
        if each is spec:
            assert packed(fitted.pipeline, spec.name, spec.trusted)
    judged = spec.model_copy(update={"metric": named})
    return Figures(*values, measure(named, y, baseline(judged, target_of(spec, learned), len(y))))


@pytest.mark.slow
def test_many_zeros_judged_by_absolute_errors(tmp_path: Path) -> None:
    """Squared errors lose against the median; absolute errors with their ties spread are a tenth better than it."""
    table = with_zeros()
    assert (table["y"] == 0).mean() == pytest.approx(0.6, abs=0.03)
    spec, rows = new(tmp_path, table, metric="mae")
    found = figures(spec, rows, "mae")
    # 58.3, 74.1 and 69.4.
    assert found.before > found.constant
    assert found.now < 0.9 * found.constant


@pytest.mark.slow
def test_many_zeros_as_new_judges_them(tmp_path: Path) -> None:
    """By the root of squared errors, with a Poisson loss: better than the mean and the former default."""
    spec, rows = new(tmp_path, with_zeros())
    assert spec.metric.name == "rmse"
    found = figures(spec, rows, "rmse")
    # 117.0, 121.2 and 133.3.
    assert found.now < 0.97 * found.before
    assert found.now < 0.9 * found.constant


@pytest.mark.slow
def test_thousands_of_categories(tmp_path: Path) -> None:
    """A text of 5,000 values, which was left out, becomes its mean target."""
    spec, rows = new(tmp_path, with_categories())
    assert spec.features.categorical == ("place",)
    assert spec.watched == ("x",)
    found = figures(spec, rows, "mae")
    # 0.847, 0.979 and 1.051.
    assert found.before == pytest.approx(0.979, abs=0.01)
    assert found.now < 0.86


@pytest.mark.slow
def test_rare_positives(tmp_path: Path) -> None:
    """Average precision, with weights of the classes where the search finds them better."""
    spec, rows = new(tmp_path, with_rare())
    assert spec.search.grid["model__class_weight"] == (None, "balanced")
    found = figures(spec, rows, "average_precision")
    # 0.159, 0.149 and 0.032.
    assert found.now > 1.05 * found.before
    assert found.now > 4 * found.constant


TARGETS = {
    "amounts": lambda rng, n: rng.normal(0, 5, n).round(2),
    "a long tail": lambda rng, n: rng.lognormal(3, 1, n).round(2) + 0.01,
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.6, 0, rng.lognormal(3, 1, n)).round(2),
    "counts": lambda rng, n: rng.poisson(1.5, n),
    "counts without 0": lambda rng, n: rng.poisson(1.5, n) + 1,
    "one value": lambda rng, n: np.where(rng.random(n) < 0.7, 5.5, rng.normal(0, 5, n)).round(2),
}
SIGNS = {"below": -3.5, "zero": 0.0, "as before": None}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1_000),
    target=st.sampled_from(sorted(TARGETS)),
    metric=st.sampled_from([None, "mae", "rmse"]),
    second=st.sampled_from(sorted(SIGNS)),
    share=st.sampled_from([0.02, 0.3]),
)
def test_whatever_the_target_the_loss_takes_what_the_contract_lets_in(
    seed: int, target: str, metric: str | None, second: str, share: float
) -> None:
    """Also of a second file: a number that the loss cannot take is refused with the line that would let it in."""
    rng = np.random.default_rng(seed)
    n = 120
    table = pd.DataFrame({"x": rng.normal(size=2 * n).round(3), "y": TARGETS[target](rng, 2 * n)})
    later = table.iloc[n:].reset_index(drop=True)
    if (value := SIGNS[second]) is not None:
        later["y"] = later["y"].astype(float).mask(np.arange(n) < share * n, value)
    with tempfile.TemporaryDirectory() as folder:
        options = {"metric": metric, "task": "regression"} if metric else {"task": "regression"}
        spec, rows = new(Path(folder), table.iloc[:n], **options)
        later.to_csv(Path(folder) / "part_2.csv", index=False)
        checked = check(spec, Path(folder) / "part_2.csv")
        taken = rows if checked.problem else pd.concat([rows, checked.rows], ignore_index=True)
        steps = spec.search.grid
        prefix = next(iter(steps)).rpartition("__")[0]
        fitted = fit(spec, taken, None, params={f"{prefix}__max_iter": 3})
        assert np.isfinite(predict(fitted.pipeline, spec, taken).values).all()
    if checked.problem:
        assert "pa.Check.g" in checked.remedy and 'loss="squared_error"' in checked.remedy


def test_a_negative_count_is_refused_in_words(tmp_path: Path) -> None:
    """The whole message: what is wrong, in which rows, and both lines that change together."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"x": rng.normal(size=200), "y": rng.poisson(2, 200)})
    spec, _ = new(tmp_path, table)
    table.assign(y=table["y"] - 5).to_csv(tmp_path / "part_2.csv", index=False)
    refused = check(spec, tmp_path / "part_2.csv")
    assert "y: greater_than_or_equal_to(0)" in refused.problem
    assert refused.remedy == (
        'To let it in, remove pa.Check.ge(0) from "y" in contract() of the model file, and write in pipeline() a loss '
        'that takes such a target: loss="squared_error" for its mean, or loss="absolute_error" for its median'
    )
