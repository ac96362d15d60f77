"""The series by which Prometheus sees the loop: what is stored of each model, as one number each.

Ages are told as the time when something was, so that an old snapshot shows no age that stands still. A series whose
value is not known is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from evergreen.decision import Decision, Kind
from evergreen.details.canary import CanaryDetail
from evergreen.details.decision import Outcome
from evergreen.details.watch import DriftDetail, PerformanceDetail
from evergreen.ledger.reconciliation import (
    is_asking,
    is_escalated,
    is_in_canary,
    open_decisions,
    unsuccessful_retrains,
)
from evergreen.naming import METRIC_PREFIX
from evergreen.prometheus import counter, gauge
from evergreen.runs.fleet import REPORTS, last_look
from evergreen.runs.label_lag import count_waiting
from evergreen.runs.loop_facts import LoopFacts
from evergreen.spec.model import ModelSpec
from evergreen.spec.protection import protection_of

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

FAMILIES: Mapping[str, tuple[str, str]] = {
    "model_problem": ("", "1 where the model file or a table cannot be read; then nothing else is told of the model."),
    "protection_ratio": ("", "Of what can protect the model, the share that its file switches on."),
    "champion_version": ("", "The version in production by the log of promotions."),
    "champion_since_timestamp_seconds": ("", "When it became that, as Unix time."),
    "champion_resolvable": ("", "1 where the registry's alias names the version that the log of promotions does."),
    "report_info": ("report verdict", "1 for the verdict of the newest report on the champion."),
    "report_timestamp_seconds": ("report", "When the newest report was made, as Unix time."),
    "drift_watched_timestamp_seconds": ("", "When drift was last looked for, or else the version became champion."),
    "drift_silence_seconds": ("", "For how long nobody may look for drift, by the model file."),
    "drift_share_ratio": ("", "Weight of the columns that drifted, as a share."),
    "drift_threshold_ratio": ("", "The share from which on the report fails."),
    "drift_worst_column_ratio": ("column", "How far the worst column drifted, as a multiple of its threshold."),
    "performance_value": ("metric", "The metric on the windows that could be judged."),
    "performance_interval_low": ("metric", "Lower end of its interval."),
    "performance_interval_high": ("metric", "Upper end of its interval."),
    "performance_bound": ("metric", "The worst value that is accepted."),
    "performance_promotion_value": ("metric", "What it was on the holdout at promotion."),
    "performance_rows": ("", "Labelled rows that it was measured on."),
    "windows_measured": ("", "Windows that could be judged."),
    "windows_waiting": ("", "Windows without enough labels, of which nothing is judged."),
    "label_coverage_ratio": ("", "Share of the rows with a label, in the newest window that could be judged."),
    "labelled_window_timestamp_seconds": ("", "When that window began, as Unix time."),
    "data_rows": ("", "Rows that have landed."),
    "data_end_timestamp_seconds": ("", "The latest time of a row, as Unix time."),
    "quarantined_batches_total": ("", "Batches that were refused as a whole."),
    "quarantined_rows_total": ("reason", "Rows and labels that were refused, by the class of the reason."),
    "decisions_open": ("", "Decisions that call for a retraining and have no answer."),
    "decision_open_timestamp_seconds": ("", "When the oldest of them was taken, as Unix time."),
    "retrain_cooldown_seconds": ("", "For how long there is no second retraining for the same trigger."),
    "retrains_total": ("outcome", "Retrainings that came to an end, by what became of the candidate."),
    "retrains_in_vain": ("", "Retrainings for drift or performance since the champion's, without a better one."),
    "escalated": ("", "1 where a person was told that retraining does not help."),
    "approval_waiting": ("", "1 where a version waits for a person's approval."),
    "canary_share_ratio": ("version", "Share of the requests that a challenger in its canary answers."),
    "run_timestamp_seconds": ("flow", "When the newest run of a flow ended, as Unix time."),
    "run_duration_seconds": ("flow", "What it took."),
    "run_cpu_seconds": ("flow", "What it took of the processors."),
    "run_queue_seconds": ("flow", "For how long it had waited when it began."),
    "run_rows": ("flow", "Rows that it dealt with."),
}
"""The labels of each family beside `model`, with spaces between, and what it says; names without the prefix."""

Sample = tuple[str, tuple[str, ...], float]
"""A family, the values of its labels beside `model`, and the value."""
_OUTCOMES = tuple(each for each in get_args(Outcome) if each != "unchanged")


def loop_families(models: Iterable[LoopFacts], aliases: Mapping[str, int] | None) -> Iterator[Metric]:
    """The families of all models; `aliases` is the version that the registry names champion, None where it is away."""
    found: dict[str, list[tuple[tuple[str, ...], float]]] = {name: [] for name in FAMILIES}
    for facts in models:
        for name, at, value in _samples(facts, aliases):
            found[name].append(((facts.model, *at), value))
    for name, (labels, text) in FAMILIES.items():
        make = counter if name.endswith("_total") else gauge
        yield make(METRIC_PREFIX + name, text, f"model {labels}", found[name])


def _samples(facts: LoopFacts, aliases: Mapping[str, int] | None) -> Iterator[Sample]:
    yield "model_problem", (), bool(facts.problem)
    if facts.spec is None:
        return
    protection = protection_of(facts.spec)
    yield "protection_ratio", (), len(protection.on) / (len(protection.on) + len(protection.off))
    # A report on a former champion says nothing of this one.
    about = {kind: each for kind, each in facts.newest.items() if each.champion == facts.ledger.champion}
    yield from _champion(facts, aliases)
    yield from _reports(facts, facts.spec, about)
    yield from _drift(facts, about.get("drift"))
    yield from _performance(about.get("performance"))
    yield from _labels(facts, facts.spec, about.get("performance"))
    yield from _data(facts)
    yield from _retrains(facts, facts.spec)
    yield from _runs(facts)


def _champion(facts: LoopFacts, aliases: Mapping[str, int] | None) -> Iterator[Sample]:
    champion, since = facts.ledger.champion, facts.ledger.since
    if champion is None:
        return
    yield "champion_version", (), champion
    if since is not None:
        yield "champion_since_timestamp_seconds", (), since.timestamp()
    if aliases is not None:
        yield "champion_resolvable", (), aliases.get(facts.model) == champion


def _reports(facts: LoopFacts, spec: ModelSpec, about: Mapping[Kind, Decision]) -> Iterator[Sample]:
    for kind in REPORTS:
        if kind in about:
            yield "report_info", (kind, about[kind].outcome), 1
    for kind, report in facts.newest.items():
        yield "report_timestamp_seconds", (kind,), report.at.timestamp()
    canary = facts.newest.get("canary")
    if canary is not None:
        yield "report_info", ("canary", canary.outcome), 1
    if canary is not None and is_in_canary(facts.ledger):
        detail = canary.detail_as(CanaryDetail)
        yield "canary_share_ratio", (str(detail.version),), detail.share / 100
    monitored = facts.runs.get("monitor")
    looked = last_look(facts.ledger, about.get("drift"), monitored.at if monitored else None)
    if looked is not None:
        yield "drift_watched_timestamp_seconds", (), looked.timestamp()
    yield "drift_silence_seconds", (), spec.drift.silence.total_seconds()


def _drift(facts: LoopFacts, report: Decision | None) -> Iterator[Sample]:
    if report is None:
        return
    detail = report.detail_as(DriftDetail)
    yield "drift_share_ratio", (), detail.share
    if detail.threshold is not None:
        yield "drift_threshold_ratio", (), detail.threshold
    if facts.worst is not None:
        column, times = facts.worst
        yield "drift_worst_column_ratio", (column,), times


def _performance(report: Decision | None) -> Iterator[Sample]:
    if report is None:
        return
    detail = report.detail_as(PerformanceDetail)
    low, high = detail.interval or (None, None)
    for name, value in (
        ("performance_value", detail.value),
        ("performance_interval_low", low),
        ("performance_interval_high", high),
        ("performance_bound", detail.bound),
        ("performance_promotion_value", detail.at_promotion),
    ):
        if value is not None:
            yield name, (detail.metric,), value
    yield "performance_rows", (), detail.rows


def _labels(facts: LoopFacts, spec: ModelSpec, report: Decision | None) -> Iterator[Sample]:
    if facts.ledger.champion is None:
        return
    detail = report.detail_as(PerformanceDetail) if report is not None else None
    windows = detail.windows if detail is not None else ()
    yield "windows_measured", (), len(windows)
    yield "windows_waiting", (), count_waiting(spec, facts.ledger, detail, facts.data_end)
    if windows:
        yield "label_coverage_ratio", (), windows[-1].coverage
        if windows[-1].start is not None:
            yield "labelled_window_timestamp_seconds", (), datetime.fromisoformat(windows[-1].start).timestamp()


def _data(facts: LoopFacts) -> Iterator[Sample]:
    yield "data_rows", (), facts.rows
    if facts.data_end is not None:
        yield "data_end_timestamp_seconds", (), facts.data_end.timestamp()
    yield "quarantined_batches_total", (), facts.batches_refused
    for reason, rows in sorted(facts.rows_refused.items()):
        yield "quarantined_rows_total", (reason,), rows


def _retrains(facts: LoopFacts, spec: ModelSpec) -> Iterator[Sample]:
    waiting = open_decisions(spec, facts.ledger)
    yield "decisions_open", (), len(waiting)
    if waiting:
        yield "decision_open_timestamp_seconds", (), waiting[0].at.timestamp()
    yield "retrain_cooldown_seconds", (), spec.retraining.cooldown.total_seconds()
    ended = Counter(entry.outcome for entry in facts.ledger.entries if entry.kind == "retrain")
    for outcome in _OUTCOMES:
        # A series that began with its first retraining would show no increase for it.
        yield "retrains_total", (outcome,), ended[outcome]
    yield "retrains_in_vain", (), len(unsuccessful_retrains(facts.ledger))
    yield "escalated", (), is_escalated(facts.ledger)
    yield "approval_waiting", (), is_asking(facts.ledger)


def _runs(facts: LoopFacts) -> Iterator[Sample]:
    for flow, run in sorted(facts.runs.items()):
        yield "run_timestamp_seconds", (flow,), run.at.timestamp()
        yield "run_duration_seconds", (flow,), run.seconds
        if run.cpu_seconds is not None:
            yield "run_cpu_seconds", (flow,), run.cpu_seconds
        yield "run_queue_seconds", (flow,), run.queue_seconds
        yield "run_rows", (flow,), run.rows
