"""The tables of an environment that is only seen are read, and every write is refused by name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from evergreen import naming
from evergreen.errors import ForeignError
from evergreen.settings import Settings
from evergreen.storage.delta_table import Table
from evergreen.storage.leases import LakeLocks
from evergreen.storage.locks import machine_locks, open_locks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema([("x", pa.int64())])
ROWS = pd.DataFrame({"x": [1, 2]})


@pytest.fixture
def theirs(tmp_path: Path) -> Settings:
    """Those of an environment with a table of two rows."""
    owner = Settings(home=tmp_path, environment="prod")
    Table(naming.table(owner.lake_uri, "toy", "decisions"), SCHEMA).append(ROWS, "first")
    return Settings(home=tmp_path, environment="dev", sees="prod").see("prod")


def _table(settings: Settings, model: str = "toy") -> Table:
    return Table(naming.table(settings.lake_uri, model, "decisions"), SCHEMA)


WRITES: dict[str, Callable[[Table], object]] = {
    "append": lambda table: table.append(ROWS, "second"),
    "append again": lambda table: table.append(ROWS, "first"),
    "append in turn": lambda table: table.append_in_turn(ROWS, table.open()),
    "replace": lambda table: table.replace(ROWS, "second", {}, where="x > 0"),
    "rewrite": lambda table: table.rewrite(pa.table({"x": [1]}), "second", {}),
    "elsewhere": lambda table: pickle.loads(pickle.dumps(table)).append(ROWS, "second"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_write_to_a_table_is_refused(theirs: Settings, write: Callable[[Table], object]) -> None:
    """The table, the environment and the setting are named; the table is as it was, also for a copy of it."""
    table = _table(theirs)
    before = table.open().version()
    with pytest.raises(ForeignError, match=r"toy/decisions belongs to the environment prod, which EVERGREEN_SEES"):
        write(table)
    assert (table.open().version(), list(table.read()["x"])) == (before, [1, 2])


def test_a_table_that_is_not_there_is_read_as_empty_and_not_made(theirs: Settings) -> None:
    """Whoever reads a table that nobody has written makes it, but not in another environment."""
    table = _table(theirs, "other")
    assert table.read().empty
    assert not table.exists()
    assert not Path(table.uri).exists()


def test_no_lock_of_another_environment_is_taken(theirs: Settings) -> None:
    """Neither a file nor a lease: whoever holds one keeps its owner from working."""
    lease = LakeLocks(theirs.lake_uri).hold("toy", "retrain", wait=0, now=NOW)
    for take in (lambda: open_locks(theirs), lambda: machine_locks(theirs), lease.__enter__):
        with pytest.raises(ForeignError, match="belongs to the environment prod"):
            take()
    assert not (theirs.root / "locks").exists()
