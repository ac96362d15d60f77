"""Policies: what they hold of a state of things, for which occasions, and how they are written in a model file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from evergreen.decision import Decision
from evergreen.details.decision import SnapshotFacts
from evergreen.errors import ModelFileError
from evergreen.events import DRIFT_FAILED, DRIFT_SUSPECTED, decision_event
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.policy_query import ask_for_decision, ask_for_schedule
from evergreen.ledger.reconciliation import requests_retrain
from evergreen.model_files.policy_edit import source_of
from evergreen.settings import Settings
from evergreen.spec import policies
from evergreen.spec.model import ModelSpec
from evergreen.spec.policies import (
    Budget,
    Every,
    Never,
    OnData,
    OnDrift,
    OnPerformance,
    Scheduled,
    all_of,
    any_of,
    at_least,
    default_policy,
)
from evergreen.spec.policy import PolicyContext, RetrainAnswer, RetrainPolicy, ask, name_of
from tests.details import detail_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def report(kind: Any = "drift", outcome: str = "FAIL", day: float = 0, **detail: Any) -> Decision:
    """A report on champion 1, `day` days from now."""
    at = NOW + timedelta(days=day)
    return Decision(f"{kind}{day}", kind, at, outcome, 1, 0, f"data{day}", "why", detail_of(kind, **detail))


def retrain(day: float, reason: str = "schedule", rows: int = 0) -> Decision:
    """A retraining, `day` days from now."""
    detail = detail_of("retrain", reason=reason, snapshot=SnapshotFacts(0, rows, "", None, None))
    return Decision(f"r{day}", "retrain", NOW + timedelta(days=day), "rejected", 1, 0, "", "", detail)


def seen(ground: Any = "drift", *past: Decision, rows: int = 100) -> PolicyContext:
    """An occasion now, with what is in the ledger."""
    reports = tuple(one for one in past if one.kind != "retrain")
    return PolicyContext(NOW, ground, rows, 1, reports, tuple(one for one in past if one.kind == "retrain"))


FAILED, PASSED = report(), report(outcome="PASS")
LATE = report("performance")


@pytest.mark.parametrize(
    ("policy", "occasion", "yes"),
    [
        (Never(), seen("schedule"), False),
        (Never(), seen("drift", FAILED), False),
        (Scheduled(), seen("schedule"), True),
        (Scheduled(), seen("drift", FAILED), False),
        (Every(days=30), seen("schedule", retrain(-29.9)), False),
        (Every(days=30), seen("schedule", retrain(-29.99)), True),
        (Every(days=30), seen("schedule", retrain(-31), retrain(-1)), False),
        (Every(days=30), seen("drift", FAILED), False),
        (Every(rows=60), seen("schedule", retrain(-1, rows=40)), True),
        (Every(rows=61), seen("schedule", retrain(-1, rows=40)), False),
        (Every(days=30, rows=60), seen("schedule", retrain(-1, rows=40)), True),
        (OnDrift(), seen("drift", FAILED), True),
        (OnDrift(), seen("drift", PASSED), False),
        (OnDrift(), seen("performance", FAILED, LATE), False),
        (OnDrift(), seen("drift", report(confirmed=False)), False),
        (OnDrift(share=0.5), seen("drift", report(share=0.4)), False),
        (OnDrift(share=0.5), seen("drift", report(share=0.5)), True),
        (OnDrift(confirm=2, of=3), seen("drift", FAILED), False),
        (OnDrift(confirm=2, of=3), seen("drift", report(day=-2), report(outcome="PASS", day=-1), FAILED), True),
        (OnDrift(confirm=2, of=2), seen("drift", report(day=-2), report(outcome="PASS", day=-1), FAILED), False),
        (OnDrift(confirm=2, of=3), seen("drift", report(day=-1), report(outcome="PASS")), False),
        (OnDrift(cooldown=timedelta(days=7)), seen("drift", FAILED, retrain(-6, "drift")), False),
        (OnDrift(cooldown=timedelta(days=7)), seen("drift", FAILED, retrain(-6), retrain(-8, "drift")), True),
        (OnPerformance(), seen("performance", LATE), True),
        (OnPerformance(), seen("drift", FAILED, LATE), False),
        (OnData(rows=60), seen("data", retrain(-1, rows=40)), True),
        (OnData(rows=61), seen("data", retrain(-1, rows=40)), False),
        (any_of(OnDrift(), Every(days=90)), seen("drift", FAILED, retrain(-1)), True),
        (any_of(OnDrift(), Every(days=90)), seen("schedule", FAILED, retrain(-1)), False),
        (any_of(OnDrift(), Every(days=90)), seen("schedule", PASSED, retrain(-91)), True),
        (all_of(OnDrift(), OnPerformance()), seen("drift", FAILED), False),
        (all_of(OnDrift(), OnPerformance()), seen("performance", FAILED, LATE), True),
        (all_of(OnDrift(), OnPerformance()), seen("performance", PASSED, LATE), False),
        (all_of(OnDrift(), Every(days=90)), seen("drift", FAILED, retrain(-91)), True),
        (all_of(OnDrift(), Every(days=90)), seen("drift", FAILED, retrain(-1)), False),
        (at_least(2, OnDrift(), OnPerformance(), Every(days=9)), seen("drift", FAILED, retrain(-10)), True),
        (at_least(2, OnDrift(), OnPerformance(), Every(days=9)), seen("drift", FAILED, retrain(-8)), False),
        (Budget(OnDrift(), at_most=2, days=30), seen("drift", FAILED, retrain(-1), retrain(-29)), False),
        (Budget(OnDrift(), at_most=2, days=30), seen("drift", FAILED, retrain(-1), retrain(-31)), True),
        (lambda one: one.rows > 99, seen("data"), True),
        (lambda one: one.rows > 100, seen("schedule"), False),
    ],
    ids=lambda given: given if isinstance(given, str) else None,
)
def test_a_policy_answers_an_occasion(policy: Any, occasion: PolicyContext, yes: bool) -> None:
    """Whether each one retrains, and that it says why."""
    answer = ask(policy, occasion, "toy")
    assert answer.retrain is yes
    assert answer.reason


def _broken(_seen: PolicyContext) -> bool:
    raise KeyError("nothing here")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (_broken, "in _broken(): KeyError: 'nothing here', asked as the policy of toy for 2026-01-01 00:00 UTC."),
        (lambda _seen: 1, "TypeError: it answered int instead of True or False, asked as the policy of toy"),
    ],
    ids=["raises", "number"],
)
def test_a_policy_of_ones_own_that_fails_is_one_line(own: Any, told: str) -> None:
    """The file, the line, the policy and the time are named."""
    with pytest.raises(ModelFileError, match=r"^tests/evergreen/spec/test_policies\.py, line \d+, in ") as error:
        ask(own, seen(), "toy")
    assert told in error.value.what


@pytest.mark.parametrize(
    "text",
    [
        "Never()",
        "Scheduled()",
        "Every(days=30)",
        "Every(days=30, rows=500)",
        "OnDrift()",
        "OnDrift(share=0.5, confirm=2, of=3, cooldown=timedelta(days=14))",
        "OnData(rows=10)",
        "any_of(OnDrift(), Every(days=90))",
        "all_of(OnDrift(), OnPerformance(), Every(days=2))",
        "at_least(2, OnDrift(), OnPerformance(), Every(days=9))",
        "Budget(policy=any_of(OnDrift(), OnPerformance()), at_most=2, days=30)",
    ],
)
def test_a_policy_is_written_as_it_is_read(text: str) -> None:
    """The source of a policy makes the same policy again, and its name is short."""
    made = eval(text, vars(policies) | {"timedelta": timedelta})  # noqa: S307
    assert source_of(made) == text
    assert isinstance(made, RetrainPolicy)
    assert len(name_of(made)) < 70 and "object at" not in name_of(made)


def test_impossible_policies_are_refused() -> None:
    """What can never agree, or is always due, is an error where it is written."""
    for wrong in (lambda: at_least(3, OnDrift(), OnPerformance()), lambda: Every(), lambda: Every(days=0)):
        with pytest.raises(ValueError, match="policy: "):
            wrong()


def test_a_model_file_names_its_policy(make_spec: Callable[..., ModelSpec]) -> None:
    """What starts a retraining follows from the policy; without one it is the schedule and `retrain_on`, as before."""
    assert make_spec(policy=all_of(OnPerformance(), OnDrift(), Every(days=3))).retraining.triggers == (
        "drift",
        "performance",
    )
    assert make_spec(policy=lambda _seen: True).retraining.triggers == ("drift", "performance", "data")
    assert make_spec(policy=Never()).retraining.triggers == ()
    before = make_spec(retrain_on=("performance",)).retraining.live_policy
    assert before == any_of(OnPerformance(), Scheduled()) == default_policy(("performance",))
    for wrong in ({"policy": "weekly"}, {"policy": Never}, {"policy": OnDrift(), "retrain_on": ("data",)}):
        with pytest.raises(ValidationError):
            make_spec(**wrong)


def test_the_answer_is_kept_with_the_report(make_spec: Callable[..., ModelSpec], settings: Settings) -> None:
    """A failed report that the policy holds back calls for nothing, is told as a suspicion, and says why."""
    spec = make_spec(policy=Budget(OnDrift(), at_most=1, days=30))
    decisions = Decisions(settings.lake_uri, spec.name)
    waiting = report()
    assert ask_for_decision(spec, decisions, waiting, rows=100) == RetrainAnswer(True, "drift failed: why")
    decisions.record(retrain(-3))
    held = ask_for_decision(spec, decisions, waiting, rows=100)
    assert held is not None and not held.retrain and "budget" in held.reason
    stored = report(called=held.retrain, because=held.reason)
    assert requests_retrain(spec, waiting) and not requests_retrain(spec, stored)
    told = [decision_event(spec.name, one).name for one in (waiting, stored)]
    assert told == [DRIFT_FAILED, DRIFT_SUSPECTED]
    assert ask_for_decision(make_spec(), decisions, waiting, rows=100) is None
    assert ask_for_schedule(make_spec(policy=Every(days=4)), decisions, 1, 100, NOW) == RetrainAnswer(
        False, "3 days and 100 rows since the last retraining; due every 4 days"
    )


def test_a_policy_of_ones_own_reads_typed_details() -> None:
    """How many rows the last retraining saw, and the share of a report; a wrong name is one line about the policy."""

    def grown(context: PolicyContext) -> bool:
        return context.rows >= 2 * context.retrains[-1].detail.snapshot.rows  # type: ignore[union-attr]

    def by_key(context: PolicyContext) -> bool:
        return bool(context.retrains[-1].detail["snapshot"])  # type: ignore[index]

    assert ask(grown, seen("schedule", retrain(-3, rows=50)), "toy").retrain
    assert not ask(grown, seen("schedule", retrain(-3, rows=51)), "toy").retrain
    with pytest.raises(ModelFileError, match=r"in by_key\(\): TypeError: 'RetrainDetail' object is not subscriptable"):
        ask(by_key, seen("schedule", retrain(-3)), "toy")
