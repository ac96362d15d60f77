"""Whether a retraining has anything to do, and what it is: the question that comes before any fitting.

One retrain for one decision: a decision that was answered is not answered again, and a version that a killed run left
behind is found by its decision and taken on from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from evergreen import calling, reconciling
from evergreen.approval import with_word
from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import Window, holdout_mask, training_window
from evergreen.decision import Decision, Outcome, decision_id
from evergreen.decisions import Decisions
from evergreen.errors import DataError, EvergreenError
from evergreen.evaluation import Judgement
from evergreen.lineage import against, params_text
from evergreen.promotion import require_consistent, settle
from evergreen.promotion_log import Promotions
from evergreen.quarantine import quarantine_table
from evergreen.reconciling import CALLS, cooling, ground_of
from evergreen.registry import CLEANED, DECLINED, Registry, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training import labelled
from evergreen.verdicts import Check, Verdict

ROUTINE = ("manual", "schedule")
"""Reasons that give no ground of their own: with nothing new, nothing is done."""

UNCHANGED: Outcome = "unchanged"
UNWANTED = "not wanted by the policy"
"""How the explanation of a retraining begins that the model file's policy held back."""

Counts = tuple[int, int, str | None]
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        reason: why; one of `ROUTINE`, or a ground of its own.
        decision_id: the stored decision that this answers; None lets it follow from the data.
        force: retrain although there is nothing new, or although the decision was answered.
        params: pipeline parameters to use instead of searching; None searches.
        share: the share of drifted columns that the event told of.
        event_id: the event that started this, where one did.
    """

    reason: str = "manual"
    decision_id: str | None = None
    force: bool = False
    params: Mapping[str, Any] | None = None
    share: float | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a retraining is going to do.

    Attributes:
        settled: what it comes to without any fitting; None where there is something to fit.
        explanation: why, where it is settled.
        resume: a version that this decision made before; None to make one.
        judged: what its gates found still stands: it was held against the present champion.
        answer: the recorded decision, where it was answered before, or was not to be.
        learned_end: the time of the newest labelled row of the window; None without a time column or a label.
    """

    decision_id: str
    request: Request
    snapshot: Snapshot
    window: Window
    champion: Version | None
    train_rows: int
    holdout_rows: int
    settled: Outcome | None = None
    explanation: str = ""
    resume: Version | None = None
    judged: bool = False
    answer: Decision | None = None
    learned_end: str | None = None


def plan(
    spec: ModelSpec, spec_hash: str, settings: Settings, registry: Registry, request: Request, *, now: datetime
) -> Plan:
    """Decide what a retraining has to do.

    Raises:
        DataError: there are no rows at all.
        RegistryError: the log names a champion that the registry does not have.
    """
    promotions = Promotions(settings.lake_uri, spec.name)
    settle(spec.name, settings, registry, now=now)
    champion = registry.champion(spec.name)
    require_consistent(spec.name, champion, promotions)
    observations = Observations(settings.lake_uri, spec)
    decisions = Decisions(settings.lake_uri, spec.name)
    if champion is not None and _is_unrecorded(champion, promotions, decisions):
        return _unrecorded(spec, registry, observations, champion)
    if observations.snapshot().rows == 0:
        raise _nothing(spec, settings)
    return decide(observations, spec_hash, registry, decisions, champion, request, now=now)


def decide(
    observations: Observations,
    spec_hash: str,
    registry: Registry,
    decisions: Decisions,
    champion: Version | None,
    request: Request,
    *,
    now: datetime,
    counts: Callable[[ModelSpec, Observations, Window], Counts] | None = None,
) -> Plan:
    """As `plan`, of a consistent state that need not be the lake's and the registry's.

    `counts` is what tells how many rows a window has, where that is known already.
    """
    spec, snapshot = observations.spec, observations.snapshot()
    window = training_window(spec, snapshot, now)
    found = _id(spec, spec_hash, decisions, champion, snapshot, request)
    facts = _Facts(spec, spec_hash, registry, decisions, champion, snapshot, request, found, now)
    for question in (_unchanged, _rolled_back, _answered, _taken_back, _unwanted, _cooling):
        settled = question(facts)
        if settled is not None:
            outcome, explanation, answer = settled
            return Plan(found, request, snapshot, window, champion, 0, 0, outcome, explanation, answer=answer)
    learned, held, end = (counts or counted)(spec, observations, window)
    short = learned < spec.training.min_rows
    resume = registry.find(spec.name, found)
    if resume is not None and (resume.tags["spec_hash"] != spec_hash or CLEANED in resume.tags):
        # The model file was changed since, most likely because of what the version came to; or its files are gone.
        resume = None
    return Plan(
        found,
        request,
        snapshot,
        window,
        champion,
        learned,
        held,
        "inconclusive" if short else None,
        _short(spec, snapshot, learned, held) if short else "",
        resume,
        resume is not None and resume.tags["compared_with"] == against(champion.number if champion else None),
        learned_end=end,
    )


def _short(spec: ModelSpec, snapshot: Snapshot, learned: int, held: int) -> str:
    """Why too few rows can be learned from."""
    if learned + held == 0:
        return f"none of the {snapshot.rows} rows has a known {spec.target!r} by now: there is nothing to learn from"
    return f"{learned} training rows are fewer than the minimum of {spec.training.min_rows}"


def _nothing(spec: ModelSpec, settings: Settings) -> DataError:
    """Why there are no rows: what was refused last, if anything was."""
    quarantine = quarantine_table(settings.lake_uri, spec.name)
    refused = quarantine.read(["origin", "row", "reason", "at"]) if quarantine.exists() else None
    if refused is None or refused.empty:
        return DataError(
            f"{spec.name}: there are no rows to train on.", "Put data where the model file's source looks."
        )
    last = refused.sort_values("at", kind="stable").iloc[-1]
    where = last["origin"] if last["row"] < 0 else f"{last['origin']}, row {last['row']}"
    return DataError(
        f"{spec.name}: there are no rows to train on; {where} is in quarantine: {last['reason']}.",
        "Mend the file or the contract in the model file, then run it again.",
    )


def _is_unrecorded(champion: Version, promotions: Promotions, decisions: Decisions) -> bool:
    """Whether the champion's own retraining has not told of it yet; a rollback has told of itself."""
    moves = promotions.done()
    if not moves or moves[-1].action != "promote":
        return False
    return decisions.find("retrain", champion.tags.get("decision_id", "")) is None


def _unrecorded(spec: ModelSpec, registry: Registry, observations: Observations, champion: Version) -> Plan:
    """A run was killed after it had moved the alias and before it had told: tell what it found."""
    tags = champion.tags
    rival = None if tags["compared_with"] == "none" else registry.lookup(spec.name, int(tags["compared_with"]))
    snapshot = observations.snapshot(int(tags["data_version"]))
    window = training_window(spec, snapshot)
    learned, held, _ = counted(spec, observations, window)
    request = Request(reason=tags["reason"], decision_id=tags["decision_id"])
    return Plan(tags["decision_id"], request, snapshot, window, rival, learned, held, resume=champion, judged=True)


def counted(spec: ModelSpec, observations: Observations, window: Window) -> Counts:
    """Rows to learn from, rows to judge by, and the time of the newest of both."""
    needed = [spec.target, *([spec.time] if spec.time and spec.time != spec.target else [])]
    frame = labelled(spec, window.read(observations, needed))
    held = int(holdout_mask(spec, frame).sum())
    end = frame[spec.time].max().isoformat() if spec.time and len(frame) else None
    return len(frame) - held, held, end


@dataclass(frozen=True, slots=True)
class _Facts:
    spec: ModelSpec
    spec_hash: str
    registry: Registry
    decisions: Decisions
    champion: Version | None
    snapshot: Snapshot
    request: Request
    decision: str
    now: datetime


_Settled = tuple[Outcome, str, Decision | None]


def _unchanged(facts: _Facts) -> _Settled | None:
    """The champion came of this very data and code, or what came of it for another reason was not better than it."""
    request, champion = facts.request, facts.champion
    if champion is None or request.force or request.params or request.decision_id or request.reason not in ROUTINE:
        return None
    if _came_of(champion, facts):
        return UNCHANGED, f"nothing is new since version {champion.number}, the champion, was trained", None
    rivals = {"compared_with": against(champion.number), "params": params_text(None)}
    for version in reversed(facts.registry.versions(facts.spec.name)):
        judged = version.status in ("FAILED", "INCONCLUSIVE") and version.tags.get("decision_id") != facts.decision
        if judged and _came_of(version, facts) and all(version.tags.get(key, "") == was for key, was in rivals.items()):
            held = f"held against version {champion.number}: {version.status}"
            return UNCHANGED, f"nothing is new since version {version.number} was trained and {held}", None
    return None


def _came_of(version: Version, facts: _Facts) -> bool:
    tags = version.tags
    return tags.get("data_digest") == facts.snapshot.digest and tags.get("spec_hash") == facts.spec_hash


def _rolled_back(facts: _Facts) -> _Settled | None:
    """The same data, code and parameters give the same model, under whatever number."""
    if facts.request.force:
        return None
    for version in facts.registry.versions(facts.spec.name):
        same = _came_of(version, facts) and version.tags.get("params", "") == params_text(facts.request.params)
        for tag, what in (("rolled_back", "was rolled back"), (DECLINED, "was not wanted")):
            if same and tag in version.tags:
                why = f"version {version.number} came of this very data and {what}: {version.tags[tag]}"
                return "rejected", why, None
    return None


def _answered(facts: _Facts) -> _Settled | None:
    if facts.request.force:
        return None
    answer = facts.decisions.find("retrain", facts.decision)
    if answer is None:
        covered = _covered(facts)
        return (UNCHANGED, covered, None) if covered else None
    answer = with_word(facts.decisions, answer)
    if answer.outcome == "promoted":
        return UNCHANGED, f"decision {facts.decision} was answered already: {answer.reason}", answer
    outcome: Outcome = answer.detail["outcome"]
    return outcome, f"decision {facts.decision} was answered already: {answer.reason}", answer


def _taken_back(facts: _Facts) -> _Settled | None:
    """A killed run promoted its version and told of nothing, and the version was taken back before the rerun."""
    made = None if facts.request.force else facts.registry.find(facts.spec.name, facts.decision)
    if made is None or "rolled_back" not in made.tags:
        return None
    why = f"version {made.number} came of this decision and was rolled back: {made.tags['rolled_back']}"
    return "rejected", why, None


def not_again(judgement: Judgement, version: Version, versions: Sequence[Version]) -> Judgement:
    """The judgement with a failed check where the very same model was rolled back before, under another number."""
    state = version.tags.get("state_sha256")
    for known in versions if state and judgement.verdict is Verdict.PASS else ():
        same = known.number != version.number and known.tags.get("state_sha256") == state
        if same and "rolled_back" in known.tags:
            why = f"the very model of version {known.number}, which was rolled back: {known.tags['rolled_back']}"
            check = Check("repeat", Verdict.FAIL, None, None, why)
            return replace(judgement, checks=(*judgement.checks, check), verdict=Verdict.FAIL)
    return judgement


def _covered(facts: _Facts) -> str:
    """Why the stored decision that is to be answered needs no answer of its own any more."""
    asked = [facts.decisions.find(ground, facts.decision) for ground in CALLS] if facts.request.decision_id else []
    retrains = facts.decisions.all("retrain") if any(asked) else ()
    number = facts.champion.number if facts.champion else None
    return next((said for entry in asked if entry and (said := reconciling.answer(entry, retrains, number))), "")


def _unwanted(facts: _Facts) -> _Settled | None:
    """The model file's policy does not want it: asked now for the schedule, when it was stored for a report."""
    request, spec = facts.request, facts.spec
    if spec.policy is None or request.force or facts.champion is None:
        return None
    if request.reason == "schedule":
        answer = calling.scheduled(spec, facts.decisions, facts.champion.number, facts.snapshot.rows, facts.now)
        return None if answer.yes else (UNCHANGED, f"{UNWANTED}: {answer.reason}", None)
    ground = ground_of(request.reason)
    asked = facts.decisions.find(ground, facts.decision) if ground is not None else None
    if asked is None or asked.detail.get("called", True):
        return None
    # What the policy says of a report is kept with the report.
    return UNCHANGED, f"{UNWANTED}: {asked.detail['because']}", asked


def _cooling(facts: _Facts) -> _Settled | None:
    """After a retraining for drift, performance or data, the next one for the same ground waits."""
    ground = ground_of(facts.request.reason)
    if facts.request.force or ground is None:
        return None
    until = cooling(facts.spec, facts.decisions.all("retrain"), ground, facts.now)
    if until is None:
        return None
    return UNCHANGED, f"cooling down after the last retraining for {ground} until {until:%Y-%m-%d %H:%M} UTC", None


def _id(
    spec: ModelSpec,
    spec_hash: str,
    decisions: Decisions,
    champion: Version | None,
    snapshot: Snapshot,
    request: Request,
) -> str:
    """The decision that was named, or one that follows from data, code and ground; forced ones are counted.

    Raises:
        EvergreenError: the decision that was named is not an id.
    """
    if request.decision_id is not None and not _ID.fullmatch(request.decision_id):
        raise EvergreenError(f"{request.decision_id[:60]!a} is not the id of a decision.", "See: evergreen status NAME")
    number = champion.number if champion else None
    ground = "" if request.reason in ROUTINE else request.reason
    base = request.decision_id or decision_id(
        spec.name, number, "retrain", snapshot.digest, spec_hash, ground, params_text(request.params)
    )
    if not request.force:
        return base
    # An attempt that a killed run left without an answer is taken on.
    attempt = 0
    while decisions.find("retrain", f"{base}-{attempt}") is not None:
        attempt += 1
    return f"{base}-{attempt}"
