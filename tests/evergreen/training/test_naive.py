"""Rules of one line on rows of a lake: what was known when, and a person's own rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.backtest.history import History
from evergreen.data.observations import Observations
from evergreen.data.windows import training_window
from evergreen.errors import ModelFileError
from evergreen.evaluation.judgement import Judgement
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.training.evaluate import evaluate_candidate
from evergreen.training.naive import apply_rule, naive_forecasts, read_known_times
from evergreen.training.predict import labelled
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_candidate_is_told_beside_the_rules(
    make_spec: Make, make_rows: Make, make_version: Make, settings: Settings
) -> None:
    """The checks of a stored version have the last label, the label a day before, and the file's own rule."""
    gates = Gates(persistence="tell", baseline=lambda rows: 3 * rows["x"])
    spec = make_spec(gates=gates)
    version = make_version(spec, make_rows(300))
    observations = Observations(settings.lake_uri, spec)
    window = training_window(spec, observations.snapshot())
    found: Judgement = evaluate_candidate(observations, Registry(settings), version, None, window)
    reasons = {check.name: check.reason for check in found.checks}
    assert reasons["persistence"].startswith("Repeating the last known label is a rule of one line: mae ")
    assert reasons["season"].startswith("Repeating the label a ")
    # No tree is as near as the very law of these rows.
    assert {check.name: check.status for check in found.checks}["rule"] is Verdict.FAIL


def test_a_label_that_came_later_is_known_later(make_spec: Make, make_rows: Make, settings: Settings) -> None:
    """`_labelled_at` says so, as a replay sets it for labels with a delay; other labels are known with their rows."""
    spec = make_spec()
    observations = Observations(settings.lake_uri, spec)
    rows = make_rows(48)
    rows["at"] = rows["at"].dt.tz_localize("UTC")
    observations.land(rows, "b", "test", now=NOW)
    window = training_window(spec, observations.snapshot())
    frame = labelled(spec, window.read(observations))
    own = frame["at"].dt.as_unit("us").astype("int64").to_numpy()
    assert (read_known_times(observations, window, frame) == own).all()
    later = History.of(observations, timedelta(hours=5)).at(NOW)
    assert (read_known_times(later, training_window(spec, later.snapshot()), frame) == own + 5 * 3_600_000_000).all()


def test_each_series_by_its_keys(make_spec: Make, make_rows: Make) -> None:
    """Two sites in turn: the last label is that of the same site; without the key it would be the other's."""
    rows = make_rows(96)
    rows["at"] = rows["at"].dt.tz_localize("UTC")
    rows["site"] = np.where(np.arange(96) % 2, "north", "south")
    rows["y"] = np.where(rows["site"] == "north", 100.0, 1.0)
    known = rows["at"].dt.as_unit("us").astype("int64").to_numpy()
    learned, judged = np.arange(80), np.arange(80, 96)
    by_site = naive_forecasts(make_spec(keys=("site", "at")), rows, known, learned, judged)[0]
    assert (by_site.predictions.values == rows["y"][80:]).all()
    pooled = naive_forecasts(make_spec(), rows, known, learned, judged)[0]
    assert (pooled.predictions.values != rows["y"][80:]).all()
    assert naive_forecasts(make_spec(time=None), rows, known, learned, judged) == ()


def _broken(rows: pd.DataFrame) -> Any:
    return rows["no_such_column"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (_broken, r"test_naive\.py, line \d+, in _broken\(\): KeyError\."),
        (lambda rows: 1.0, r"gates: baseline: it gave values of the shape \(\) for 5 rows\."),
        (lambda rows: rows["y"], r"KeyError"),
    ],
)
def test_a_rule_that_fails_is_one_line(make_spec: Make, make_rows: Make, rule: Any, message: str) -> None:
    """The file and the line, or what it gave; the target is not among what it sees, and no value of a row is told."""
    with pytest.raises(ModelFileError, match=message):
        apply_rule(make_spec(), rule, make_rows(5), None)


def test_a_rule_for_classes(make_spec: Make, make_rows: Make) -> None:
    """Where the metric needs probabilities, that of the last class of two; anything else is refused."""
    spec = make_spec(task="classification", metric=Metric(name="log_loss"))
    rows = make_rows(4)
    found = apply_rule(spec, lambda given: np.array([0.1, 0.9, 0.5, 0.2]), rows, ("no", "yes"))
    assert found.values.tolist() == ["no", "yes", "yes", "no"]
    assert found.probability is not None
    assert np.allclose(found.probability, [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.8, 0.2]])
    for rule, classes in (
        (lambda given: given["kind"], ("no", "yes")),
        (lambda given: given["x"] * 0, ("a", "b", "c")),
    ):
        with pytest.raises(ModelFileError, match="log_loss needs probabilities"):
            apply_rule(spec, rule, rows, classes)
    labels = make_spec(task="classification", metric=Metric(name="accuracy"))
    assert apply_rule(labels, lambda given: given["kind"], rows, ("a", "b")).values.tolist() == rows["kind"].tolist()
