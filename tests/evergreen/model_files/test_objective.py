"""The metric follows from the target, and the loss from both: what is fitted is least where what is judged is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.errors import EvergreenError
from evergreen.model_files.objective import choose_objective
from evergreen.model_files.target import infer_target

ROWS = 600
RNG = np.random.default_rng(5)
N = np.arange(ROWS)
NORMAL = RNG.normal(50, 9, ROWS)
TAIL = RNG.lognormal(3, 1, ROWS)
ZEROS = np.where(N % 5 < 3, 0.0, TAIL)
COUNT = RNG.poisson(2, ROWS)
RARE = np.where(N % 30, "no", "yes")

REGRESSIONS: dict[str, tuple[str, Any, str | None, tuple[str, str, str, bool]]] = {
    "amounts": ("y", NORMAL, None, ("mae", "absolute_error", "", False)),
    "amounts of both signs": ("y", NORMAL - 50, None, ("mae", "absolute_error", "", False)),
    "few zeros": ("y", np.where(N % 5, NORMAL, 0), None, ("mae", "absolute_error", "", False)),
    "a long tail": ("y", TAIL, None, ("rmse", "gamma", "gt", False)),
    "a long tail with a zero": ("y", np.where(N, TAIL, 0), None, ("mae", "absolute_error", "", False)),
    "zeros in abundance": ("y", ZEROS, None, ("rmse", "poisson", "ge", False)),
    "a debt among zeros": ("y", np.where(N, ZEROS, -1), None, ("rmse", "squared_error", "", False)),
    "another value in abundance": ("y", np.where(N % 5 < 3, 50.5, NORMAL), None, ("rmse", "squared_error", "", False)),
    "a count": ("y", COUNT, None, ("rmse", "poisson", "ge", False)),
    "a count that never was 0": ("visits", COUNT + 3, None, ("rmse", "poisson", "ge", False)),
    "whole numbers that count nothing": ("quality", COUNT + 3, None, ("mae", "absolute_error", "", False)),
    "mae asked of a count": ("y", COUNT, "mae", ("mae", "absolute_error", "", False)),
    "mae asked of many zeros": ("y", ZEROS, "mae", ("mae", "absolute_error", "", True)),
    "mape asked of a tail": ("y", TAIL, "mape", ("mape", "absolute_error", "", False)),
    "median_ae asked": ("y", NORMAL, "median_ae", ("median_ae", "absolute_error", "", False)),
    "rmse asked": ("y", NORMAL, "rmse", ("rmse", "squared_error", "", False)),
    "r2 asked of a tail": ("y", TAIL, "r2", ("r2", "gamma", "gt", False)),
}


@pytest.mark.parametrize("case", REGRESSIONS)
def test_the_loss_agrees_with_the_metric(case: str) -> None:
    """A metric of the median gets absolute errors, one of the mean a loss of the mean whose sign the target has."""
    name, values, asked, expected = REGRESSIONS[case]
    objective = choose_objective(infer_target(pd.Series(values, name=name), "regression", []), asked)
    assert (objective.metric, objective.loss, objective.sign, objective.breaks_ties) == expected
    assert objective.metric_why.endswith(".") and objective.loss_why.endswith(".")


CLASSES: dict[str, tuple[Any, str | None, tuple[str, str]]] = {
    "two": (np.where(N % 3, "no", "yes"), None, ("roc_auc", "never")),
    "a rare one": (RARE, None, ("average_precision", "tried")),
    "the other one is rare": (np.where(N % 30, "yes", "no"), None, ("roc_auc", "never")),
    "three": (np.array(["a", "b", "c"])[N % 3], None, ("balanced_accuracy", "always")),
    "three, one rare": (np.where(N % 30, np.where(N % 2, "a", "b"), "c"), None, ("f1", "tried")),
    "log_loss asked of a rare one": (RARE, "log_loss", ("log_loss", "never")),
    "f1 asked of two like ones": (np.where(N % 2, "no", "yes"), "f1", ("f1", "never")),
}


@pytest.mark.parametrize("case", CLASSES)
def test_rare_classes_get_a_metric_and_weights_of_theirs(case: str) -> None:
    """Weights move probabilities: they are tried where only the order of rows counts, and never for log_loss."""
    values, asked, expected = CLASSES[case]
    objective = choose_objective(infer_target(pd.Series(values, name="y"), None, []), asked)
    assert (objective.metric, objective.balanced) == expected
    assert (objective.loss, objective.sign) == ("", "")


def test_a_metric_that_does_not_fit_is_refused() -> None:
    """With the names that do."""
    with pytest.raises(EvergreenError, match="roc_auc is for classification, not regression"):
        choose_objective(infer_target(pd.Series(NORMAL, name="y"), None, []), "roc_auc")
