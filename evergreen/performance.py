"""Is the champion still as good as it was when it was promoted, on labelled rows that came after its training?

The model file's metric with a bootstrap interval, held against the one that the gate measured at promotion. FAIL and
PASS are both proven: the whole interval lies beyond the tolerance, or within it. The figure at promotion is taken as it
stands; that it was an estimate as well is what the tolerance is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.decisions import Decision, Decisions, decision_id
from evergreen.digests import Digest, row_hashes
from evergreen.markdown import number
from evergreen.metrics import Estimate, bootstrap
from evergreen.observations import Observations, Snapshot
from evergreen.registry import Registry, Version
from evergreen.settings import Settings
from evergreen.spec import ModelSpec
from evergreen.training import labelled, predict, target_of
from evergreen.verdicts import Verdict
from evergreen.windows import clusters, judged_window

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20_000
"""Labelled rows that are measured, at most; more are sampled by time."""


@dataclass(frozen=True, slots=True)
class PerformanceReport:
    """How a champion does.

    Attributes:
        metric: the model file's.
        value: what it is now; None where it was not or could not be measured.
        interval: of `value`.
        at_promotion: what it was on the holdout then; None where that is not known.
        rows: labelled rows that it was measured on.
        decision_id: follows from model, champion, those rows and the policy; None before there is a champion.
    """

    verdict: Verdict
    metric: str
    value: float | None
    interval: tuple[float, float] | None
    at_promotion: float | None
    rows: int
    reason: str
    decision_id: str | None = None

    def to_detail(self) -> dict[str, Any]:
        """What is kept with its decision, beside verdict and reason."""
        return {
            "metric": self.metric,
            "value": self.value,
            "interval": self.interval,
            "at_promotion": self.at_promotion,
            "rows": self.rows,
        }

    @classmethod
    def of_decision(cls, decision: Decision) -> PerformanceReport:
        """The report that a decision was made of."""
        interval = decision.detail["interval"]
        kept = dict(decision.detail) | {"interval": tuple(interval) if interval else None}
        return cls(verdict=Verdict(decision.outcome), reason=decision.reason, decision_id=decision.id, **kept)


def no_champion(spec: ModelSpec) -> PerformanceReport:
    """What a report says before there is anything to measure."""
    reason = "there is no champion yet to measure"
    return PerformanceReport(Verdict.INCONCLUSIVE, spec.metric.name, None, None, None, 0, reason)


def assess(
    spec: ModelSpec, settings: Settings, registry: Registry, champion: Version, snapshot: Snapshot, *, now: datetime
) -> PerformanceReport:
    """The performance report of a champion; the stored one where the same rows were judged already.

    Raises:
        ArtifactError: the champion's stored files are not what was registered.
        EvergreenError: the model file's own metric failed.
    """
    frame, decision = _question(spec, settings, champion, snapshot, now)
    known = Decisions(settings.lake_uri, spec.name).find("performance", decision)
    if known is not None:
        return PerformanceReport.of_decision(known)
    found = Estimate(float("nan"), float("nan"), float("nan"))
    if len(frame) >= spec.performance.min_rows:
        found = bootstrap(
            spec.metric,
            target_of(spec, frame),
            predict(registry.load(champion, spec), spec, frame),
            groups=clusters(spec, frame),
            level=spec.performance.level,
            seed=spec.seed,
        )
    text = champion.tags.get(f"holdout_{spec.metric.name}")
    report = judge(spec, found, at_promotion=float(text) if text else None, rows=len(frame))
    return replace(report, decision_id=decision)


def judge(spec: ModelSpec, found: Estimate, *, at_promotion: float | None, rows: int) -> PerformanceReport:
    """Hold a measured metric against the one at promotion."""
    name, better = spec.metric.name, spec.metric.kind.greater_is_better
    value = float(found.value) if np.isfinite(found.value) else None
    interval = (found.low, found.high) if np.isfinite([found.low, found.high]).all() else None
    problem = _problem(spec, value, interval, at_promotion, rows)
    if problem or value is None or interval is None or at_promotion is None:
        return PerformanceReport(Verdict.INCONCLUSIVE, name, value, interval, at_promotion, rows, problem)
    allowed = _allowed(spec, at_promotion)
    # How much worse than at promotion, whatever the metric's direction: at least, and at most.
    least, most = (
        (at_promotion - interval[1], at_promotion - interval[0])
        if better
        else (
            interval[0] - at_promotion,
            interval[1] - at_promotion,
        )
    )
    bound = at_promotion - allowed if better else at_promotion + allowed
    verdict = Verdict.FAIL if least > allowed else Verdict.PASS if most <= allowed else Verdict.INCONCLUSIVE
    what = {
        Verdict.FAIL: f"proven worse than {number(bound)}",
        Verdict.PASS: f"proven not worse than {number(bound)}",
        Verdict.INCONCLUSIVE: f"not proven on either side of {number(bound)}",
    }
    shown = f"{number(value)} ({number(interval[0])} to {number(interval[1])})"
    reason = (
        f"{name} is {shown} on {rows} rows since its training, {what[verdict]}; {number(at_promotion)} at promotion"
    )
    return PerformanceReport(verdict, name, value, interval, at_promotion, rows, reason)


def _problem(
    spec: ModelSpec,
    value: float | None,
    interval: tuple[float, float] | None,
    at_promotion: float | None,
    rows: int,
) -> str:
    """Why nothing can be said; empty where something can."""
    name, least = spec.metric.name, spec.performance.min_rows
    if rows < least:
        return f"{rows} labelled rows since its training are fewer than the minimum of {least}"
    if value is None:
        return f"{name} is undefined on the {rows} rows since its training"
    if interval is None:
        return f"{name} is {number(value)}, without an interval: too few independent rows"
    if at_promotion is None:
        return f"{name} is {number(value)}; the version has no {name} of its promotion to compare it with"
    if _allowed(spec, at_promotion) == 0 < spec.performance.tolerance:
        return f"{name} was perfect at promotion, of which no share can be taken: set performance.absolute"
    return ""


def _allowed(spec: ModelSpec, at_promotion: float) -> float:
    """How much worse is accepted, in the metric's unit.

    The error of a known score is what it lacks to 1: a fifth of an accuracy of 0.95 would be four times its error. The
    best of one's own score is not known; there the share is of the score.
    """
    kind = spec.metric.kind
    error = 1 - at_promotion if kind.greater_is_better and kind.function is None else at_promotion
    return max(spec.performance.tolerance * abs(error), spec.performance.absolute)


def _question(
    spec: ModelSpec, settings: Settings, champion: Version, snapshot: Snapshot, now: datetime
) -> tuple[pd.DataFrame, str]:
    """The labelled rows that judge, in time order, and the decision id of what is asked of them."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    observations = Observations(settings.lake_uri, spec)
    window = judged_window(spec, snapshot, champion.tags.get("data_end") or None, int(champion.tags["next_row"]), now)
    has_target = ds.field(spec.target).is_valid()
    frame = labelled(spec, window.sample(observations, ROWS, seed=spec.seed, also=has_target)[0])
    names = observations.content
    schema = pa.schema([observations.table.schema.field(name) for name in names])
    rows = pa.Table.from_pandas(frame[list(names)], schema=schema, preserve_index=False)
    digest = Digest(0, 0, 0).plus(row_hashes(rows, names)).hex
    policy = repr((spec.metric.name, spec.performance))
    return frame, decision_id(spec.name, champion.number, "performance", digest, policy)
