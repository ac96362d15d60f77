"""What was answered is in the lake, once, or is counted; an answer never waits for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.spec import Serve
from serving.prediction_queue import PredictionQueue, Served
from serving.version import ServedVersion

KEYED = {"id": 7, "at": "2025-06-01T10:00:00Z"}
Make = Callable[..., ServedVersion]


def _served(version: ServedVersion, request: str, *rows: dict[str, Any], answer: float = 1.0) -> Served:
    values = [[row.get("x"), row.get("kind")] for row in rows]
    return Served(version, request, 1_767_225_600.0, 250, values, [(answer, None)] * len(rows), rows)


def _row(**more: Any) -> dict[str, Any]:
    return {"x": 0.5, "kind": "a", **more}


@pytest.fixture
def queue(tmp_path: Path) -> PredictionQueue:
    return PredictionQueue(str(tmp_path / "lake"))


def _logs(queue: PredictionQueue, version: ServedVersion) -> tuple[pd.DataFrame, pd.DataFrame]:
    requests, predictions = RequestLog(queue.lake, version.spec), PredictionLog(queue.lake, version.spec)
    return tuple(  # type: ignore[return-value]
        table.read(table.schema.names) for table in (requests.table, predictions.table)
    )


def test_a_request_lands_with_its_features_and_its_answer(queue: PredictionQueue, version: ServedVersion) -> None:
    """Features as the pipeline got them, a missing one as null; the prediction refers to the request."""
    queue.put(_served(version, "r-1", _row(**KEYED), {"x": float("nan"), "kind": None}, answer=2.5))
    queue.write()
    requests, predictions = _logs(queue, version)
    assert requests["request"].tolist() == predictions["run_id"].tolist() == ["r-1", "r-1"]
    assert requests["row"].tolist() == predictions["row"].tolist() == [0, 1]
    assert [json.loads(text) for text in requests["features"]] == [{"x": 0.5, "kind": "a"}, {"x": None, "kind": None}]
    assert predictions["prediction"].tolist() == [2.5, 2.5]
    assert requests["route"].tolist() == ["champion", "champion"]
    assert predictions["id"].tolist() == ["7", "r-1"]
    assert (queue.waiting, queue.counts.kept) == (0, 2)


def test_a_key_is_that_of_the_row_in_the_lake(queue: PredictionQueue, make_version: Make, make_rows: Any) -> None:
    """Whatever the form of its time: a label that lands later finds the prediction by it."""
    version = make_version(keys=("at", "id"))
    landed = make_rows(3)
    landed["at"] = landed["at"].dt.tz_localize("UTC")
    observations = Observations(queue.lake, version.spec)
    forms = ["2025-01-01T00:00:00Z", "2025-01-01T02:00:00+01:00", "2025-01-01 02:00:00.000+00:00"]
    for number, at in enumerate(forms):
        queue.put(_served(version, f"r-{number}", _row(id=number, at=at), answer=float(number)))
    queue.write()
    positions, found = PredictionLog(queue.lake, version.spec).find(1, observations.ids(landed), None)
    assert (positions.tolist(), found.values.tolist()) == ([0, 1, 2], [0.0, 1.0, 2.0])


def test_a_row_without_a_key_is_kept_and_found_by_nobody(queue: PredictionQueue, version: ServedVersion) -> None:
    """Beside it another one is found: a null key is not zero."""
    queue.put(_served(version, "r-1", _row()))
    queue.put(_served(version, "r-2", _row(id=3)))
    queue.write()
    assert _logs(queue, version)[1]["key"].isna().tolist() == [True, False]
    keys = Observations(queue.lake, version.spec).ids(pd.DataFrame({"id": [3, 5]}))
    assert PredictionLog(queue.lake, version.spec).find(1, keys, None)[0].tolist() == [0]
    nothing = np.zeros(1, dtype=np.uint64)
    assert len(PredictionLog(queue.lake, version.spec).find(1, nothing, None)[0]) == 0


def test_a_key_that_cannot_be_read_is_counted(queue: PredictionQueue, version: ServedVersion) -> None:
    """The row is kept, and the others of its commit too."""
    queue.put(_served(version, "r-1", _row(id="not a number")))
    queue.put(_served(version, "r-2", _row(id=3)))
    queue.write()
    assert (queue.counts.kept, queue.counts.without_key) == (2, 1)


def test_a_full_queue_counts_what_it_does_not_keep(queue: PredictionQueue, version: ServedVersion) -> None:
    """And takes rows again when there is place."""
    queue.most_rows = 3
    for number in range(5):
        queue.put(_served(version, f"r-{number}", _row()))
    assert (queue.waiting, queue.counts.not_kept) == (3, 2)
    queue.write()
    queue.put(_served(version, "r-9", _row()))
    queue.write()
    assert (queue.waiting, queue.counts.kept, queue.counts.not_kept) == (0, 4, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_lake_is_tried_again(tmp_path: Path, version: ServedVersion) -> None:
    """As by `test_a_lake_that_fails_is_tried_again`, with a real folder."""
    lake = tmp_path / "lake"
    lake.mkdir(mode=0o500)
    queue = PredictionQueue(str(lake))
    queue.put(_served(version, "r-1", _row()))
    queue.write()
    assert (queue.counts.failures, queue.waiting) == (1, 1)
    lake.chmod(0o700)
    queue.write()
    assert (queue.counts.kept, queue.waiting) == (1, 0)


def test_a_lake_that_fails_is_tried_again(tmp_path: Path, version: ServedVersion) -> None:
    """A file stands where the lake's folder would be: rows wait, and are there once when it is gone."""
    place = tmp_path / "lake"
    place.write_text("not a folder")
    queue = PredictionQueue(str(place))
    queue.put(_served(version, "r-1", _row(id=1)))
    queue.write()
    queue.put(_served(version, "r-2", _row(id=2)))
    queue.write()
    assert (queue.counts.failures, queue.waiting, queue.counts.kept) == (2, 2, 0)
    assert queue.counts.problem
    place.unlink()
    queue.write()
    queue.write()
    assert (queue.waiting, queue.counts.kept, queue.counts.problem) == (0, 2, "")
    assert sorted(_logs(queue, version)[0]["request"]) == ["r-1", "r-2"]


def test_a_commit_between_the_tables_is_made_once(
    queue: PredictionQueue, version: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second table fails: when the batch is tried again, the first has it already."""
    queue.put(_served(version, "r-1", _row(id=1)))
    with monkeypatch.context() as broken:
        broken.setattr(PredictionLog, "append_online", _fail)
        queue.write()
    assert (queue.waiting, queue.counts.failures) == (1, 1)
    queue.write()
    requests, predictions = _logs(queue, version)
    assert (len(requests), len(predictions), queue.waiting) == (1, 1, 0)


def _fail(*_arguments: Any) -> None:
    raise OSError("no space left")


def test_rows_of_another_task_wait_for_a_commit_of_their_own(queue: PredictionQueue, make_version: Make) -> None:
    """The model file became a classification meanwhile: its predictions are texts, and the numbers are kept first."""
    version = make_version()
    other = replace(version, number=2, spec=make_version().spec.model_copy(update={"task": "classification"}))
    queue.put(_served(version, "r-1", _row()))
    queue.put(_served(other, "r-2", _row()))
    queue.write()
    assert (queue.counts.kept, queue.waiting) == (1, 1)


def test_a_share_of_the_requests_is_kept(queue: PredictionQueue, make_version: Make) -> None:
    """`Serve(log=0.0)` keeps none, 0.5 about half of four hundred: beyond these bounds is one case in 10^15."""
    half = make_version(serve=Serve(log=0.5))
    for number in range(400):
        queue.put(_served(half, f"h-{number}", _row()))
    assert 120 < queue.waiting < 280
    queue.write()
    kept = queue.counts.kept
    queue.put(_served(make_version(serve=Serve(log=0.0)), "r-1", _row()))
    queue.write()
    assert (queue.waiting, queue.counts.kept, queue.counts.not_kept) == (0, kept, 0)


def test_the_end_writes_what_is_left(queue: PredictionQueue, version: ServedVersion) -> None:
    """Also what came after the last commit."""
    queue.seconds = 3600.0
    queue.start()
    queue.put(_served(version, "r-1", _row()))
    queue.close()
    assert queue.counts.kept == 1
