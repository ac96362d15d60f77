"""What a database complains about is one line, with the words of the use it is put to and no word of the driver's."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text

from evergreen.errors import DataError, EvergreenError, RegistryError
from evergreen.sources.sql_errors import (
    DESTINATION,
    REGISTRY,
    SOURCE,
    Use,
    explain_database_error,
    open_engine,
    parse_url,
)

SECRET = "hunter2"
USES = {"source": SOURCE, "destination": DESTINATION, "registry": REGISTRY}
CASES = {
    "database is locked": "is locked by another program",
    "[Errno 28] No space left on device": "cannot be written: the disk is full",
    "disk quota exceeded; Disk quota": "cannot be written: the disk is full",
    'connection failed: FATAL:  database "locked" does not exist': "does not exist: there is no such database or user",
    'FATAL:  role "nobody" does not exist': "does not exist: there is no such database or user",
    'schema "scores" does not exist': "has no such schema",
    'FATAL: password authentication failed for user "someone"': "refuses this user and password",
    "unable to open database file": "cannot be opened",
    "file is not a database": "it is not an SQLite file",
    'syntax error at or near "FORM"': "does not understand the query",
    "connection to server at 127.0.0.1, port 1 failed: Connection refused": "cannot be reached",
    "could not translate host name: Name or service not known": "cannot be reached",
    "Can't load plugin: sqlalchemy.dialects:nowhere": "needs a driver that is not installed",
    "something else with a row of data": "failed (ValueError)",
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("message", CASES)
def test_one_table_says_what_is_meant(message: str, use: str) -> None:
    """For a source, a target and the registry alike: the database's name, the meaning, and what to do."""
    error = explain_database_error(ValueError(f"{message}\n[parameters: {SECRET}]"), "sqlite:///x.db", USES[use])
    assert type(error) is {"source": DataError, "destination": EvergreenError, "registry": RegistryError}[use]
    assert error.what.startswith("sqlite:///x.db ") and CASES[message] in error.what
    assert error.fix.endswith(".") or "pip install" in error.fix
    assert SECRET not in str(error) and "row of data" not in str(error) and "{" not in str(error)


@pytest.mark.parametrize(
    ("use", "what", "fix"),
    [
        (SOURCE, "may not be read by this user", "right to SELECT"),
        (DESTINATION, "cannot be written by this user", "right to make and write the table"),
        (REGISTRY, "cannot be written", "owner and mode"),
    ],
)
def test_a_missing_right_is_told_by_what_it_is_needed_for(use: Use, what: str, fix: str) -> None:
    """Reading rows, writing predictions and keeping versions ask for different rights."""
    for message in ("permission denied for table trips", "attempt to write a readonly database"):
        error = explain_database_error(ValueError(message), "here", use)
        assert (error.what, fix in error.fix) == (f"here {what}.", True)


def test_where_the_url_is_set_is_told() -> None:
    """The fix names the place: the model file's source, the target, or the setting."""
    fixes = [explain_database_error(ValueError("authentication failed"), "here", use).fix for use in USES.values()]
    places = ("the source's URL", "the destination's URL", "EVERGREEN_TRACKING_URI")
    assert fixes == [f"Check them in {place}." for place in places]


def ask(url: URL, use: Use, word: str) -> None:
    with open_engine(url, "here", use, seconds=1) as engine, engine.connect() as connection:
        connection.execute(text("SELECT :word FROM trips"), {"word": word})


def test_an_error_while_it_is_open_is_one_line_and_the_body_s_own_errors_pass(tmp_path: Path) -> None:
    """What SQLAlchemy raises is explained by the driver's words alone; statement and values are not looked at."""
    url = make_url(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(DataError, match=r"here: the query names 'trips', which is not there"):
        ask(url, SOURCE, "locked")
    with pytest.raises(EvergreenError, match=r"^here failed \(OperationalError\)"):
        ask(url, DESTINATION, "refused")
    with pytest.raises(KeyError), open_engine(url, "here", SOURCE, seconds=1):
        raise KeyError


@pytest.mark.parametrize("url", [f"postgresql+nodriver://me:{SECRET}@host/x", f"oddity://me:{SECRET}@host/x"])
def test_a_driver_that_is_not_there_is_named_without_the_rest_of_the_url(url: str) -> None:
    """One line of the use's own class."""
    with pytest.raises(RegistryError, match="driver is installed") as caught:
        ask(parse_url(url, REGISTRY, "x"), REGISTRY, "")
    assert SECRET not in str(caught.value) and "me" not in str(caught.value).split()


def test_a_text_that_is_no_url_is_not_repeated() -> None:
    """It may be the password itself."""
    with pytest.raises(DataError, match=r"source's URL is not a URL that SQLAlchemy can read. Such as a://b") as caught:
        parse_url(f"{SECRET} is no URL", SOURCE, "a://b")
    assert SECRET not in str(caught.value)
