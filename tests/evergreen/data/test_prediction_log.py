"""The log of predictions: each chunk once, in order, and found again by key and version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

AT = datetime(2026, 1, 1, tzinfo=UTC)
Spec = Callable[..., ModelSpec]


@pytest.fixture
def log(tmp_path: Path, make_spec: Spec) -> PredictionLog:
    """The log of a regression."""
    return PredictionLog(str(tmp_path), make_spec())


def _rows(log: PredictionLog, batch: str, chunk: int, rows: range, **changes: Any) -> pa.Table:
    n = len(rows)
    columns: dict[str, Any] = {
        "batch": [batch] * n,
        "chunk": [chunk] * n,
        "version": [1] * n,
        "at": [AT + timedelta(hours=row) for row in rows],
        "key": list(rows),
        "row": list(rows),
        "scored_at": [AT] * n,
        "id": [str(row) for row in rows],
        "prediction": [float(row) for row in rows],
        "probability": [None] * n,
        "run_id": ["run"] * n,
    }
    return pa.table(columns | changes, schema=log.table.schema)


def _fill(log: PredictionLog, batch: str, *chunks: range) -> Progress:
    progress = Progress(batch)
    for number, rows in enumerate(chunks):
        read = progress.rows_in + len(rows)
        progress = Progress(batch, number + 1, rows.stop, read, {1: read})
        log.append(_rows(log, batch, number, rows), progress)
    return progress


def _keys(*keys: int) -> Any:
    return np.array(keys, dtype=np.int64).view(np.uint64)


def test_a_batch_is_read_back_in_its_order(log: PredictionLog) -> None:
    """Chunks come one at a time in their order, each row in the order of the input, whatever lies between them."""
    _fill(log, "a", range(0, 3), range(4, 4), range(4, 6))
    _fill(log, "b", range(0, 2))
    assert [chunk.column("row").to_pylist() for chunk in log.read_chunks("a")] == [[0, 1, 2], [4, 5]]
    assert [chunk.schema for chunk in log.read_chunks("b")] == [log.table.schema]
    assert (log.committed_chunks("a"), log.committed_chunks("b"), log.committed_chunks("never")) == (
        (0, 1, 2),
        (0,),
        (),
    )
    assert list(log.read_chunks("never")) == []


def test_a_chunk_is_committed_once(log: PredictionLog) -> None:
    """The same chunk again changes nothing, neither rows nor progress."""
    done = _fill(log, "a", range(0, 3))
    _fill(log, "a", range(0, 3))
    log.close(done)
    log.close(done)
    assert sum(chunk.num_rows for chunk in log.read_chunks("a")) == 3
    told = log.progress("a")
    assert (told.closed, told.rows_in, told.rows_scored, told.next_row, told.chunks) == (True, 3, 3, 3, 1)


def test_the_newest_batch_of_a_kind_is_known(log: PredictionLog) -> None:
    """Of the batches whose id begins alike, the one that was written last."""
    assert log.latest("observations-") is None
    _fill(log, "observations-0", range(0, 3))
    last = _fill(log, "observations-3", range(3, 5))
    _fill(log, "a", range(0, 1))
    assert log.latest("observations-") == last
    assert log.latest("other-") is None


def test_progress_is_counted_where_the_commits_are_forgotten(
    log: PredictionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delta drops what old commits said of themselves: rows and transactions are still there."""
    _fill(log, "observations-0", range(0, 3), range(3, 5))
    forgotten: Iterator[dict[str, str]] = iter(())
    monkeypatch.setattr(Table, "all_commit_metadata", lambda _self, _table: forgotten)
    told = log.progress("observations-0")
    assert (told.chunks, told.next_row, told.rows_scored, told.closed) == (2, 5, 5, False)
    assert log.latest("observations-") == told


def test_predictions_are_found_by_key_and_version(log: PredictionLog) -> None:
    """Positions of the asked keys that have one, in their order, an unknown key left out, a repeated one answered."""
    _fill(log, "a", range(0, 4), range(4, 8))
    positions, found = log.find(1, _keys(7, 99, 2, 7, -1), None)
    assert positions.tolist() == [0, 2, 3]
    assert found.values.tolist() == [7.0, 2.0, 7.0]
    assert (found.probability, found.classes) == (None, None)
    for version, keys in ((2, _keys(7)), (1, _keys(99)), (1, _keys())):
        positions, found = log.find(version, keys, None)
        assert (len(positions), len(found.values)) == (0, 0)


def test_of_two_predictions_the_first_counts(log: PredictionLog) -> None:
    """By the time of scoring, whichever was committed first; rows before `since` are not looked at."""
    earlier = _rows(log, "b", 0, range(0, 3), scored_at=[AT - timedelta(days=1)] * 3, prediction=[10.0, 11.0, 12.0])
    _fill(log, "a", range(0, 4))
    log.append(earlier, Progress("b", 1, 3, 3, {1: 3}))
    assert log.find(1, _keys(0, 1, 3), None)[1].values.tolist() == [10.0, 11.0, 3.0]
    positions, found = log.find(1, _keys(0, 1, 3), AT + timedelta(hours=2))
    assert (positions.tolist(), found.values.tolist()) == ([2], [3.0])


@pytest.mark.parametrize("classes", [(0, 1), ("no", "yes")], ids=["numbers", "texts"])
def test_labels_come_back_in_their_own_type(tmp_path: Path, make_spec: Spec, classes: tuple[Any, ...]) -> None:
    """Logged as text, they are the version's classes again, with the probability of each."""
    log = PredictionLog(str(tmp_path), make_spec(task="classification", metric=Metric(name="accuracy")))
    said = [str(classes[1]), str(classes[0])]
    rows = _rows(log, "a", 0, range(0, 2), prediction=said, probability=[[0.2, 0.8], [0.9, 0.1]])
    log.append(rows, Progress("a", 1, 2, 2, {1: 2}, classes=tuple(map(str, classes))))
    assert log.classes("a") == tuple(map(str, classes))
    positions, found = log.find(1, _keys(1, 0), None, classes)
    assert positions.tolist() == [0, 1]
    assert found.values.tolist() == [classes[0], classes[1]]
    assert found.probability is not None
    assert found.probability.tolist() == [[0.9, 0.1], [0.2, 0.8]]
    assert found.classes == classes
    assert log.find(1, _keys(1), None)[1].values.tolist() == [str(classes[0])]


def test_nothing_was_ever_logged(log: PredictionLog) -> None:
    """Questions to a log without rows have empty answers."""
    assert log.progress("a") == Progress("a")
    positions, found = log.find(1, _keys(1, 2), AT)
    assert (len(positions), len(found.values)) == (0, 0)
