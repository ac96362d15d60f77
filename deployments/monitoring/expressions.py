"""PromQL that both dashboards need, put together from the names of series."""

from __future__ import annotations

from collections.abc import Mapping

from evergreen.naming import METRIC_PREFIX
from evergreen.runs.fleet import OLD, REPORTS, WEIGHTS

WINDOW = "[$__rate_interval]"
"""Grafana's own: as long as the step of the graph and a scrape, so that no change falls between two points."""
VERDICTS: Mapping[str, int] = {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}
"""The number by which a verdict is drawn."""
REFUSED = 'code!="ok"'
"""Chooses the requests that a version refused."""


def of(name: str, *matchers: str) -> str:
    """A series by its name without the prefix."""
    return METRIC_PREFIX + name + (f"{{{', '.join(matchers)}}}" if matchers else "")


def mine(name: str, *matchers: str) -> str:
    """A series of the model that is chosen."""
    return of(name, 'model="$model"', *matchers)


def rate(series: str) -> str:
    """How fast a counter grows, each second."""
    return f"rate({series}{WINDOW})"


def increase(series: str) -> str:
    """How much a counter grew from one point of the graph to the next."""
    return f"increase({series}{WINDOW})"


def by_model(name: str, *matchers: str) -> str:
    """One number a model, whichever server it was read from."""
    return f"max by (model) ({of(name, *matchers)})"


def verdict(report: str, *matchers: str) -> str:
    """The verdict of the newest report of a kind on each model, as its number."""
    told = [
        f"{of('report_info', _is('report', report), _is('verdict', word), *matchers)} * {number}"
        for word, number in VERDICTS.items()
    ]
    return f"max by (model) ({' or '.join(told)})"


def _is(label: str, value: str) -> str:
    return f'{label}="{value}"'


def worries() -> Mapping[str, str]:
    """For each of the worries of the page of all models, whether a model gives cause for it, as 0 or 1."""
    held = of("report_info", _is("report", "canary"), _is("verdict", "paused"))
    paused = f"{held} and on (model) {of('canary_share_ratio')}"
    failed: dict[str, str] = {
        each: by_model("report_info", _is("report", each), _is("verdict", "FAIL")) for each in REPORTS
    }
    return {
        "problem": by_model("model_problem"),
        "escalated": by_model("escalated"),
        "open": f"{by_model('decisions_open')} > bool 0",
        **failed,
        "none": f"({by_model('model_problem')} == bool 0) unless on (model) {of('champion_version')}",
        "silent": f"time() - {by_model('drift_watched_timestamp_seconds')} > bool {by_model('drift_silence_seconds')}",
        "labels": f"{by_model('windows_waiting')} > bool {by_model('windows_measured')}",
        "waits": f"max by (model) ({of('approval_waiting')} or ({paused}))",
        "old": f"time() - {by_model('champion_since_timestamp_seconds')} > bool {OLD.total_seconds():.0f}",
    }


def worry() -> str:
    """How much there is to worry about each model, the most worrying first: the sum of its worries' weights."""
    parts = [
        f'label_replace({WEIGHTS[name]} * ({cause}), "worry", "{name}", "", "")' for name, cause in worries().items()
    ]
    return f"sort_desc(sum by (model) ({' or '.join(parts)}))"
