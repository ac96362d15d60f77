"""What a model is fitted and judged by: a metric that follows from the target, and a loss that is least where it is.

Absolute errors are least for the median, squared ones for the mean. A model that is fitted for the mean and judged by
absolute errors loses against the constant median where half of the rows are zero, however much it has learned.
"""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.errors import EvergreenError
from evergreen.model_files.column_types import quote_name
from evergreen.model_files.literals import literal, shorten
from evergreen.model_files.target import Amounts, Target
from evergreen.spec.metric import KNOWN

RARE_SHARE = 0.1
"""A class with a smaller share is rare; the metric then measures how well it is found."""

LONG_TAIL = 1.3
"""From this ratio of the mean to the median on, positive amounts have a long tail; of an exponential one it is 1.44."""

MEANS = ("rmse", "mse", "r2")
"""The metrics that are best for the mean; the others of a regression are best for the median, or near to it."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric and the loss of a new model.

    Attributes:
        metric: its name.
        metric_why: why it was chosen, as a sentence.
        loss: as scikit-learn's gradient-boosted trees name it; empty for that of classes.
        loss_why: why it was chosen, as a sentence; empty for classes.
        sign: what the loss asks of every target: `ge` for none below 0, `gt` for all above; empty for nothing.
        breaks_ties: most targets are one value, on which this loss learns nothing unless they are told apart.
        balanced: classes weigh alike: `always`, `tried` by the search, or `never`.
    """

    metric: str
    metric_why: str
    loss: str = ""
    loss_why: str = ""
    sign: str = ""
    breaks_ties: bool = False
    balanced: str = "never"


def require_metric(metric: str | None, task: str | None) -> None:
    """Refuse a name that no metric has, or that is one of the other task.

    Raises:
        EvergreenError: with the names that fit.
    """
    if metric is None:
        return
    fitting = ", ".join(sorted(name for name, kind in KNOWN.items() if task in (None, kind.task)))
    if metric not in KNOWN:
        raise EvergreenError(f"--metric: {quote_name(metric)} is not known.", f"Take one of {fitting}.")
    if task is not None and KNOWN[metric].task != task:
        raise EvergreenError(f"--metric: {metric} is for {KNOWN[metric].task}, not {task}.", f"Take one of {fitting}.")


def choose_objective(target: Target, option: str | None = None) -> Objective:
    """Choose the metric, unless `option` names it, and the loss that agrees with it.

    Raises:
        EvergreenError: the metric does not fit the target.
    """
    require_metric(option, target.task)
    if option == "average_precision" and len(target.classes) > 2:
        raise EvergreenError(
            f"--metric: average_precision is for two classes, and the target has {len(target.classes)}.",
            "Take balanced_accuracy, f1 or log_loss.",
        )
    metric, why = (option, "As asked for.") if option is not None else _choose_metric(target)
    if target.amounts is not None:
        return _choose_loss(target, target.amounts, metric, why)
    weighed = {"balanced_accuracy": "always", "average_precision": "tried", "f1": "tried"}
    rare = min(rows for _, rows in target.classes) < RARE_SHARE * target.rows
    balanced = weighed.get(metric, "never")
    return Objective(metric, why, balanced=balanced if rare or balanced == "always" else "never")


def _choose_loss(target: Target, amounts: Amounts, metric: str, why: str) -> Objective:
    if metric not in MEANS:
        reason = "Fitted for the median, for which absolute errors are least."
        return Objective(metric, why, "absolute_error", reason, breaks_ties=amounts.top_share > 0.5)
    if target.is_count:
        reason = "A count: errors grow with it, and none is below 0. Fitted for the mean, as the metric asks."
        return Objective(metric, why, "poisson", reason, "ge")
    if amounts.lowest > 0 and amounts.tail >= LONG_TAIL:
        reason = "Errors grow with the amount, and none is 0 or below. Fitted for the mean, as the metric asks."
        return Objective(metric, why, "gamma", reason, "gt")
    if amounts.lowest == amounts.top == 0 and amounts.top_share > 0.5:
        reason = "Errors grow with the amount, and many are 0. Fitted for the mean, as the metric asks."
        return Objective(metric, why, "poisson", reason, "ge")
    return Objective(metric, why, "squared_error", "Fitted for the mean, as the metric asks.")


def _choose_metric(target: Target) -> tuple[str, str]:
    amounts = target.amounts
    if amounts is None:
        return _choose_class_metric(target)
    root = "The root of the mean squared error"
    if amounts.top_share > 0.5:
        return "rmse", f"{root}: the mean absolute one is least for a constant {amounts.top:g}."
    if target.is_count:
        return "rmse", f"{root}: it is least for the mean, which is asked of a count."
    if amounts.lowest > 0 and amounts.tail >= LONG_TAIL:
        return "rmse", f"{root}: the mean is {amounts.tail:.1f} times the median, and large amounts count."
    return "mae", "The mean absolute error, in the target's own unit."


def _choose_class_metric(target: Target) -> tuple[str, str]:
    shares = [rows / target.rows for _, rows in target.classes]
    if len(shares) > 2:
        if min(shares) < RARE_SHARE:
            return "f1", "The mean over classes, since some are rare."
        return "balanced_accuracy", "The mean over classes of the share that is recognised."
    positive = literal(target.classes[1][0])
    if shares[1] < RARE_SHARE:
        return (
            "average_precision",
            f"{shorten(positive)} is rare ({shares[1]:.1%}): what counts is how well it is found.",
        )
    return "roc_auc", f"How well the rows of {shorten(positive)} are told from the others, whatever the threshold."
