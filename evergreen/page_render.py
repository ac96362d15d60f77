"""A page as one HTML file that asks nobody for anything: style, script, plotly.js and figures are within it.

Every text is escaped by Jinja; figures are JSON in which no `<` is left. The page says itself (Content-Security-Policy)
that only its own two scripts may run, known by their hashes, and that nothing may be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import EvergreenError
from evergreen.markdown import number
from evergreen.page_facts import DriftPoint, MetricPoint, Page
from evergreen.page_links import Places
from evergreen.page_plots import distribution_figure, drift_figure, metric_figure, windows_figure

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
ENTRIES = 200
"""Entries of the ledger on the page: the newest."""
POINTS = 200
"""Lines of the table beside a plot, at most: the newest."""
SMALL = 12
"""Columns whose distributions are shown at once; the others open on demand."""

_TONES = {
    "good": ("PASS", "PASSED", "promoted"),
    "bad": ("FAIL", "FAILED", "rejected", "rollback", "rolled back"),
    "open": ("INCONCLUSIVE", "inconclusive", "awaiting-approval", "PENDING"),
}
_SIGNS = {"good": "✓", "bad": "✕", "open": "?", "plain": "•"}
_SPARK = 96, 24


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the page of all models; `problem` says why the rest is not known, and is empty where it is."""

    model: str
    champion: int | None
    drift: str
    performance: str
    retrain: str
    at: datetime | None
    problem: str = ""


def render(page: Page, places: Places) -> str:
    """The page of one model."""
    figures: dict[str, Any] = dict.fromkeys(("drift", "performance", "windows"))
    if page.reports:
        figures["drift"] = drift_figure(page.reports, page.marks, page.threshold)
    if any(point.value is not None for point in page.measures):
        figures["performance"] = metric_figure(page.measures, page.marks, page.metric)
    if len(page.windows) > 1:
        figures["windows"] = windows_figure(page.windows, page.metric)
    columns = [(found, distribution_figure(found)) for found in page.distributions]
    drawn = bool(columns or any(figures.values()))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            places=places,
            figures=figures,
            columns=columns,
            shown=SMALL,
            points=POINTS,
            entries=page.entries[-ENTRIES:][::-1],
            drift_summary=drift_summary(page.reports, page.threshold),
            metric_summary=metric_summary(page.measures, page.metric),
            plotly=_plotly() if drawn else "",
            policy=policy(),
        )
    )


def render_index(lines: Sequence[Line], at: datetime) -> str:
    """The page of all models."""
    return _environment().get_template("index.html.j2").render(lines=lines, at=at, policy=policy())


def render_problem(title: str, error: EvergreenError) -> str:
    """A page that says what is wrong and what to do."""
    return _environment().get_template("problem.html.j2").render(title=title, error=error, policy=policy())


def write(page: Page, places: Places, path: Path) -> None:
    """Write the page of one model to a file, whole or not at all.

    Raises:
        EvergreenError: it cannot be written there.
    """
    if path.is_dir():
        raise EvergreenError(f"{path} is a folder.", f"Name a file in it: --out {path / f'{page.model}.html'}")
    fresh = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        fresh.write_text(render(page, places), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise EvergreenError(
            f"{path} cannot be written: {error.strerror or error}.", "Name a file in a folder of yours with --out."
        ) from None
    finally:
        fresh.unlink(missing_ok=True)


@cache
def policy() -> str:
    """What a browser may do with a page: run its two scripts, show what is within it, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_plotly(), _script())]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    rest = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {rest}"


def drift_summary(reports: Sequence[DriftPoint], threshold: float) -> str:
    """What the drift plot shows, in words."""
    if not reports:
        return ""
    last = reports[-1]
    counts = _counts([report.verdict for report in reports])
    span = f"from {_when(reports[0].at)} to {_when(last.at)}"
    newest = (
        f"The newest: {last.verdict}, {last.share:.0%} of the columns drifted; a report fails from {threshold:.0%}."
    )
    return f"{_many(len(reports), 'drift report')} {span}: {counts}. {newest}"


def metric_summary(measures: Sequence[MetricPoint], metric: str) -> str:
    """What the performance plot shows, in words."""
    known = [point for point in measures if point.value is not None]
    if not known:
        return ""
    last = known[-1]
    within = f" ({number(last.low)} to {number(last.high)})" if last.low is not None else ""
    before = f"; {number(last.before)} at promotion" if last.before is not None else ""
    newest = f"The newest: {last.verdict}, {metric} {number(last.value)}{within} on {last.rows:,} rows{before}."
    counts = _counts([point.verdict for point in known])
    return f"{_many(len(known), 'performance report')}: {counts}. {newest}"


def tone(word: str) -> str:
    """How a verdict or an outcome is coloured: good, bad, open or plain."""
    return next((name for name, words in _TONES.items() if word in words), "plain")


def spark(trend: Sequence[float | None]) -> Mapping[str, Any]:
    """A column's scores as a small line: its pieces as points of an SVG, its end, and the height of the threshold."""
    width, height = _SPARK
    known = [value for value in trend if value is not None]
    top = max(1.5, min(max(known, default=0.0), 4.0))
    step = width / max(len(trend) - 1, 1)
    pieces: list[list[str]] = [[]]
    for place, value in enumerate(trend):
        if value is None:
            pieces.append([])
            continue
        pieces[-1].append(f"{place * step:.1f},{height - 2 - (height - 4) * min(value, top) / top:.1f}")
    drawn = [" ".join(piece) for piece in pieces if piece]
    last = pieces[-1][-1].split(",") if pieces[-1] else ()
    bound = height - 2 - (height - 4) / top
    return {"lines": drawn, "last": last, "bound": round(bound, 1), "width": width, "height": height}


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.filters |= {"when": _when, "iso": datetime.isoformat, "number": number, "tone": tone, "spark": spark}
    made.filters |= {"percent": _percent, "sign": lambda word: _SIGNS[tone(word)], "href": _href, "many": _many}
    # The project's own files, not data: they are put in as they are.
    made.globals["style"] = Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704
    made.globals["script"] = Markup(_script())  # noqa: S704
    made.filters |= {"trusted": Markup, "prose": _prose}
    return made


@cache
def _script() -> str:
    return (TEMPLATES / "page.js").read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return str(get_plotlyjs())


def _prose(markdown: str) -> Markup:
    """Markdown as HTML, its headings below the page's own; HTML in it is shown as text, a link that could run is none.

    `rich` brings the parser.
    """
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + 3, 6)}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704


def _href(link: str) -> str:
    """A link that leads to a page; empty for anything else, which may be a path or could run."""
    return link if link.startswith(("https://", "http://")) else ""


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _counts(verdicts: Sequence[str]) -> str:
    told = {verdict: verdicts.count(verdict) for verdict in ("PASS", "FAIL", "INCONCLUSIVE")}
    return ", ".join(f"{count:,} {verdict}" for verdict, count in told.items() if count)
