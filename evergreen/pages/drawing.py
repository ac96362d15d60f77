"""The two drawings of a plot: still pictures that need no script, and what a browser needs to draw it again."""

from __future__ import annotations

import json
from functools import cache, lru_cache

from markupsafe import Markup

from evergreen.pages.figure_parts import Spec

WIDE = (340, 640, 1100)
"""Pixels that the pictures of a plot as wide as the page are made for: a phone, a tablet or paper, a screen."""
NARROW = (290,)
KEPT = 512
"""Pictures that a process remembers: a page is made anew for one report, and most of its plots are as they were."""


def pictures(plot: Spec, wide: bool = True) -> Markup:
    """A plot as SVG, for each width; the style shows the one that fits."""
    text = json.dumps(plot)
    drawn = Markup('<div class="still w{}">{}</div>')
    # Vega escapes every text of a picture.
    return Markup("").join(
        drawn.format(width, Markup(_picture(text, width)))  # noqa: S704
        for width in (WIDE if wide else NARROW)
    )


@lru_cache(maxsize=KEPT)
def _picture(text: str, width: int) -> str:
    from vl_convert import vegalite_to_svg

    plot: Spec = json.loads(text)
    for panel in plot.get("vconcat", [plot]):
        panel["width"] = width - plot["usermeta"]["beside"]
    return vegalite_to_svg(plot)


@cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that fetches nothing."""
    from vl_convert import javascript_bundle

    return javascript_bundle("window.vegaEmbed = vegaEmbed;")
