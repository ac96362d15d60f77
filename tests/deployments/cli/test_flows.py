"""`evergreen score`, and runs about the past: what is written where, what is one line, and with which status."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_iris
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from evergreen.ledger.decisions import Decisions
from evergreen.settings import Settings

pytestmark = pytest.mark.usefixtures("in_process")

Run = Callable[..., Result]
KEYS = "model version rows_in rows_scored rows_rejected output run_id".split()


@pytest.fixture
def run() -> Run:
    """Invoke the command line: run("score", "iris", "--json")."""
    return lambda *words: CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def told(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def flowers(file: Path) -> str:
    """Ten flowers without their species, one of them impossible."""
    frame = (
        load_iris(as_frame=True)
        .data.iloc[::15]
        .set_axis(["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm"], axis=1)
    )
    frame.iloc[3, 0] = -1.0
    frame.to_csv(file, index=False)
    return str(file)


def test_a_file_is_scored_into_a_file(run: Run, tmp_path: Path) -> None:
    """No champion is one line; then every good row has a prediction, once and again; a table of rows has its own."""
    given, out = flowers(tmp_path / "new.csv"), tmp_path / "out.csv"
    nothing = run("score", "iris", given, str(out), "--json")
    assert nothing.exit_code == 2
    assert "no champion yet" in json.loads(nothing.stdout)["error"]
    assert not out.exists()
    told(run("retrain", "iris", "--json"))
    first = told(run("score", "iris", given, str(out), "--json"))
    assert list(first)[: len(KEYS)] == KEYS
    assert [first[key] for key in KEYS[:6]] == ["iris", 1, 10, 9, 1, str(out)]
    found = pd.read_csv(out)
    assert found["row"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert found["prediction"].tolist() == ["setosa"] * 3 + ["versicolor"] * 3 + ["virginica"] * 3
    names = [f"probability_{name}" for name in ("setosa", "versicolor", "virginica")]
    assert ((found[names].sum(axis=1) - 1).abs() < 1e-9).all()
    assert (found[names].idxmax(axis=1) == "probability_" + found["prediction"]).all()
    once = out.read_bytes()
    again = told(run("score", "iris", given, str(out), "--json", "--chunk-rows", "2"))
    assert [again[key] for key in KEYS[:6]] == [first[key] for key in KEYS[:6]]
    assert out.read_bytes() == once
    landed = told(run("score", "iris", "--json"))
    assert (landed["rows_scored"], landed["rows_rejected"]) == (150, 0)
    shown = run("score", "iris", given, str(tmp_path / "out.parquet"))
    assert shown.exit_code == 0
    assert "version 1 scored 9 of 10 rows" in shown.stdout
    assert "1 row that broke the contract" in shown.stdout
    absent = run("score", "iris", str(tmp_path / "absent.csv"))
    assert (absent.exit_code, absent.stderr.count("absent.csv is not there")) == (2, 1)


def test_a_look_at_the_past(run: Run, settings: Settings) -> None:
    """`--at` is the run's logical time, UTC without an offset; what is no time is one line."""
    told(run("retrain", "iris", "--at", "2026-01-02", "--json"))
    assert Decisions(settings.lake_uri, "iris").all("retrain")[-1].at == datetime(2026, 1, 2, tzinfo=UTC)
    told(run("monitor", "iris", "--at", "2026-01-03T01:00:00+01:00", "--json"))
    assert Decisions(settings.lake_uri, "iris").all("drift")[-1].at == datetime(2026, 1, 3, tzinfo=UTC)
    for command in ("monitor", "retrain"):
        wrong = run(command, "iris", "--at", "yesterday")
        assert (wrong.exit_code, "'yesterday' is not a time" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["new.csv", "nowhere/out.csv"], "There is no folder"),
        (["new.csv", "new.csv"], "is the input itself"),
        (["new.csv", "postgresql+psycopg://u:hunter2@h/db#t"], "holds a password"),
        (["new.csv", "env:EVERGREEN_ABSENT"], "is not set"),
        (["new.csv", "--chunk-rows", "0"], "--chunk-rows"),
    ],
    ids=["no-folder", "same-file", "password", "no-variable", "no-rows"],
)
def test_what_is_at_fault_is_one_line(
    words: list[str], line: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out before anything runs, where it can be; a secret is not repeated."""
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "new.csv")
    found = run("score", "iris", *words)
    assert found.exit_code == 2, found.output
    assert line in found.stderr.replace("\n", " ")
    assert "Traceback" not in found.output
    assert "hunter2" not in found.output
