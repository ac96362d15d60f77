"""What is done for a canary: one look decides, keeps the decision, and carries it out.

What a killed process had decided is carried out by the next look: each write may be made twice. Servers follow a tag of
the challenger; the ledger has the last word on what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from evergreen.actor import PERSON, rejection_reason
from evergreen.canary.canary_ledger import CanaryOutcome, CanaryState, make_entry
from evergreen.canary.evidence import Pair, trace_outcome
from evergreen.canary.judge import Evidence, Position, Ruling, canary_steps, judge_canary
from evergreen.decision import Decision
from evergreen.details.canary import CanaryDetail
from evergreen.details.decision import Outcome
from evergreen.errors import RefusedError
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.promotions import PromotionLog
from evergreen.registry import promotion
from evergreen.registry.approval import decline, record_outcome, recorded_approval
from evergreen.registry.model_registry import ModelRegistry
from evergreen.registry.promotion import Lock
from evergreen.registry.version import CANARY, CHALLENGER, REFUSED, Version
from evergreen.spec.canary import Canary, canary_of
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

BY = CANARY
"""Who promotes or refuses, in the log of promotions and beside a version."""

ReadEvidence = Callable[[Canary, Pair, Position], Evidence]


@dataclass(frozen=True, slots=True)
class Stores:
    """What a canary is about, opened."""

    spec: ModelSpec
    registry: ModelRegistry
    promotions: PromotionLog
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a canary came to.

    Attributes:
        state: the canary afterwards.
        decided: the entries that are new, oldest first.
        ruling: what the evidence says; None where it was not asked.
        evidence: what is known; None as above.
        outcome: what became of the challenger, where that was settled now; else None.
    """

    state: CanaryState
    decided: tuple[Decision, ...]
    ruling: Ruling | None = None
    evidence: Evidence | None = None
    outcome: Outcome | None = None


def look_at_canary(
    stores: Stores, state: CanaryState, read: ReadEvidence, *, now: datetime, lock: Lock, flow_run: str = ""
) -> Look:
    """Decide what follows for a canary by now, keep it, and carry it out.

    Args:
        stores: of the model.
        state: an open canary.
        read: the evidence by now, for the two versions since the canary began.
        now: aware.
        lock: the model's promotion lock, not held yet.
        flow_run: the Prefect run.

    Raises:
        BusyError: another process moves the champion.
        ArtifactError: the challenger's stored files are not what was registered.
    """
    decided: list[Decision] = []
    if not state.entries and not state.answered:
        state, entry = _keep(stores, state, "started", _start(stores.spec, state), now=now, flow_run=flow_run)
        decided.append(entry)
    ruling, evidence = None, None
    end = None if state.end is not None else _overtaken(stores, state)
    if end is not None:
        outcome, reason = end
        state, entry = _keep(stores, state, outcome, (reason, state.detail), now=now, flow_run=flow_run)
        decided.append(entry)
    elif state.end is None:
        ruling, evidence = _ask(stores, state, read, now)
        following = _follow(canary_of(stores.spec), state, ruling, evidence)
        if following is not None:
            state, entry = _keep(stores, state, *following, now=now, flow_run=flow_run)
            decided.append(entry)
    settled = carry_out(stores, state, now=now, lock=lock)
    return Look(
        replace(state, answered=state.answered or settled is not None), tuple(decided), ruling, evidence, settled
    )


def preview_canary(stores: Stores, state: CanaryState, read: ReadEvidence, *, now: datetime) -> Look:
    """How a canary stands, as a look at it would find it; nothing is decided or written."""
    if not state.entries:
        reason, detail = _start(stores.spec, state)
        entry = make_entry(stores.spec.name, state, "started", reason, detail, now=now, flow_run="")
        state = replace(state, entries=(entry,))
    if state.end is not None or _overtaken(stores, state) is not None:
        return Look(state, ())
    return Look(state, (), *_ask(stores, state, read, now))


def _ask(stores: Stores, state: CanaryState, read: ReadEvidence, now: datetime) -> tuple[Ruling, Evidence]:
    canary = canary_of(stores.spec)
    evidence = read(canary, Pair(state.champion or 0, state.version), state.position)
    return judge_canary(canary, evidence, state.position, now), evidence


def hold(stores: Stores, state: CanaryState, reason: str, *, by: str, now: datetime, paused: bool) -> Decision:
    """Pause a canary, or let it go on; the champion answers everything meanwhile.

    Raises:
        RefusedError: it is over, or held already.
    """
    if not state.entries or state.end is not None or state.position.paused == paused:
        is_so = "over" if state.end else "not paused" if state.entries and not paused else "paused already"
        what = f"The canary of {stores.spec.name} version {state.version} is {is_so if state.entries else 'not begun'}."
        raise RefusedError(what, f"See: evergreen canary {stores.spec.name}")
    steps, step = canary_steps(canary_of(stores.spec)), state.position.step
    detail = replace(
        state.detail, share=0 if paused else steps[min(step, len(steps) - 1)], by=by, questions=(), trace=()
    )
    state, entry = _keep(stores, state, "paused" if paused else "resumed", (reason, detail), now=now, flow_run="")
    _show_share(stores, state)
    return entry


def abort(stores: Stores, state: CanaryState, reason: str, *, by: str, now: datetime, lock: Lock) -> Look:
    """End a canary because a person says so; the challenger is rejected.

    Raises:
        RefusedError: it is over.
    """
    if state.end is not None:
        what = f"The canary of {stores.spec.name} version {state.version} is over: {state.end.reason}"
        raise RefusedError(what, f"See: evergreen canary {stores.spec.name}")
    if not state.entries:
        state, _ = _keep(stores, state, "started", _start(stores.spec, state), now=now, flow_run="")
    detail = replace(state.detail, share=0, by=by, questions=(), trace=())
    state, entry = _keep(stores, state, "aborted", (rejection_reason(reason, by), detail), now=now, flow_run="")
    settled = carry_out(stores, state, now=now, lock=lock)
    return Look(replace(state, answered=True), (entry,), outcome=settled)


def carry_out(stores: Stores, state: CanaryState, *, now: datetime, lock: Lock) -> Outcome | None:
    """Bring registry and promotions to what the ledger says; returns what became of the challenger, where it ended."""
    _show_share(stores, state)
    end = state.end
    if end is None:
        return None
    version = stores.registry.lookup(stores.spec.name, state.version)
    by = PERSON if end.outcome == "settled" else end.detail_as(CanaryDetail).by
    outcome, reason = _OUTCOMES.get(end.outcome, "inconclusive"), end.reason
    if version is None:
        outcome, reason = "inconclusive", f"{reason} The version is deleted."
    elif end.outcome == "passed":
        try:
            promotion.promote(
                stores.spec, stores.registry, stores.promotions, version, reason=reason, by=BY, now=now, lock=lock
            )
        except RefusedError as refused:
            outcome, reason = "inconclusive", f"{reason} But {refused}"
    elif end.outcome == "refused":
        with lock:
            _refuse(stores, version, reason)
    elif end.outcome == "aborted":
        decline(stores.spec, stores.registry, version, reason=reason, by=by, lock=lock)
    # What a person had said is there already, unless the process was killed that carried it out.
    record_outcome(stores.ledger, state.retrain.id, state.version, outcome, reason, by=by, now=now)
    return None if end.outcome == "settled" else outcome


_OUTCOMES: dict[str, Outcome] = {
    "passed": "promoted",
    "settled": "promoted",
    "refused": "rejected",
    "aborted": "rejected",
}


def _start(spec: ModelSpec, state: CanaryState) -> tuple[str, CanaryDetail]:
    canary = canary_of(spec)
    steps = canary_steps(canary)
    detail = CanaryDetail(
        version=state.version,
        champion=state.champion or 0,
        decision=state.retrain.id,
        step=0,
        steps=steps,
        share=steps[0],
        shadow=canary.mode == "shadow",
    )
    where = "it predicts beside the champion, which answers" if detail.shadow else f"it answers {steps[0]} %"
    return f"Version {state.version} passed its gates and meets live traffic: {where}.", detail


def _follow(
    canary: Canary, state: CanaryState, ruling: Ruling, evidence: Evidence
) -> tuple[CanaryOutcome, tuple[str, CanaryDetail]] | None:
    """The entry that follows from a ruling; None while nothing does."""
    outcomes: dict[str, CanaryOutcome] = {
        "step": "step",
        "promote": "passed",
        "refuse": "refused",
        "give-up": "unproven",
    }
    outcome = outcomes.get(ruling.move)
    if outcome is None:
        return None
    steps, step = canary_steps(canary), state.position.step
    step = min(step + 1, len(steps) - 1) if outcome == "step" else step
    detail = replace(
        state.detail,
        step=step,
        steps=steps,
        share=steps[step] if outcome == "step" else 0,
        rows=evidence.rows,
        questions=ruling.questions,
        trace=trace_outcome(canary, evidence.blocks),
        by=BY,
    )
    return outcome, (ruling.reason, detail)


def _overtaken(stores: Stores, state: CanaryState) -> tuple[CanaryOutcome, str] | None:
    """Why a canary is over without a ruling of its own; None where it goes on."""
    spec, registry = stores.spec, stores.registry
    if state.answered:
        said = recorded_approval(stores.ledger, state.retrain.id)
        return "settled", said.explanation if said else "It was answered."
    champion, challenger = registry.champion(spec.name), registry.by_alias(spec.name, CHALLENGER)
    if champion is not None and champion.number == state.version:
        return "settled", f"Version {state.version} is the champion: a person promoted it."
    if champion is None or champion.number != state.champion:
        now = f"version {champion.number}" if champion else "none"
        return "overtaken", f"It was held against champion {state.champion}, and the champion is {now} now."
    if challenger is None or challenger.number != state.version:
        now = f"version {challenger.number}" if challenger else "none"
        return "overtaken", f"The challenger is {now} now."
    if spec.approval.mode != "canary":
        return "overtaken", f"The model file asks for no canary any more: approval is {spec.approval.mode!r}."
    return None


def _keep(
    stores: Stores,
    state: CanaryState,
    outcome: CanaryOutcome,
    told: tuple[str, CanaryDetail],
    *,
    now: datetime,
    flow_run: str,
) -> tuple[CanaryState, Decision]:
    reason, detail = told
    entry = make_entry(stores.spec.name, state, outcome, reason, detail, now=now, flow_run=flow_run)
    stores.ledger.record(entry)
    # What another process decided first stays, and counts.
    entry = stores.ledger.find("canary", entry.id) or entry
    return replace(state, entries=(*state.entries, entry)), entry


def _show_share(stores: Stores, state: CanaryState) -> None:
    """The tag that servers follow says what the ledger does."""
    version = stores.registry.lookup(stores.spec.name, state.version)
    if version is None:
        return
    if state.end is not None or not state.entries:
        stores.registry.untag(version, CANARY)
    elif version.tags.canary != state.detail.share:
        stores.registry.tag(version, CANARY, str(state.detail.share))


def _refuse(stores: Stores, version: Version, reason: str) -> None:
    """The version is challenger no more, and does not come again."""
    registry, name = stores.registry, stores.spec.name
    registry.conclude(version, Verdict.FAIL, version.description, {REFUSED: reason})
    challenger = registry.by_alias(name, CHALLENGER)
    if challenger is not None and challenger.number == version.number:
        registry.drop_alias(name, CHALLENGER)
