"""The dashboard of all models: which of them needs somebody, and the same six questions of all of them.

It is long because it is a list: one call a panel, with what a bad value in it means.
"""

from __future__ import annotations

from deployments.monitoring.events import events
from deployments.monitoring.expressions import REFUSED, by_model, increase, of, rate, verdict, worry
from deployments.monitoring.machine import answering_panels, machine_numbers, process_panels
from deployments.monitoring.panels import (
    AGO,
    BAD,
    GREEN,
    GREY,
    ORANGE,
    RED,
    REQUESTS,
    ROWS,
    SECONDS,
    SHARE,
    VERDICT,
    WORRYING,
    YES_IS_BAD,
    YES_IS_GOOD,
    Column,
    Panel,
    Query,
    Row,
    Words,
    alerts_table,
    build,
    graph,
    models_table,
    number,
    states,
)
from evergreen.naming import FLEET_DASHBOARD, MODEL_DASHBOARD
from evergreen.runs.fleet import WEIGHTS

WORRY_WORDS = {
    "problem": ("cannot be read", RED),
    "escalated": ("retraining does not help", RED),
    "open": ("decision without an answer", RED),
    "performance": ("worse", RED),
    "drift": ("drifted", RED),
    "skew": ("asked otherwise than it learns", RED),
    "shadow": ("promotion did harm", RED),
    "none": ("nothing in production", ORANGE),
    "silent": ("no report", ORANGE),
    "labels": ("labels are late", ORANGE),
    "waits": ("waits for a person", ORANGE),
    "old": ("old", GREY),
}
"""What the table says of the worst worry of a model."""


def fleet_dashboard() -> str:
    """Its JSON."""
    rows = [
        Row("Which model needs somebody?", [*_totals(), _table(), _alerts()]),
        Row("Is it answering?", [*_answering(), *answering_panels()]),
        Row("What is it fed?", _fed()),
        Row("Has the world moved?", _moved()),
        Row("Is it right?", _right()),
        Row("What changed?", _changed()),
        Row("Is the loop alive?", [*machine_numbers(), *_alive(), *process_panels()]),
    ]
    about = "All models that Evergreen keeps fresh, the most worrying first, and what moves their loop."
    return build(FLEET_DASHBOARD, "Evergreen: all models", about, rows, events())


def _totals() -> list[Panel]:
    return [
        number(
            "Models",
            "Fewer than there are model files: the pages are not scraped.",
            Query(f"count({by_model('model_problem')})"),
        ),
        number(
            "In production",
            "Fewer than there are models: those have no champion yet.",
            Query(f"count({by_model('champion_version')})"),
        ),
        number(
            "Alias is not the champion",
            "More than 0: somebody moved or removed an alias by hand, and the log of promotions says otherwise.",
            Query(f"count({by_model('champion_resolvable')} == 0) or vector(0)"),
            levels=BAD,
        ),
        number(
            "Decisions without an answer",
            "More than 0 for longer than a retraining takes: see which model, in the table below.",
            Query(f"sum({by_model('decisions_open')})"),
            levels=WORRYING,
        ),
        number(
            "Wait for approval",
            "More than 0 for days: versions that passed their gates are of no use before a person has answered.",
            Query(f"sum({by_model('approval_waiting')})"),
            levels=WORRYING,
        ),
        number(
            "Alerts firing now",
            "More than 0: they are listed below, and docs/runbook.md says what to do.",
            Query('count(ALERTS{alertstate="firing"}) or vector(0)'),
            levels=BAD,
        ),
    ]


def _table() -> Panel:
    worst: Words = {0: ("none", GREEN)} | {WEIGHTS[name]: words for name, words in WORRY_WORDS.items()}
    columns = [
        Column("Worry", worry()),
        Column("Champion", by_model("champion_version")),
        Column("In production since", f"{by_model('champion_since_timestamp_seconds')} * 1000", AGO),
        Column("Drift", verdict("drift"), words=VERDICT),
        Column("Performance", verdict("performance"), words=VERDICT),
        Column("Metric", by_model("performance_value")),
        Column("Worst accepted", by_model("performance_bound")),
        Column("Labels", by_model("label_coverage_ratio"), SHARE),
        Column("Open decisions", by_model("decisions_open"), levels=WORRYING),
        Column("In vain", by_model("retrains_in_vain"), levels=WORRYING),
        Column("Rows", by_model("data_rows")),
        Column("Newest row", f"{by_model('data_end_timestamp_seconds')} * 1000", AGO),
        Column("Protected by", by_model("protection_ratio"), SHARE),
    ]
    return models_table(
        "Models, the most worrying first",
        "The worst worry about each model by its word, in the order of `evergreen status`. An empty cell is a number "
        "that is not known: of a model that cannot be read nothing else is told.",
        columns,
        sort="Worry",
        worst=worst,
        link=f"/d/{MODEL_DASHBOARD}?var-model=${{__value.text}}&${{datasource:queryparam}}&${{__url_time_range}}",
    )


def _alerts() -> Panel:
    return alerts_table(
        "Alerts that fire",
        "Each line is one that somebody was told of; docs/runbook.md has a section for each.",
        'ALERTS{alertstate="firing"}',
    )


def _answering() -> list[Panel]:
    requests = f"sum by (model) ({rate(of('serving_requests_total'))})"
    by_bucket = f"sum by (model, le) ({rate(of('serving_request_duration_seconds_bucket'))})"
    return [
        states(
            "Can be asked",
            "No: requests are answered by 503.",
            Query(f"min by (model) ({of('serving_ready')})", "{{model}}"),
            words=YES_IS_GOOD,
            width=8,
        ),
        states(
            "Stale",
            "Yes: what answers may not be what the alias names.",
            Query(by_model("serving_stale"), "{{model}}"),
            words=YES_IS_BAD,
            width=8,
        ),
        states(
            "Answers plain rows by a plan",
            "As frames: the version could not be compiled, and is a hundred times slower.",
            Query(f"min by (model) ({of('serving_compiled')})", "{{model}}"),
            words={0: ("as frames", ORANGE), 1: ("by a plan", GREEN)},
            width=8,
        ),
        graph(
            "Requests",
            "A drop to nothing: clients are gone, or do not reach the server.",
            Query(requests, "{{model}}"),
            unit=REQUESTS,
        ),
        graph(
            "Share of the requests that are refused",
            "Growing: clients send what the contract refuses, or a version fails; the page of the model has the codes.",
            Query(
                f"(sum by (model) ({rate(of('serving_requests_total', REFUSED))}) or 0 * {requests}) / {requests}",
                "{{model}}",
            ),
            unit=SHARE,
        ),
        graph(
            "What 99 % of the answers take at most",
            "Over what your clients wait for.",
            Query(f"histogram_quantile(0.99, {by_bucket})", "{{model}}"),
            unit=SECONDS,
        ),
        graph(
            "Rows answered",
            "Rows that are predicted as frames where a plan answered before.",
            Query(f"sum by (model, way) ({rate(of('serving_rows_total'))})", "{{model}}, {{way}}"),
            unit=ROWS,
        ),
    ]


def _fed() -> list[Panel]:
    return [
        graph(
            "Rows that land",
            "Nothing for longer than a batch takes to come.",
            Query(f"clamp_min(max by (model) (deriv({of('data_rows')}[1h])), 0)", "{{model}}"),
            unit=ROWS,
        ),
        graph(
            "Age of the newest row",
            "A line that climbs longer than data take to arrive: the source has dried up.",
            Query(f"time() - {by_model('data_end_timestamp_seconds')}", "{{model}}"),
            unit=SECONDS,
        ),
        states(
            "What is asked online is what lands",
            "FAIL: the model learns other features than it is asked for.",
            Query(verdict("skew"), "{{model}}"),
            words=VERDICT,
            width=8,
        ),
        graph(
            "Rows and labels in quarantine",
            "A step: a batch came with rows that the contract refuses.",
            Query(f"sum by (model) (max by (model, reason) ({of('quarantined_rows_total')}))", "{{model}}"),
            width=12,
        ),
        graph(
            "Batches refused as a whole",
            "A step: a file or a table has another schema.",
            Query(by_model("quarantined_batches_total"), "{{model}}"),
            width=12,
        ),
    ]


def _moved() -> list[Panel]:
    share = f"max by (model) ({of('drift_share_ratio')} / {of('drift_threshold_ratio')})"
    return [
        states(
            "Verdict of the newest drift report",
            "FAIL: enough of the watched columns differ from what the champion was trained on.",
            Query(verdict("drift"), "{{model}}"),
            words=VERDICT,
            width=8,
        ),
        graph(
            "Share that drifted, as a multiple of its threshold",
            "From 1 on the report fails.",
            Query(share, "{{model}}"),
            levels=BAD,
        ),
        graph(
            "Worst column, as a multiple of its threshold",
            "Above 1 the column drifted. The same column of many models at once is a fault of its source.",
            Query(f"max by (model, column) ({of('drift_worst_column_ratio')})", "{{model}}: {{column}}"),
            levels=BAD,
        ),
    ]


def _right() -> list[Panel]:
    return [
        states(
            "Verdict of the newest performance report",
            "FAIL: the champion's error is proven beyond its bound.",
            Query(verdict("performance"), "{{model}}"),
            words=VERDICT,
            width=8,
        ),
        states(
            "Whether the last promotion helped",
            "FAIL: the former champion would have been better.",
            Query(verdict("shadow"), "{{model}}"),
            words=VERDICT,
            width=8,
        ),
        graph(
            "Windows that wait for labels",
            "More than before: labels are later than usual, and the champion is not judged.",
            Query(by_model("windows_waiting"), "{{model}}"),
        ),
    ]


def _changed() -> list[Panel]:
    return [
        states(
            "Champion over time",
            "A number that falls is a rollback.",
            Query(by_model("champion_version"), "{{model}}"),
        ),
        graph(
            "Retrainings that ended, by outcome",
            "Many that are `rejected` or `inconclusive` at once: a shared source has changed.",
            Query(f"sum by (outcome) ({increase(of('retrains_total'))})", "{{outcome}}"),
            width=12,
            bars=True,
        ),
        graph(
            "Canaries: the challenger's share of the requests",
            "One that does not move for days has too few requests or labels to be judged.",
            Query(f"max by (model, version) ({of('canary_share_ratio')})", "{{model}}, version {{version}}"),
            unit=SHARE,
            width=24,
        ),
    ]


def _alive() -> list[Panel]:
    return [
        graph(
            "Until a silence is told",
            "Below 0: there was no drift report for longer than `drift.silence` of the model file.",
            Query(
                f"{by_model('drift_watched_timestamp_seconds')} + {by_model('drift_silence_seconds')} - time()",
                "{{model}}",
            ),
            unit=SECONDS,
        ),
        graph(
            "Oldest decision without an answer",
            "A line that climbs above the model's cooldown: the loop does not answer it.",
            Query(f"time() - {by_model('decision_open_timestamp_seconds')}", "{{model}}"),
            unit=SECONDS,
        ),
        graph(
            "How long runs took",
            "Growing: tables grow without being merged, or the machine is shared.",
            Query(f"max by (model, flow) ({of('run_duration_seconds')})", "{{model}}, {{flow}}"),
            unit=SECONDS,
        ),
        graph(
            "How long runs waited before they began",
            "More than some seconds: runs queue for the worker.",
            Query(f"max by (model, flow) ({of('run_queue_seconds')})", "{{model}}, {{flow}}"),
            unit=SECONDS,
            width=12,
        ),
        graph(
            "Processor seconds of the newest runs",
            "One model that takes most of it: its training may be bounded, by `training.last` for one.",
            Query(f"sum by (model) (max by (model, flow) ({of('run_cpu_seconds')}))", "{{model}}"),
            unit=SECONDS,
            width=12,
        ),
    ]
