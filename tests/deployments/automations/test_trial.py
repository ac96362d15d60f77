"""What a trial says of a decision; the trial itself runs in tests/live/test_pipelines.py."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deployments.automations.trial import judge_retraining, judge_watch
from evergreen.decision import Decision, Kind
from tests.details import detail_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEPLOYED, OTHER = "a" * 40, "b" * 40


def _decision(kind: Kind, outcome: str, reason: str = "because of the rows", version: int | None = None) -> Decision:
    detail = detail_of("retrain", version=version) if kind == "retrain" else detail_of(kind)
    return Decision("d1", kind, NOW, outcome, 1, 3, "digest", reason, detail)


@pytest.mark.parametrize(
    ("outcome", "ok"),
    [
        ("promoted", True), ("unchanged", True), ("inconclusive", True),
        ("awaiting-approval", True), ("in-canary", True), ("rejected", False),
    ],
)  # fmt: skip
def test_only_a_candidate_that_is_proven_bad_fails(outcome: str, ok: bool) -> None:
    """The others are told with their reason, in one sentence."""
    step = judge_retraining("toy", _decision("retrain", outcome, version=2), deployed=DEPLOYED, trained_at=DEPLOYED)
    assert (step.model, step.step, step.ok, bool(step.fix)) == ("toy", "retrain", ok, not ok)
    assert step.told == f"The retraining ended as {outcome} with version 2: because of the rows."


def test_what_a_person_took_back_is_no_fault_of_what_was_deployed() -> None:
    """The same rows and code are not trained again, which the ledger calls rejected."""
    step = judge_retraining("toy", _decision("retrain", "rejected"), deployed=DEPLOYED, trained_at="")
    assert (step.ok, step.told) == (True, "The retraining ended as rejected: because of the rows.")


@pytest.mark.parametrize(
    ("deployed", "trained_at", "ok"),
    [(DEPLOYED, DEPLOYED, True), (DEPLOYED, OTHER, False), (DEPLOYED, "", True), ("", OTHER, True)],
)
def test_a_worker_that_has_another_commit_fails(deployed: str, trained_at: str, ok: bool) -> None:
    """Whatever came of it; where one of the two is not known nothing is said."""
    step = judge_retraining(
        "toy", _decision("retrain", "promoted", version=2), deployed=deployed, trained_at=trained_at
    )
    assert step.ok is ok
    assert ok or step.told == f"The worker trained version 2 at commit {'b' * 12}, and not at {'a' * 12}."


@pytest.mark.parametrize(
    ("drift", "performance", "ok"),
    [("PASS", "PASS", True), ("FAIL", "PASS", True), ("FAIL", "INCONCLUSIVE", True), ("PASS", "FAIL", False)],
)
def test_only_a_champion_that_fails_its_work_fails(drift: str, performance: str, ok: bool) -> None:
    """Drift is told, and both reasons are."""
    step = judge_watch(
        "toy",
        drift=_decision("drift", drift, "the columns moved."),
        performance=_decision("performance", performance, "the errors are so"),
    )
    assert (step.step, step.ok, bool(step.fix)) == ("monitor", ok, not ok)
    assert step.told == f"drift {drift}: the columns moved; performance {performance}: the errors are so."


def test_a_champion_without_reports() -> None:
    """Nothing is known of it yet, which is no fault."""
    step = judge_watch("toy", drift=None, performance=None)
    assert (step.ok, step.told) == (True, "drift: not known yet; performance: not known yet.")
