"""Manual approval: typed, stored beside the question, carried out once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from evergreen.decision import Decision
from evergreen.details.decision import (
    ApprovalDetail,
    DriftResult,
    Ingested,
    MetricResult,
    RefusedBatch,
    RetrainDetail,
    SnapshotFacts,
)
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry.approval import (
    ApprovalResponse,
    apply_response,
    asked_by,
    record_approval,
    recorded_approval,
    unanswered,
    with_approval,
)
from evergreen.registry.promotion import promote
from evergreen.registry.version import CHALLENGER
from evergreen.reports.approval_question import question
from evergreen.settings import Settings
from evergreen.verdicts import Check, Verdict

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RESULT = RetrainDetail(
    model="toy",
    outcome="awaiting-approval",
    version=2,
    champion=1,
    reason="drift",
    explanation="better",
    metric=MetricResult("mae", 0.1, 0.5, (0.3, 0.5)),
    drift=DriftResult("FAIL", 0.5, ("x",), "x drifted", "report.html"),
    snapshot=SnapshotFacts(3, 100, "digest", None, None),
    decision_id="decision-2",
    ingest=Ingested(False, 10, (RefusedBatch("a.csv", 1, "bad"),)),
    checks=(Check("champion", Verdict.PASS, 0.4, 0.0, "a | b"),),
    flow_run="the-run",
)


class Waiting:
    """A challenger in a registry in memory, and its question in the real ledger."""

    def __init__(self, settings: Settings, registry: Any, spec: Any) -> None:
        self.settings, self.registry, self.spec = settings, registry, spec
        self.ledger = Decisions(settings.lake_uri, spec.name)
        promote(
            spec,
            registry,
            Promotions(settings.lake_uri, spec.name),
            registry.add(),
            reason="first",
            by="test",
            now=NOW,
            lock=nullcontext(),
        )
        self.version = registry.add()
        registry.set_alias("toy", CHALLENGER, 2)
        asked = Decision("decision-2", "retrain", NOW, RESULT.outcome, 1, 3, "digest", "better", RESULT, "the-run")
        self.ledger.record(asked)

    def answer(self, decision: Any, reason: str = "because", **more: Any) -> Any:
        response = ApprovalResponse(decision=decision, reason=reason, **more)
        stores = (self.registry, Promotions(self.settings.lake_uri, self.spec.name), self.ledger)
        return apply_response(self.spec, *stores, self.version, response, now=NOW, lock=nullcontext())


@pytest.fixture
def waiting(settings: Settings, in_memory: Any, make_spec: Make) -> Waiting:
    """Version 1 is the champion, version 2 waits."""
    return Waiting(settings, in_memory, make_spec())


@pytest.mark.parametrize(("decision", "reason"), [("approve", ""), ("reject", " \n"), ("maybe", "why"), ("", "why")])
def test_an_answer_is_approve_or_reject_with_a_reason(decision: Any, reason: str) -> None:
    """Nothing else is taken, so that the log always says why."""
    with pytest.raises(ValidationError):
        ApprovalResponse(decision=decision, reason=reason)


def test_approval_promotes_and_is_kept(waiting: Waiting) -> None:
    """The alias moves, and the question is answered for whoever asks: the run, the status, the next retrain."""
    assert [entry.id for entry in unanswered(waiting.ledger)] == ["decision-2"]
    ruling = waiting.answer("approve")
    assert (ruling.outcome, ruling.fresh) == ("promoted", True)
    assert waiting.registry.aliases["champion"] == 2
    assert unanswered(waiting.ledger) == ()
    asked = asked_by(waiting.ledger, "the-run")
    assert asked is not None
    told = with_approval(waiting.ledger, asked)
    assert (told.outcome, told.reason) == ("promoted", "approved by a person: because")
    assert told.detail_as(RetrainDetail).outcome == "promoted"


def test_a_name_is_kept_with_the_word(waiting: Waiting) -> None:
    """The log, the answer and whoever asks again know who it was."""
    assert waiting.answer("approve", by=" Ann\n B ").explanation == "approved by Ann B: because"
    assert Promotions(waiting.settings.lake_uri, "toy").done()[-1].by == "person: Ann B"
    word = waiting.ledger.find("approval", "decision-2")
    assert word is not None
    assert (word.reason, word.detail) == ("approved by Ann B: because", ApprovalDetail(2, "Ann B"))


def test_who_rejected_is_kept_with_the_version(waiting: Waiting) -> None:
    """It is gone when the version goes into production after all."""
    assert waiting.answer("reject", by="Ann").explanation == "rejected by Ann: because"
    assert waiting.registry.get("toy", 2).tags.raw["declined_by"] == "person: Ann"
    version = waiting.registry.get("toy", 2)
    promote(
        waiting.spec,
        waiting.registry,
        Promotions(waiting.settings.lake_uri, waiting.spec.name),
        version,
        reason="now",
        by="person",
        now=NOW,
        lock=nullcontext(),
    )
    assert not {"declined", "declined_by"} & set(waiting.registry.get("toy", 2).tags.raw)


def test_the_first_word_counts(waiting: Waiting) -> None:
    """A second answer to the same question changes nothing and says what was answered."""
    waiting.answer("reject", "not now")
    again = waiting.answer("approve")
    assert (again.outcome, again.fresh, again.explanation) == ("rejected", False, "rejected by a person: not now")
    assert waiting.registry.aliases == {"champion": 1}


def test_rejection_leaves_the_champion(waiting: Waiting) -> None:
    """The version is tagged with the reason and challenger no longer; one that replaced it as challenger stays."""
    waiting.registry.set_alias("toy", CHALLENGER, waiting.registry.add().number)
    assert waiting.answer("reject").outcome == "rejected"
    assert waiting.registry.aliases == {"champion": 1, CHALLENGER: 3}
    assert waiting.registry.get("toy", 2).tags.raw["declined"] == "because"


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        ("approve", "was judged against champion 1, and the champion is 3 now"),
        ("reject", "rejected by a person: because"),
    ],
)
def test_another_champion_meanwhile(waiting: Waiting, decision: str, says: str) -> None:
    """What was judged against another champion is not promoted, and the ruling says so; it can be rejected."""
    other = waiting.registry.add()
    promote(
        waiting.spec,
        waiting.registry,
        Promotions(waiting.settings.lake_uri, waiting.spec.name),
        other,
        reason="newer",
        by="test",
        now=NOW,
        lock=nullcontext(),
    )
    ruling = waiting.answer(decision)
    assert says in ruling.explanation
    assert ruling.outcome == ("inconclusive" if decision == "approve" else "rejected")
    assert waiting.registry.aliases["champion"] == 3


def test_promoted_meanwhile(waiting: Waiting) -> None:
    """A version that became champion by other means ends promoted; to reject it then is refused, not carried out."""
    promote(
        waiting.spec,
        waiting.registry,
        Promotions(waiting.settings.lake_uri, waiting.spec.name),
        waiting.version,
        reason="by hand",
        by="person",
        now=NOW,
        lock=nullcontext(),
    )
    ruling = waiting.answer("reject")
    assert ruling.outcome == "inconclusive"
    assert "is the champion already" in ruling.explanation
    assert waiting.registry.aliases["champion"] == 2


def test_a_word_without_a_question_is_not_kept(waiting: Waiting) -> None:
    """Promoting an old version by hand answers no retraining."""
    record_approval(waiting.ledger, waiting.registry.get("toy", 1), "promoted", "x", by="person", now=NOW)
    assert recorded_approval(waiting.ledger, "decision-1") is None
    assert asked_by(waiting.ledger, "another-run") is None
    assert asked_by(waiting.ledger, "") is None


def test_the_question_shows_the_gates(waiting: Waiting) -> None:
    """A person sees what is asked, until when, the figures and the gate table."""
    text = question(RESULT, NOW)
    for part in ("version 2 of toy", "in place of version 1", "2026-01-01 00:00 UTC", "mae on the holdout: 0.1"):
        assert part in text
    assert "| champion | PASS | 0.4 | 0 | a \\| b |" in text


def test_a_result_is_read_back_from_the_ledger(waiting: Waiting) -> None:
    """The run that is resumed knows all that it knew before it was suspended."""
    asked = asked_by(waiting.ledger, "the-run")
    assert asked is not None
    assert asked.detail_as(RetrainDetail) == RESULT
