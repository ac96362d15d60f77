"""Show what a run decided in the Prefect UI: tables, notes and links as artifacts of the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from evergreen.backtest.report import Backtest
from evergreen.canary.report import CanaryReport
from evergreen.details.decision import RetrainDetail
from evergreen.drift.report import DriftReport
from evergreen.ledger.reconciliation import Action
from evergreen.markdown import MARK, escape, many, table
from evergreen.naming import artifact
from evergreen.pages.backtest_page import page as backtest_page
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow_report import ShadowReport
from evergreen.performance.skew_report import SkewReport
from evergreen.reports.canary_note import canary_note
from evergreen.reports.card_facts import said
from evergreen.reports.performance_note import performance_note
from evergreen.reports.skew_note import skew_note
from evergreen.reports.tables import drift_table, gate_table
from evergreen.runs.context import RunContext
from evergreen.runs.results import MoveResult, ScoreResult
from evergreen.storage.atomic_write import write_text
from tasks import shown


@shown("report-drift")
def report_drift(environment: str, model: str, report: DriftReport, evidently: str, page: str = "") -> None:
    """The drift table, and links to Evidently's page and to the model's own, where there are any."""
    _link_page(environment, model, page)
    if not report.columns:
        return
    note = f"# Drift of {model}: {report.verdict}\n\n{report.reason}\n\n{drift_table(report)}"
    create_markdown_artifact(note, key=artifact(environment, "drift", model), description=report.reason)
    if evidently:
        create_link_artifact(evidently, link_text="Evidently report", key=artifact(environment, "drift-report", model))


@shown("report-performance")
def report_performance(environment: str, model: str, report: PerformanceReport) -> None:
    """What the champion's metric is now and what it was, by window and slice, and what it gets wrong."""
    if report.decision_id is None:
        return
    note = performance_note(model, report)
    create_markdown_artifact(note, key=artifact(environment, "performance", model), description=report.reason)


@shown("report-shadow")
def report_shadow(environment: str, model: str, report: ShadowReport) -> None:
    """The champion beside the one that it replaced."""
    if report.decision_id is None:
        return
    low, high = report.interval or (None, None)
    what = "metric", "status", f"version {report.champion}", f"version {report.former}", "gain", "from", "to"
    coverage = f"{report.windows} of {report.of}"
    row = (report.metric, MARK[report.verdict], report.value, report.former_value, report.gain, low, high)
    facts = table((*what, "labelled rows", "windows"), [(*row, report.rows, coverage)])
    note = f"# Last promotion of {model}: {report.verdict}\n\n{report.reason}\n\n{facts}"
    create_markdown_artifact(note, key=artifact(environment, "shadow", model), description=report.reason)


@shown("report-skew")
def report_skew(environment: str, model: str, report: SkewReport) -> None:
    """The features that were served with other values than landed."""
    if report.decision_id is None:
        return
    note = skew_note(model, report)
    create_markdown_artifact(note, key=artifact(environment, "skew", model), description=report.reason)


@shown("report-retrain")
def report_retrain(environment: str, result: RetrainDetail, evidently: str, page: str = "") -> None:
    """The gate table and what came of it, and links to Evidently's page and the model's own, where there are any."""
    _link_page(environment, result.model, page)
    if not result.checks:
        return
    metric, explained = result.metric, said(result.explanation, 2000)
    link = f"- [drift report]({evidently})\n" if evidently else ""
    against = "" if metric.champion_value is None else f", the champion {metric.champion_value:.4g}"
    figure = "not measured" if metric.value is None else f"{metric.value:.4g}{against}"
    note = (
        f"# {result.model}: {result.outcome}\n\n{explained}\n\n"
        f"- candidate: version {result.version}\n- champion now: version {result.champion or 'none'}\n"
        f"- {metric.name} on the holdout: {figure}\n- decision: `{result.decision_id}`, reason: {result.reason}\n"
        f"- MLflow: model `{result.model}`, version {result.version}\n{link}\n{gate_table(result.checks)}"
    )
    create_markdown_artifact(
        note, key=artifact(environment, "gates", result.model), description=f"{result.outcome}: {explained}"
    )


@shown("report-score")
def report_score(environment: str, result: ScoreResult) -> None:
    """How many rows were scored, by which version, how fast, and why others were not."""
    if result.version is None:
        return
    head = "rows in", "scored", "in quarantine", "scored before", "rows a second"
    speed = round(result.rows_per_second)
    facts = table(head, [(result.rows_in, result.rows_scored, result.rows_rejected, result.repeated, speed)])
    versions = table(("version", "rows"), result.versions.items())
    reasons = f"\n\n{table(('reason', 'rows'), result.reasons.items())}" if result.reasons else ""
    where = f" Written to {escape(result.output)}." if result.output else ""
    summary = f"Version {result.version} scored {result.rows_scored:,} of {many(result.rows_in, 'row')}."
    note = f"# Scoring with {result.model}\n\n{summary}{where}\n\n{facts}\n\n{versions}{reasons}"
    create_markdown_artifact(note, key=artifact(environment, "score", result.model), description=summary)


@shown("report-move")
def report_move(environment: str, result: MoveResult) -> None:
    """The note of a promotion or a rejection by hand, of a rollback or of a loss."""
    rejected = f"Version {result.rejected} was rejected. " if result.rejected else ""
    champion = f"Version {result.champion} is the champion." if result.champion else "There is no champion yet."
    lost = f"Version {result.lost} is given up as lost. " if result.lost else ""
    note = f"# {result.model}: {result.action}\n\n{rejected}{lost}{champion} Reason: {result.reason}"
    create_markdown_artifact(note, key=artifact(environment, result.action, result.model))


@task(cache_policy=NO_CACHE, timeout_seconds=120, task_run_name="report-backtest")
def report_backtest(context: RunContext, report: Backtest, place: str | None = None) -> Path:
    """The table, the recommendation, and a link to the page, which is written where `place` says."""
    model, environment = report.model, context.settings.environment
    page = Path(place).expanduser().absolute() if place else context.settings.backtest_page(model)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, backtest_page(report, context.moment()))
    columns = ("name", "window", "error", "interval", "retrains", "rejected", "train_seconds")
    rows = [{name: each[name] for name in columns} | each["regret"] for each in report.to_json()["policies"]]
    create_table_artifact(rows, key=artifact(environment, "backtest", model), description=report.reason)
    note = table(list(rows[0]), [each.values() for each in rows])
    warning = f"**{report.warning}**\n\n" if report.warning else ""
    text = f"# When to retrain {model}: {report.recommended}\n\n{warning}{report.reason}\n\n{note}"
    create_markdown_artifact(text, key=artifact(environment, "backtest-report", model), description=report.reason)
    create_link_artifact(page.as_uri(), link_text="Backtest", key=artifact(environment, "backtest-page", model))
    return page


@shown("report-canary")
def report_canary(environment: str, report: CanaryReport) -> None:
    """Where a canary stands, and what each question came to."""
    key = artifact(environment, "canary", report.model)
    create_markdown_artifact(canary_note(report), key=key, description=f"{report.stands}: {said(report.reason, 2000)}")


@shown("report-steps")
def report_steps(environment: str, steps: Sequence[Action], now: datetime) -> None:
    """What a reconciliation did, one row each."""
    rows = [
        {"model": step.model, "decision or run": step.about, "age": _age(now, step.since), "done": step.what}
        for step in steps
    ]
    create_table_artifact(rows, key=artifact(environment, "reconcile"), description=f"{len(rows)} things were done")


def _age(now: datetime, since: datetime) -> str:
    minutes = int((now - since).total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _link_page(environment: str, model: str, page: str) -> None:
    if page:
        create_link_artifact(page, link_text=f"The page of {model}", key=artifact(environment, "page", model))
