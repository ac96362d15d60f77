"""Is the champion still as good as it was when it was promoted, on labelled rows that came after its training?

The model file's metric with a bootstrap interval, held against the one that the gate measured at promotion. FAIL and
PASS are both proven: the whole interval lies beyond the tolerance, or within it. The figure at promotion is taken as it
stands; that it was an estimate as well is what the tolerance is for. Only windows of time that have their labels count:
labels that come early are no fair sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import order_column, watched_groups
from evergreen.details.watch import AlsoFigure
from evergreen.evaluation.bootstrap import Estimate, bootstrap
from evergreen.evaluation.persistence import NaiveForecast
from evergreen.ledger.decisions import Ledger
from evergreen.markdown import many, number
from evergreen.performance.breakdown import also_figures, calibration, residuals, slice_figures, window_figures
from evergreen.performance.label_coverage import LabelWindow
from evergreen.performance.labelled_rows import LabelledRows, champion_predictions, labelled_rows
from evergreen.performance.report import PerformanceReport
from evergreen.performance.rules import forecast_rows, outdone, rule_figures
from evergreen.registry.model_registry import StoredVersions
from evergreen.registry.version import Version
from evergreen.spec.fields import distance
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import target_of
from evergreen.verdicts import Verdict

NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


def check_performance(
    observations: Observations,
    versions: StoredVersions,
    ledger: Ledger,
    log: PredictionLog,
    champion: Version,
    snapshot: Snapshot,
    *,
    now: datetime,
) -> PerformanceReport:
    """The performance report of a champion; the stored one where the same rows were judged already.

    Args:
        observations: the model's rows.
        versions: loads the champion.
        ledger: holds the reports that were stored before.
        log: holds what the champion predicted when it scored these rows.
        champion: the version in production.
        snapshot: the observations that are looked at.
        now: logical time (aware); labels that became known later do not count.

    Raises:
        ArtifactError: the champion's stored files are not what was registered.
        EvergreenError: the model file's own metric failed.
    """
    rows = labelled_rows(observations, champion, snapshot, now)
    enough = len(rows.frame) >= observations.spec.performance.min_rows
    stored = ledger.find("performance", rows.decision) if enough else None
    if stored is not None:
        return PerformanceReport.of_decision(stored)
    naive = forecast_rows(observations, champion, snapshot, rows, now)
    return measure_performance(observations.spec, versions, champion, rows, log, naive)


def measure_performance(
    spec: ModelSpec,
    versions: StoredVersions,
    champion: Version,
    rows: LabelledRows,
    log: PredictionLog | None = None,
    naive: Sequence[NaiveForecast] = (),
) -> PerformanceReport:
    """The report of the rows that judge a champion.

    Without a `log` every one is predicted now. `naive` are the rules of one line that it is told beside.
    """
    before = champion.tags.figures.get(naming.holdout_metric(spec.metric.name))
    if len(rows.frame) < spec.performance.min_rows:
        report = judge(spec, NOTHING, at_promotion=before, rows=len(rows.frame))
        immature = len(rows.windows) - len(rows.mature)
        return replace(report, reason=_waiting(spec, rows, report), decision_id=rows.decision, immature=immature)
    return _measured(spec, log, versions, champion, rows, before, naive)


def _measured(
    spec: ModelSpec,
    log: PredictionLog | None,
    versions: StoredVersions,
    champion: Version,
    rows: LabelledRows,
    before: float | None,
    naive: Sequence[NaiveForecast],
) -> PerformanceReport:
    """The report of rows that are enough to judge by."""
    frame, y = rows.frame, target_of(spec, rows.frame)
    predictions, logged = champion_predictions(spec, log, versions, champion, rows)
    level, seed = spec.performance.level, spec.seed
    groups, watched = watched_groups(spec, frame), spec.gates.blocks == "measured"
    estimate = bootstrap(spec.metric, y, predictions, groups=groups, level=level, seed=seed, watched=watched)
    report = judge(spec, estimate, at_promotion=before, rows=len(frame))
    also = also_figures(spec, frame, y, predictions)
    windows = window_figures(spec, frame, rows.numbers, rows.mature, y, predictions)
    rules = rule_figures(spec, naive, rows, y, predictions, groups, windows)
    judgement = champion.tags.judgement
    reasons = [*_failed(also), report.reason, *outdone(spec, rules), *_unmeasured(also), *_awaited(spec, rows)]
    return replace(
        report,
        verdict=_verdict(report.verdict, also),
        reason="; ".join(reasons),
        decision_id=rows.decision,
        logged=logged,
        immature=len(rows.windows) - len(rows.mature),
        windows=windows,
        slices=slice_figures(spec, frame, y, predictions, judgement.slices if judgement else {}),
        also=also,
        residuals=residuals(spec, frame, y, predictions),
        calibration=calibration(spec, y, predictions),
        rules=rules,
    )


def _verdict(main: Verdict, also: tuple[AlsoFigure, ...]) -> Verdict:
    """What is proven bad of any metric fails; what is open of another one does not take a proven PASS back."""
    return Verdict.FAIL if any(metric.verdict is Verdict.FAIL for metric in also) else main


def _failed(also: tuple[AlsoFigure, ...]) -> list[str]:
    return [
        f"{metric.name} is {number(metric.value)} ({number(metric.interval[0])} to {number(metric.interval[1])}), "
        f"proven beyond its bound of {number(metric.bound)}"
        for metric in also
        if metric.verdict is Verdict.FAIL and metric.interval is not None
    ]


def _unmeasured(also: tuple[AlsoFigure, ...]) -> list[str]:
    return [metric.problem.rstrip(".") for metric in also if metric.problem]


def _awaited(spec: ModelSpec, rows: LabelledRows) -> list[str]:
    """What is not judged for want of labels; nothing where every window has them."""
    mature, every = rows.mature, rows.windows
    if len(mature) == len(every):
        return []
    if order_column(spec) is None:
        return [f"{every[0].coverage:.0%} of the rows have a label"]
    newest = next(reversed(mature), None)
    coverage = f"{len(mature)} of {many(len(every), 'window has its', 'windows have their')} labels"
    if newest is None:
        return [coverage]
    return [f"{coverage}; the newest mature one ends {_end_of(newest, distance(spec.performance.window))}"]


def _end_of(window: LabelWindow, length: Any) -> str:
    if window.first_row is not None:
        return f"before row {window.first_row + length:,}"
    return f"{datetime.fromisoformat(str(window.start)) + length:%Y-%m-%d %H:%M} UTC"


def _waiting(spec: ModelSpec, rows: LabelledRows, report: PerformanceReport) -> str:
    """Why too few rows are judged yet, and who watches meanwhile."""
    watched = "its predictions are watched by the drift report"
    if not any(window.rows for window in rows.windows):
        return report.reason
    if not any(window.labelled for window in rows.windows):
        return f"no labels yet; {watched}"
    if not rows.mature:
        needed = f"{spec.performance.coverage:.0%} of a window's rows"
        return "; ".join([*_awaited(spec, rows), f"labels of {needed} are needed; {watched}"])
    return "; ".join([report.reason, *_awaited(spec, rows), *([watched] if _awaited(spec, rows) else [])])


def judge(spec: ModelSpec, estimate: Estimate, *, at_promotion: float | None, rows: int) -> PerformanceReport:
    """Hold a measured metric against the one at promotion."""
    name, better = spec.metric.name, spec.metric.kind.greater_is_better
    value = float(estimate.value) if np.isfinite(estimate.value) else None
    interval = (estimate.low, estimate.high) if np.isfinite([estimate.low, estimate.high]).all() else None
    bound = _bound(spec, at_promotion)
    problem = _problem(spec, value, interval, at_promotion, rows)
    verdict, reason = Verdict.INCONCLUSIVE, problem
    if not problem and interval is not None and bound is not None:
        low, high = interval
        missed, met = (high < bound, low >= bound) if better else (low > bound, high <= bound)
        verdict = Verdict.FAIL if missed else Verdict.PASS if met else Verdict.INCONCLUSIVE
        what = {
            Verdict.FAIL: f"proven worse than {number(bound)}",
            Verdict.PASS: f"proven not worse than {number(bound)}",
            Verdict.INCONCLUSIVE: f"not proven on either side of {number(bound)}",
        }
        shown = f"{number(value)} ({number(low)} to {number(high)})"
        reason = f"{name} is {shown} on {many(rows, 'row')} since its training, {what[verdict]}"
        reason += f"; {number(at_promotion)} at promotion"
    figures = (name, value, interval, at_promotion, rows)
    return PerformanceReport(*figures, bound=bound, own=verdict, verdict=verdict, reason=reason)


def _bound(spec: ModelSpec, at_promotion: float | None) -> float | None:
    """The worst value that is accepted; None where there is nothing to take a share of."""
    if at_promotion is None:
        return None
    allowed = _allowed(spec, at_promotion)
    if allowed == 0 < spec.performance.tolerance:
        return None
    return at_promotion - allowed if spec.metric.kind.greater_is_better else at_promotion + allowed


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
        few = many(rows, "labelled row since its training is", "labelled rows since its training are")
        return f"{few} fewer than the minimum of {least}"
    if value is None:
        return f"{name} is undefined on the {many(rows, 'row')} since its training"
    if interval is None:
        return f"{name} is {number(value)}, without an interval: too few independent rows"
    if at_promotion is None:
        return f"{name} is {number(value)}; the version has no {name} of its promotion to compare it with"
    if _bound(spec, at_promotion) is None:
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
