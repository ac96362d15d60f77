"""What the ledger still asks for: every failed decision is answered once, and none is forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.decision import Decision
from evergreen.details.decision import EscalationDetail, RetrainDetail
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.ledger.reconciliation import (
    Attempt,
    LedgerState,
    answer_to,
    cooldown_until,
    escalation,
    escalation_event,
    find_pending,
    is_asking,
    open_decisions,
    read_ledger,
    trigger_of,
)
from evergreen.settings import Settings
from evergreen.sources.bundled import Bundled
from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from tests.details import detail_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = timedelta(minutes=10)
COOLDOWN = timedelta(hours=6)
GROUNDS = ("drift", "performance", "data")


def spec(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "toy",
        "task": "regression",
        "source": Bundled("iris"),
        "contract": lambda: None,
        "target": "y",
        "features": Features(numeric=("x",)),
        "pipeline": lambda seed: None,
        "metric": Metric(name="mae"),
        "retrain_on": GROUNDS,
        "cooldown": COOLDOWN,
    }
    return ModelSpec(**fields | changes)


SPEC = spec()


def asks(
    number: str = "d1",
    kind: Any = "drift",
    *,
    at: float = -60,
    champion: int | None = 1,
    snapshot: int = 3,
    **facts: Any,
) -> Decision:
    """A decision that calls for a retraining, `at` minutes from now; the `facts` are those of a drift report."""
    outcome = "LANDED" if kind == "data" else "FAIL"
    when = NOW + timedelta(minutes=at)
    detail = detail_of(kind, **(facts if kind == "drift" else {}))
    return Decision(number, kind, when, outcome, champion, snapshot, f"digest-{snapshot}", "seen", detail)


def retrained(
    number: str = "d1",
    *,
    reason: str = "drift",
    at: float = -30,
    champion: int | None = 1,
    snapshot: int = 3,
    outcome: str = "rejected",
    run: str = "",
) -> Decision:
    """What came of a retraining that began `at` minutes from now."""
    when = NOW + timedelta(minutes=at)
    detail = detail_of("retrain", reason=reason, outcome=outcome, version=None)
    return Decision(number, "retrain", when, outcome, champion, snapshot, f"digest-{snapshot}", "so", detail, run)


def attempt(
    status: Any = "failed", *, at: float = -5, decision: str = "d1", run: str = "r1", trigger: Any = "drift"
) -> Attempt:
    return Attempt(run, decision, trigger, NOW + timedelta(minutes=at), status)


def found(
    *entries: Decision,
    attempts: tuple[Attempt, ...] = (),
    champion: int | None = 1,
    minutes: float = 0,
    of: ModelSpec = SPEC,
) -> Any:
    return find_pending(of, LedgerState(entries, champion), attempts, now=NOW + timedelta(minutes=minutes), grace=GRACE)


@pytest.mark.parametrize("kind", GROUNDS)
def test_a_decision_without_an_answer_is_due(kind: str) -> None:
    """After the grace period a failed report, and landed data, are due; the finding names the decision."""
    made = asks(kind=kind)
    due = found(made)
    assert (due.status, due.decision, due.since) == ("due", made, made.at)
    assert due.reason == f"nothing has answered this {kind} decision"


@pytest.mark.parametrize(
    "made",
    [
        replace(asks(), outcome="PASS"),
        replace(asks(), outcome="INCONCLUSIVE"),
        asks(confirmed=False),
        replace(asks(kind="data"), outcome="FAIL"),
        replace(asks(), kind="escalation"),
    ],
    ids=["passed", "inconclusive", "unconfirmed", "not landed", "another kind"],
)
def test_what_does_not_call_for_a_retraining(made: Decision) -> None:
    """Passed, inconclusive and unconfirmed reports ask for nothing."""
    assert found(made).status == "nothing"


def test_a_confirmed_report_calls() -> None:
    """K of n: the report that confirmed the earlier ones says so itself."""
    assert found(asks(confirmed=True)).status == "due"


def test_a_report_of_a_retraining_that_was_killed_is_not_lost() -> None:
    """A report that a retraining was to answer itself asks for another where that one never came to its end."""
    made = asks(confirmed=False, answered_by="r", at=-60)
    assert found(made, retrained("r", at=-90)).status == "nothing"
    assert found(made).status == "due"
    assert (
        found(replace(made, detail=detail_of("drift", confirmed=False, answered_by="r", needed=2))).status == "nothing"
    )


def test_only_the_grounds_of_the_model_file_count() -> None:
    """A trigger that the model file does not name starts nothing."""
    assert found(asks(kind="performance"), of=spec(retrain_on=("drift",))).status == "nothing"
    assert found(asks(), of=spec(retrain_on=())).status == "nothing"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (retrained("d1", snapshot=0), "answered already"),
        (retrained("other", reason="schedule", snapshot=3), "answered with the later one other"),
        (retrained("other", reason="manual", snapshot=9), "answered with the later one other"),
        (retrained("other", at=-60, snapshot=3), "answered with the later one other"),
    ],
    ids=["its own", "same data", "newer data", "the report of the retraining itself"],
)
def test_what_answers_a_decision(entry: Decision, said: str) -> None:
    """A retraining of its own id, or a later one against the same champion that saw its data."""
    assert said in answer_to(asks(), [entry], 1)
    assert found(asks(), entry).status == "nothing"


@pytest.mark.parametrize(
    "entry",
    [
        retrained("other", snapshot=2),
        retrained("other", champion=2, snapshot=9),
        retrained("other", at=-90, snapshot=9),
    ],
    ids=["older data", "another champion", "before a table that was begun anew"],
)
def test_what_does_not_answer_a_decision(entry: Decision) -> None:
    """A retraining that has not seen the decision's data leaves it open."""
    assert answer_to(asks(), [entry], 1) == ""


@pytest.mark.parametrize("champion", [2, None])
def test_another_champion_answers(champion: int | None) -> None:
    """What was about a champion that is not the champion any more needs no retraining."""
    assert "was about version 1" in answer_to(asks(), [], champion)
    assert found(asks(), champion=champion).status == "nothing"


def test_data_before_the_first_champion() -> None:
    """Where landed data is a trigger, the first training is started too."""
    assert found(asks(kind="data", champion=None), champion=None).status == "due"


def test_the_newest_covers_the_older() -> None:
    """Of several open ones the newest is answered; the age is that of the oldest."""
    due = found(asks("d1", at=-90, snapshot=3), asks("d2", at=-60, snapshot=4), asks("d3", at=-5, snapshot=5))
    assert (due.status, due.decision.id, due.since) == ("due", "d3", NOW - timedelta(minutes=90))


def test_an_event_has_its_time() -> None:
    """Within the grace period the event may still be on its way."""
    waits = found(asks(at=-9))
    assert (waits.status, waits.decision.id) == ("waits", "d1")
    assert waits.reason == "its event has until 2026-01-01 00:01 UTC to start a run"
    assert found(asks(at=-10)).status == "due"


def test_the_cooldown_delays_and_does_not_forget() -> None:
    """A decision that came while its trigger was cooling down waits, and is due at the end of the cooldown."""
    ledger = (retrained("d0", at=-120, snapshot=1), asks(at=-60))
    waits = found(*ledger)
    assert waits.status == "waits"
    assert waits.reason == "cooling down after the last retraining for drift until 2026-01-01 04:00 UTC"
    assert found(*ledger, minutes=239).status == "waits"
    assert found(*ledger, minutes=240).status == "due"


def test_each_ground_cools_down_on_its_own() -> None:
    """A retraining for drift does not hold back one for performance."""
    due = found(retrained("d0", at=-120, snapshot=1), asks("d1"), asks("p1", kind="performance", at=-70))
    assert (due.status, due.decision.id) == ("due", "p1")
    assert cooldown_until(SPEC, [retrained(reason="schedule")], "drift", NOW) is None
    assert cooldown_until(SPEC, [retrained(reason="data", at=-30)], "data", NOW) == NOW + COOLDOWN - timedelta(
        minutes=30
    )
    assert cooldown_until(spec(cooldown=timedelta(0)), [retrained()], "drift", NOW) is None


def test_the_trigger_of_a_reason() -> None:
    """A reason begins with its trigger as a whole word."""
    told = [
        trigger_of(reason) for reason in ("drift", "drift again", "performance", "data", "database moved", "manual")
    ]
    assert told == ["drift", "drift", "performance", "data", None, None]


def test_a_run_under_way_is_waited_for() -> None:
    """Whoever started it."""
    waits = found(asks(), attempts=(attempt("open", decision="", trigger=None),))
    assert (waits.status, waits.reason) == ("waits", "flow run r1 is under way")


@pytest.mark.parametrize(("tries", "pause"), [(1, 20), (2, 40), (3, 360), (9, 360)])
def test_each_failed_run_doubles_the_pause(tries: int, pause: int) -> None:
    """Ten minutes' grace: twenty after one, forty after two; once a person is told (three), the cooldown."""
    ran = tuple(attempt(at=-5 - number, run=f"r{number}") for number in range(tries))
    assert found(asks(), attempts=ran, minutes=pause - 6).status == "waits"
    assert found(asks(), attempts=ran, minutes=pause - 5).status == "due"


def test_failures_before_the_last_answer_do_not_count() -> None:
    """A retraining that came to its end shows that runs can; the pace begins anew."""
    done = retrained("p0", reason="performance", at=-20, snapshot=1)
    assert found(asks(), done, attempts=(attempt(at=-25),)).status == "due"
    assert found(asks(), done, attempts=(attempt(at=-15),)).status == "waits"


def test_a_run_that_ended_without_an_answer_does_not_spin() -> None:
    """One that completed and stored nothing is not started again at once; one that ended in the cooldown is nothing."""
    assert found(asks(), attempts=(attempt("completed"),)).status == "waits"
    assert found(asks(), attempts=(attempt("completed", at=-55),)).status == "due"


def test_escalation_once_for_a_champion() -> None:
    """Three fruitless retrainings in a row are told, with how many and what the last one came to; once."""
    entries = tuple(retrained(f"d{number}", at=-10 * number) for number in (3, 2, 1))
    assert escalation(SPEC, LedgerState(entries[:2], 1), now=NOW) is None
    told = escalation(SPEC, LedgerState(entries, 1), now=NOW)
    assert told is not None
    assert (told.kind, told.champion, told.at) == ("escalation", 1, NOW)
    assert told.detail == EscalationDetail(3, "rejected", "d1")
    event = escalation_event("toy", told)
    assert (event.name, event.model) == ("evergreen.retrain.escalated", "toy")
    assert event.payload == {
        "decision_id": told.id, "retrains": 3, "last_outcome": "rejected", "reason": told.reason,
    }  # fmt: skip
    assert escalation(SPEC, LedgerState((*entries, told), 1), now=NOW) is None
    assert escalation(SPEC, LedgerState((*entries, replace(told, champion=0)), 1), now=NOW) is not None


@pytest.mark.parametrize(
    "last",
    [
        retrained("d3", outcome="promoted"),
        retrained("d3", outcome="awaiting-approval"),
        retrained("d3", reason="schedule"),
        retrained("d3", reason="data"),
        retrained("d3", champion=2),
    ],
    ids=["a new champion", "a person's turn", "a schedule", "new data", "another champion"],
)
def test_what_does_not_escalate(last: Decision) -> None:
    """Only drift and performance that retraining does not fix are a person's matter."""
    entries = (retrained("d1", at=-50), retrained("d2", at=-40), last)
    assert escalation(SPEC, LedgerState(entries, 1), now=NOW) is None


def test_a_promotion_that_was_rolled_back_is_no_new_champion() -> None:
    """Promoted and taken back, again and again, is told as rejected candidates are; what stayed is not counted."""

    def round_of(version: int, at: float, **more: Any) -> Decision:
        entry = retrained(f"d{version}", at=at, outcome="promoted", **more)
        return replace(entry, detail=replace(entry.detail_as(RetrainDetail), version=version))

    entries = (
        round_of(2, -50),
        round_of(3, -40),
        retrained("d9", at=-35, champion=3, outcome="inconclusive"),
        round_of(4, -30, reason="performance"),
    )
    assert escalation(SPEC, LedgerState(entries, 4), now=NOW) is None
    assert escalation(SPEC, LedgerState(entries, 1, taken_back=frozenset({4})), now=NOW) is None
    told = escalation(SPEC, LedgerState(entries, 1, taken_back=frozenset({2, 3, 4})), now=NOW)
    assert told is not None
    assert (told.champion, told.detail) == (1, EscalationDetail(4, "rolled-back", "d4"))
    assert "1 without a better candidate, 3 rolled back, 0 failed runs" in told.reason
    stayed = (round_of(2, -50), round_of(3, -40), replace(round_of(4, -30, champion=3), champion=3))
    assert escalation(spec(escalate_after=1), LedgerState(stayed, 4, taken_back=frozenset({2})), now=NOW) is None


def test_failed_runs_and_rejected_candidates_add_up() -> None:
    """A crash is a retraining that brought nothing too; one whose answer is stored is not counted twice."""
    entries = (asks("d2"), retrained("d0", at=-500, snapshot=1, run="r0"))
    ran = (attempt(run="r2", at=-5), attempt(run="r1", at=-9), attempt(run="r0", at=-500))
    told = escalation(SPEC, LedgerState(entries, 1), ran, now=NOW)
    assert told is not None
    assert told.detail == EscalationDetail(3, "failed", "d2")
    assert escalation(SPEC, LedgerState(entries, 1), ran[1:], now=NOW) is None
    by_hand = replace(attempt(run="r3"), trigger=None)
    assert escalation(SPEC, LedgerState(entries, 1), (*ran[1:], by_hand), now=NOW) is None


def test_a_question_to_a_person_is_open_until_its_answer_is_carried_out() -> None:
    """What waits for approval is answered by the word that is kept under its id."""
    asked = retrained("d1", outcome="awaiting-approval")
    assert is_asking(LedgerState((asked,), 1))
    assert not is_asking(LedgerState((asked, replace(asked, kind="approval", outcome="promoted")), 1))
    assert not is_asking(LedgerState((retrained("d1"),), 1))


def test_the_ledger_is_read_without_the_registry(settings: Settings) -> None:
    """Champion and decisions come from the tables; reports that passed are not among them."""
    assert read_ledger(settings, SPEC) == LedgerState((), None)
    ledger = Decisions(settings.lake_uri, "toy")
    wanted = (retrained("d0", snapshot=1), asks("d1"), asks("l1", kind="data"))
    for entry in (*wanted, replace(asks("d2"), outcome="PASS")):
        ledger.record(entry)
    assert sorted(entry.id for entry in read_ledger(settings, SPEC).entries) == ["d0", "d1", "l1"]
    move = Move("m", NOW, "promote", "done", None, 1, "better", "d0", "test")
    Promotions(settings.lake_uri, "toy").write(move)
    assert (read_ledger(settings, SPEC).champion, read_ledger(settings, SPEC).since) == (1, NOW)
    assert [entry.id for entry in open_decisions(SPEC, read_ledger(settings, SPEC))] == ["d1", "l1"]


MINUTES = st.integers(-2000, 0)
ENTRIES = st.lists(
    st.one_of(
        st.builds(
            asks,
            st.sampled_from(["d1", "d2", "d3", "d4"]),
            st.sampled_from(GROUNDS),
            at=MINUTES,
            champion=st.sampled_from([None, 1, 2]),
            snapshot=st.integers(0, 5),
            confirmed=st.booleans(),
        ),
        st.builds(
            retrained,
            st.sampled_from(["d1", "d2", "x1", "x2"]),
            reason=st.sampled_from([*GROUNDS, "schedule", "manual"]),
            at=MINUTES,
            champion=st.sampled_from([None, 1, 2]),
            snapshot=st.integers(0, 5),
            outcome=st.sampled_from(["rejected", "inconclusive", "promoted"]),
        ),
    ),
    max_size=12,
)
ATTEMPTS = st.lists(
    st.builds(
        attempt,
        st.sampled_from(["failed", "completed"]),
        at=MINUTES,
        decision=st.sampled_from(["d1", "d2", "d3"]),
        run=st.uuids().map(str),
        trigger=st.sampled_from([*GROUNDS, None]),
    ),
    max_size=6,
)


@given(entries=ENTRIES, attempts=ATTEMPTS, champion=st.sampled_from([None, 1, 2]))
def test_no_open_decision_is_ever_forgotten(
    entries: list[Decision], attempts: list[Attempt], champion: int | None
) -> None:
    """Whatever came before: what is open is due once cooldown and pause are over, and what is not open never is."""
    ledger = LedgerState(tuple(entries), champion)
    left = open_decisions(SPEC, ledger)
    later = find_pending(SPEC, ledger, attempts, now=NOW + COOLDOWN, grace=GRACE)
    assert later.status == ("due" if left else "nothing")
    if left:
        assert later.decision == left[-1]
        assert later.since == min(entry.at for entry in left if entry.kind == left[-1].kind)


@given(entries=ENTRIES, attempts=ATTEMPTS, champion=st.sampled_from([None, 1, 2]), minutes=st.integers(-2000, 400))
def test_what_is_due_is_open_and_outside_of_its_cooldown(
    entries: list[Decision], attempts: list[Attempt], champion: int | None, minutes: int
) -> None:
    """No run is started for an answered decision, in a cooldown, or while another run is under way."""
    now = NOW + timedelta(minutes=minutes)
    ledger = LedgerState(tuple(entries), champion)
    seen = find_pending(SPEC, ledger, attempts, now=now, grace=GRACE)
    if seen.status != "due":
        return
    decision = seen.decision
    assert decision is not None
    assert answer_to(decision, entries, champion) == ""
    assert cooldown_until(SPEC, entries, decision.kind, now) is None
    assert seen.since is not None and seen.since + GRACE <= now
    assert find_pending(SPEC, ledger, [*attempts, attempt("open")], now=now, grace=GRACE).status == "waits"
    done = replace(retrained(decision.id, reason=decision.kind, champion=champion), at=now)
    assert decision not in open_decisions(SPEC, LedgerState((*entries, done), champion))


@given(entries=ENTRIES, champion=st.sampled_from([None, 1, 2]))
def test_the_last_answer_settles_everything(entries: list[Decision], champion: int | None) -> None:
    """A retraining that saw the newest data leaves nothing open; neither does another champion."""
    saw_all = retrained("last", reason="manual", at=0, champion=champion, snapshot=5)
    assert open_decisions(SPEC, LedgerState((*entries, saw_all), champion)) == ()
    assert open_decisions(SPEC, LedgerState(tuple(entries), 3)) == ()


@given(entries=ENTRIES, attempts=ATTEMPTS, champion=st.sampled_from([None, 1, 2]))
def test_an_escalation_is_stored_once(entries: list[Decision], attempts: list[Attempt], champion: int | None) -> None:
    """Once it is in the ledger, it is not made again for the same champion."""
    told = escalation(SPEC, LedgerState(tuple(entries), champion), attempts, now=NOW)
    if told is not None:
        assert told.detail_as(EscalationDetail).retrains >= SPEC.retraining.escalate_after
        assert escalation(SPEC, LedgerState((*entries, told), champion), attempts, now=NOW) is None


@given(cooldown=st.integers(0, 600), crashes=st.integers(1, 40))
def test_a_run_that_always_fails_is_bounded(cooldown: int, crashes: int) -> None:
    """However long it goes on, runs that crash at once come no faster than the doubling pause and then the cooldown."""
    model = spec(cooldown=timedelta(minutes=cooldown))
    made, now, ran = asks(at=0), NOW, []
    for number in range(crashes):
        while find_pending(model, LedgerState((made,), 1), ran, now=now, grace=GRACE).status != "due":
            now += timedelta(minutes=5)
        ran.append(Attempt(f"r{number}", "d1", "drift", now, "failed"))
    spent = now - NOW
    slow = max(timedelta(minutes=cooldown), 6 * GRACE)
    assert spent >= GRACE + (crashes - model.retraining.escalate_after) * slow
