"""What a database says when a query cannot be read, as one line.

The driver's own message is never passed on: it may quote rows, or the URL. What is taken from it is the name of a table
or a column that is not there, which the query itself holds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from evergreen.errors import DataError

if TYPE_CHECKING:
    from sqlalchemy import URL

_NAMED = re.compile(r"""(?:relation|column|type|function|no such (?:table|column|function):) "?([\w.]+)"?""")

# Words in a driver's message, what they mean, what to do. The first that fits counts.
_MEANINGS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("locked",), "is locked by another program", "Wait until it is done, then run it again."),
    (
        ("authentication failed", "no password supplied", "Access denied"),
        "refuses this user and password",
        "Check them in the source's URL.",
    ),
    (("ermission denied", "not authorized"), "may not be read by this user", "Give the user the right to SELECT."),
    (
        ("unable to open database file", "not a database", "malformed"),
        "cannot be opened: it is not an SQLite file, or may not be read",
        "Check the path: sqlite:///relative.db or sqlite:////absolute.db",
    ),
    (("syntax error", "incomplete input"), "does not understand the query", "Try the query in the database's shell."),
    (
        ("refused", "resolve", "Name or service", "timed out", "timeout", "unreachable"),
        "cannot be reached",
        "Start its server, or check the address.",
    ),
)


def explained(url: URL, error: Exception) -> DataError:
    """An error of the database as one line, without what it quotes."""
    said, place = str(getattr(error, "orig", None) or error), shown(url)
    if (found := _NAMED.search(said)) and ("does not exist" in said or "no such" in said):
        return DataError(
            f"source: the query names {found[1]!r}, and {place} has none.", "Correct the query in the model file."
        )
    if re.search('(database|role) "?.*"? does not exist|nknown database', said):
        return DataError(f"source: {place} has no such database or user.", "Check the source's URL.")
    for words, what, fix in _MEANINGS:
        if any(word in said for word in words):
            return DataError(f"source: {place} {what}.", fix)
    kind = type(getattr(error, "orig", None) or error).__name__
    return DataError(f"source: {place} failed ({kind}).", "Try the query in the database's shell.")


def shown(url: URL) -> str:
    """Driver, host and database of a URL: neither user nor password."""
    return url.create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()
