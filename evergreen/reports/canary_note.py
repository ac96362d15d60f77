"""A canary as Markdown: where it stands, what each question came to, what comes next."""

from __future__ import annotations

from evergreen.canary.report import CanaryReport
from evergreen.details.canary import CanaryQuestion
from evergreen.markdown import MARK, table


def canary_note(report: CanaryReport) -> str:
    """The note of one look."""
    route = " > ".join(f"**{step} %**" if at == report.step else f"{step} %" for at, step in enumerate(report.steps))
    where = "in the shadow: the champion answers everything" if report.shadow else f"steps {route}"
    head = f"# Canary of {report.model} version {report.version}: {report.stands}"
    facts = (
        f"- beside champion {report.champion}, since {report.since:%Y-%m-%d %H:%M} UTC, "
        f"until {report.until:%Y-%m-%d %H:%M} UTC at the latest\n- {where}; it answers {report.share} % now\n"
    )
    rows = [(each.name, MARK[each.verdict], *figures(each), each.reason) for each in report.questions]
    asked = table(("question", "status", "seen", "from", "to", "allowed", "rows", ""), rows) if rows else ""
    parts = (head, report.reason, facts, asked, report.following)
    return "\n\n".join(part for part in parts if part)


def figures(question: CanaryQuestion) -> tuple[str, ...]:
    """What was seen, its interval, what is allowed, and of how many rows, as cells."""
    low, high = question.interval or (None, None)
    return (*(percent(each) for each in (question.seen, low, high, question.bound)), f"{question.rows:,}")


def percent(share: float | None) -> str:
    """A share as a person reads it; empty where it is not known."""
    return "" if share is None else f"{100 * share:.3g} %"
