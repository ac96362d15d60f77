"""What the ledger still asks for: the decisions that call for a retraining and that nothing has answered yet.

The stored decision is the truth and the event only a hint, so that what an event missed is found again by looking. The
champion is read from the log of promotions: the registry costs a second to open, and this is asked every few minutes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast, get_args

from evergreen.decision import Decision, Kind, decision_id
from evergreen.details.decision import EscalationDetail, RetrainDetail
from evergreen.details.watch import DriftDetail, TriggerDetail
from evergreen.events import RETRAIN_ESCALATED, Event
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions, taken_back
from evergreen.markdown import many
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.spec.retraining import RetrainTrigger

TRIGGER_OUTCOMES: Mapping[RetrainTrigger, str] = {"drift": "FAIL", "performance": "FAIL", "data": "LANDED"}
"""The outcome with which a decision of each kind calls for a retraining."""

UNSUCCESSFUL = ("rejected", "inconclusive", "rolled-back")
"""Outcomes of a retraining that brought no new champion; one that awaits approval is a person's turn."""

_ANSWERS: tuple[Kind, ...] = ("retrain", "approval", "escalation")
_TRIGGER = re.compile(rf"({'|'.join(get_args(RetrainTrigger))})\b")
_LONGEST_PAUSE, _MOST_DOUBLINGS = 6, 10


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What is known of one model without opening its registry.

    Attributes:
        entries: decisions of every kind; of those that call for a retraining at least the ones about the champion.
        champion: version in production by the log of promotions; None before the first.
        since: when it became that.
        taken_back: versions whose promotion was rolled back, and that did not come back since.
    """

    entries: tuple[Decision, ...]
    champion: int | None
    since: datetime | None = None
    taken_back: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that was to answer a decision, as the orchestrator knows it.

    Attributes:
        run: its id.
        decision_id: the decision that it was started for.
        trigger: what it was started for; None for a schedule or a person.
        at: when it ended; when it was to start, where it has not ended.
        status: `open`, waiting or running; `failed`, ended by a fault or a kill; `completed`.
    """

    run: str
    decision_id: str | None
    trigger: RetrainTrigger | None
    at: datetime
    status: Literal["open", "failed", "completed"]


@dataclass(frozen=True, slots=True)
class PendingRetrain:
    """What there is to do for one model: `nothing` is open, an open decision `waits`, or one is `due`.

    Attributes:
        decision: the newest open decision of its trigger; its retraining covers the older ones.
        since: since when the oldest one that it covers has been open.
        held: a rule keeps it from being answered: a cooldown, or the pause after runs that gave no answer.
    """

    status: Literal["nothing", "waits", "due"]
    reason: str
    decision: Decision | None = None
    since: datetime | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """Something that was done; `about` is a decision or a flow run, open since `since`; `run` is one it started."""

    model: str
    about: str
    since: datetime
    what: str
    run: str = ""


def trigger_of(reason: str) -> RetrainTrigger | None:
    """The trigger that a retraining's reason begins with; None for a schedule or a person."""
    match = _TRIGGER.match(reason)
    return cast(RetrainTrigger, match[1]) if match else None


def cooldown_until(
    spec: ModelSpec, entries: Sequence[Decision], trigger: RetrainTrigger, now: datetime
) -> datetime | None:
    """Until when no second retraining for the same trigger is started; None when one may be."""
    ends = [
        entry.at + spec.retraining.cooldown
        for entry in _retrains(entries)
        if trigger_of(entry.detail_as(RetrainDetail).reason) == trigger
    ]
    return max(ends) if ends and max(ends) > now else None


def requests_retrain(spec: ModelSpec, decision: Decision) -> bool:
    """Whether a decision calls for a retraining, answered or not."""
    requesting = (decision.kind, decision.outcome) in TRIGGER_OUTCOMES.items()
    if not requesting or decision.kind not in spec.retraining.triggers:
        return False
    detail = decision.detail_as(TriggerDetail)
    if isinstance(detail, DriftDetail) and not detail.confirmed:
        # Unconfirmed because a retraining had seen its data: whether that one came to its end is seen by its entry.
        failed, _ = detail.failed
        return detail.called and bool(detail.answered_by) and failed >= detail.needed
    return detail.called


def open_decisions(spec: ModelSpec, ledger: LedgerState) -> tuple[Decision, ...]:
    """The decisions that call for a retraining and have no answer, oldest first.

    An answer is a retraining of the decision's own id, a later one against the same champion that saw its data, or
    another champion.
    """
    requests = (entry for entry in ledger.entries if requests_retrain(spec, entry))
    unanswered = [entry for entry in requests if not answer_to(entry, ledger.entries, ledger.champion)]
    return tuple(sorted(unanswered, key=_order))


def answer_to(decision: Decision, entries: Sequence[Decision], champion: int | None) -> str:
    """What has answered a decision that calls for a retraining, as a sentence; empty where nothing has."""
    if decision.champion != champion:
        about = f"version {decision.champion}" if decision.champion else "a time without a champion"
        return f"decision {decision.id} was about {about}, and the champion is version {champion} now"
    part_of = decision.detail.answered_by if isinstance(decision.detail, DriftDetail) else ""
    for retrain in _retrains(entries):
        if retrain.id in (decision.id, part_of):
            return f"decision {decision.id} was answered already: {retrain.reason}"
        # A table that was begun anew counts from zero again: an earlier retraining has not seen a later one's data.
        saw = retrain.champion == champion and retrain.snapshot >= decision.snapshot
        if saw and retrain.at >= decision.at:
            return f"decision {decision.id} was answered with the later one {retrain.id}: {retrain.reason}"
    return ""


def find_pending(
    spec: ModelSpec, ledger: LedgerState, attempts: Sequence[Attempt] = (), *, now: datetime, grace: timedelta
) -> PendingRetrain:
    """What is due. `grace` is how long an event, or a run that failed, has before another run is started.

    Without `attempts` it tells what may be due, which is enough to know that nothing is.
    """
    waits = _waiting(spec, ledger, now, grace)
    if not waits:
        return PendingRetrain("nothing", "nothing is open")
    ready = [wait for wait in waits if wait.until <= now]
    if not ready:
        first = min(waits, key=lambda wait: wait.until)
        return PendingRetrain("waits", first.reason, first.decision, first.since, first.cooling)
    newest = max(ready, key=lambda wait: _order(wait.decision))
    hindrance = _hindrance(spec, ledger, attempts, newest, now, grace)
    if hindrance:
        paused = not any(attempt.status == "open" for attempt in attempts)
        return PendingRetrain("waits", hindrance, newest.decision, newest.since, paused)
    return PendingRetrain(
        "due", f"nothing has answered this {newest.decision.kind} decision", newest.decision, newest.since
    )


def escalation(
    spec: ModelSpec, ledger: LedgerState, attempts: Sequence[Attempt] = (), *, now: datetime
) -> Decision | None:
    """What to tell a person when retraining does not help: once for each champion.

    Rejected and inconclusive candidates count where drift or performance asked for them, failed runs always.
    """
    if is_escalated(ledger):
        return None
    rejected, failed = unsuccessful_retrains(ledger), _failed(ledger, attempts)
    number = len(rejected) + len(failed)
    if number < spec.retraining.escalate_after:
        return None
    about = [*open_decisions(spec, ledger), *_retrains(ledger.entries)]
    if not about:
        return None
    last = max(about, key=_order)
    outcomes = [(entry.at, _final_outcome(ledger, entry)) for entry in rejected]
    latest = max(outcomes + [(each.at, "failed") for each in failed])[1]
    undone = sum(outcome == "rolled-back" for _, outcome in outcomes)
    reason = (
        f"{many(number, 'retraining')} in a row brought no new champion: "
        f"{len(rejected) - undone} without a better candidate, "
        f"{f'{undone} rolled back, ' if undone else ''}{many(len(failed), 'failed run')}"
    )
    return Decision(
        id=decision_id(spec.name, ledger.champion, "escalation"),
        kind="escalation",
        at=now,
        outcome="ESCALATED",
        champion=ledger.champion,
        snapshot=last.snapshot,
        digest=last.digest,
        reason=reason,
        detail=EscalationDetail(number, latest, last.id),
    )


def escalation_event(model: str, decision: Decision) -> Event:
    """The event of a stored escalation."""
    detail = decision.detail_as(EscalationDetail)
    counts = {"retrains": detail.retrains, "last_outcome": detail.last_outcome}
    return Event(RETRAIN_ESCALATED, model, {"decision_id": decision.id, **counts, "reason": decision.reason})


def is_escalated(ledger: LedgerState) -> bool:
    """Whether a person was told already."""
    return any(entry.kind == "escalation" and entry.champion == ledger.champion for entry in ledger.entries)


def is_asking(ledger: LedgerState) -> bool:
    """Whether a person was asked to approve a version, and no answer was carried out."""
    return _is_open(ledger, "awaiting-approval")


def is_in_canary(ledger: LedgerState) -> bool:
    """Whether a version meets live traffic, and what became of it is not known yet."""
    return _is_open(ledger, "in-canary")


def _is_open(ledger: LedgerState, outcome: str) -> bool:
    answered = {entry.id for entry in ledger.entries if entry.kind == "approval"}
    return any(entry.outcome == outcome and entry.id not in answered for entry in _retrains(ledger.entries))


def unsuccessful_retrains(ledger: LedgerState) -> tuple[Decision, ...]:
    """The retrainings for drift or performance since the champion's, none of which brought a better one.

    Neither did those whose version was promoted and taken back, nor those that were held against such a one.
    """
    retrains: list[Decision] = []
    for entry in reversed(_retrains(ledger.entries)):
        outcome = _final_outcome(ledger, entry)
        if entry.champion not in (ledger.champion, *ledger.taken_back) or outcome == "promoted":
            break
        if outcome in UNSUCCESSFUL and trigger_of(entry.detail_as(RetrainDetail).reason) in ("drift", "performance"):
            retrains.append(entry)
    return tuple(retrains)


def read_ledger(settings: Settings, spec: ModelSpec) -> LedgerState:
    """What is stored of a model; passed reports, most of the ledger, are not read."""
    state, _ = look_at_ledger(settings, spec, ())
    return state


def look_at_ledger(
    settings: Settings, spec: ModelSpec, newest: Sequence[Kind]
) -> tuple[LedgerState, Mapping[Kind, Decision]]:
    """As `read_ledger`, and the newest decision of some kinds; each table is opened once."""
    wanted: dict[Kind, str] = {trigger: TRIGGER_OUTCOMES[trigger] for trigger in spec.retraining.triggers}
    look = Decisions(settings.lake_uri, spec.name).look(_ANSWERS, wanted, newest)
    moves = Promotions(settings.lake_uri, spec.name).done()
    last = moves[-1] if moves else None
    state = LedgerState(look.selected, last.after if last else None, last.at if last else None, taken_back(moves))
    return state, look.newest


def _final_outcome(ledger: LedgerState, entry: Decision) -> str:
    """The outcome of a retraining, also where its version was rolled back later."""
    return "rolled-back" if entry.detail_as(RetrainDetail).version in ledger.taken_back else entry.outcome


def _retrains(entries: Sequence[Decision]) -> list[Decision]:
    return sorted((entry for entry in entries if entry.kind == "retrain"), key=lambda entry: entry.at)


@dataclass(frozen=True, slots=True)
class _Wait:
    """The newest open decision of a trigger, and until when it has to wait."""

    decision: Decision
    since: datetime
    until: datetime
    reason: str
    cooling: bool


def _waiting(spec: ModelSpec, ledger: LedgerState, now: datetime, grace: timedelta) -> list[_Wait]:
    waits = []
    open_ = open_decisions(spec, ledger)
    for trigger in spec.retraining.triggers:
        decisions = [decision for decision in open_ if decision.kind == trigger]
        if not decisions:
            continue
        # By the oldest: where reports come faster than the grace period, the newest never gets out of it.
        until = decisions[0].at + grace
        reason = f"its event has until {_shown(until)} to start a run"
        cool = cooldown_until(spec, ledger.entries, trigger, now)
        cools = cool is not None and cool > until
        if cool is not None and cools:
            until, reason = cool, f"cooling down after the last retraining for {trigger} until {_shown(cool)}"
        waits.append(_Wait(decisions[-1], decisions[0].at, until, reason, cools))
    return waits


def _hindrance(
    spec: ModelSpec, ledger: LedgerState, attempts: Sequence[Attempt], wait: _Wait, now: datetime, grace: timedelta
) -> str:
    """Why no run is to be started now in the light of those that there were; empty where one is."""
    for attempt in attempts:
        if attempt.status == "open":
            return f"flow run {attempt.run} is under way"
    answered = max((entry.at for entry in _retrains(ledger.entries)), default=None)
    failed = [each for each in _failed(ledger, attempts) if answered is None or each.at > answered]
    # What ended while the trigger was cooling down had nothing to answer.
    idle = [
        each
        for each in attempts
        if each.status == "completed" and each.decision_id == wait.decision.id and each.at >= wait.until
    ]
    tries = [*failed, *idle]
    if not tries:
        return ""
    until = max(each.at for each in tries) + _pause(spec, len(tries), grace)
    return f"{many(len(tries), 'run')} gave no answer; the next one not before {_shown(until)}" if now < until else ""


def _pause(spec: ModelSpec, tries: int, grace: timedelta) -> timedelta:
    """Twice as long after each run without an answer; once a person was told, as long as the cooldown."""
    longest = max(spec.retraining.cooldown, _LONGEST_PAUSE * grace)
    if tries >= spec.retraining.escalate_after:
        return longest
    doubled: int = 2 ** min(tries, _MOST_DOUBLINGS)
    return min(longest, grace * doubled)


def _failed(ledger: LedgerState, attempts: Sequence[Attempt]) -> list[Attempt]:
    concluded = {entry.flow_run for entry in _retrains(ledger.entries)}
    return [each for each in attempts if each.status == "failed" and each.trigger and each.run not in concluded]


def _order(decision: Decision) -> tuple[datetime, int, str]:
    return decision.at, decision.snapshot, decision.id


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
