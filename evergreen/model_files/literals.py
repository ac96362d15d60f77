"""Values as Python source."""

from __future__ import annotations


def literal(value: object) -> str:
    """A value as Python source, with the quotes that the formatter prefers."""
    text = repr(value)
    if not isinstance(value, str) or text[0] == '"':
        return text
    body = text[1:-1]
    # Double quotes, unless they need more backslashes.
    if value.count('"') > value.count("'"):
        return text
    return '"' + body.replace("\\'", "'").replace('"', '\\"') + '"'


def shorten(literal: str) -> str:
    """A literal that is short enough for a comment."""
    return literal if len(literal) <= 60 else f"{literal[:57]}..."
