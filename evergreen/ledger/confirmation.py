"""How many drift reports have to fail before one calls for a retraining: `confirm` of the last `of`.

Whether a report is confirmed is stored with it and never worked out again, so that the same question has one answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evergreen.decision import Decision
from evergreen.details.watch import DriftDetail
from evergreen.spec.monitoring import DriftThresholds
from evergreen.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Whether a report calls for a retraining.

    Attributes:
        confirmed: it does.
        failed: how many of the last `of` reports failed, this one among them.
        needed: how many have to.
        answered_by: the retraining that saw this very data already; empty without one.
    """

    confirmed: bool
    failed: int
    needed: int
    of: int
    answered_by: str = ""

    @property
    def doubt(self) -> str:
        """Why a failed report calls for nothing, in a few words; empty for a confirmed one."""
        if self.confirmed:
            return ""
        if self.answered_by:
            return f"retraining {self.answered_by} saw this data already"
        return f"{self.needed} of {self.of} needed, {self.failed} so far"

    @classmethod
    def of_detail(cls, detail: DriftDetail) -> Confirmation:
        """What was kept with a decision."""
        failed, of = detail.failed
        return cls(detail.confirmed, failed, detail.needed, of, detail.answered_by)


def confirm(
    policy: DriftThresholds,
    earlier: Iterable[Decision],
    *,
    champion: int,
    digest: str,
    verdict: Verdict,
    answered_by: str = "",
) -> Confirmation:
    """Whether a report of `verdict` on data of this digest, after the `earlier` ones in the ledger, is confirmed.

    Reports on another champion do not count, those on the same data count once, and INCONCLUSIVE is no failure.
    """
    reports = sorted((each for each in earlier if each.champion == champion), key=lambda each: each.at, reverse=True)
    newest: dict[str, bool] = {digest: verdict is Verdict.FAIL}
    for report in reports:
        newest.setdefault(report.digest, report.outcome == Verdict.FAIL)
    failed = sum(list(newest.values())[: policy.of])
    enough = newest[digest] and failed >= policy.confirm
    return Confirmation(enough and not answered_by, failed, policy.confirm, policy.of, answered_by)
