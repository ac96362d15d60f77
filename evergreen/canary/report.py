"""What is told of a canary: the same facts for the terminal, the Prefect UI, the page and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from evergreen.canary.evidence import trace_outcome
from evergreen.canary.moves import Look
from evergreen.details.canary import CanaryPoint, CanaryQuestion
from evergreen.details.decision import Outcome
from evergreen.spec.canary import canary_of
from evergreen.spec.model import ModelSpec


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """How a canary stands after a look.

    Attributes:
        version: the challenger.
        champion: what it is held against.
        stands: `open`, `paused`, or how it ended.
        step: position of its step, from 0.
        steps: percent of the requests that it answers in each.
        share: percent that it answers now.
        shadow: the champion answers everything.
        since: when it began.
        until: when its budget is spent.
        rows: that both predicted so far; None where nothing was asked.
        reason: what is waited for, or why it ended.
        questions: what each came to.
        trace: the outcome over time.
        outcome: what became of the challenger in this look; None where nothing did.
    """

    model: str
    version: int
    champion: int
    stands: str
    step: int
    steps: tuple[int, ...]
    share: int
    shadow: bool
    since: datetime
    until: datetime
    rows: int | None
    reason: str
    questions: tuple[CanaryQuestion, ...]
    trace: tuple[CanaryPoint, ...] = ()
    outcome: Outcome | None = None

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.stands in ("open", "paused")

    @property
    def following(self) -> str:
        """What comes next, in words."""
        if self.stands == "paused":
            return "It goes on when a person says so."
        if self.stands != "open":
            return ""
        if self.step + 1 < len(self.steps):
            return f"Next, when all three are proven: {self.steps[self.step + 1]} % of the requests."
        return "Next, when all three are proven: it becomes the champion."

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self) | {"since": self.since.isoformat(), "until": self.until.isoformat()}


def describe_look(spec: ModelSpec, look: Look) -> CanaryReport:
    """What is told of a look."""
    state, canary = look.state, canary_of(spec)
    detail, position, end = state.detail, state.position, state.end
    stands = end.outcome if end else "paused" if position.paused else "open"
    return CanaryReport(
        model=spec.name,
        version=state.version,
        champion=state.champion or 0,
        stands=stands,
        step=position.step,
        steps=detail.steps,
        share=0 if end else detail.share,
        shadow=detail.shadow,
        since=position.started,
        until=position.started + canary.budget,
        rows=look.evidence.rows if look.evidence else None,
        reason=end.reason if end else look.ruling.reason if look.ruling else state.entries[-1].reason,
        questions=look.ruling.questions if look.ruling else detail.questions,
        trace=trace_outcome(canary, look.evidence.blocks) if look.evidence else detail.trace,
        outcome=look.outcome,
    )
