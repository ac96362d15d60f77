"""How templates are filled: pages are HTML, whose texts Jinja escapes; a card is Markdown, whose template does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.actor import describe_actor
from evergreen.markdown import number
from evergreen.naming import train_metric

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def environment(folder: Path) -> Environment:
    """The templates of a folder; a name that nobody knows is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default_for_string=True, default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"number": number, "actor": describe_actor, "train_metric": train_metric, "prose": prose}
    return templates


def prose(markdown: str, below: int = 0) -> Markup:
    """Markdown as HTML, its headings that many levels lower: no tag of its own, no picture, no link that could run.

    `rich` brings the parser.
    """
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + below, 6)}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704
