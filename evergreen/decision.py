"""A decision: what was seen, what was decided, why. Every package may speak of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from evergreen.details.decision import D, Detail, ReconciledDetail, SuppressedDetail, expect_detail

Kind = Literal[
    "drift",
    "performance",
    "skew",
    "shadow",
    "data",
    "retrain",
    "canary",
    "approval",
    "escalation",
    "suppressed",
    "reconciled",
]


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry.

    Attributes:
        id: hash of what it is about.
        kind: `drift` and `performance`, a report of a monitor; `skew`, whether what is served is what lands; `shadow`,
            whether a promotion helped; `data`, rows that landed; `retrain`, what came of a candidate; `canary`, a step
            of a challenger on live traffic, or its end; `approval`, what was said of one that waited; `escalation`,
            what a person was told because retraining does not help; `suppressed`, why a request to retrain came to
            nothing; `reconciled`, the run that was started because the event of a decision was lost.
        at: when (aware, UTC).
        outcome: the report's verdict, or what became of the candidate.
        champion: version in production when it was taken; None before the first.
        snapshot: version of the observations that it saw.
        digest: of their content.
        reason: one sentence.
        detail: the whole result as it was shown to the caller, of the type that belongs to `kind`.
        flow_run: the Prefect flow run; empty outside of one.
    """

    id: str
    kind: Kind
    at: datetime
    outcome: str
    champion: int | None
    snapshot: int
    digest: str
    reason: str
    detail: Detail
    flow_run: str = ""

    def detail_as(self, wanted: type[D]) -> D:
        """The detail, if it is of the type that is wanted.

        Raises:
            TypeError: it is not.
        """
        return expect_detail(self.detail, wanted, f"Decision {self.id} of kind {self.kind}")


def decision_id(model: str, champion: int | None, *parts: str) -> str:
    """A stable id, 16 hex digits, of a model, its champion and what else the decision is about."""
    text = "\n".join([model, str(champion), *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def suppressed(
    model: str,
    asked: Decision,
    *,
    why: str,
    at: datetime,
    flow_run: str,
    asked_for: str | None = None,
    event_id: str | None = None,
) -> Decision:
    """Why a request to retrain came to nothing, as an entry; the same reason given again is the same entry.

    `asked` is what was to be answered: a stored decision, or a retraining that was asked for without one. `asked_for`
    is the reason of the request and `event_id` the event that started its run, where there was a run.
    """
    detail = SuppressedDetail(asked.id, asked_for, event_id)
    return _about(model, "suppressed", asked, "unchanged", why, at, flow_run, detail)


def reconciled(model: str, asked: Decision, *, why: str, at: datetime, flow_run: str, run: str) -> Decision:
    """That a run (`run`) was started for a stored decision whose event was lost, as an entry."""
    return _about(model, "reconciled", asked, "started", why, at, flow_run, ReconciledDetail(asked.id, run))


def _about(
    model: str,
    kind: Kind,
    asked: Decision,
    outcome: str,
    why: str,
    at: datetime,
    flow_run: str,
    detail: Detail,
) -> Decision:
    return Decision(
        id=decision_id(model, asked.champion, kind, asked.id, why),
        kind=kind,
        at=at,
        outcome=outcome,
        champion=asked.champion,
        snapshot=asked.snapshot,
        digest=asked.digest,
        reason=why,
        detail=detail,
        flow_run=flow_run,
    )
