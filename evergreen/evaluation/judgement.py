"""What the gates said of a candidate, as it is stored with the version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from evergreen.verdicts import Check, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gates found.

    Attributes:
        checks: one for each question.
        verdict: the worst of them.
        value: the candidate's metric on the holdout; None where it could not be measured.
        champion_value: the champion's on the same rows; None without one.
        interval: 95 % interval of the improvement over the champion (positive is better); None without one.
        rows: holdout rows that judged.
        slices: the candidate's metric in every slice of the holdout (`column=value`) that is large enough.
        spread: 95 % interval of `value`; None where there are too few groups of rows, or it was not kept.
    """

    checks: tuple[Check, ...]
    verdict: Verdict
    value: float | None
    champion_value: float | None
    interval: tuple[float, float] | None
    rows: int
    slices: Mapping[str, float] = field(default_factory=dict)
    spread: tuple[float, float] | None = None

    @property
    def explanation(self) -> str:
        """The reason that decided: of the failed check, else the open one, else the champion's or the baseline's."""
        for status in (Verdict.FAIL, Verdict.INCONCLUSIVE):
            for check in self.checks:
                if check.status is status:
                    return f"{check.name}: {check.reason}"
        named = {check.name: check.reason for check in self.checks}
        return named.get("champion") or named.get("baseline") or "every gate passed"

    def to_text(self) -> str:
        """As JSON, to be kept with the version."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Judgement:
        """The judgement that was kept as JSON."""
        stored = json.loads(text)
        checks = tuple(Check(**check | {"status": Verdict(check["status"])}) for check in stored["checks"])
        intervals = {name: tuple(stored[name]) if stored.get(name) else None for name in ("interval", "spread")}
        return cls(**stored | intervals | {"checks": checks, "verdict": Verdict(stored["verdict"])})
