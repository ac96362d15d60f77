"""A row is found as it landed first, whatever corrected it since, and without reading a table of which nothing was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data import landings
from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.landings import first_landings, instants
from evergreen.data.observations import Observations
from evergreen.errors import DataError
from evergreen.settings import Settings
from evergreen.spec import ModelSpec, PerformanceThresholds, Rows
from evergreen.storage.delta_table import Table

Make = Callable[..., Any]
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Lake:
    """Observations that land an hour after the other."""

    def __init__(self, settings: Settings, spec: ModelSpec) -> None:
        self.spec, self.observations, self.landed = spec, Observations(settings.lake_uri, spec), 0

    def land(self, rows: pd.DataFrame) -> None:
        at = START + self.landed * HOUR
        checked = check_batch(rows, self.spec, schema_of(self.spec), now=at + 365 * 24 * HOUR)
        assert not checked.problem
        self.observations.land(checked.rows, f"b{self.landed}", f"{self.landed}.csv", now=at)
        self.landed += 1

    def first(self, after: datetime = START - HOUR) -> tuple[pd.DataFrame, list[bool]]:
        """The rows that landed after an instant, as they landed first after it, by id, and which are known."""
        version = self.observations.snapshot().version
        held, since = self.observations.table, int(after.timestamp() * 1e6)
        table = pa.Table.from_batches(list(held.scan(held.schema.names, None, version))).cast(held.schema)
        table = table.filter(instants(table, "_landed_at") > since)
        found, known = first_landings(self.observations, version, table, np.full(table.num_rows, since))
        frame = found.to_pandas().assign(known=known).sort_values("id", ignore_index=True)
        return frame, frame["known"].tolist()


@pytest.fixture(params=[None, "rows"], ids=["by time", "order of landing"])
def table(request: pytest.FixtureRequest, settings: Settings, make_spec: Make) -> Lake:
    """With either order: a corrected row gets a new number, or keeps its own."""
    order = {"time": None, "order": "rows", "performance": PerformanceThresholds(window=Rows(50))}
    return Lake(settings, make_spec(**order if request.param else {}))


def test_rows_that_were_corrected_are_found_as_they_were(table: Lake, make_rows: Make) -> None:
    """Once, twice, by batches that also add rows, and with labels set in between."""
    rows = make_rows(30).assign(x=0.0)
    table.land(rows[:20])
    table.land(rows[10:25].assign(x=1.0))
    labels = rows[["id", "y"]].assign(y=5.0, _labelled_at=pd.Timestamp(START))
    schema = table.observations.table.schema
    keys = pa.table({"id": pa.array(labels["id"], schema.field("id").type)})
    matched = table.observations.find(keys)
    chosen = matched.positions >= 0
    given = {name: pa.array(labels[name], schema.field(name).type) for name in ("y", "_labelled_at")}
    table.observations.set_labels(matched, pa.table(given), chosen, "labels")
    table.land(rows[5:15].assign(x=2.0))
    table.land(rows[14:].assign(x=3.0))
    found, known = table.first()
    assert all(known)
    assert found["x"].tolist() == [0.0] * 20 + [1.0] * 5 + [3.0] * 5
    assert found["_landed_at"].dt.hour.tolist() == [0] * 20 + [1] * 5 + [3] * 5


def test_after_an_instant_the_next_landing_counts(table: Lake, make_rows: Make) -> None:
    """Of rows that were there before, the first correction; of others their first landing."""
    rows = make_rows(30).assign(x=0.0)
    for number, part in enumerate((rows[:20], rows[:25], rows)):
        table.land(part.assign(x=float(number)))
    found, known = table.first(START + HOUR / 2)
    assert all(known)
    assert found["x"].tolist() == [1.0] * 25 + [2.0] * 5
    late, _ = table.first(START + 3 * HOUR / 2)
    assert late["x"].tolist() == [2.0] * 30


def test_nothing_is_read_where_nothing_was_corrected(
    table: Lake, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were only added are told by the log, of which no more is read than it takes."""
    monkeypatch.setattr(landings, "_COMMITS", 4)
    for place in range(0, 36, 3):
        table.land(make_rows(3, start=place))
    read: list[int | None] = []
    real = Table.all_commit_metadata

    def counted(self: Table, opened: Any, limit: int | None = None) -> Iterator[dict[str, str]]:
        read.append(limit)
        return real(self, opened, limit)

    monkeypatch.setattr(Table, "all_commit_metadata", counted)
    monkeypatch.setattr(landings, "find_by_key", pytest.fail)
    found, known = table.first(START + 9 * HOUR)
    assert (len(found), all(known)) == (6, True)
    assert read == [4]
    found, known = table.first()
    assert (len(found), all(known)) == (36, True)
    assert read == [4, 4, 16]


def test_what_cannot_be_read_is_told(table: Lake, make_rows: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """More corrections than are followed, or a version that cleaning took: those rows are not known."""
    rows = make_rows(10)
    for number in range(5):
        table.land(rows[number:].assign(x=float(number)))
    assert table.first()[1] == [True] * 10
    with monkeypatch.context() as patch:
        patch.setattr(landings, "VERSIONS", 2)
        assert table.first()[1] == [True] + [False] * 9
    newest, real = table.observations.snapshot().version, Table.open

    def open_newest(self: Table, version: int | None = None) -> Any:
        if version is not None and version < newest:
            raise DataError("gone")
        return real(self, version)

    monkeypatch.setattr(Table, "open", open_newest)
    found, known = table.first()
    assert known == [True] + [False] * 9
    assert found["x"].tolist() == [0.0, 1.0, 2.0, 3.0] + [4.0] * 6, "they are as they were found"
