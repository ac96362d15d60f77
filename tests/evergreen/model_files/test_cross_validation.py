"""Whether there is a model in the data: its figure beside rules of one line, on folds that follow an order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from evergreen.errors import DataError
from evergreen.model_files.cross_validation import CrossValidation, _conclude, cross_validate
from evergreen.model_files.new import scaffold

NOW = datetime(2026, 12, 1, tzinfo=UTC)
Measured = Callable[..., CrossValidation]


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """The figures of the model that `evergreen new` writes for a table."""

    def run(table: pd.DataFrame, *, max_rows: int = 10_000, quick: bool = True, **options: Any) -> CrossValidation:
        (tmp_path / "models" / "made.py").unlink(missing_ok=True)
        table.to_csv(tmp_path / "data.csv", index=False)
        made = scaffold("made", tmp_path / "data.csv", tmp_path / "models", target="y", now=NOW, **options)
        if quick:
            made.path.write_text(made.path.read_text().replace("max_iter=200", "max_iter=30"))
        return cross_validate(made, models.load("made", tmp_path / "models").spec, NOW, max_rows=max_rows)

    return run


def stream(rows: int = 900, r: float = 0.97, seed: int = 2) -> pd.DataFrame:
    """Hourly amounts that move slowly, and a feature that says little of them."""
    rng = np.random.default_rng(seed)
    values = np.zeros(rows)
    for row in range(1, rows):
        values[row] = r * values[row - 1] + rng.normal()
    at = pd.date_range("2026-01-01", periods=rows, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    return pd.DataFrame({"at": at, "x": (values + rng.normal(0, 9, rows)).round(2), "y": values.round(3)})


def named(figure: CrossValidation) -> dict[str, float]:
    return {rule.name: rule.value for rule in figure.rules}


def test_a_model_in_the_data_is_said_to_be_one(measured: Measured) -> None:
    """Rows in no order have a constant beside them, and nothing else."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=600)
    figure = measured(pd.DataFrame({"x": x, "y": np.where(x + 0.5 * rng.normal(size=600) > 0, "yes", "no")}))
    assert (figure.metric, figure.folds, figure.in_order) == ("roc_auc", 3, False)
    assert named(figure) == {"a constant: the shares of the classes": 0.5}
    assert figure.model > 0.9
    assert figure.conclusion == "There is a model in the data: it is better than the constant."
    assert figure.title == "Cross-validated in 3 folds, on 600 rows"


def test_a_label_of_before_that_wins_points_to_lags(measured: Measured) -> None:
    """A whole sentence with both figures, and where to read on."""
    figure = measured(stream())
    assert figure.in_order
    assert set(named(figure)) == {
        "a constant: the median", "the last known label", "the label a day before", "the label a week before",
    }  # fmt: skip
    assert named(figure)["the last known label"] < 1 < figure.model
    assert figure.conclusion == (
        f"The last known label is better than the model (mae {named(figure)['the last known label']:.4g} against "
        f"{figure.model:.4g}): where it is known in time, a rule of one line would do. Give the model labels of before "
        "as features, those that are known when it predicts: see Lags in docs/model-files.md."
    )


def test_a_model_with_lags_is_better_than_the_rules(measured: Measured) -> None:
    """With what the rule knows among its features, and more."""
    table = stream(r=0.6)
    table["x"] = table["y"].shift(1).fillna(0) * 0.6 + np.random.default_rng(1).normal(0, 0.1, len(table))
    figure = measured(table)
    assert figure.model < min(named(figure).values())
    assert figure.conclusion == "There is a model in the data: it is better than every rule of one line."


def test_noise_is_said_to_be_none(measured: Measured) -> None:
    """So that nobody waits for a candidate that its gates will refuse."""
    rng = np.random.default_rng(3)
    figure = measured(pd.DataFrame({"x": rng.normal(size=500), "y": rng.normal(size=500)}), quick=False)
    assert figure.conclusion.startswith("A constant is ")
    assert "hardly a model in the data" in figure.conclusion


def test_a_rule_that_is_better_by_chance_is_not_advised(measured: Measured) -> None:
    """A stream of noise: its last label is as good as a constant, and lags would help nobody."""
    rng = np.random.default_rng(3)
    at = pd.date_range("2026-01-01", periods=2000, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = np.where(rng.random(2000) < 0.6, "yes", "no")
    figure = measured(pd.DataFrame({"at": at, "x": rng.normal(size=2000), "y": labels}))
    assert max(named(figure).values()) > named(figure)["a constant: the shares of the classes"]
    assert not figure.conclusion.startswith("There is a model")
    assert "Lags" not in figure.conclusion


@pytest.mark.parametrize(
    ("errors", "said"),
    [([3.0, 3.0, 2.0], "There is a model"), ([1.0, 4.1, 4.0], "It is better than the constant, but not in each fold")],
)
def test_a_model_has_to_be_better_in_each_fold(make_spec: Callable[..., Any], errors: list[float], said: str) -> None:
    """A mean that one fold makes is told as that."""
    constant = {"a constant: the median": np.array([4.0, 4.0, 4.0])}
    assert _conclude(make_spec(), np.array(errors), constant).startswith(said)


def test_a_sample_is_the_newest_rows_of_an_order_and_is_told(measured: Measured) -> None:
    """The figures are those of these rows alone."""
    table = stream()
    alone = measured(table.tail(300))
    figure = measured(table, max_rows=300)
    assert (figure.rows, figure.known) == (300, 900)
    assert figure.title == (
        "Cross-validated in 3 folds in the order of the rows, on a sample, the newest 300 of 900 rows"
    )
    assert named(figure)["the last known label"] == named(alone)["the last known label"]


def test_rows_of_one_time_are_on_one_side(measured: Measured) -> None:
    """A month end of 50 rows is never cut; a table of three months is too short for an order."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "at": np.repeat(pd.date_range("2025-01-31", periods=8, freq="ME").strftime("%Y-%m-%d"), 50),
            "x": rng.normal(size=400),
            "y": np.repeat(rng.normal(size=8), 50) + rng.normal(0, 0.01, 400),
        }
    )
    figure = measured(table)
    assert named(figure)["the last known label"] > 0.1
    with pytest.raises(DataError, match="too few for folds"):
        measured(table.head(150), time="at")


def test_many_classes_cost_one_fit(measured: Measured) -> None:
    """Each of them has a tree in every iteration."""
    rng = np.random.default_rng(3)
    label = rng.integers(0, 8, 800)
    table = pd.DataFrame(
        {"x": label + rng.normal(0, 0.3, 800), "z": rng.normal(size=800), "y": [f"c{n}" for n in label]}
    )
    figure = measured(table)
    assert figure.folds == 1
    assert figure.model > 0.5


def test_few_rows_are_refused_in_words(measured: Measured) -> None:
    """The file is there all the same."""
    rng = np.random.default_rng(3)
    with pytest.raises(DataError, match="30 rows with a target are too few for folds"):
        measured(pd.DataFrame({"x": rng.normal(size=30), "y": rng.normal(size=30)}))


def test_a_column_that_begins_late_leaves_the_folds_that_have_it(measured: Measured) -> None:
    """The trees take no column without any value, as the first fold of such a table has one."""
    table = stream()
    figure = measured(table.assign(sensor=table["x"].mask(np.arange(len(table)) < 300)))
    assert figure.folds == 2
    assert np.isfinite(figure.model)
