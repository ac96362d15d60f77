"""Whether the fit that is deployed may stand for the one that was judged.

With `Training(refit=True)` the gates that need a metric judge the fit of the training rows. The fit that is deployed
has learned the holdout as well: no row is left that could judge it in the same way. What can be asked of it is asked
here: that it is sound, and that it learned the same. The shadow watch covers what no holdout can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from evergreen.data.predictions import Predictions
from evergreen.evaluation.measure import not_finite
from evergreen.markdown import many
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Check, Verdict

MOST_LOST = 0.25
"""Of what the judged fit gains over the baseline on the rows that both learned, the share that the refit may lose."""

_DEPLOYED, _BOTH = ("latency", "size"), ("champion",)
_OF_A_FIT = ("integrity", "finite", "bound", "baseline", "rule", "persistence", "season", "overfit")


@dataclass(frozen=True, slots=True, eq=False)
class DeployedFit:
    """What is known of the fit that is deployed, where it is not the one that is judged.

    Attributes:
        predictions: of the holdout rows.
        integrity: empty when the stored artifact reloads and repeats its predictions, else what is wrong.
        rows: how many rows both fits learned, of which are the three figures of the metric below.
        value: of the deployed fit.
        judged_value: of the judged fit.
        baseline_value: of the gates' baseline.
    """

    predictions: Predictions
    integrity: str
    rows: int
    value: float
    judged_value: float
    baseline_value: float


def deployed_checks(fit: DeployedFit, spec: ModelSpec) -> Iterator[Check]:
    """What is asked of the fit that is deployed, latency and size aside."""
    if fit.integrity:
        reason = f"Deployed fit: the stored artifact is not sound: {fit.integrity}"
        yield Check("deployed integrity", Verdict.FAIL, None, None, reason)
    else:
        reason = "Deployed fit: the stored artifact reloads and repeats its predictions."
        yield Check("deployed integrity", Verdict.PASS, None, None, reason)
    bad = not_finite(fit.predictions)
    reason = "Deployed fit: every prediction of the holdout rows is a finite value."
    if bad:
        reason = f"Deployed fit: {bad} of {many(len(fit.predictions.values), 'prediction')} are missing or infinite."
    yield Check("deployed finite", Verdict.FAIL if bad else Verdict.PASS, float(bad), 0.0, reason)
    yield _refit(fit, spec)


def naming_the_fit(check: Check) -> Check:
    """The check with a reason that says which of the two fits it is about."""
    which = ""
    if check.name in _DEPLOYED:
        which = "Deployed fit: "
    elif check.name in _BOTH or check.name.startswith("slice "):
        which = "Judged fits: "
    elif check.name in _OF_A_FIT:
        which = "Judged fit: "
    return replace(check, reason=which + check.reason)


def _refit(fit: DeployedFit, spec: ModelSpec) -> Check:
    """Whether the deployed fit learned what the judged one did, by the metric on the rows that both learned.

    The loss is a share of what the judged fit gains over the baseline there: a share of the metric itself would ask
    nothing of an R2 near zero, and would refuse a model that knows its training rows by heart for any error at all. The
    two fits and the rows are given, not drawn: nothing is estimated, so that there is no interval.
    """
    name, sign = spec.metric.name, 1.0 if spec.metric.kind.greater_is_better else -1.0
    gain = sign * (fit.judged_value - fit.baseline_value)
    lost = sign * (fit.judged_value - fit.value)
    if not np.isfinite([gain, lost]).all():
        reason = f"{name} is undefined on the {many(fit.rows, 'row')} that both fits learned."
        return Check("refit", Verdict.INCONCLUSIVE, None, MOST_LOST, reason)
    figures = f"On {many(fit.rows, 'row')} that both fits learned, {name} is {fit.value:.4g} of the deployed fit"
    figures += f" and {fit.judged_value:.4g} of the judged fit"
    if gain <= 0:
        reason = f"{figures}, which is no better than the baseline there: nothing says that they learned the same."
        return Check("refit", Verdict.INCONCLUSIVE, None, MOST_LOST, reason)
    share = max(lost / gain, 0.0)
    status = Verdict.FAIL if share > MOST_LOST else Verdict.PASS
    reason = f"{figures}: it lost {share:.0%} of what that one gains over the baseline; {MOST_LOST:.0%} is allowed."
    return Check("refit", status, share, MOST_LOST, reason)
