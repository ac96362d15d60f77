"""Databases, opened so that what goes wrong is one line: for sources, for destinations and for the model registry.

A driver's own message may quote rows or the URL. None of it is passed on but the name of a table or a column that is
not there, which the query itself holds.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evergreen.errors import DataError, EvergreenError, RegistryError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine


@dataclass(frozen=True, slots=True)
class Use:
    """What a database is used for, and how its messages speak of that.

    Attributes:
        error: what is raised.
        setting: where its URL is set.
        denied: what a user without the right cannot do.
        grant: what to do about that.
    """

    error: type[EvergreenError]
    setting: str
    denied: str
    grant: str


SOURCE = Use(DataError, "the source's URL", "may not be read by this user", "Give the user the right to SELECT.")
DESTINATION = Use(
    EvergreenError,
    setting="the destination's URL",
    denied="cannot be written by this user",
    grant="Give the user the right to make and write the table.",
)
REGISTRY = Use(
    RegistryError,
    setting="EVERGREEN_TRACKING_URI",
    denied="cannot be written",
    grant="Check the user's rights, or the file's owner and mode.",
)

_NAMED = re.compile(r"""(?:relation|column|type|function|no such (?:table|column|function):) "?([\w.]+)"?""")
_TIMEOUTS = {"sqlite": "timeout", "postgresql": "connect_timeout", "mysql": "connect_timeout", "mssql": "timeout"}
_INSTALL = 'Install it, such as pip install ".[postgres]" for postgresql+psycopg://...'

# A pattern in a driver's message, what it means, what to do. The first that fits counts.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"(database|role) \S+ does not exist|nknown database",
        "does not exist: there is no such database or user",
        "Make it, or correct {use.setting}.",
    ),
    (r"schema \S+ does not exist", "has no such schema", "Make it first; only the table is made here."),
    (r"locked", "is locked by another program", "Wait until it is done, then run it again."),
    (
        r"out-of-date database schema|Can't locate revision",
        "has the schema of another MLflow version",
        "Back it up, then run: mlflow db upgrade URI - or use the MLflow that made it.",
    ),
    (
        r"No space left|disk is full|File too large|Disk quota",
        "cannot be written: the disk is full",
        "Free space, then run it again.",
    ),
    (
        r"authentication failed|no password supplied|Access denied",
        "refuses this user and password",
        "Check them in {use.setting}.",
    ),
    (r"readonly database|read-only|ermission denied|not authorized", "{use.denied}", "{use.grant}"),
    (
        r"unable to open database file|not a database|malformed",
        "cannot be opened: it is not an SQLite file, it is damaged, or its folder is not there",
        "Check the path in {use.setting} (sqlite:///relative.db, sqlite:////absolute.db), or restore it from a backup.",
    ),
    (r"syntax error|incomplete input", "does not understand the query", "Try the query in the database's shell."),
    (
        r"refused|resolve|Name or service|timed out|timeout|Max retries exceeded|unreachable",
        "cannot be reached",
        "Start its server, or check the address in {use.setting}.",
    ),
    (
        r"No module named|Can't load plugin",
        "needs a driver that is not installed",
        _INSTALL,
    ),
)


def parse_url(text: str, use: Use, example: str) -> URL:
    """Read a database's URL; `example` is shown where it is none."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        what = f"{use.setting[0].upper()}{use.setting[1:]} is not a URL that SQLAlchemy can read."
        raise use.error(what, f"Such as {example}") from None


def display_url(url: URL) -> str:
    """Driver, host and database of a URL: neither user nor password."""
    return url.create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()


@contextlib.contextmanager
def open_engine(url: URL, place: str, use: Use, *, seconds: float) -> Iterator[Engine]:
    """Open an engine whose connections give up after some seconds.

    Args:
        url: with user and password.
        place: the database as it may be shown.
        use: how messages speak of it.
        seconds: how long to wait for an answer, or for a lock of SQLite's.

    Raises:
        EvergreenError: of the class of `use`: what went wrong while it was open.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    option = _TIMEOUTS.get(url.get_backend_name())
    try:
        engine = create_engine(url, connect_args={option: seconds} if option else {})
    except (ImportError, ArgumentError, TypeError):
        raise use.error(f"{url.drivername} is not a database whose driver is installed.", _INSTALL) from None
    try:
        yield engine
    except SQLAlchemyError as error:
        raise explain_database_error(error, place, use) from None
    finally:
        engine.dispose()


def explain_database_error(error: Exception, place: str, use: Use, otherwise: str = "") -> EvergreenError:
    """An error of the database as one line, without what it quotes; `otherwise` is said of an error not known here."""
    cause = getattr(error, "orig", None) or error
    message = str(cause)
    if use is SOURCE and (named := _NAMED.search(message)) and re.search("does not exist|no such", message):
        what = f"{place}: the query names {named[1]!r}, which is not there."
        return use.error(what, "Correct the query in the model file.")
    for pattern, what, fix in _MEANINGS:
        if re.search(pattern, message):
            return use.error(f"{place} {what.format(use=use)}.", fix.format(use=use))
    what = otherwise or f"failed ({type(cause).__name__})"
    return use.error(f"{place} {what}.", f"Check {use.setting} and the database's own log, or try it in its shell.")
