"""What was decided, and what came of it: the entries of a ledger joined by decision, version and promotion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from evergreen.actor import describe_actor
from evergreen.decision import Decision
from evergreen.ledger import reconciliation
from evergreen.ledger.confirmation import Confirmation
from evergreen.ledger.timeline_entries import MOVES, Entry
from evergreen.spec.model import ModelSpec

_FORCED = re.compile(r"-\d+$")
_Found = Sequence[tuple[datetime, str]]


class Sequel:
    """What came of entries, by all that is in the ledger.

    With the model file's `spec`, a finding that it does not retrain on is told apart from one that nobody has answered.
    """

    def __init__(
        self, model: str, entries: Sequence[Entry], decisions: Sequence[Decision], spec: ModelSpec | None = None
    ) -> None:
        self.model, self.spec = model, spec
        self.decisions: dict[tuple[str, str], Decision] = {(one.kind, one.id): one for one in decisions}
        self.retrains = [one for one in decisions if one.kind == "retrain"]
        self.answers: dict[str, list[Entry]] = {}
        self.about: dict[str, list[Entry]] = {}
        self.moves = [entry for entry in entries if entry.kind in MOVES and entry.outcome == "done"]
        self.begun = {entry.detail["decision"]: entry for entry in entries if _is_left(entry)}
        for entry in entries:
            if entry.kind == "retrain":
                # A forced one has the id of what it answers, and a number.
                for asked in {entry.id, _FORCED.sub("", entry.id)}:
                    self.answers.setdefault(asked, []).append(entry)
            about = _about(entry)
            if about:
                self.about.setdefault(about, []).append(entry)

    def told(self, entry: Entry) -> Entry:
        """The entry with what was decided, and what followed."""
        followed = _FOLLOWED.get(entry.kind)
        lines = sorted(followed(self, entry), key=lambda line: line[0]) if followed else []
        came = [f"{at:%Y-%m-%d %H:%M:%S} UTC: {what}" for at, what in lines]
        why_not = self._why_not(entry, came=bool(came))
        return replace(entry, decided=self._decided(entry), followed=(*came, *([why_not] if why_not else [])))

    def _decided(self, entry: Entry) -> str:
        if entry.kind in reconciliation.CALLS and entry.outcome in ("FAIL", "LANDED"):
            doubt = self._doubt(entry)
            return f"no retraining: {doubt}" if doubt else "a retraining is called for"
        if entry.kind in ("drift", "performance"):
            return "nothing is to be done" if entry.outcome == "PASS" else "nothing: it cannot be said yet"
        if entry.kind == "shadow":
            return _of_shadow(entry)
        candidate = "nothing is trained" if entry.version is None else f"version {entry.version}"
        return _DECIDED.get((entry.kind, entry.outcome), _DECIDED.get((entry.kind, ""), "")).format(
            version=candidate, before=f"version {entry.champion}" if entry.champion else "none"
        )

    def _doubt(self, entry: Entry) -> str:
        """Why a finding calls for no retraining; empty where it does."""
        unconfirmed = entry.kind == "drift" and not entry.detail.get("confirmed", True)
        if unconfirmed:
            return Confirmation.of_detail(entry.detail).doubt
        if self.spec is not None and entry.kind not in self.spec.retraining.triggers:
            return f"the model file's retrain_on does not name {entry.kind}"
        return ""

    def _why_not(self, entry: Entry, *, came: bool) -> str:
        """Why what could have followed did not; empty where it did, or where nothing could. `came`: something did."""
        if entry.kind in reconciliation.CALLS and entry.outcome in ("FAIL", "LANDED"):
            return "" if self._answers(entry) else self._unanswered(entry)
        if came:
            return ""
        if entry.kind == "retrain" and entry.outcome == "awaiting-approval":
            return (
                f"nothing yet: it waits for a person; evergreen promote {self.model} {entry.version} --reason TEXT, "
                "or the same with --reject"
            )
        if entry.kind == "shadow" and entry.outcome == "FAIL" and entry.detail["rollback"]:
            return "nothing: the champion was moved in the meantime, or its former files are damaged"
        if entry.kind == "reconciled":
            return "nothing yet: the run has not answered it"
        return ""

    def _unanswered(self, entry: Entry) -> str:
        asked = self.decisions[entry.kind, entry.id]
        covered = reconciliation.answer(asked, self.retrains, asked.champion)
        if covered:
            return f"nothing of its own: {covered}"
        doubt = self._doubt(entry)
        if doubt:
            return f"nothing: {doubt}"
        champion = self.moves[-1].version if self.moves else None
        superseded = reconciliation.answer(asked, (), champion) if champion else ""
        return f"nothing: {superseded}" if superseded else "nothing yet: no retraining has answered it"

    def _requested(self, entry: Entry) -> _Found:
        """Of a finding: what held it back, what started it, and the retraining with all that came of that."""
        notes = [(one.at, _note(one)) for one in self.about.get(entry.id, ()) if one.at >= entry.at]
        return [*notes, *(line for one in self._answers(entry) for line in self._retrained(one))]

    def _answers(self, finding: Entry) -> list[Entry]:
        """The retrainings for a finding, and the one that it is part of."""
        part_of = self.answers.get(str(finding.detail.get("answered_by", "")), [])
        return [*self.answers.get(finding.id, ()), *part_of]

    def _retrained(self, retrain: Entry) -> _Found:
        version = f", version {retrain.version}" if retrain.version else ""
        return [(retrain.at, f"retraining: {retrain.outcome}{version}; {retrain.reason}"), *self._candidate(retrain)]

    def _candidate(self, retrain: Entry) -> _Found:
        """Of a retraining: a person's word, the promotion and what became of that, and whether a person was told."""
        notes = [one for one in self.about.get(retrain.id, ()) if one.kind in ("approval", "escalation")]
        return [*((one.at, _note(one)) for one in notes), *self._promoted(retrain)]

    def _promoted(self, retrain: Entry) -> _Found:
        """Of a retraining or a person's word on it: the promotion, and what became of that."""
        found: list[tuple[datetime, str]] = []
        left = self.begun.get(retrain.id)
        if left is not None:
            found.append((left.at, f"the move to version {left.version} was begun: {left.outcome}"))
        for move in self.moves:
            if move.kind == "promote" and move.detail["decision"] == retrain.id:
                found += [(move.at, _moved(move)), *self._reign(move)]
        return found

    def _reign(self, move: Entry) -> _Found:
        """Of a move: whether it helped, and the move that ended it."""
        found = [(one.at, f"did it help: {one.outcome}; {one.reason}") for one in self.about.get(move.id, ())]
        if move.outcome == "done":
            position = next(number for number, one in enumerate(self.moves) if one.id == move.id)
            found += [(later.at, _moved(later)) for later in self.moves[position + 1 : position + 2]]
        return found

    def _taken_back(self, shadow: Entry) -> _Found:
        return [(move.at, _moved(move)) for move in self.moves if f"(decision {shadow.id})" in move.reason]

    def _asked(self, note: Entry) -> _Found:
        """Of a request that was held back or started again: the retraining that answered it in the end."""
        answers = self.answers.get(note.detail["decision"], ())
        return [line for one in answers if one.at >= note.at for line in self._retrained(one)]


_FOLLOWED: Mapping[str, Callable[[Sequel, Entry], _Found]] = {
    "drift": Sequel._requested,
    "performance": Sequel._requested,
    "data": Sequel._requested,
    "retrain": Sequel._candidate,
    "approval": Sequel._promoted,
    "shadow": Sequel._taken_back,
    "suppressed": Sequel._asked,
    "reconciled": Sequel._asked,
    "promote": Sequel._reign,
    "rollback": Sequel._reign,
}
_DECIDED: Mapping[tuple[str, str], str] = {
    ("retrain", "promoted"): "{version} becomes champion; before: {before}",
    ("retrain", "awaiting-approval"): "{version} waits for a person's word",
    ("retrain", "rejected"): "{version} is not promoted; champion stays: {before}",
    ("retrain", ""): "{version} is not promoted, for nothing is proven; champion stays: {before}",
    ("approval", "promoted"): "{version} becomes champion",
    ("approval", "rejected"): "{version} is out of the running",
    ("approval", ""): "the alias stays where it is",
    ("escalation", ""): "a person is told",
    ("suppressed", ""): "no retraining",
    ("reconciled", ""): "a run is started",
    ("quarantine", "whole"): "nothing of it is used",
    ("quarantine", ""): "these rows are not used",
    ("promote", "done"): "{version} is champion; before: {before}",
    ("rollback", "done"): "{version} is champion again; before: {before}",
    ("promote", "aborted"): "given up: the alias was not moved to {version}",
    ("rollback", "aborted"): "given up: the alias was not moved to {version}",
    ("promote", ""): "begun, and its run was killed: the next run finishes it or gives it up",
    ("rollback", ""): "begun, and its run was killed: the next run finishes it or gives it up",
}


def _is_left(entry: Entry) -> bool:
    return entry.kind == "promote" and entry.outcome != "done"


def _about(entry: Entry) -> str:
    """The decision or the move that an entry is about, beside the one whose id it has; empty without one."""
    if entry.kind == "approval":
        return entry.id
    key = {"suppressed": "decision", "reconciled": "decision", "shadow": "promotion", "escalation": "last_decision"}
    return str(entry.detail.get(key.get(entry.kind, ""), ""))


def _note(entry: Entry) -> str:
    """One line on an entry that is about another one."""
    words = {"suppressed": "held back", "reconciled": "reconciled", "escalation": "a person was told"}
    return f"{words[entry.kind]}: {entry.reason}" if entry.kind in words else entry.reason


def _moved(move: Entry) -> str:
    what = "rolled back to" if move.kind == "rollback" else "promoted:"
    before = f" in place of version {move.champion}" if move.champion else ""
    return f"{what} version {move.version}{before}, by {describe_actor(move.detail['by'])}: {move.reason}"


def _of_shadow(entry: Entry) -> str:
    detail = entry.detail
    if entry.outcome == "FAIL" and detail["rollback"]:
        return f"version {detail['former']} is to be champion again"
    if entry.outcome == "FAIL":
        return f"a person is told; version {detail['champion']} stays, for shadow.rollback is off"
    if detail["final"]:
        return f"version {detail['champion']} stays; this was the last look"
    return f"version {detail['champion']} stays; the next window is looked at too"
