"""What every page is made with: the templates, the style, the script, and the policy that a browser holds it to.

Every text is escaped by Jinja; plots are JSON in which no `<` is left. A page says itself (Content-Security-Policy)
that only two scripts may run, known by their hashes, and that nothing may be fetched. One of the two is Vega: it is
carried packed, so that a browser neither reads nor runs it before somebody wants to explore a plot.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.ledger.timeline_outcomes import describe_reason
from evergreen.markdown import many
from evergreen.pages.drawing import pictures, vega
from evergreen.templating import environment

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

_TONES = {
    "good": ("PASS", "PASSED", "promoted", "passed"),
    "bad": ("FAIL", "FAILED", "rejected", "rollback", "rolled back", "loss", "lost", "refused", "aborted"),
    "open": ("INCONCLUSIVE", "inconclusive", "awaiting-approval", "in-canary", "PENDING", "open", "paused", "unproven"),
}
_SIGNS = {"good": "✓", "bad": "✕", "open": "?", "plain": "•"}
_SPARK = 96, 24


def fill(template: str, *, drawn: bool = False, **facts: Any) -> str:
    """A page by the name of its template; `drawn` says whether there are plots on it."""
    return _environment().get_template(template).render(policy=policy(plots=drawn), drawn=drawn, **facts)


@cache
def policy(*, plots: bool = False) -> str:
    """What a browser may do with a page: run its script and, for `plots`, Vega; show what is within it; no more."""
    scripts = (vega(), _script()) if plots else (_script(),)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    rest = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {rest}"


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
    from markupsafe import Markup

    templates = environment(TEMPLATES)
    templates.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    templates.filters |= {"when": when, "iso": datetime.isoformat, "tone": tone, "spark": spark}
    templates.filters |= {
        "percent": _percent,
        "sign": lambda word: _SIGNS[tone(word)],
        "href": _href,
        "many": many,
        "moved_because": describe_reason,
        "pictures": pictures,
        "signed": _signed,
    }
    # The project's own files, not data: they are put in as they are.
    templates.globals["style"] = Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704
    templates.globals["script"] = Markup(_script())  # noqa: S704
    templates.globals["vega"] = _packed
    return templates


@cache
def _script() -> str:
    return (TEMPLATES / "page.js").read_text(encoding="utf-8")


@cache
def _packed() -> str:
    """Vega as text that a browser passes over; the page's script unpacks it."""
    return base64.b64encode(gzip.compress(vega().encode(), mtime=0)).decode()


def _href(link: str) -> str:
    """A link that leads to a page; empty for anything else, which may be a path or could run."""
    return link if link.startswith(("https://", "http://")) else ""


def when(at: datetime) -> str:
    """A time as the pages write it."""
    return f"{at:%Y-%m-%d %H:%M}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}".replace(".0%", "%")


def _signed(value: float) -> str:
    return f"{value:+.4g}" if math.isfinite(value) else ""
