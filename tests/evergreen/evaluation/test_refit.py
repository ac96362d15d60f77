"""The fit that is deployed has its own checks, and each reason says which of the two fits it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.data.predictions import Predictions
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.gates import run_gates, verdict_of
from evergreen.evaluation.refit import MOST_LOST, DeployedFit, deployed_checks
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Check, Verdict

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
Make = Callable[..., ModelSpec]
N = 200


def deployed(**changes: Any) -> DeployedFit:
    """A sound refit: its error on the rows that both learned is a little above the judged fit's."""
    fields: dict[str, Any] = {
        "predictions": Predictions(np.arange(N, dtype=float)),
        "integrity": "",
        "rows": 800,
        "value": 41.0,
        "judged_value": 40.0,
        "baseline_value": 140.0,
    }
    return DeployedFit(**fields | changes)


def checks_of(spec: ModelSpec, **changes: Any) -> dict[str, Check]:
    """The checks of a refit by name."""
    return {check.name: check for check in deployed_checks(deployed(**changes), spec)}


def test_a_sound_refit_passes(make_spec: Make) -> None:
    """Integrity, finite predictions and the bounded difference are asked, with the figures in the reason."""
    checks = checks_of(make_spec())
    assert {name: check.status for name, check in checks.items()} == {
        "deployed integrity": PASS, "deployed finite": PASS, "refit": PASS
    }  # fmt: skip
    assert checks["refit"].value == pytest.approx(0.01)
    assert checks["refit"].reason == (
        "On 800 rows that both fits learned, mae is 41 of the deployed fit and 40 of the judged fit: "
        "it lost 1% of what that one gains over the baseline; 25% is allowed."
    )


@pytest.mark.parametrize(
    ("name", "changes", "status"),
    [
        ("refit", {"value": 40.0 + 100 * MOST_LOST + 0.1}, FAIL),
        ("refit", {"value": 40.0 + 100 * MOST_LOST - 0.1}, PASS),
        ("refit", {"value": 139.0}, FAIL),
        ("refit", {"value": float("nan")}, INCONCLUSIVE),
        ("refit", {"judged_value": 140.0}, INCONCLUSIVE),
        ("refit", {"judged_value": 0.0, "value": 0.0}, PASS),
        ("refit", {"value": 12.0}, PASS),
        ("deployed integrity", {"integrity": "3 of 200 predictions differ"}, FAIL),
        ("deployed finite", {"predictions": Predictions(np.array([1.0, np.nan]))}, FAIL),
        (
            "deployed finite",
            {"predictions": Predictions(np.array([0, 1]), np.array([[0.5, 0.5], [np.inf, 0.0]]), (0, 1))},
            FAIL,
        ),
    ],
)
def test_each_check_can_refuse(make_spec: Make, name: str, changes: dict[str, Any], status: Verdict) -> None:
    """What is broken fails, what cannot be told is inconclusive, and the other checks do not mind."""
    checks = checks_of(make_spec(), **changes)
    assert checks.pop(name).status is status
    assert {check.status for check in checks.values()} == {PASS}


@given(
    gain=st.floats(0.01, 1e6), lost=st.floats(-2, 2), baseline=st.floats(-1e3, 1e3), upward=st.booleans()
)  # fmt: skip
def test_only_the_share_of_the_gain_counts(gain: float, lost: float, baseline: float, upward: bool) -> None:
    """Whatever the metric's scale, its zero and its direction: the refit fails beyond the share, and passes below."""
    from evergreen.evaluation.refit import _refit

    spec = ModelSpec.model_construct(metric=Metric(name="r2" if upward else "mae"))
    sign = 1.0 if upward else -1.0
    judged = baseline + sign * gain
    fit = deployed(value=judged - sign * gain * lost, judged_value=judged, baseline_value=baseline)
    status = _refit(fit, spec).status
    if abs(lost - MOST_LOST) > 1e-3:
        assert status is (FAIL if lost > MOST_LOST else PASS)


def test_each_reason_says_which_fit(make_spec: Make) -> None:
    """The metric is of the judged fits, latency and size of the deployed one; without a refit nothing is said."""
    y = np.random.default_rng(0).normal(50, 20, N)
    near, far = (Predictions(y + scale * np.random.default_rng(1).normal(size=N)) for scale in (1, 2))
    plain = Evidence(
        y=y, candidate=near, champion=far, baseline=Predictions(np.full(N, 50.0)), slices={"half": np.arange(N) % 2},
        groups=None, overlap=0, copies=0, order="", train_value=0.8, latency_ms=5.0, size_mb=1.0, tags={},
        description="A model.", integrity="", same_as_champion=False,
    )  # fmt: skip
    spec = make_spec(metric=Metric(name="mae", bound=10.0))
    refitted = Evidence(**{name: getattr(plain, name) for name in plain.__slots__} | {"deployed": deployed()})
    before, after = (run_gates(each, spec, seed=1) for each in (plain, refitted))
    assert verdict_of(after) is PASS
    assert [check.name for check in after[len(before) :]] == ["deployed integrity", "deployed finite", "refit"]
    assert not any("fit" in check.reason for check in before)
    said = {check.name: check.reason.partition(":")[0] for check in after[: len(before)]}
    assert said == {
        **dict.fromkeys(("integrity", "finite", "bound", "baseline"), "Judged fit"),
        **dict.fromkeys(("champion", "slice half=0", "slice half=1"), "Judged fits"),
        **dict.fromkeys(("latency", "size"), "Deployed fit"),
        "holdout": f"{N} holdout rows, none of them trained on.",
        "description": "The version has a description.",
    }
    broken = Evidence(**{name: getattr(plain, name) for name in plain.__slots__} | {"deployed": deployed(value=150.0)})
    assert verdict_of(run_gates(broken, spec, seed=1)) is FAIL
