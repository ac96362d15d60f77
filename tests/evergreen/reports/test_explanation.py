"""SHAP speaks of the columns of the data, whatever the pipeline makes of them; where it cannot, that is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evergreen.registry.client import Registry
from evergreen.registry.version import VersionTags
from evergreen.reports.explanation import ROWS, explain

Make = Callable[..., Any]
PLENTY = 3600
"""Seconds: on a busy machine SHAP's first values alone take longer than it has by default."""


def hard(_seed: int) -> Any:
    """Classes without probabilities."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import Pipeline

    return Pipeline([("columns", ColumnTransformer([("x", "passthrough", ["x"])])), ("model", RidgeClassifier())])


def soft(_seed: int) -> Any:
    """Classes with probabilities."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    return Pipeline([("columns", ColumnTransformer([("x", "passthrough", ["x"])])), ("model", LogisticRegression())])


def test_a_straight_line_is_explained_by_its_slope(
    registry: Registry, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """Mean |slope (x - mean)| of the column itself, over missing values and one-hot columns; bounded; repeatable."""
    spec = make_spec()
    rows = make_rows(200, slope=3.0)
    made = make_version(spec, rows.assign(kind=rows["kind"].where(rows.index % 7 > 0)))
    np.random.seed(7)
    before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    found = explain(spec, registry, made, seconds=PLENTY)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index,union-attr]
    assert (found.method, found.rows, found.note) == ("shap", ROWS, "")
    assert list(found.columns) == ["x", "kind"]
    x = rows["x"][:160]
    assert found.columns["x"] == pytest.approx(3 * (x - x.mean()).abs().mean(), rel=0.25)
    assert found.columns["kind"] < 0.1
    assert found.unit == "mean |SHAP value|, in the unit of y"
    assert explain(spec, registry, made, seconds=PLENTY) == found

    hurried = explain(spec, registry, made, seconds=0)
    assert (hurried.rows, hurried.note) == (1, "SHAP values of 1 row only: there were no more, or no more time.")


def test_what_cannot_be_explained_is_told_from_what_is_stored(
    registry: Registry, make_spec: Make, make_rows: Make, make_version: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, or with damaged files: the permutation importance that was stored, or nothing, and why."""
    spec = make_spec()
    made = make_version(spec, make_rows(200))
    damaged = explain(spec, registry, replace(made, tags=VersionTags.read({**made.tags.raw, "files_sha256": "other"})))
    assert (damaged.method, damaged.columns) == ("permutation", {})
    assert damaged.note.startswith("No importance is known, for toy version 1: ")
    monkeypatch.setitem(sys.modules, "shap", None)
    found = explain(spec, registry, made, seconds=PLENTY)
    assert (found.method, found.rows, found.unit) == ("permutation", 0, "loss of mae")
    assert found.note == "Permutation importance, for shap is not installed (extra `explain`)."
    assert list(found.columns) == ["x", "kind"]


@pytest.mark.parametrize(("pipeline", "method"), [(hard, "permutation"), (soft, "shap")])
def test_classes_need_probabilities(
    registry: Registry, make_spec: Make, make_rows: Make, make_version: Make, pipeline: Any, method: str
) -> None:
    """A label is no figure that could be shared among columns; a probability is."""
    changes = {"task": "classification", "target": "kind", "metric": {"name": "accuracy"}, "pipeline": pipeline}
    spec = make_spec(**changes, features={"numeric": ("x", "y")})
    rows = make_rows(200)
    made = make_version(spec, rows.assign(kind=np.where(rows["x"] > 0, "a", "b")))
    found = explain(spec, registry, made, seconds=PLENTY)
    assert found.method == method
    if method == "shap":
        assert found.unit == "mean |SHAP value|, as probability"
        assert found.columns["x"] > 0.2 > found.columns["y"] == 0
    else:
        assert "the pipeline gives no probabilities" in found.note
