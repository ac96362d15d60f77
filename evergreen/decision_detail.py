"""What a decision keeps beside its outcome and reason: one frozen type for each kind of decision.

How a detail is written to the table and read from it is `ledger/detail_json.py`; nobody else sees JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from evergreen.verdicts import Check, Verdict

Outcome = Literal["promoted", "rejected", "inconclusive", "unchanged", "awaiting-approval"]
"""What became of a retraining."""
Interval = tuple[float, float]

D = TypeVar("D")


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
class DataDetail(TriggerDetail):
    """Rows that landed since the champion's, or ever where there is none."""

    rows: int


@dataclass(frozen=True, slots=True)
class MetricResult:
    """The deciding metric; `interval` is that of the improvement over the champion, positive is better."""

    name: str
    value: float | None
    champion_value: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class DriftResult:
    """The verdict of a drift report and the columns that drifted; `weights` is what each of these counts, 0 to 1."""

    verdict: str
    share: float
    columns: tuple[str, ...]
    reason: str
    report: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A batch of which something is in quarantine; `rows` is None where it was refused as a whole."""

    origin: str
    rows: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch that was left alone, and why."""

    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came in: rows that are new or changed, and what was refused or left waiting.

    `labels` are rows that got a label from a source of labels, or another one; `labels_waiting` are those, of all runs,
    whose row is not there yet. `doubts` are sentences about what landed and may not be what it seems.
    """

    cached: bool
    rows: int
    quarantined: tuple[RefusedBatch, ...] = ()
    waiting: tuple[WaitingBatch, ...] = ()
    labels: int = 0
    labels_waiting: int = 0
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """The observations that a retraining saw.

    Attributes:
        version: of their table.
        rows: how many there are.
        digest: of their content.
        start: the earliest time (ISO 8601, UTC); None without rows or without a time column.
        end: the latest time.
    """

    version: int
    rows: int
    digest: str
    start: str | None
    end: str | None


@dataclass(frozen=True, slots=True)
class RetrainDetail:
    """What became of a retraining: what the ledger keeps and what the run tells its caller.

    Attributes:
        version: the candidate; None where nothing was trained.
        champion: version in production afterwards; None before the first.
        reason: what the retraining was asked for.
        explanation: why it ended as it did, one sentence.
        flow_run: Prefect's id of the run; None outside of one.
        event_id: of the Prefect event that started it; None where none did.
    """

    model: str
    outcome: Outcome
    version: int | None
    champion: int | None
    reason: str
    explanation: str
    metric: MetricResult
    drift: DriftResult
    snapshot: SnapshotFacts
    decision_id: str
    ingest: Ingested
    checks: tuple[Check, ...] = ()
    flow_run: str | None = None
    event_id: str | None = None

    @property
    def report(self) -> str | None:
        """Path of Evidently's page; None where nothing was drawn."""
        return self.drift.report


@dataclass(frozen=True, slots=True)
class ApprovalDetail:
    """What a person said; `version` is the one that waited, `name` the person's, empty where it was not told."""

    version: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class EscalationDetail:
    """What a person was told.

    Attributes:
        retrains: how many retrainings in a row brought no new champion.
        last_outcome: of the newest of them.
        last_decision: the newest decision that is open or was answered in vain.
    """

    retrains: int
    last_outcome: str
    last_decision: str


@dataclass(frozen=True, slots=True)
class SuppressedDetail:
    """A request to retrain that came to nothing.

    Attributes:
        decision: the one that asked for it.
        asked_for: the reason of the request; None where it was held back before there was a run.
        event_id: of the event that started that run; None where none did.
    """

    decision: str
    asked_for: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReconciledDetail:
    """The flow run (`run`) that was started for a decision whose event was lost."""

    decision: str
    run: str


Detail = (
    DriftDetail
    | PerformanceDetail
    | ShadowDetail
    | DataDetail
    | RetrainDetail
    | ApprovalDetail
    | EscalationDetail
    | SuppressedDetail
    | ReconciledDetail
)


def expect_detail(detail: object, wanted: type[D], owner: str) -> D:
    """The detail, if it is of the type that is wanted of its `owner`.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(detail, wanted):
        raise TypeError(f"{owner} has a {type(detail).__name__}, not a {wanted.__name__}.")
    return detail


def field_values(values: object, kind: type[Any]) -> dict[str, Any]:
    """The fields of `kind` by name, as an object of that type, or of one derived from it, has them."""
    return {each.name: getattr(values, each.name) for each in fields(kind)}
