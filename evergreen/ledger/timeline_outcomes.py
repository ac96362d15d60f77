"""What was decided, and what came of it: the entries of a ledger joined by decision, version and promotion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from evergreen.actor import describe_actor, describe_start
from evergreen.decision import Decision
from evergreen.details.canary import CanaryDetail
from evergreen.details.decision import EscalationDetail, ReconciledDetail, SuppressedDetail
from evergreen.details.watch import DriftDetail, ShadowDetail
from evergreen.ledger import reconciliation
from evergreen.ledger.confirmation import Confirmation
from evergreen.ledger.promotions import Move
from evergreen.ledger.timeline_entries import MOVES, Entry, MoveDetail
from evergreen.spec.model import ModelSpec

_FORCED = re.compile(r"-\d+$")
_Lines = Sequence[tuple[datetime, str]]


class Outcomes:
    """What came of entries, by all that is in the ledger.

    With the model file's `spec`, a finding that it does not retrain on is told apart from one that nobody has answered.
    """

    def __init__(
        self, model: str, entries: Sequence[Entry], decisions: Sequence[Decision], spec: ModelSpec | None = None
    ) -> None:
        self.model, self.spec = model, spec
        self.decisions: dict[tuple[str, str], Decision] = {(each.kind, each.id): each for each in decisions}
        self.retrains = [each for each in decisions if each.kind == "retrain"]
        self.answers: dict[str, list[Entry]] = {}
        self.about: dict[str, list[Entry]] = {}
        self.moves = [entry for entry in entries if entry.kind in MOVES and entry.outcome == "done"]
        self.begun = {entry.detail_as(MoveDetail).decision: entry for entry in entries if _is_left(entry)}
        for entry in entries:
            if entry.kind == "retrain":
                # A forced one has the id of what it answers, and a number.
                for question in {entry.id, _FORCED.sub("", entry.id)}:
                    self.answers.setdefault(question, []).append(entry)
            about = _about(entry)
            if about:
                self.about.setdefault(about, []).append(entry)

    def complete(self, entry: Entry) -> Entry:
        """The entry with what was decided, and what followed."""
        consequences = _CONSEQUENCES.get(entry.kind)
        lines = sorted(consequences(self, entry), key=lambda line: line[0]) if consequences else []
        followed = [f"{at:%Y-%m-%d %H:%M:%S} UTC: {what}" for at, what in lines]
        why_not = self._why_not(entry, happened=bool(followed))
        return replace(entry, decided=self._decided(entry), consequences=(*followed, *([why_not] if why_not else [])))

    def _decided(self, entry: Entry) -> str:
        if entry.kind in reconciliation.TRIGGER_OUTCOMES and entry.outcome in ("FAIL", "LANDED"):
            doubt = self._doubt(entry)
            return f"No retraining: {doubt}." if doubt else "A retraining is called for."
        if entry.kind in ("drift", "performance"):
            return "Nothing is to be done." if entry.outcome == "PASS" else "Nothing is done: it cannot be said yet."
        if entry.kind == "shadow":
            return _of_shadow(entry)
        if isinstance(entry.detail, CanaryDetail) and entry.outcome in ("started", "step", "resumed"):
            return _of_canary(entry, entry.detail)
        if entry.kind == "retrain" or (entry.kind in ("promote", "rollback") and entry.outcome == "done"):
            return _of_version(entry)
        sentence = _DECIDED.get((entry.kind, entry.outcome), _DECIDED.get((entry.kind, ""), ""))
        return sentence.format(version=f"version {entry.version}", before=f"version {entry.champion}")

    def _doubt(self, entry: Entry) -> str:
        """Why a finding calls for no retraining; empty where it does."""
        if isinstance(entry.detail, DriftDetail) and not entry.detail.confirmed:
            return Confirmation.of_detail(entry.detail).doubt
        if self.spec is not None and entry.kind not in self.spec.retraining.triggers:
            return f"the model file's retraining.triggers do not name {entry.kind}"
        return ""

    def _why_not(self, entry: Entry, *, happened: bool) -> str:
        """Why what could have followed did not; empty where it did, or where nothing could."""
        if entry.kind in reconciliation.TRIGGER_OUTCOMES and entry.outcome in ("FAIL", "LANDED"):
            return "" if self._answers(entry) else self._unanswered(entry)
        if happened:
            return ""
        if entry.kind == "retrain" and entry.outcome in _WAITS:
            return _WAITS[entry.outcome].format(model=self.model, version=entry.version)
        if isinstance(entry.detail, ShadowDetail) and entry.outcome == "FAIL" and entry.detail.rollback:
            return "nothing: the champion was moved in the meantime, or its former files are damaged"
        if entry.kind == "reconciled":
            return "nothing yet: the run has not answered it"
        return ""

    def _unanswered(self, entry: Entry) -> str:
        decision = self.decisions[entry.kind, entry.id]
        covered = reconciliation.answer_to(decision, self.retrains, decision.champion)
        if covered:
            return f"nothing of its own: {covered}"
        doubt = self._doubt(entry)
        if doubt:
            return f"nothing: {doubt}"
        champion = self.moves[-1].version if self.moves else None
        superseded = reconciliation.answer_to(decision, (), champion) if champion else ""
        return f"nothing: {superseded}" if superseded else "nothing yet: no retraining has answered it"

    def _requested(self, entry: Entry) -> _Lines:
        """Of a finding: what held it back, what started it, and the retraining with all that came of that."""
        notes = [(each.at, _note(each)) for each in self.about.get(entry.id, ()) if each.at >= entry.at]
        return [*notes, *(line for each in self._answers(entry) for line in self._retrained(each))]

    def _answers(self, finding: Entry) -> list[Entry]:
        """The retrainings for a finding, and the one that it is part of."""
        answered_by = finding.detail.answered_by if isinstance(finding.detail, DriftDetail) else ""
        part_of = self.answers.get(answered_by, [])
        return [*self.answers.get(finding.id, ()), *part_of]

    def _retrained(self, retrain: Entry) -> _Lines:
        sentence = _RETRAINED.get((retrain.outcome, retrain.version is not None), _RETRAINED["", False])
        line = f"{sentence.format(version=f'version {retrain.version}')}: {retrain.reason}"
        return [(retrain.at, line), *self._candidate(retrain)]

    def _candidate(self, retrain: Entry) -> _Lines:
        """Of a retraining: its approval, the promotion and what became of that, and whether a person was told."""
        notes = [each for each in self.about.get(retrain.id, ()) if each.kind in _NOTES]
        return [*((each.at, _note(each)) for each in notes), *self._promoted(retrain)]

    def _promoted(self, retrain: Entry) -> _Lines:
        """Of a retraining, its approval or its canary: the promotion, and what became of that."""
        lines: list[tuple[datetime, str]] = []
        decision = retrain.detail.decision if isinstance(retrain.detail, CanaryDetail) else retrain.id
        left = self.begun.get(decision)
        if left is not None:
            end = "given up" if left.outcome == "aborted" else "not finished"
            lines.append((left.at, f"the promotion of version {left.version} was begun and {end}"))
        for move in self.moves:
            if move.kind == "promote" and move.detail_as(MoveDetail).decision == decision:
                lines += [(move.at, _moved(move)), *self._period(move)]
        return lines

    def _period(self, move: Entry) -> _Lines:
        """Of a move: whether it helped, and the move that ended it."""
        lines = [
            (each.at, f"the check of the promotion says {each.outcome}: {each.reason}")
            for each in self.about.get(move.id, ())
        ]
        if move.outcome == "done":
            position = next(number for number, each in enumerate(self.moves) if each.id == move.id)
            lines += [(later.at, _moved(later)) for later in self.moves[position + 1 : position + 2]]
        return lines

    def _canary(self, entry: Entry) -> _Lines:
        """Of a step of a canary: the next one; of its end: the promotion."""
        later = [each for each in self.about.get(_about(entry), ()) if each.kind == "canary" and each.at > entry.at]
        if later:
            return [(later[0].at, _note(later[0]))]
        return self._promoted(entry) if entry.outcome == "passed" else []

    def _taken_back(self, shadow: Entry) -> _Lines:
        return [(move.at, _moved(move)) for move in self.moves if f"(decision {shadow.id})" in move.reason]

    def _asked(self, note: Entry) -> _Lines:
        """Of a request that was held back or started again: the retraining that answered it in the end."""
        answers = self.answers.get(_about(note), ())
        return [line for each in answers if each.at >= note.at for line in self._retrained(each)]


_CONSEQUENCES: Mapping[str, Callable[[Outcomes, Entry], _Lines]] = {
    "drift": Outcomes._requested,
    "performance": Outcomes._requested,
    "data": Outcomes._requested,
    "retrain": Outcomes._candidate,
    "approval": Outcomes._promoted,
    "canary": Outcomes._canary,
    "shadow": Outcomes._taken_back,
    "suppressed": Outcomes._asked,
    "reconciled": Outcomes._asked,
    "promote": Outcomes._period,
    "rollback": Outcomes._period,
    "loss": Outcomes._period,
}
_WAITS = {
    "awaiting-approval": "nothing yet: it waits for a person; evergreen promote {model} {version} --reason TEXT, or "
    "the same with --reject",
    "in-canary": "nothing yet: its canary begins within a minute; evergreen canary {model} shows how it stands",
}
"""What a retraining waits for, by its outcome."""
_NOTES = ("approval", "escalation", "canary")
"""What is told of a retraining beside its promotion."""
_KILLED = "The move was begun, and its run was killed. The next run finishes it or gives it up."
_DECIDED: Mapping[tuple[str, str], str] = {
    ("approval", "promoted"): "The champion becomes {version}.",
    ("approval", "rejected"): "No promotion: {version} is out of the running.",
    ("approval", ""): "The alias stays where it is.",
    ("canary", "paused"): "The champion answers everything for now.",
    ("canary", "passed"): "The champion is to be {version}.",
    ("canary", "refused"): "The champion stays {before}; {version} is refused, and its very model does not come again.",
    ("canary", "aborted"): "The champion stays {before}; {version} is rejected.",
    ("canary", "unproven"): "The champion stays {before}, and a person is told.",
    ("canary", "overtaken"): "The canary of {version} is over.",
    ("canary", "settled"): "The canary of {version} is over.",
    ("escalation", ""): "A person is told.",
    (
        "skew",
        "FAIL",
    ): "A person is told. No retraining helps where the server gets other features than those that land.",
    ("skew", "PASS"): "Nothing is to be done.",
    ("skew", ""): "More rows are awaited.",
    ("suppressed", ""): "No retraining.",
    ("reconciled", ""): "A run is started.",
    ("quarantine", "whole"): "Nothing of the batch is used.",
    ("quarantine", ""): "These rows are not used.",
    ("loss", "done"): "There is no champion: {before} is given up.",
    ("promote", "aborted"): "The move was given up: the alias was not moved to {version}.",
    ("rollback", "aborted"): "The move was given up: the alias was not moved to {version}.",
    ("loss", "aborted"): "The loss was given up: the alias was moved in the meantime.",
    ("promote", ""): _KILLED,
    ("rollback", ""): _KILLED,
    ("loss", ""): _KILLED,
}
_RETRAINED: Mapping[tuple[str, bool], str] = {
    ("promoted", True): "a retraining made {version} the champion",
    ("in-canary", True): "a retraining made {version}, which meets live traffic",
    ("awaiting-approval", True): "a retraining made {version}, which waits for a person's approval",
    ("rejected", True): "a retraining made {version}, which was rejected",
    ("inconclusive", True): "a retraining made {version}, of which nothing is proven",
    ("", False): "a retraining was asked for, and nothing was trained",
}
"""How a retraining ended, by its outcome and whether a version came of it."""


def _is_left(entry: Entry) -> bool:
    return entry.kind == "promote" and entry.outcome != "done"


def _about(entry: Entry) -> str:
    """The decision or the move that an entry is about, beside the one whose id it has; empty without one."""
    if entry.kind == "approval":
        return entry.id
    match entry.detail:
        case SuppressedDetail() | ReconciledDetail() | CanaryDetail():
            return entry.detail.decision
        case ShadowDetail():
            return entry.detail.promotion
        case EscalationDetail():
            return entry.detail.last_decision
    return ""


def _note(entry: Entry) -> str:
    """One line on an entry that is about another one."""
    if entry.kind == "canary":
        return f"canary, {entry.outcome}: {entry.reason}"
    words = {"suppressed": "it was held back", "reconciled": "it was taken up again", "escalation": "a person was told"}
    return f"{words[entry.kind]}: {entry.reason}" if entry.kind in words else entry.reason


def _moved(move: Entry) -> str:
    if move.kind == "loss":
        return f"version {move.champion} was given up as lost, by {describe_actor(move.by)}: {move.reason}"
    what = "is champion again" if move.kind == "rollback" else "was promoted"
    before = f" in place of version {move.champion}" if move.champion else ""
    return f"version {move.version} {what}{before}, by {describe_actor(move.by)}: {describe_reason(move)}"


def describe_reason(move: Entry | Move) -> str:
    """Why a version was moved, in words: an automatic promotion is stored with what started its retraining."""
    return f"its retraining was {describe_start(move.reason)}" if move.by == "retrain" else move.reason


def _of_version(entry: Entry) -> str:
    """What a retraining, a promotion or a rollback does to the champion."""
    version, champion = f"Version {entry.version}", f"version {entry.champion}"
    if entry.outcome in ("promoted", "done"):
        again = " again" if entry.kind == "rollback" else ""
        place = f", in place of {champion}" if entry.champion else ""
        return f"{version} becomes the {'' if entry.champion or again else 'first '}champion{again}{place}."
    if entry.outcome == "awaiting-approval":
        return f"{version} waits for a person's approval."
    if entry.outcome == "in-canary":
        return f"{version} meets live traffic beside {champion}."
    stays = f"The champion stays {champion}." if entry.champion else "There is no champion."
    if entry.version is None:
        return f"Nothing is trained. {stays}"
    unproven = "" if entry.outcome == "rejected" else ", because nothing is proven"
    return f"{version} is not promoted{unproven}. {stays}"


def _of_canary(entry: Entry, detail: CanaryDetail) -> str:
    if detail.shadow:
        return f"Version {entry.version} predicts beside version {entry.champion}, which answers everything."
    share = f"{detail.share} % of the requests"
    return f"Version {entry.version} answers {share}, version {entry.champion} the others."


def _of_shadow(entry: Entry) -> str:
    detail = entry.detail_as(ShadowDetail)
    if entry.outcome == "FAIL" and detail.rollback:
        return f"Version {detail.former} is to be the champion again."
    if entry.outcome == "FAIL":
        return f"A person is told. Version {detail.champion} stays champion, because shadow.rollback is off."
    last = "This was the last look." if detail.final else "The next window is looked at too."
    return f"Version {detail.champion} stays champion. {last}"
