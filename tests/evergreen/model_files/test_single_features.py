"""A feature that knows the answer is told of, with its score on rows that it was not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evergreen.model_files.column_types import Column
from evergreen.model_files.single_features import describe_single_features, score_single_features
from evergreen.model_files.target import infer_target

ROWS = 2_000
RNG = np.random.default_rng(5)
DELAY = RNG.normal(0, 20, ROWS)
LATE = np.where(DELAY > 15, "yes", "no")


def notes(target: Any, **columns: Any) -> tuple[str, ...]:
    rows = pd.DataFrame({"y": target} | columns)
    features = [Column(name, "float" if rows[name].dtype.kind in "if" else "str", nullable=True) for name in columns]
    inferred = infer_target(rows["y"], None, [])
    return describe_single_features(score_single_features(rows, features, inferred), inferred)


def test_what_is_known_only_afterwards_is_told() -> None:
    """The delay of a train that was late; what merely helps is not told."""
    distance = RNG.normal(size=ROWS) + (LATE == "yes")
    (note,) = notes(LATE, delay=DELAY, distance=distance)
    assert note.startswith("'delay' predicts the target almost alone (ROC AUC 1.000 of 1 on held-out rows)")


def test_a_column_that_is_filled_in_only_for_one_class_is_told() -> None:
    """The reason of a delay is missing for whoever was on time."""
    assert len(notes(LATE, minutes=np.where(LATE == "yes", RNG.random(ROWS), np.nan))) == 1
    assert len(notes(LATE, cause=np.where(LATE == "yes", RNG.choice(["snow", "signal"], ROWS), None))) == 1


def test_many_categories_do_not_know_the_answer_by_their_number() -> None:
    """Each has few rows in the half that is fitted, and tells nothing of the other half."""
    assert notes(LATE, town=[f"t{n % 900}" for n in range(ROWS)]) == ()


def test_every_class_has_to_be_told() -> None:
    """A feature that tells one class of three from the others leaves the two."""
    kind = np.arange(ROWS) % 3
    names = np.array(["a", "b", "c"])[kind]
    assert notes(names, first=(kind == 0) * 1.0) == ()
    assert len(notes(names, code=kind * 2.0)) == 1


def test_a_regression_is_told_by_its_share_of_variance() -> None:
    """A total beside its parts."""
    amounts = RNG.gamma(2, 50, ROWS)
    (note,) = notes(amounts, gross=amounts * 1.19 + RNG.normal(0, 1, ROWS), pieces=np.round(amounts / 60))
    assert note.startswith("'gross' predicts the target almost alone (R² 0.9")


def test_few_rows_say_nothing() -> None:
    """A tree finds an answer in any thirty rows."""
    assert notes(LATE[:30], delay=DELAY[:30]) == ()
