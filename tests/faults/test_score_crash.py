"""kill -9 in the middle of a scoring, then a rerun: no row lost, none twice, in the log, the quarantine and the output.

Every case scores rows of its own, so that all of them share one champion.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.data.prediction_log import PredictionLog
from evergreen.ingest.quarantine import quarantine_table
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
BAD = [7, 70, 131]
POINTS = ("chunk:after", "refuse:after", "append:after", "export:after")


class Scorer:
    """Runs flows on one state folder, each in a process of its own that may be killed at a point."""

    def __init__(self, base: Path, server: str) -> None:
        self.base, self.home = base, base / "home"
        environment = os.environ | {
            "EVERGREEN_HOME": str(self.home),
            "EVERGREEN_MODELS": str(HERE / "models"),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": server,
            "PYTHONPATH": str(PROJECT),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "score_driver.py")],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        )  # fmt: skip
        assert self._line() == "ready"

    def run(self, flow: str, point: str | None = None, **arguments: Any) -> tuple[int, dict[str, Any]]:
        """Run a flow to its end or to a kill; the signal that ended it, and what it told."""
        out = self.base / "out.json"
        out.unlink(missing_ok=True)
        order = {"flow": flow, "arguments": {"model": "toy"} | arguments, "out": str(out)}
        assert self.process.stdin is not None
        print(json.dumps(order | {"point": point, "signal": "SIGKILL"}), file=self.process.stdin, flush=True)
        status = int(self._line())
        told = json.loads(out.read_text()) if out.exists() else {}
        assert "error" not in told, told
        return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), told

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def log(self, spec: ModelSpec) -> PredictionLog:
        return PredictionLog(Settings(home=self.home).lake_uri, spec)

    def kept(self, batch: str) -> list[int]:
        """The rows of a batch in quarantine, from 0."""
        kept = quarantine_table(Settings(home=self.home).lake_uri, "toy").read()
        return sorted((kept.loc[kept["batch"] == batch, "row"] - 1).tolist())


def _rows(start: int, *, bad: list[int]) -> pd.DataFrame:
    random = np.random.default_rng(start)
    frame = pd.DataFrame(
        {
            "id": range(start, start + 250),
            "at": pd.date_range("2025-01-01", periods=250, freq="h", tz="UTC") + pd.Timedelta(hours=start % 4000),
            "x": random.normal(size=250),
            "kind": random.choice(["a", "b"], 250),
        }
    )
    frame.loc[bad, "x"] = 1e6
    return frame.assign(y=3 * frame["x"])


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Iterator[Scorer]:
    """A state folder with a champion."""
    scorer = Scorer(tmp_path_factory.mktemp("score"), prefect_server)
    try:
        _land(scorer, "a.csv", _rows(0, bad=[]))
        assert scorer.run("retrain")[1]["outcome"] == "promoted"
        assert scorer.run("score")[1]["rows_scored"] == 250
        yield scorer
    finally:
        scorer.close()


def _land(scorer: Scorer, name: str, rows: pd.DataFrame) -> None:
    file = scorer.home / "landing" / "toy" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(file, index=False)
    os.utime(file, (1_700_000_000, 1_700_000_000))


@pytest.mark.parametrize("point", POINTS)
def test_a_file_is_scored_once(scorer: Scorer, make_spec: Callable[..., ModelSpec], point: str) -> None:
    """Killed at any step, the rerun ends with every accepted row once, every refused one once, the output whole."""
    place = scorer.base / point.replace(":", "-")
    place.mkdir()
    file, output = place / "rows.csv", place / "out.csv"
    _rows(1000 * (1 + POINTS.index(point)), bad=BAD).to_csv(file, index=False)
    asked = {"input": str(file), "output": str(output), "chunk_rows": 60}
    assert scorer.run("score", point, **asked)[0] == signal.SIGKILL, f"{point} was never reached"
    ended, told = scorer.run("score", **asked)
    assert (ended, told["rows_in"], told["rows_scored"], told["rows_rejected"]) == (0, 250, 247, 3)
    said = pd.concat([chunk.to_pandas() for chunk in scorer.log(make_spec()).read_chunks(told["batch"])])
    assert said["row"].tolist() == [row for row in range(250) if row not in BAD]
    assert scorer.kept(told["batch"]) == BAD
    assert len(pd.read_csv(output)) == 247
    assert not (scorer.home / "scratch" / "toy").exists()


@pytest.mark.parametrize("point", ["append:after", "close:before"])
def test_new_observations_are_scored_once(scorer: Scorer, make_spec: Callable[..., ModelSpec], point: str) -> None:
    """Killed, and more lands before the rerun: each observation has one prediction, and the output is whole."""
    start = 10_000 if point == "append:after" else 20_000
    output = scorer.base / f"{start}.csv"
    _land(scorer, f"{start}.csv", _rows(start, bad=[]))
    asked = {"output": str(output), "chunk_rows": 60}
    assert scorer.run("score", point, **asked)[0] == signal.SIGKILL
    _land(scorer, f"{start}-more.csv", _rows(start + 500, bad=[]))
    ended, told = scorer.run("score", **asked)
    assert (ended, told["rows_scored"]) == (0, 500)
    said = pd.concat([chunk.to_pandas() for chunk in scorer.log(make_spec()).read_chunks(told["batch"])])
    wanted = [*range(start, start + 250), *range(start + 500, start + 750)]
    assert said["id"].astype(int).tolist() == wanted
    assert len(pd.read_csv(output)) == 500
    assert scorer.run("score", **asked)[1]["rows_in"] == 0
