"""Scoring as a flow: the champion of the moment, log, quarantine, artifacts, and one line where it fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from evergreen.data.prediction_log import PredictionLog
from evergreen.errors import BusyError, DataError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.locks import open_locks
from flows.retrain import retrain
from flows.score import score

pytestmark = pytest.mark.usefixtures("in_process")
PROJECT = Path(__file__).resolve().parents[2]
MODEL = "toy"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_MODELS", str(PROJECT / "tests" / "faults" / "models"))


@pytest.fixture
def write(settings: Settings, make_rows: Callable[..., pd.DataFrame]) -> Callable[..., Path]:
    """Rows as a file that is old enough to be whole: write(folder, "a.csv", 100, start=300)."""

    def put(folder: Path, name: str, rows: int, **law: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        make_rows(rows, **law).to_csv(folder / name, index=False)
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
        return folder / name

    return put


def _notes(run: str) -> dict[str, str]:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run)]))
        return {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)}


def test_the_champion_of_the_moment_scores(
    settings: Settings, write: Callable[..., Path], make_spec: Callable[..., ModelSpec], tmp_path: Path
) -> None:
    """From no champion yet to a scored file: counted, logged, written out, once; then a new champion scores it anew."""
    write(settings.landing / MODEL, "a.csv", 300)
    none = score(MODEL)
    assert (none.version, none.rows_in, none.rows_scored, none.output) == (None, 0, 0, None)
    assert retrain(MODEL).outcome == "promoted"
    first = score(MODEL, chunk_rows=70)
    assert (first.version, first.rows_in, first.rows_scored, first.repeated) == (1, 300, 300, 0)
    assert (score(MODEL).rows_in, score(MODEL, output=str(tmp_path / "no.csv")).output) == (0, None)

    file = write(tmp_path, "new.csv", 200, start=400)
    text = file.read_text().splitlines()
    text[5] = text[5].replace(",a,", ",c,").replace(",b,", ",c,")
    file.write_text("\n".join(text) + "\n")
    told = score(MODEL, str(file), str(tmp_path / "out.csv"), chunk_rows=64)
    assert (told.rows_in, told.rows_scored, told.rows_rejected, told.repeated) == (200, 199, 1, 0)
    assert told.output == str(tmp_path / "out.csv")
    assert told.rows_per_second > 0
    assert len(pd.read_csv(tmp_path / "out.csv")) == 199
    log = PredictionLog(settings.lake_uri, make_spec())
    said = pd.concat([chunk.to_pandas() for chunk in log.read_chunks(told.batch)])
    assert (set(said["version"]), set(said["run_id"]), len(said)) == ({1}, {told.run_id}, 199)
    (reason,) = quarantine_table(settings.lake_uri, MODEL).read()["reason"]
    notes = _notes(told.run_id)
    assert "| 200 | 199 | 1 | 0 |" in notes["score-toy"] and "| 1 | 199 |" in notes["score-toy"]
    assert reason.partition("(")[0] in notes["score-toy"]
    json = told.to_json()
    assert {"model", "version", "rows_in", "rows_scored", "rows_rejected", "output", "run_id"} <= set(json)

    again = score(MODEL, str(file), str(tmp_path / "out.csv"))
    assert (again.batch, again.rows_scored, again.repeated, again.rows_rejected) == (told.batch, 199, 199, 1)
    assert len(quarantine_table(settings.lake_uri, MODEL).read()) == 1
    write(settings.landing / MODEL, "b.csv", 300, start=1000, slope=5.0)
    assert retrain(MODEL, force=True).champion == 2
    anew = score(MODEL, str(file))
    assert (anew.version, anew.batch != told.batch, anew.versions) == (2, True, {2: 199})


def test_what_cannot_be_scored_is_one_line(
    settings: Settings, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing column ends the run with the file and the reason, noted once; another scoring says who is at it."""
    write(settings.landing / MODEL, "a.csv", 300)
    assert retrain(MODEL).outcome == "promoted"
    bad = tmp_path / "bad.csv"
    bad.write_text("id,at,kind\n1,2025-01-01,a\n2,2025-01-01,b\n")
    for _ in range(2):
        with pytest.raises(DataError, match=r"^bad\.csv: column 'x' is missing\."):
            score(MODEL, str(bad))
    (note,) = quarantine_table(settings.lake_uri, MODEL).read().to_dict("records")
    assert (note["row"], note["origin"]) == (-1, "bad.csv")
    monkeypatch.setattr("flows.score.WAIT", 0.0)
    with (
        open_locks(settings).hold(MODEL, "score", wait=0, now=datetime.now(UTC)),
        pytest.raises(BusyError, match="Another score of toy is running"),
    ):
        score(MODEL)
