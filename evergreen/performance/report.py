"""What a performance report holds, and the form in which it is kept with its decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evergreen.decision import Decision
from evergreen.evaluation.bootstrap import Estimate
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class WindowFigure:
    """The metric in one mature window.

    Attributes:
        start: its first instant (ISO 8601, UTC); None for a model without a time column.
        rows: labelled rows of it that were measured.
        coverage: share of its rows that have a label.
        value: None where the metric is undefined on so few rows.
        interval: of `value`; None where there is none, or where it was not worked out.
    """

    start: str | None
    rows: int
    coverage: float
    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """The metric among the rows with one value of a column; `name` is `column=value`.

    Attributes:
        at_promotion: what it was among those of the holdout then; None where that is not known.
    """

    name: str
    rows: int
    value: float | None
    interval: Interval | None
    at_promotion: float | None


@dataclass(frozen=True, slots=True)
class AlsoFigure:
    """A metric beside the model file's own.

    Attributes:
        verdict: against `bound`; None where it has none.
        problem: why it could not be measured; empty where it could.
    """

    name: str
    verdict: Verdict | None
    value: float | None
    interval: Interval | None
    bound: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Residuals:
    """What a regression leaves over: truth less prediction, in the target's unit.

    Attributes:
        bias: their mean; positive where the champion predicts too little.
        interval: of the bias.
        quantiles: the residual at each share of the rows, as text: `0.05` to `0.95`.
    """

    bias: float
    interval: Interval | None
    quantiles: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of about the same probability: what was said of them on average, and how often it was so."""

    rows: int
    said: float
    was: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether what is said with a probability of p is so in a share p of the cases.

    Attributes:
        of: the class whose probability it is; `top label` with more than two, that of the predicted one.
        error: expected calibration error, the mean of |was - said| over the rows (Naeini, Cooper and Hauskrecht 2015,
            Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI).
        bins: ten of equal width, without the empty ones.
    """

    of: str
    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class PerformanceReport:
    """How a champion does.

    Attributes:
        metric: the model file's.
        value: what it is now; None where it was not or could not be measured.
        interval: of `value`.
        at_promotion: what it was on the holdout then; None where that is not known.
        rows: labelled rows of mature windows that it was measured on.
        decision_id: follows from model, champion, those rows and the policy; None before there is a champion.
        logged: how many of the rows have a prediction that the champion had made and kept; the others were predicted
            now.
        immature: windows without enough labels, of which nothing is judged.
        windows: the mature ones, oldest first; the newest 400.
        bound: the worst value that is accepted, which follows from `at_promotion`; None where that says nothing.
        own: the verdict on `metric` alone; None in reports that were stored without it.
    """

    verdict: Verdict
    metric: str
    value: float | None
    interval: Interval | None
    at_promotion: float | None
    rows: int
    reason: str
    decision_id: str | None = None
    logged: int = 0
    immature: int = 0
    windows: tuple[WindowFigure, ...] = ()
    slices: tuple[SliceFigure, ...] = ()
    also: tuple[AlsoFigure, ...] = ()
    residuals: Residuals | None = None
    calibration: Calibration | None = None
    bound: float | None = None
    own: Verdict | None = None

    def to_detail(self) -> dict[str, Any]:
        """What is kept with its decision, beside verdict and reason."""
        kept = asdict(self)
        for name in ("verdict", "reason", "decision_id"):
            del kept[name]
        return kept

    @classmethod
    def of_decision(cls, decision: Decision) -> PerformanceReport:
        """The report that a decision was made of."""
        kept = dict(decision.detail)
        built: dict[str, Any] = {
            name: tuple(kind(**_told(one)) for one in kept.get(name, ())) for name, kind in _PARTS.items()
        }
        residuals, calibration = kept.get("residuals"), kept.get("calibration")
        built["residuals"] = Residuals(**_told(residuals)) if residuals else None
        if calibration:
            calibration = calibration | {"bins": tuple(Bin(**one) for one in calibration["bins"])}
        built["calibration"] = Calibration(**calibration) if calibration else None
        return cls(
            verdict=Verdict(decision.outcome), reason=decision.reason, decision_id=decision.id, **_told(kept) | built
        )


_PARTS: Mapping[str, Any] = {"windows": WindowFigure, "slices": SliceFigure, "also": AlsoFigure}


def _told(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON has as a list or a text, as it was."""
    found = dict(kept)
    if found.get("interval"):
        found["interval"] = tuple(found["interval"])
    for name in ("verdict", "own"):
        if found.get(name):
            found[name] = Verdict(found[name])
    return found


def no_champion(spec: ModelSpec) -> PerformanceReport:
    """What a report says before there is anything to measure."""
    reason = "there is no champion yet to measure"
    return PerformanceReport(Verdict.INCONCLUSIVE, spec.metric.name, None, None, None, 0, reason)


def figures(found: Estimate) -> tuple[float | None, Interval | None]:
    """Value and interval of an estimate, None for what is not a number."""
    value = finite(found.value)
    low, high = finite(found.low), finite(found.high)
    return value, None if low is None or high is None else (low, high)


def finite(value: float) -> float | None:
    """A number that is the same for the same rows in any order: ten significant figures; None where it is none."""
    import math

    return float(f"{value:.10g}") if math.isfinite(value) else None
