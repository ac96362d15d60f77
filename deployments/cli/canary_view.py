"""How a canary is shown in the terminal; a module of its own, loaded when a command needs it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from deployments.cli.console import coloured, grid, out
from evergreen.canary.report import CanaryReport
from evergreen.reports.canary_note import figures


def show_canaries(name: str, reports: Sequence[CanaryReport], *, aborted: bool = False) -> None:
    """Print where each canary stands, what each question came to, and what comes next; or that it was `aborted`."""
    if aborted:
        out.print(f"The canary of {name} is over, and its version is rejected. See: evergreen why {name}")
    elif not reports:
        out.print(
            f"{name} has no open canary. One begins when a candidate passes its gates and the model file says "
            f"approval='canary'. What there was: evergreen why {name}",
            soft_wrap=True,
        )
    for report in reports:
        out.print()
        out.print(
            f"[bold]{escape(name)}[/] version {report.version}: {coloured(report.stands)}. {escape(report.reason)}"
        )
        if report.questions:
            rows = [(each.name, str(each.verdict), *figures(each)) for each in report.questions]
            out.print(grid("On live traffic", ("question", "status", "seen", "from", "to", "allowed", "rows"), rows))
        out.print(escape(describe_place(report)))
        if report.following:
            out.print(escape(report.following))


def describe_place(report: CanaryReport) -> str:
    """Which share it answers, in which step, since when and until when."""
    where = "The champion answers everything, and both are compared"
    if not report.shadow:
        steps = " > ".join(f"[{step} %]" if at == report.step else f"{step} %" for at, step in enumerate(report.steps))
        where = f"It answers {report.share} % of the requests, champion {report.champion} the others: step {steps}"
    return f"{where}. Since {report.since:%Y-%m-%d %H:%M} UTC, until {report.until:%Y-%m-%d %H:%M} UTC at the latest."
