"""What a decision keeps of what is watched: drift, performance, skew, a promotion's shadow, rows that landed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evergreen.verdicts import Verdict

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerDetail:
    """Of a decision that may call for a retraining: what the model file's policy answered when it was stored.

    Attributes:
        called: the policy retrains for it; True where no policy was asked.
        because: why or why not, one sentence; None where no policy was asked.
    """

    called: bool = True
    because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftDetail(TriggerDetail):
    """A drift report.

    Attributes:
        share: weight of the drifted columns as a share of that of the judged ones.
        threshold: the report fails from this share on; None where it was stored before that was kept.
        columns: those that drifted.
        report: path of Evidently's page; None where nothing was drawn.
        confirmed: the report calls for a retraining.
        failed: how many of the last reports failed, this one among them, and of how many the last ones are.
        needed: how many of these have to fail.
        answered_by: the retraining that saw this very data already; empty without one.
    """

    share: float
    threshold: float | None = None
    columns: tuple[str, ...]
    report: str | None
    confirmed: bool
    failed: tuple[int, int]
    needed: int
    answered_by: str


@dataclass(frozen=True, slots=True)
class WindowFigure:
    """The metric in one mature window.

    Attributes:
        start: its first instant (ISO 8601, UTC); None for a model without a time column.
        rows: labelled rows of it that were measured.
        coverage: share of its rows that have a label.
        value: None where the metric is undefined on so few rows.
        interval: of `value`; None where there is none, or where it was not worked out.
        first_row: the number of its first row; None but for rows in the order of landing.
    """

    start: str | None
    rows: int
    coverage: float
    value: float | None
    interval: Interval | None
    first_row: int | None = None


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
class RuleFigure:
    """The champion beside a rule of one line, on the same rows.

    Attributes:
        name: the rule in words, such as `the last known label`.
        value: its metric.
        gain: how much better the champion is, in the metric's unit; negative where it is worse.
        interval: of `gain`.
        covered: share of the rows for which a label was known in time.
        told: what follows, in the words of the gate.
        worse_in: in how many of the report's windows the champion does worse, and of how many.
    """

    name: str
    value: float | None
    gain: float | None
    interval: Interval | None
    covered: float
    told: str
    worse_in: tuple[int, int] = (0, 0)


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
class PerformanceDetail(TriggerDetail):
    """How a champion does on labelled rows.

    Attributes:
        metric: the model file's.
        value: what it is now; None where it was not or could not be measured.
        interval: of `value`.
        at_promotion: what it was on the holdout then; None where that is not known.
        rows: labelled rows of mature windows that it was measured on.
        logged: how many of the rows have a prediction that the champion had made and kept; the others were predicted
            now.
        immature: windows without enough labels, of which nothing is judged.
        windows: the mature ones, oldest first; the newest 400.
        bound: the worst value that is accepted, which follows from `at_promotion`; None where that says nothing.
        own: the verdict on `metric` alone; None in reports that were stored without it.
        rules: the champion beside rules of one line, where the model file asks; nothing is decided by them.
    """

    metric: str
    value: float | None
    interval: Interval | None
    at_promotion: float | None
    rows: int
    logged: int = 0
    immature: int = 0
    windows: tuple[WindowFigure, ...] = ()
    slices: tuple[SliceFigure, ...] = ()
    also: tuple[AlsoFigure, ...] = ()
    residuals: Residuals | None = None
    calibration: Calibration | None = None
    bound: float | None = None
    own: Verdict | None = None
    rules: tuple[RuleFigure, ...] = ()


@dataclass(frozen=True, slots=True)
class ShadowDetail:
    """What a promotion brought, by the rows that came since.

    Attributes:
        metric: the model file's.
        value: of the champion.
        former_value: of the champion that it replaced, on the same rows.
        gain: how much better the champion is, in the metric's unit; negative where it is worse.
        interval: of the gain.
        rows: labelled rows that both predicted.
        windows: windows that they lie in.
        of: after how many windows the last look is taken.
        champion: version in production; None before there is one.
        former: version that it replaced; None where there is none to compare with.
        promotion: the move in the log that this is about.
        rollback: whether a FAIL gives the alias back, by the model file at that time.
        final: no further look is taken at this promotion.
    """

    metric: str
    value: float | None = None
    former_value: float | None = None
    gain: float | None = None
    interval: Interval | None = None
    rows: int = 0
    windows: int = 0
    of: int = 0
    champion: int | None = None
    former: int | None = None
    promotion: str = ""
    rollback: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class SkewedColumn:
    """A feature that was served with other values than landed later.

    Attributes:
        verdict: FAIL, the share of rows that differ is proven above what is accepted; INCONCLUSIVE, it is above.
        rows: of which both values are known.
        differing: rows of these in which they differ.
        least: the share of rows that differ is at least this, by the exact binomial bound at the level of the look.
        how: in words, without any value of a row.
        examples: the keys of some rows that differ, as the prediction log's `id` has them.
    """

    name: str
    verdict: Verdict
    rows: int
    differing: int
    least: float
    how: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewDetail:
    """What was served beside what landed later for the same keys.

    Attributes:
        rows: served rows that were compared.
        of: served rows that could be; more than `rows` where these are a sample.
        features: how many columns were compared.
        columns: those that differ in any row, the worst first.
        max_share: the share of rows that is accepted.
        look: which look at the model it is, from 1; the looks share the level.
        since: rows that landed after this instant (ISO 8601, UTC) were looked at; None where nothing was.
        unread: rows left out, because they were corrected since and cannot be read as they landed first.
    """

    rows: int = 0
    of: int = 0
    features: int = 0
    columns: tuple[SkewedColumn, ...] = ()
    max_share: float = 0.0
    look: int = 0
    since: str | None = None
    unread: int = 0


@dataclass(frozen=True, slots=True)
class DataDetail(TriggerDetail):
    """Rows that landed since the champion's, or ever where there is none."""

    rows: int
