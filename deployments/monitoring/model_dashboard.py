"""The dashboard of one model: six questions, in the order in which they are asked when something is wrong.

It is long because it is a list: one call a panel, with what a bad value in it means.
"""

from __future__ import annotations

from deployments.monitoring.events import events
from deployments.monitoring.expressions import REFUSED, increase, mine, of, rate, verdict
from deployments.monitoring.machine import answering_panels, machine_numbers
from deployments.monitoring.panels import (
    AGO,
    BAD,
    GREEN,
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
    Panel,
    Query,
    Row,
    band,
    build,
    choice,
    graph,
    number,
    states,
)
from evergreen.naming import MODEL_DASHBOARD

_CHOSEN = 'model="$model"'


def model_dashboard() -> str:
    """Its JSON."""
    rows = [
        Row("Is it answering?", [*_answering(), *_answers(), *answering_panels()]),
        Row("What is it fed?", _fed()),
        Row("Has the world moved?", _moved()),
        Row("Is it right?", _right()),
        Row("What changed?", [*_changed(), *_canary()]),
        Row("Is the loop alive?", [*_alive(), *_runs(), *machine_numbers()]),
    ]
    about = "One model that Evergreen keeps fresh: what it answers, what it is fed, and whether its loop is alive."
    model = choice("model", "Model", f"label_values({of('model_problem')}, model)")
    return build(MODEL_DASHBOARD, "Evergreen: a model", about, rows, events(_CHOSEN), [model])


def _answering() -> list[Panel]:
    """How the server of predictions stands to this model; first a line of numbers."""
    return [
        number(
            "Can be asked",
            "No: requests are answered by 503. Nothing was promoted yet, or frames are predicted for half a minute. "
            "No data: the model is not served online.",
            Query(f"min({mine('serving_ready')})"),
            words=YES_IS_GOOD,
            width=6,
        ),
        number(
            "Stale",
            "Yes: what answers may not be what the alias names, for the registry is away or a version does not load. "
            "`stale` in `/v2/models/NAME` says why.",
            Query(f"max({mine('serving_stale')})"),
            words=YES_IS_BAD,
            width=6,
        ),
        number(
            "Answers plain rows by a plan",
            "No: the pipeline could not be compiled, and each row takes some twenty milliseconds. `slow_because` and "
            "`not_compiled` in `/v2/models/NAME` say why.",
            Query(f"min({mine('serving_compiled')})"),
            words={0: ("as frames", ORANGE), 1: ("yes", GREEN)},
            width=6,
        ),
        number(
            "Champion was loaded",
            "Long before the last promotion: the server does not follow the alias.",
            Query(f"max({mine('serving_model_loaded_timestamp_seconds')}) * 1000"),
            unit=AGO,
            width=6,
        ),
    ]


def _answers() -> list[Panel]:
    """What was asked of this model, and how long it took."""
    requests = mine("serving_requests_total")
    refused = mine("serving_requests_total", REFUSED)
    by_bucket = f"sum by (route, le) ({rate(mine('serving_request_duration_seconds_bucket'))})"
    return [
        graph(
            "Requests by version",
            "A drop to nothing: clients are gone, or do not reach the server. Two versions of one route: servers do "
            "not follow the alias alike.",
            Query(f"sum by (version, route) ({rate(requests)})", "version {{version}}, {{route}}"),
            unit=REQUESTS,
        ),
        graph(
            "Share of the requests that its version refused, by code",
            "`invalid_rows`, `unknown_column` and their like are clients that send what the contract does not allow; "
            "`prediction_failed` and `internal` are faults of the version.",
            Query(f"sum by (code) ({rate(refused)}) / scalar(sum({rate(requests)}))", "{{code}}"),
            unit=SHARE,
        ),
        graph(
            "How long answers took",
            "A quantile over what your clients wait for. As frames, tens of milliseconds are usual; by a plan, one.",
            *(
                Query(f"histogram_quantile({quantile}, {by_bucket})", f"{{{{route}}}}, {name}")
                for quantile, name in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
            ),
            unit=SECONDS,
        ),
        graph(
            "Rows answered, by plan or as frames",
            "A growing share of `frame`: a client sends text for numbers, or a version did not compile.",
            Query(f"sum by (way) ({rate(mine('serving_rows_total'))})", "{{way}}"),
            unit=ROWS,
        ),
    ]


def _fed() -> list[Panel]:
    return [
        number(
            "Rows landed",
            "A number that stands still while data should come.",
            Query(f"max({mine('data_rows')})"),
            width=6,
        ),
        number(
            "Newest row is from",
            "Longer ago than data should take to arrive: the source has dried up, and every report is about the past.",
            Query(f"max({mine('data_end_timestamp_seconds')}) * 1000"),
            unit=AGO,
            width=6,
        ),
        number(
            "Batches refused as a whole",
            "More than before: a file or a table has another schema; `evergreen explain-file` says what is wrong.",
            Query(f"max({mine('quarantined_batches_total')})"),
            levels=WORRYING,
            width=6,
        ),
        number(
            "Same online as landed",
            "FAIL: what is asked online is not what lands later: the model learns other features than it is asked for. "
            "No data: nothing is served, or nothing was compared yet.",
            Query(verdict("skew", _CHOSEN)),
            words=VERDICT,
            width=6,
        ),
        graph(
            "Rows that land",
            "Nothing for longer than a batch takes to come; a peak is a batch that came at once.",
            Query(f"clamp_min(max(deriv({mine('data_rows')}[1h])), 0)", "rows"),
            unit=ROWS,
            width=12,
        ),
        graph(
            "Rows and labels in quarantine, by reason",
            "A step: a batch came with rows that the contract refuses. They are kept, with a reason, in `quarantine`.",
            Query(f"max by (reason) ({mine('quarantined_rows_total')})", "{{reason}}"),
            width=12,
        ),
    ]


def _moved() -> list[Panel]:
    return [
        states(
            "Verdict of the newest drift report",
            "FAIL: enough of the watched columns differ from what the champion learned. INCONCLUSIVE: too few rows.",
            Query(verdict("drift", _CHOSEN), "drift"),
            words=VERDICT,
            width=8,
        ),
        graph(
            "Share of the columns that drifted",
            "From the threshold on the report fails, and calls for a retraining where the model file says so.",
            Query(f"max({mine('drift_share_ratio')})", "share"),
            Query(f"max({mine('drift_threshold_ratio')})", "fails from here on"),
            unit=SHARE,
        ),
        graph(
            "Worst column, as a multiple of its threshold",
            "Above 1: the column drifted. One that is far above all others is often a broken sensor.",
            Query(f"max by (column) ({mine('drift_worst_column_ratio')})", "{{column}}"),
            levels=BAD,
        ),
    ]


def _right() -> list[Panel]:
    return [
        states(
            "Verdicts of the reports on labelled rows",
            "Performance FAIL: the champion's error is proven beyond its bound. Shadow FAIL: the former champion would "
            "have been better, so that the last promotion did harm.",
            Query(verdict("performance", _CHOSEN), "performance"),
            Query(verdict("shadow", _CHOSEN), "shadow"),
            words=VERDICT,
            width=8,
        ),
        band(
            "The metric, its interval, and the bound",
            "The whole interval beyond the bound: the report fails. An interval that grows is one of too few rows.",
            Query(f"max({mine('performance_interval_low')})", "interval from"),
            Query(f"max({mine('performance_interval_high')})", "interval to"),
            Query(f"max by (metric) ({mine('performance_value')})", "{{metric}}"),
            Query(f"max({mine('performance_bound')})", "worst that is accepted"),
            Query(f"max({mine('performance_promotion_value')})", "at promotion"),
        ),
        number(
            "Rows it was measured on",
            "Few: the interval is wide, and a fall is not seen.",
            Query(f"max({mine('performance_rows')})"),
            width=6,
        ),
        number(
            "Labels in the newest window",
            "Below 90 %, or what the model file asks for, a window is not judged.",
            Query(f"max({mine('label_coverage_ratio')})"),
            unit=SHARE,
            width=6,
        ),
        number(
            "Newest window that could be judged is from",
            "Long ago: labels are late, and nobody knows how the champion does now.",
            Query(f"max({mine('labelled_window_timestamp_seconds')}) * 1000"),
            unit=AGO,
            width=6,
        ),
        number(
            "What can protect it is on",
            "The rest of what a model file can switch on; `evergreen status` names it.",
            Query(f"max({mine('protection_ratio')})"),
            unit=SHARE,
            width=6,
        ),
        graph(
            "Windows judged, and those that wait for labels",
            "More that wait than were judged: labels are later than usual.",
            Query(f"max({mine('windows_measured')})", "judged"),
            Query(f"max({mine('windows_waiting')})", "wait for labels"),
            width=12,
        ),
        graph(
            "Delay of the labels",
            "Growing by a second a second for longer than a window takes: no labels come.",
            Query(f"time() - max({mine('labelled_window_timestamp_seconds')})", "since the newest judged window began"),
            unit=SECONDS,
            width=12,
        ),
    ]


def _changed() -> list[Panel]:
    return [
        number(
            "Champion",
            "No data: nothing is in production.",
            Query(f"max({mine('champion_version')})"),
            width=8,
        ),
        number(
            "The alias names it",
            "No: the alias is gone, or somebody moved it by hand; the log of promotions says otherwise.",
            Query(f"min({mine('champion_resolvable')})"),
            words=YES_IS_GOOD,
            width=8,
        ),
        number(
            "Waits for approval",
            "Yes for long: a better version waits for a person. `evergreen promote` and `--reject` answer it.",
            Query(f"max({mine('approval_waiting')})"),
            words={0: ("no", GREEN), 1: ("yes", ORANGE)},
            width=8,
        ),
        states(
            "Champion over time",
            "A number that falls is a rollback; one that changes hourly is a loop that cannot settle.",
            Query(f"max({mine('champion_version')})", "version"),
        ),
        states(
            "Versions that answer",
            "Another champion than beside: the server has not followed. A challenger is one in its canary.",
            Query(f"max by (version, route) ({mine('serving_model_info')})", "version {{version}}, {{route}}"),
            words={1: ("answers", GREEN)},
        ),
        graph(
            "Retrainings that ended, by outcome",
            "`rejected` and `inconclusive` in a row: retraining does not help, and somebody has to look at the data.",
            Query(f"sum by (outcome) ({increase(mine('retrains_total'))})", "{{outcome}}"),
            width=12,
            bars=True,
        ),
        graph(
            "Swaps of the champion in the server",
            "Many: the alias is moved to and fro. The first load is one, too.",
            Query(f"sum({increase(mine('serving_champion_swaps_total'))})", "swaps"),
            width=12,
            bars=True,
        ),
    ]


def _canary() -> list[Panel]:
    return [
        graph(
            "Canary: the challenger's share of the requests",
            "The server's differs from the loop's: it cannot load the challenger, or does not follow.",
            Query(f"max by (version) ({mine('canary_share_ratio')})", "version {{version}}, by the loop"),
            Query(f"max({mine('serving_canary_share_ratio')})", "in the server"),
            unit=SHARE,
            width=6,
        ),
        states(
            "Canary: challenger should meet traffic and does not",
            "Yes: it cannot be loaded; `challenger_problem` in `/v2/models/NAME` says why.",
            Query(f"max({mine('serving_canary_problem')})", "problem"),
            words=YES_IS_BAD,
            width=6,
        ),
        graph(
            "Canary: what the champion answered because the challenger failed",
            "Any: the challenger refuses, fails or is late where the champion is not.",
            Query(f"sum by (code) ({rate(mine('serving_canary_failures_total'))})", "{{code}}"),
            unit=REQUESTS,
            width=6,
        ),
        graph(
            "Canary: rows that both versions predicted",
            "Most are not compared: the server is busy, and the canary takes longer to decide.",
            Query(f"sum({rate(mine('serving_canary_rows_compared_total'))})", "compared"),
            Query(f"sum({rate(mine('serving_canary_rows_not_compared_total'))})", "no time to compare"),
            unit=ROWS,
            width=6,
        ),
    ]


def _alive() -> list[Panel]:
    watched, silence = mine("drift_watched_timestamp_seconds"), mine("drift_silence_seconds")
    return [
        number(
            "Can be read",
            "No: the model file or a table is broken, and nothing else is told of it. `evergreen status` says why.",
            Query(f"1 - max({mine('model_problem')})"),
            words=YES_IS_GOOD,
        ),
        number(
            "In production since",
            "More than a quarter ago: most data have another season by now.",
            Query(f"max({mine('champion_since_timestamp_seconds')}) * 1000"),
            unit=AGO,
        ),
        number(
            "Until its silence is told",
            "Negative: there was no drift report for longer than `drift.silence` of the model file; the monitor does "
            "not run, or does not come to an end.",
            Query(f"max({watched} + {silence}) - time()"),
            unit=SECONDS,
        ),
        number(
            "Decisions without an answer",
            "More than 0 for longer than a retraining takes: it did not begin, failed, or waits for a cooldown.",
            Query(f"max({mine('decisions_open')})"),
            levels=WORRYING,
        ),
        number(
            "Retrainings in vain",
            "2 and more: what changed cannot be learned from the rows that are there.",
            Query(f"max({mine('retrains_in_vain')})"),
            levels={1: ORANGE, 2: RED},
        ),
        number(
            "A person was told",
            "Yes: retraining does not help, and Evergreen has stopped to try.",
            Query(f"max({mine('escalated')})"),
            words=YES_IS_BAD,
        ),
        graph(
            "Oldest decision without an answer",
            "Older than the cooldown and a retraining: the loop does not answer it.",
            Query(f"time() - max({mine('decision_open_timestamp_seconds')})", "open for"),
            Query(f"max({mine('retrain_cooldown_seconds')})", "cooldown"),
            unit=SECONDS,
            width=12,
        ),
        graph(
            "Age of the newest reports",
            "A line that climbs above the schedule of the monitor: that report is no longer made.",
            Query(f"time() - max by (report) ({mine('report_timestamp_seconds')})", "{{report}}"),
            unit=SECONDS,
            width=12,
        ),
    ]


def _runs() -> list[Panel]:
    def by_flow(name: str) -> Query:
        return Query(f"max by (flow) ({mine(name)})", "{{flow}}")

    return [
        graph(
            "Since the newest run of each flow",
            "Longer than its schedule: it is paused, its runs fail before they begin, or no worker takes them.",
            Query(f"time() - max by (flow) ({mine('run_timestamp_seconds')})", "{{flow}}"),
            unit=SECONDS,
        ),
        graph(
            "How long runs took",
            "Growing: the tables grow without being merged, or the machine is shared.",
            by_flow("run_duration_seconds"),
            unit=SECONDS,
        ),
        graph(
            "How long runs waited before they began",
            "More than some seconds: runs queue for the worker.",
            by_flow("run_queue_seconds"),
            unit=SECONDS,
        ),
        graph(
            "Processor seconds a run",
            "Growing with the same rows: something is done again and again.",
            by_flow("run_cpu_seconds"),
            unit=SECONDS,
            width=12,
        ),
        graph(
            "Rows that runs dealt with",
            "Nothing in flows that should have found rows.",
            by_flow("run_rows"),
            width=12,
        ),
    ]
