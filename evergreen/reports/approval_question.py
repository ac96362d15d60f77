"""What a person is asked about a version that passed its gates, as Markdown."""

from __future__ import annotations

from datetime import datetime

from evergreen.details.decision import RetrainDetail
from evergreen.markdown import number
from evergreen.reports.tables import gate_table


def question(result: RetrainDetail, until: datetime) -> str:
    """What a person is asked, as Markdown: what there is to win, and every gate."""
    metric = result.metric
    place = f"champion in place of version {result.champion}" if result.champion else "the first champion"
    rival = "" if metric.champion_value is None else f" (the champion: {number(metric.champion_value)})"
    return (
        f"## May version {result.version} of {result.model} go into production?\n\n"
        f"It passed its gates. **approve** makes it {place}, **reject** takes it out of the running. Without an answer "
        f"by {until:%Y-%m-%d %H:%M} UTC this run fails and the version stays challenger: "
        f"`evergreen promote {result.model} {result.version} --reason TEXT` still approves it.\n\n"
        f"- {metric.name} on the holdout: {number(metric.value)}{rival}\n"
        f"- trained for: {result.reason}; drift: {result.drift.verdict}; decision `{result.decision_id}`\n\n"
        f"{gate_table(result.checks)}"
    )
