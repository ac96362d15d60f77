"""A performance report as Markdown, for Prefect's artifacts. Text from data is escaped."""

from __future__ import annotations

from collections.abc import Iterator

from evergreen.details.watch import Interval, WindowFigure
from evergreen.markdown import MARK, number, table
from evergreen.performance.report import PerformanceReport

SHOWN = 12
"""Windows in the table: the newest."""


def performance_note(model: str, report: PerformanceReport) -> str:
    """The verdict with its reason, then a table for each thing that was looked at."""
    return "\n\n".join([f"# Performance of {model}: {report.verdict}", report.reason, *_parts(report)])


def _parts(report: PerformanceReport) -> Iterator[str]:
    logged = f"{report.logged} of {report.rows}"
    row = (
        *(report.metric, MARK[report.own or report.verdict], report.value, _within(report.interval)),
        *(report.bound, report.at_promotion, report.rows, logged),
    )
    names = ("metric", "status", "now", "interval", "bound", "at promotion", "labelled rows", "predicted at the time")
    yield table(names, [row])
    if report.also:
        also = [
            (
                figure.name,
                MARK[figure.verdict] if figure.verdict else "",
                figure.value,
                _within(figure.interval),
                figure.bound,
                figure.problem,
            )
            for figure in report.also
        ]
        yield "## Beside it\n\n" + table(("metric", "status", "now", "interval", "bound", "problem"), also)
    if report.rules:
        yield _rules(report)
    if report.windows:
        yield _windows(report)
    if report.slices:
        rows = [(each.name, each.rows, each.value, _within(each.interval), each.at_promotion) for each in report.slices]
        yield "## Slices\n\n" + table(("slice", "rows", report.metric, "interval", "at promotion"), rows)
    yield from _errors(report)


def _rules(report: PerformanceReport) -> str:
    """The champion beside each rule of one line: figures, then the words of the gates."""
    rows = [
        (one.name, one.value, one.gain, _within(one.interval), f"{one.covered:.0%}", "{} of {}".format(*one.worse_in))
        for one in report.rules
    ]
    names = ("repeating", report.metric, "the champion's gain", "interval", "known in time", "worse in windows")
    return "\n\n".join(["## Beside rules of one line", table(names, rows), *(one.told for one in report.rules)])


def _windows(report: PerformanceReport) -> str:
    shown = report.windows[-SHOWN:]
    rows = [(_begin(one), one.rows, f"{one.coverage:.0%}", one.value, _within(one.interval)) for one in shown]
    of = f"The newest {len(shown)} of {len(report.windows)}" if len(shown) < len(report.windows) else "All"
    waiting = f"; {report.immature} more wait for their labels" if report.immature else ""
    begin = "from (UTC)" if shown[0].first_row is None else "from row"
    facts = table((begin, "rows", "labelled", report.metric, "interval"), rows)
    return f"## Windows\n\n{of} that have their labels{waiting}.\n\n{facts}"


def _begin(window: WindowFigure) -> str:
    if window.first_row is not None:
        return f"{window.first_row:,}"
    return (window.start or "all")[:16].replace("T", " ")


def _errors(report: PerformanceReport) -> Iterator[str]:
    left, kept = report.residuals, report.calibration
    if left is not None:
        side = "too little" if left.bias > 0 else "too much"
        bias = f"Truth less prediction is {number(left.bias)} on average"
        bias += f" ({_within(left.interval)})" if left.interval else ""
        proven = left.interval is not None and (left.interval[0] > 0 or left.interval[1] < 0)
        bias += f": it predicts {side}." if proven else "."
        header = ("of the rows", *(f"{float(share):.0%}" for share in left.quantiles))
        yield f"## Residuals\n\n{bias}\n\n" + table(header, [("lie below", *left.quantiles.values())])
    if kept is not None:
        text = f"Probabilities of {kept.of} are off by {number(kept.error)} on average (expected calibration error)."
        rows = [(one.rows, one.said, one.was) for one in kept.bins]
        yield f"## Calibration\n\n{text}\n\n" + table(("rows", "probability said", "share that was so"), rows)


def _within(interval: Interval | None) -> str:
    return f"{number(interval[0])} to {number(interval[1])}" if interval else ""
