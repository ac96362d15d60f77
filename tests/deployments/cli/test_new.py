"""`evergreen new` from other places than a CSV: its options reach the model file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner

from deployments.cli import console
from deployments.cli.main import app


def test_a_model_file_is_written_from_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --json one object; options that do not fit are status 2, one line, and nothing is written."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    pd.DataFrame({"id": range(200), "x": [n % 7 for n in range(200)], "y": [n % 2 for n in range(200)]}).to_sql(
        "rows", engine, index=False
    )
    engine.dispose()
    words = ["--sql", f"sqlite:///{tmp_path / 'shop.db'}", "--query", "SELECT * FROM rows", "--watermark", "id"]
    asked = ["new", "shop", *words, "--key", "id", "--target", "y", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["path"] == str(tmp_path / "models" / "shop.py")
    assert 'watermark="id",' in (tmp_path / "models" / "shop.py").read_text()
    for more, said in ((["--rev", "v1"], "--rev goes with --dvc"), (["--delta", "t"], "are two to start from")):
        wrong = CliRunner().invoke(app, ["new", "other", *words, *more, "--key", "id", "--target", "y"])
        assert wrong.exit_code == 2
        assert said in wrong.output
    assert not (tmp_path / "models" / "other.py").exists()


def hourly(folder: Path) -> Path:
    """An hourly stream that moves slowly, with a text of many values and a column that says little."""
    rng = np.random.default_rng(2)
    values = np.cumsum(rng.normal(size=700)) * 0.2 + 20
    at = pd.date_range("2026-01-01", periods=700, freq="h").strftime("%Y-%m-%dT%H:%M:%SZ")
    place = [f"place {number}" for number in rng.integers(0, 105, 700)]
    table = pd.DataFrame({"at": at, "place": place, "wind": rng.normal(size=700).round(2), "y": values.round(2)})
    table.to_csv(folder / "load.csv", index=False)
    return folder / "load.csv"


@pytest.mark.parametrize("width", [80, 120])
def test_one_screen_says_what_was_chosen_and_whether_there_is_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """No line is wider than the terminal, no word is broken, and the figures stand beside each other at the end."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "m"))
    monkeypatch.setattr(console.out, "_width", width)
    file = hourly(tmp_path)
    done = CliRunner().invoke(app, ["new", "load", "--csv", str(file), "--target", "y"])
    assert done.exit_code == 0, done.output
    head, *lines = done.stdout.splitlines()
    assert head.startswith("Wrote ") and head.endswith("load.py: regression of 'y'.")
    assert max(len(line.rstrip()) for line in lines) <= width
    assert len(lines) <= 45
    text = re.sub(r"\s+", " ", done.stdout)
    for sentence in (
        "metric mae: The mean absolute error, in the target's own unit.",
        "loss absolute_error: Fitted for the median, for which absolute errors are least.",
        "judged by the newest fifth: Rows have a time, in 'at'.",
        "deployed a refit: What passed its gates also learns the rows that judged it.",
        "neighbouring rows are so alike that the 700 rows are worth about",
        "Cross-validated in 3 folds in the order of the rows, on 700 rows:",
        "The last known label is better than the model",
        "see Lags in docs/model-files.md.",
    ):
        assert sentence in text
    names = ["the model", "a constant: the median", "the last known label", "the label a day before"]
    figures = re.findall(rf"({'|'.join(names)})\s+([\d.]+)\s", done.stdout.split("Cross-validated")[1])
    assert [name for name, _ in figures[:4]] == names
    last = done.stdout.rstrip().splitlines()[-2:]
    assert last[0].startswith("Read it, then run: evergreen retrain load")


def test_json_has_the_choices_and_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is too small for folds says so, and its file is written all the same."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    words = ["--csv", str(hourly(tmp_path)), "--target", "y", "--json"]
    told = json.loads(CliRunner().invoke(app, ["new", "load", *words]).stdout)
    assert told["choices"]["loss"] == "absolute_error"
    assert [rule["name"] for rule in told["cross_validation"]["rules"]][:2] == [
        "a constant: the median", "the last known label",
    ]  # fmt: skip
    assert told["not_measured"] is None
    (tmp_path / "load.csv").write_text("x,y\n" + "".join(f"{n % 7},{n * 37 % 11}.5\n" for n in range(30)))
    small = json.loads(CliRunner().invoke(app, ["new", "small", *words]).stdout)
    assert small["cross_validation"] is None
    assert small["not_measured"] == (
        "30 rows with a target are too few for folds of which each says something. Land more rows."
    )
    assert (tmp_path / "models" / "small.py").exists()
