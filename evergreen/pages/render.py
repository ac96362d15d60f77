"""The pages as HTML files that ask nobody for anything: style, script, plots and data are within them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from evergreen.errors import EvergreenError
from evergreen.markdown import many, number
from evergreen.naming import page_file
from evergreen.pages.environment import fill, when
from evergreen.pages.figure_parts import Spec
from evergreen.pages.links import PageLinks
from evergreen.pages.page_data import DriftPoint, MetricPoint, Page
from evergreen.pages.plots import CROWD, FEW, canary_plot, distribution_plot, drift_plot, metric_plot, windows_plot
from evergreen.runs.fleet import FleetLine, describe_age
from evergreen.storage.atomic_write import write_text

ENTRIES = 200
"""Entries of the ledger on the page: the newest."""
POINTS = 200
"""Lines of the table beside a plot, at most: the newest."""
SMALL = 12
"""Columns whose distributions are shown at once; the others open on demand."""


def render(page: Page, links: PageLinks) -> str:
    """The page of one model."""
    plots: dict[str, Spec | None] = dict.fromkeys(("drift", "performance", "windows", "canary"))
    if page.reports:
        plots["drift"] = drift_plot(page.reports, page.marks, page.threshold)
    if any(point.value is not None for point in page.measures):
        plots["performance"] = metric_plot(page.measures, page.marks, page.metric)
    if len(page.windows) > 1:
        plots["windows"] = windows_plot(page.windows, page.metric)
    steps = [entry for entry in page.entries if entry.kind == "canary" and entry.version == page.canary_version]
    if page.canary is not None and page.canary.trace:
        plots["canary"] = canary_plot(page.canary.trace, steps)
    columns = [(column, distribution_plot(column)) for column in page.distributions]
    return fill(
        "page.html.j2",
        page=page,
        links=links,
        plots=plots,
        columns=columns,
        canary_steps=steps,
        drawn=bool(columns or any(plots.values())),
        shown=SMALL,
        points=POINTS,
        entries=page.entries[-ENTRIES:][::-1],
        drift_summary=drift_summary(page.reports, page.threshold),
        metric_summary=metric_summary(page.measures, page.metric),
    )


def render_index(environment: str, lines: Sequence[FleetLine], at: datetime) -> str:
    """The page of all models of an environment, in the order of the lines."""
    return fill("index.html.j2", environment=environment, lines=lines, at=at, age=lambda since: describe_age(since, at))


def render_problem(title: str, error: EvergreenError) -> str:
    """A page that says what is wrong and what to do."""
    return fill("problem.html.j2", title=title, error=error)


def write(page: Page, links: PageLinks, path: Path) -> None:
    """Write the page of one model to a file, whole or not at all.

    Raises:
        EvergreenError: it cannot be written there.
    """
    if path.is_dir():
        raise EvergreenError(f"{path} is a folder.", f"Name a file in it: --out {path / page_file(page.model)}")
    try:
        write_text(path, render(page, links))
    except OSError as error:
        raise EvergreenError(
            f"{path} cannot be written: {error.strerror or error}.", "Name a file in a folder of yours with --out."
        ) from None


def drift_summary(reports: Sequence[DriftPoint], threshold: float) -> str:
    """What the drift plot shows, in words."""
    if not reports:
        return ""
    last = reports[-1]
    counts = _counts([report.verdict for report in reports])
    span = f"from {when(reports[0].at)} to {when(last.at)}"
    newest = (
        f"The newest: {last.verdict}, {last.share:.0%} of the columns drifted; a report fails from {threshold:.0%}."
    )
    return f"{many(len(reports), 'drift report')} {span}: {counts}. {newest}"


def metric_summary(measures: Sequence[MetricPoint], metric: str) -> str:
    """What the performance plot shows, in words."""
    known = [point for point in measures if point.value is not None]
    if not known:
        return ""
    last = known[-1]
    within = f" ({number(last.low)} to {number(last.high)})" if last.low is not None else ""
    before = f"; {number(last.before)} at promotion" if last.before is not None else ""
    newest = f"The newest: {last.verdict}, {metric} {number(last.value)}{within} on {many(last.rows, 'row')}{before}."
    counts = _counts([point.verdict for point in known])
    interval = f"{'A bar' if len(known) <= FEW else 'The band'} is the interval."
    return f"{many(len(known), 'performance report')}: {counts}. {newest} {interval}"


def _counts(verdicts: Sequence[str]) -> str:
    """How many of each verdict; of many reports those that passed have no mark in the plot."""
    unmarked = " (no mark)" if len(verdicts) > CROWD else ""
    words = {"PASS": f"PASS{unmarked}", "FAIL": "FAIL", "INCONCLUSIVE": "INCONCLUSIVE"}
    return ", ".join(f"{verdicts.count(name):,} {word}" for name, word in words.items() if name in verdicts)
