"""Rules of one line beside a candidate: told or asked for, and never beaten by chance alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evergreen.data.predictions import Predictions
from evergreen.evaluation.gates import run_gates, verdict_of
from evergreen.evaluation.persistence import NaiveForecast
from evergreen.spec.gates import Gates
from evergreen.verdicts import Check, Verdict
from tests.evergreen.evaluation.test_gates import N, evidence, named, names, noise, spec

Y = np.random.default_rng(99).normal(50, 20, N)


def forecasts(scale: float, covered: float = 1.0) -> tuple[NaiveForecast, ...]:
    """Two rules that are wrong by about `scale`; the candidate is wrong by about 1."""
    return (
        NaiveForecast("the last known label", Predictions(Y + noise(scale, 7)), covered),
        NaiveForecast("the label a day before", Predictions(Y + noise(2 * scale, 8)), covered),
    )


def asked(how: str, scale: float, covered: float = 1.0) -> tuple[Check, ...]:
    gates: Any = Gates(persistence=how)
    return run_gates(evidence(naive=forecasts(scale, covered)), spec(time="at", gates=gates), seed=1)


def test_a_rule_that_does_better_is_told() -> None:
    """Nothing is decided by it, and the person is pointed to lagged labels."""
    checks = asked("tell", 0.2)
    assert verdict_of(checks) is Verdict.PASS
    assert names(checks)[3:6] == ["baseline", "persistence", "season"]
    reason = named(checks, "persistence").reason
    assert reason.startswith("Repeating the last known label is a rule of one line: mae ")
    assert reason.endswith(
        "Nothing is decided by this. Give the model lagged labels: docs/model-files.md has an example."
    )
    assert "lagged" not in named(asked("tell", 5.0), "persistence").reason


@pytest.mark.parametrize(("scale", "status"), [(0.2, Verdict.FAIL), (1.05, Verdict.INCONCLUSIVE), (5.0, Verdict.PASS)])
def test_a_rule_that_has_to_be_beaten(scale: float, status: Verdict) -> None:
    """One that does better refuses the candidate, one within chance withholds it."""
    checks = asked("beat", scale)
    assert named(checks, "persistence").status is status
    assert verdict_of(checks) is status


def test_labels_that_come_too_late_ask_for_nothing() -> None:
    """A rule that has a label for a tenth of the rows could not be served."""
    check = named(asked("beat", 0.2, covered=0.1), "persistence")
    assert check.status is Verdict.PASS
    assert check.reason.endswith("A label was known in time for 10% of the rows only, so this is only told.")


def test_a_rule_of_ones_own() -> None:
    """It is asked for like the constant prediction, beside it."""
    for scale, status in ((0.2, Verdict.FAIL), (5.0, Verdict.PASS)):
        checks = run_gates(evidence(rule=Predictions(Y + noise(scale, 7))), spec(), seed=1)
        assert named(checks, "rule").status is status
        assert "against the rule of the model file's" in named(checks, "rule").reason
        assert verdict_of(checks) is status
    assert "rule" not in names(run_gates(evidence(), spec(), seed=1))
