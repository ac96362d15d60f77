"""`evergreen new`: files that load, accept the data they came from and can be fitted; every refusal is one line."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deltalake import write_deltalake
from sqlalchemy import create_engine

import models
from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.errors import EvergreenError, ModelFileError
from evergreen.ingest.ingest import ingest
from evergreen.model_files.first_rows import DataOptions, read_head
from evergreen.model_files.new import NewModelFile, scaffold
from evergreen.registry.artifacts import packed
from evergreen.settings import Settings
from evergreen.sources.base import Batch
from evergreen.spec.fields import Rows
from evergreen.spec.gates import ROUTINE_MARGIN
from evergreen.spec.model import ModelSpec
from evergreen.training.fit import fit
from evergreen.training.predict import labelled, predict

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PROJECT = Path(__file__).resolve().parents[3]

GOLDEN = '''"""Classification of `bought`, from shop.csv.

`evergreen new` inferred types, categories and the task from 40 rows. The file is yours now: read it, and
change what you know better.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.sources import Folder
from evergreen.spec import DriftThresholds, Features, Gates, Holdout, Metric, ModelSpec, Reading, Search, Training

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

# Numbers reach the pipeline as float64, categories as text; a number that is a code is better a category.
FEATURES = Features(
    numeric=("age",),
    categorical=("town",),
)
# Left out, and why; to use one after all, add it here and to contract():
#   "id": the key
#   "note": an identifier: 40 different texts in 40 rows

# "no" in 20 rows, "yes" in 20 rows.
# A row of another class goes to quarantine.
CLASSES = ("no", "yes")


def contract() -> DataFrameSchema:
    """The data contract: a row that breaks it goes to quarantine with the reason.

    Keys, time and target are as strict as the data so far. A feature may be missing, be a decimal, or have a new
    category: the pipeline takes that, and the drift report tells of it. Add ranges that you know: `pa.Check.ge(0)`.
    """
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "age": pa.Column(float, nullable=True),
            "town": pa.Column(str, nullable=True),
            "bought": pa.Column(str, pa.Check.isin(CLASSES)),
        }
    )


def pipeline(seed: int) -> Pipeline:
    """Gradient-boosted trees, which accept missing numbers; a new category counts as a missing one."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = ColumnTransformer([("encode", encode, list(FEATURES.categorical))], remainder="passthrough")
    # Smaller leaves than the default of 20, since rows are few.
    # Stopping early would set rows of every class aside, and the rarest has too few of them.
    boost = HistGradientBoostingClassifier(max_iter=200, min_samples_leaf=5, early_stopping=False, random_state=seed)
    return Pipeline([("columns", columns), ("model", boost)])


MODEL = ModelSpec(
    name="shop",
    task="classification",
    # Every file of this folder that matches the pattern is a batch; put the next ones beside the first.
    source=Folder(
        Path(__file__).resolve().parents[1] / "data",
        pattern="*.csv",
    ),
    # How values are written in files: the empty cell is missing, and the texts named here.
    reading=Reading(
        missing=("N/A", "NULL", "NaN", "n/a", "nan", "null"),
    ),
    contract=contract,
    # A row with a known key replaces the earlier one.
    keys=("id",),
    target="bought",
    features=FEATURES,
    pipeline=pipeline,
    # Four combinations, each fitted three times; the best is fitted again on all training rows.
    search=Search(grid={"model__learning_rate": (0.03, 0.1), "model__max_leaf_nodes": (7, 31)}, folds=3),
    # How well the rows of "yes" are told from the others, whatever the threshold.
    # Add bound=..., the worst value that may be promoted.
    metric=Metric(name="roc_auc"),
    # The same recipe on newer rows may be 15% worse at most; another has to be better.
    gates=Gates(routine_margin=0.15),
    # A random fifth of the rows judges a candidate: without a time column they have no order.
    holdout=Holdout(strategy="random", share=0.2, seed=42),
    training=Training(min_rows=16),
    # A drift report fails when this share of the features has drifted.
    drift=DriftThresholds(share=0.3, min_rows=20),
)
'''


def table(rows: int = 400, **columns: Any) -> pd.DataFrame:
    """A binary question with a number, a category, missing values and no time; `columns` replace or add some."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=rows)
    plain: dict[str, Any] = {
        "x": pd.Series(x.round(3)).mask(rng.random(rows) < 0.1),
        "plan": pd.Series(rng.choice(["basic", "plus", "family"], rows)).mask(rng.random(rows) < 0.1),
        "n": rng.integers(0, 50, rows),
        "y": np.where(x + rng.normal(size=rows) > 0, "yes", "no"),
    }
    return pd.DataFrame(
        plain | {name: value(rng, rows) if callable(value) else value for name, value in columns.items()}
    )


def hours(rows: int = 400, layout: str = "%Y-%m-%d %H:%M:%S") -> Any:
    """Hourly times as text."""
    return pd.date_range("2026-01-01", periods=rows, freq="h").strftime(layout)


def places(rng: np.random.Generator, rows: int) -> list[str]:
    """More texts than codes serve, each of a few rows."""
    return [f"place {number}" for number in rng.integers(0, 110, rows)]


def write(folder: Path, frame: pd.DataFrame, name: str = "data.csv", **options: Any) -> Path:
    """A frame as a CSV file that is not fresh any more."""
    path = folder / name
    frame.to_csv(path, index=False, **options)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def make(
    tmp_path: Path, frame: pd.DataFrame, *, file: str = "data.csv", **options: Any
) -> tuple[NewModelFile, ModelSpec]:
    """Scaffold from a frame and load what was written."""
    given = {"target": "y"} | options
    made = scaffold("made", write(tmp_path, frame, file), tmp_path / "models", **given)
    return made, models.load("made", tmp_path / "models").spec


def rows_of(spec: ModelSpec, root: Path, *, rejected: int = 0) -> pd.DataFrame:
    """The rows that the model's own source and contract give, none of them refused."""
    (batch,) = list(spec.source.read(root, lambda _id: True))
    assert isinstance(batch, Batch)
    assert batch.frame is not None, batch.problem
    checked = check_batch(batch.frame, spec, schema_of(spec), now=NOW, written=batch.written)
    assert not checked.problem
    assert len(checked.rejected) == rejected, checked.rejected.value_counts()
    return checked.rows


ODD_NAMES = ("a b", 'q"q', "it's", "b'\"b", "Größe", "\u03b1\u2013\u03b2", "日本", "back\\", "{x}", "class")

SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "binary text": ({}, {}, "classification", "roc_auc"),
    "binary number": ({"y": lambda g, n: g.integers(0, 2, n)}, {}, "classification", "roc_auc"),
    "binary flag": ({"y": lambda g, n: g.random(n) < 0.4}, {}, "classification", "roc_auc"),
    "rare": ({"y": lambda g, n: np.where(np.arange(n) % 20, "no", "yes")}, {}, "classification", "average_precision"),
    "rare first": ({"y": lambda g, n: np.where(np.arange(n) % 20, "good", "bad")}, {}, "classification", "roc_auc"),
    "three": ({"y": lambda g, n: g.choice(["a", "b", "c"], n)}, {}, "classification", "balanced_accuracy"),
    "three rare": (
        {"y": lambda g, n: g.choice([1, 2, 3], n, p=[0.48, 0.48, 0.04])},
        {"task": "classification"},
        "classification",
        "f1",
    ),
    "amount": ({"y": lambda g, n: g.normal(size=n)}, {}, "regression", "mae"),
    "count": ({"y": lambda g, n: g.poisson(3, n)}, {}, "regression", "rmse"),
    "chosen metric": ({"y": lambda g, n: g.normal(size=n)}, {"metric": "rmse"}, "regression", "rmse"),
    "chosen task": ({"y": lambda g, n: g.integers(0, 3, n)}, {"task": "regression"}, "regression", "rmse"),
    "target missing": (
        {"y": lambda g, n: np.where(np.arange(n) % 9, g.integers(0, 2, n), np.nan)},
        {},
        "classification",
        "roc_auc",
    ),
    "flags": ({"f": lambda g, n: g.random(n) < 0.4}, {}, "classification", "roc_auc"),
    "flags missing": (
        {"f": lambda g, n: pd.Series(g.choice([True, False], n), dtype=object).mask(g.random(n) < 0.1)},
        {},
        "classification",
        "roc_auc",
    ),
    "time": ({"at": hours()}, {"time": "at"}, "classification", "roc_auc"),
    "time zone": (
        {"at": hours()},
        {"time": "at", "timezone": "Europe/Paris", "keys": ("at",)},
        "classification",
        "roc_auc",
    ),
    "time offset": ({"at": hours(layout="%Y-%m-%dT%H:%M:%SZ")}, {"time": "at"}, "classification", "roc_auc"),
    "time American": ({"at": hours(layout="%m/%d/%Y %H:%M")}, {"time": "at"}, "classification", "roc_auc"),
    "time German": ({"at": hours(layout="%d.%m.%Y %H:%M:%S")}, {"time": "at"}, "classification", "roc_auc"),
    "time compact": ({"at": hours(layout="%Y%m%d")}, {"time": "at"}, "classification", "roc_auc"),
    "time unix": ({"at": hours(layout="%s")}, {"time": "at"}, "classification", "roc_auc"),
    "time milliseconds": ({"at": hours(layout="%s000")}, {"time": "at"}, "classification", "roc_auc"),
    "keys": (
        {"shop": lambda g, n: np.arange(n) % 4, "day": hours(layout="%Y-%m-%d-%H")},
        {"keys": ("shop", "day")},
        "classification",
        "roc_auc",
    ),
    "big numbers": ({"big": lambda g, n: np.arange(n, dtype="uint64") % 9 + 2**63}, {}, "classification", "roc_auc"),
    "odd names": (
        {name: lambda g, n: g.integers(0, 9, n) for name in ODD_NAMES},
        {"keys": ()},
        "classification",
        "roc_auc",
    ),
    "long names": ({"long " * 30: lambda g, n: g.random(n)}, {}, "classification", "roc_auc"),
    "many zeros": (
        {"y": lambda g, n: np.where(g.random(n) < 0.6, 0, g.lognormal(3, 1, n)).round(2)},
        {},
        "regression",
        "rmse",
    ),
    "many zeros, mae": (
        {"y": lambda g, n: np.where(g.random(n) < 0.6, 0, g.lognormal(3, 1, n)).round(2)},
        {"metric": "mae"},
        "regression",
        "mae",
    ),
    "a long tail": ({"y": lambda g, n: g.lognormal(3, 1, n).round(2) + 0.01}, {}, "regression", "rmse"),
    "many texts": ({"place": lambda g, n: places(g, n)}, {}, "classification", "roc_auc"),
    "many texts, amount": (
        {"place": lambda g, n: places(g, n), "y": lambda g, n: g.normal(size=n)},
        {},
        "regression",
        "mae",
    ),
    "many texts alone, classes": (
        {"x": 1.0, "n": 1, "plan": lambda g, n: places(g, n), "y": lambda g, n: g.choice(["a", "b", "c"], n)},
        {},
        "classification",
        "balanced_accuracy",
    ),
    "many texts, count in time": (
        {"at": lambda g, n: hours(), "place": lambda g, n: places(g, n), "y": lambda g, n: g.poisson(2, n)},
        {},
        "regression",
        "rmse",
    ),
    "a walk": ({"y": lambda g, n: np.cumsum(g.normal(size=n))}, {}, "regression", "mae"),
    "many columns": ({f"column_{i}": lambda g, n: g.random(n) for i in range(40)}, {}, "classification", "roc_auc"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_file_loads_and_accepts_every_row_of_the_data_it_came_from(tmp_path: Path, shape: str) -> None:
    """Whatever the shape, the task and metric fit it and no row is refused."""
    columns, options, task, metric = SHAPES[shape]
    made, spec = make(tmp_path, table(**columns), **options)
    rows = rows_of(spec, tmp_path)
    assert (made.task, made.metric) == (spec.task, spec.metric.name) == (task, metric)
    assert len(rows) == 400
    assert list(tmp_path.glob("models/.*")) == []


def test_file_is_what_a_person_would_have_written(tmp_path: Path) -> None:
    """The whole text, literally."""
    n = np.arange(40)
    frame = pd.DataFrame(
        {
            "id": n,
            "age": np.where(n % 7, n + 20.5, np.nan),
            "town": np.where(n % 3, "Bonn", "Ulm"),
            "note": [f"written by {at}" for at in n],
            "bought": np.where(n % 2, "yes", "no"),
        }
    )
    (tmp_path / "data").mkdir()
    file = write(tmp_path / "data", frame, "shop.csv")
    made = scaffold("shop", file, tmp_path / "models", target="bought", keys=("id",))
    assert made.path.read_text() == GOLDEN
    assert any("8 rows will judge" in note for note in made.notes)


@pytest.mark.slow
def test_files_pass_the_projects_own_checks(tmp_path: Path) -> None:
    """Linter, formatter and type checker have nothing to say, whatever the names of columns."""
    folder = tmp_path / "models"
    shapes = ["binary text", "time American", "time milliseconds", "odd names", "long names", "rare"]
    shapes += [shape for shape in SHAPES if shape.startswith(("many", "a "))]
    for number, shape in enumerate(shapes):
        columns, options, *_ = SHAPES[shape]
        scaffold(
            f"m{number}", write(tmp_path, table(**columns), f"{number}.csv"), folder, **({"target": "y"} | options)
        )
    config = str(PROJECT / "pyproject.toml")
    ruff = [sys.executable, "-m", "ruff"]
    mypy = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", str(tmp_path / "cache")]
    for command in (
        [*ruff, "check", "--no-cache", "--config", config, str(folder)],
        [*ruff, "format", "--no-cache", "--check", "--config", config, str(folder)],
        [*mypy, *(str(folder / f"m{number}.py") for number in (1, 4, 9, 11, 14))],
    ):  # fmt: skip
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "shape",
    [
        "binary text", "three", "target missing", "flags missing", "many texts", "many texts, amount",
        "many texts alone, classes", "many texts, count in time",
    ],
)  # fmt: skip
def test_pipeline_fits_its_own_data_and_survives_what_it_never_saw(tmp_path: Path, shape: str) -> None:
    """The search runs, the stored pipeline holds trusted types only, and a new category is predicted for."""
    columns, options, *_ = SHAPES[shape]
    _, spec = make(tmp_path, table(**columns), **options)
    rows = labelled(spec, rows_of(spec, tmp_path))
    fitted = fit(spec, rows, None, params={"model__max_iter": 10})
    assert packed(fitted.pipeline, spec.name, spec.trusted)
    strange = rows.head(5).assign(plan="never seen", place=["never seen", None] + ["place 1"] * 3)
    told = predict(fitted.pipeline, spec, strange)
    assert np.isfinite(told.values if told.probability is None else told.probability).all()


def test_ties_that_are_spread_can_be_stored(tmp_path: Path) -> None:
    """The function that spreads them is of the model file, which says that it is trusted; predictions are amounts."""
    columns, options, *_ = SHAPES["many zeros, mae"]
    _, spec = make(tmp_path, table(**columns), **options)
    rows = rows_of(spec, tmp_path)
    fitted = fit(spec, rows, None, params={"model__regressor__max_iter": 30})
    assert spec.trusted == ("models.made.spread_ties",)
    assert packed(fitted.pipeline, spec.name, spec.trusted)
    told = predict(fitted.pipeline, spec, rows).values
    assert told.max() > 1
    again = fit(spec, rows, None, params={"model__regressor__max_iter": 30})
    assert (predict(again.pipeline, spec, rows).values == told).all()


@pytest.mark.parametrize(("shape", "strategy"), [("amount", "random"), ("a walk", "latest"), ("time", "latest")])
def test_an_order_has_the_latest_rows_judge_and_a_refit(tmp_path: Path, shape: str, strategy: str) -> None:
    """Never a random share of ordered rows; the margin of a routine candidate is in every file, and is a number."""
    columns, options, *_ = SHAPES[shape]
    made, spec = make(tmp_path, table(**columns), **options)
    assert (spec.holdout.strategy, spec.training.refit) == (strategy, strategy == "latest")
    assert made.ordered == (strategy == "latest")
    assert spec.gates.routine_margin == ROUTINE_MARGIN
    assert f"gates=Gates(routine_margin={ROUTINE_MARGIN}" in made.path.read_text()
    assert spec.gates.persistence == ("tell" if made.ordered else "off")
    by_rows = made.ordered and spec.time is None
    assert (spec.order, spec.performance.window) == (("rows", Rows(100)) if by_rows else (None, timedelta(days=7)))


def test_what_was_chosen_is_said_in_short_lines(tmp_path: Path) -> None:
    """Each with its reason, in the words of the model file where they stand there too."""
    columns, options, *_ = SHAPES["many texts, count in time"]
    made, _ = make(tmp_path, table(**columns), **options)
    said = {choice.about: (choice.value, choice.why) for choice in made.choices}
    assert list(said) == ["features", "metric", "loss", "judged by", "gate", "deployed"]
    assert said["features"] == (
        "2 numbers, 1 category, 1 text by target", "'place' has 106 texts: each becomes the mean target of its rows.",
    )  # fmt: skip
    assert said["loss"][0] == "poisson"
    assert said["judged by"] == ("the newest fifth", "Rows have a time, in 'at'.")
    for why in (said["metric"][1], said["loss"][1]):
        assert f"# {why}\n" in made.path.read_text()


def test_many_columns_that_are_left_out_do_not_fill_the_screen(tmp_path: Path) -> None:
    """Five are told, the file names all."""
    made, _ = make(tmp_path, table(**{f"c{number}": 1 for number in range(9)}))
    assert sum("is left out: " in note for note in made.notes) == 5
    assert "4 more columns are left out: the file says why" in made.notes
    assert made.path.read_text().count("it is the same in every row") == 9


def test_regression_with_time_searches_in_time_order(tmp_path: Path) -> None:
    """Naive times are read as UTC, the newest rows judge, and every combination of the grid is tried."""
    frame = table(200, at=hours(200), y=lambda g, n: g.normal(size=n))
    made, spec = make(tmp_path, frame, time="at")
    fitted = fit(spec, rows_of(spec, tmp_path), None)
    assert len(fitted.tried) == 4
    assert (spec.time, spec.timezone, spec.holdout.strategy) == ("at", "UTC", "latest")
    assert any("read as UTC" in note for note in made.notes)


def test_more_than_ten_thousand_rows_stop_early_and_can_be_stored(tmp_path: Path) -> None:
    """Early stopping sets in by itself there, and leaves nothing that skops would not trust."""
    _, spec = make(tmp_path, table(10_500))
    fitted = fit(spec, rows_of(spec, tmp_path), None, params={"model__max_iter": 15})
    assert fitted.pipeline[-1].do_early_stopping_
    assert packed(fitted.pipeline, spec.name, spec.trusted)


def test_a_model_of_that_name_in_a_folder_is_named(tmp_path: Path) -> None:
    """Two files of one name would be no model at all."""
    (tmp_path / "models" / "team").mkdir(parents=True)
    (tmp_path / "models" / "team" / "made.py").touch()
    with pytest.raises(ModelFileError, match=r"models/team/made\.py exists already"):
        scaffold("made", tmp_path / "rows.csv", tmp_path / "models", target="y")
    assert models.names(tmp_path / "models") == ("made",)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    """Neither a file nor a dangling link; what is there stays as it is."""
    csv = write(tmp_path, table())
    (tmp_path / "made.py").write_text("mine")
    (tmp_path / "linked.py").symlink_to(tmp_path / "nowhere")
    for name in ("made", "linked"):
        with pytest.raises(EvergreenError, match="never overwritten"):
            scaffold(name, csv, tmp_path, target="y")
    assert (tmp_path / "made.py").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    """A models folder that is a file."""
    csv = write(tmp_path, table())
    with pytest.raises(EvergreenError, match="not a folder"):
        scaffold("made", csv, csv, target="y")


@pytest.mark.parametrize("name", ["a/b", "../x", "a\0b", "x" * 10_000, "class", "Upper", "", "1a", "a-b", "\x1b[31m"])
def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path, name: str) -> None:
    """One short printable line, and nothing is written."""
    with pytest.raises(EvergreenError) as caught:
        scaffold(name, tmp_path / "data.csv", tmp_path / "models", target="y")
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "header only": (b"x,y\n", "no rows"),
    "binary": (b"\0\1\2" * 90, "zero bytes"),
    "not UTF-8": (b"x,y\n\x81\xfe,1\n1,2\n", "neither UTF-8, first in line 2, nor cp1252"),
    "Parquet": (b"PAR1 and so on", "something else"),
    "same name twice": (b"y,y\n1,2\n2,3\n", "same name"),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, content: str) -> None:
    """The line says what is wrong with the content."""
    csv = tmp_path / "data.csv"
    csv.write_bytes(CONTENTS[content][0])
    with pytest.raises(EvergreenError, match=CONTENTS[content][1]):
        scaffold("made", csv, tmp_path, target="y")
    assert not (tmp_path / "made.py").exists()


def test_a_path_that_is_no_csv_file_is_refused(tmp_path: Path) -> None:
    """Missing, an empty folder, a name that a landing folder passes over, a NUL, and 10 kB."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "data.txt").write_text("x,y\n1,2\n")
    for name, said in (
        ("none.csv", "is not there"),
        ("folder.csv", "is a folder"),
        ("data.txt", "named like data.csv"),
        ("a\0b.csv", "cannot be read|is not there"),
        ("x" * 10_000 + ".csv", "cannot be read|is not there"),
    ):
        with pytest.raises(EvergreenError, match=said) as caught:
            scaffold("made", tmp_path / name, tmp_path, target="y")
        assert len(str(caught.value)) < 300


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "target misspelt": ({}, {"target": "Y "}, r"no column 'Y '\. Did you mean 'y'"),
    "target unknown": ({}, {"target": "q" * 10_000}, r"It has 'x', 'plan', 'n', 'y'"),
    "target constant": ({"y": 1.5}, {}, "only the value '1.5'"),
    "target one class": ({"y": "no"}, {}, "only the value 'no'"),
    "target absent": ({"y": None}, {}, "missing in every row"),
    "target prose": ({"y": lambda g, n: [f"text {at}" for at in range(n)]}, {}, "neither amounts nor classes"),
    "target infinite": ({"y": lambda g, n: np.where(np.arange(n) % 5, g.normal(size=n), np.inf)}, {}, "infinite"),
    "regression of text": ({}, {"task": "regression"}, "holds no numbers"),
    "classes of amounts": ({"y": lambda g, n: g.normal(size=n)}, {"task": "classification"}, "neither amounts"),
    "task": ({}, {"task": "guess"}, "'guess' is not a task"),
    "metric": ({}, {"metric": "best"}, "'best' is not known"),
    "metric of the other task": ({}, {"metric": "mae"}, "mae is for regression"),
    "metric of two classes": (
        {"y": lambda g, n: g.choice(["a", "b", "c"], n)},
        {"metric": "average_precision"},
        "for two classes",
    ),
    "time unknown": ({}, {"time": "when"}, "--time: the data has no column 'when'"),
    "time of text": ({}, {"time": "plan"}, "'plan' is not a time in 400 rows, first in row 1"),
    "time of numbers": ({}, {"time": "n"}, "'n' is not a time"),
    "time absent": (
        {"at": np.where(np.arange(400) < 300, hours(), None)},
        {"time": "at"},
        "100 rows, first in row 301",
    ),
    "zone": ({"at": hours()}, {"time": "at", "timezone": "Mars/Base"}, "'Mars/Base' is not an IANA"),
    "zone without time": ({}, {"timezone": "UTC"}, "no time column"),
    "key unknown": ({}, {"keys": ("id",)}, "--key: the data has no column 'id'"),
    "key repeated": ({}, {"keys": ("n",)}, r"repeat the key 'n' of an earlier row, first in row \d+"),
    "key absent": (
        {"id": np.where(np.arange(400) == 6, np.nan, np.arange(400))},
        {"keys": ("id",)},
        "1 row, first in row 7",
    ),
    "key twice": ({}, {"keys": ("n", "n")}, "named twice"),
    "target is a key": ({}, {"keys": ("y",)}, "time or a key as well"),
    "a name of the tables": ({"_batch": 1}, {"target": "_batch"}, "of their own"),
    "nothing left": ({"x": 1, "plan": None, "n": "same"}, {}, "No column is left .*'x': it is the same in every row"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    """The line names the option and what to do next."""
    columns, options, said = REFUSALS[case]
    with pytest.raises(EvergreenError, match=said) as caught:
        make(tmp_path, table(**columns), **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.fix
    assert not (tmp_path / "models").exists()


def test_other_forms_of_csv_are_read_as_a_landing_folder_does(tmp_path: Path) -> None:
    """Semicolons, gzip, and a name that a pattern would take for a wildcard."""
    semicolons = write(tmp_path, table(), "semi;[1].csv", sep=";")
    scaffold("semi", semicolons, tmp_path, target="y")
    zipped = tmp_path / "data.csv.gz"
    zipped.write_bytes(gzip.compress(semicolons.read_bytes()))
    os.utime(zipped, (1_700_000_000, 1_700_000_000))
    scaffold("zipped", zipped, tmp_path, target="y")
    for name in ("semi", "zipped"):
        assert len(rows_of(models.load(name, tmp_path).spec, tmp_path)) == 400


def test_only_the_head_of_a_large_file_is_looked_at(tmp_path: Path) -> None:
    """Cut between rows, also where a quoted text spans lines."""
    csv = tmp_path / "data.csv"
    csv.write_text("x,t\n" + '1,"two\nlines, ""quoted"""\n' * 50)
    frame, more = read_head(csv, rows=10)
    assert more
    assert 10 <= len(frame) <= 11
    assert set(frame["t"]) == {'two\nlines, "quoted"'}
    whole, more = read_head(csv, rows=50)
    assert (len(whole), more) == (50, False)


# Other beginnings


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """An SQLite file with the table `rows`, and what it holds; `changed` is its watermark."""
    frame = table(at=hours(), id=lambda _g, n: np.arange(n), changed=lambda _g, n: np.arange(n))
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    frame.to_sql("rows", engine, index=False)
    engine.dispose()
    return tmp_path / "shop.db", frame


def source_text(made: NewModelFile) -> str:
    """The source as the model file has it, with the comments before it, and the line that imports it."""
    text = made.path.read_text()
    lines = re.search(r"\n((?:    #[^\n]*\n)*    source=.*?\n    \),)", text, flags=re.DOTALL)
    (imported,) = re.findall(r"^from evergreen\.\w+ import \w*(?:Source|Folder)$", text, flags=re.MULTILINE)
    assert lines is not None
    return f"{imported}\n{lines[1]}"


def landed(made: NewModelFile, settings: Settings) -> int:
    """How many rows the model's own source, contract and keys let in; none of them is refused."""
    spec = models.load(made.path.stem, made.path.parent).spec
    landing = ingest(spec, settings, now=NOW)
    assert landing.quarantined == ()
    return landing.added


def test_a_query_becomes_a_model_file(
    tmp_path: Path, settings: Settings, shop: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is written in full; the watermark is no feature; the rows land, and then nothing."""
    monkeypatch.chdir(tmp_path)
    data = DataOptions(sql="sqlite:///shop.db", query="SELECT * FROM rows", watermark="changed")
    made = scaffold("shop", data, tmp_path / "models", target="y", time="at", keys=("id",))
    assert source_text(made).splitlines() == [
        "from evergreen.sources import SqlSource",
        "    # Read on from the newest watermark; a row that changes has to get a newer one.",
        "    source=SqlSource(",
        f'        "sqlite:///{shop[0]}",',
        '        "SELECT * FROM rows",',
        '        watermark="changed",',
        "    ),",
    ]
    assert "changed" not in models.load("shop", tmp_path / "models").spec.features.all
    assert (landed(made, settings), landed(made, settings)) == (400, 0)


def test_a_password_is_not_written(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model file names a variable in its place and says so; with the variable set it works at once."""
    psycopg = pytest.importorskip("psycopg")
    try:
        psycopg.connect("host=127.0.0.1 user=postgres dbname=postgres connect_timeout=3").close()
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL answers at 127.0.0.1:5432 to the user postgres")
    url = "postgresql+psycopg://postgres:a-s3cret@127.0.0.1:5432/postgres"
    query = "SELECT n, n % 7 AS x, n % 2 = 0 AS y FROM generate_series(1, 200) AS n"
    made = scaffold("shop", DataOptions(sql=url, query=query), tmp_path / "models", target="y", keys=("n",))
    assert source_text(made).splitlines()[1:4] == [
        "    # The URL holds a password: it is read from the environment.",
        "    # Every ingest reads the whole query; with a watermark column only what is new.",
        "    source=SqlSource(",
    ]
    assert made.notes[0] == "the URL holds a password, and is not written: set SHOP_SQL_URL to it where runs are"
    assert "s3cret" not in made.path.read_text() + repr(DataOptions(sql=url))
    assert "SHOP_SQL_URL" not in os.environ
    monkeypatch.setenv("SHOP_SQL_URL", url)
    assert landed(made, settings) == 200


def test_a_delta_table_becomes_a_model_file(
    tmp_path: Path, settings: Settings, shop: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its full path, with what its rows say."""
    monkeypatch.chdir(tmp_path)
    write_deltalake("shop", shop[1])
    made = scaffold("shop", DataOptions(delta="shop"), tmp_path / "models", target="y", time="at", keys=("id",))
    marked = "  # noqa: S108" if str(tmp_path).startswith("/tmp") else ""  # noqa: S108
    assert (
        source_text(made)
        == f'''from evergreen.sources import DeltaSource
    # Rows of new files are read; a row with a known key replaces the earlier one.
    source=DeltaSource(
        "{tmp_path / "shop"}",{marked}
    ),'''
    )
    assert (landed(made, settings), landed(made, settings)) == (400, 0)


def test_what_dvc_tracks_becomes_a_model_file(
    tmp_path: Path, settings: Settings, shop: tuple[Path, pd.DataFrame], repository: Any
) -> None:
    """By its repository and the path in it, at a revision or as the workspace has it."""
    tracked = repository(tmp_path / "proj")
    tracked.put("data/rows.csv", shop[1])
    tracked.commit("v1", "data/rows.csv")
    path = tmp_path / "proj" / "data" / "rows.csv"
    marked = "  # noqa: S108" if str(tmp_path).startswith("/tmp") else ""  # noqa: S108
    made = scaffold("shop", DataOptions(dvc=path, rev="v1"), tmp_path / "models", target="y", time="at")
    assert (
        source_text(made)
        == f'''from evergreen.sources import DvcSource
    # What this revision says; a file that changed is read again.
    source=DvcSource(
        "data/rows.csv",
        rev="v1",
        repo="{tmp_path / "proj"}",{marked}
    ),'''
    )
    assert landed(made, settings) == 400
    other = scaffold("other", DataOptions(dvc=path), tmp_path / "models", target="y", time="at")
    assert "rev=" not in source_text(other)
    ruff = [sys.executable, "-m", "ruff"]
    config = str(PROJECT / "pyproject.toml")
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):
        words = [*ruff, *command, "--config", config, str(tmp_path / "models")]
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


BEGINNINGS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing": ({}, {}, "There is nothing to start from"),
    "two": ({"csv": Path("a.csv"), "delta": "t"}, {}, "--csv and --delta are two to start from"),
    "no query": ({"sql": "sqlite:///a.db"}, {}, "--sql: there is no query"),
    "query alone": ({"csv": Path("a.csv"), "query": "SELECT 1"}, {}, "--query goes with --sql"),
    "watermark alone": ({"delta": "t", "watermark": "at"}, {}, "--watermark goes with --sql"),
    "revision alone": ({"csv": Path("a.csv"), "rev": "v1"}, {}, "--rev goes with --dvc"),
    "watermark without keys": ({"sql": "u", "query": "q", "watermark": "at"}, {}, "--watermark: a row may come again"),
    "Delta without keys": ({"delta": "t"}, {}, "--delta: a row may come again"),
    "no repository": ({"dvc": Path("/nowhere/a.csv")}, {}, "is not in a DVC repository"),
    "no table": ({"delta": "/nowhere/t"}, {"keys": ("id",)}, "t is not a Delta table"),
    "no file": ({"sql": "sqlite:////nowhere/a.db", "query": "SELECT 1"}, {}, "there is no file /nowhere/a.db"),
    "no rows": ({"sql": "FILE", "query": "SELECT * FROM rows WHERE id < 0"}, {}, "The query has no rows"),
    "no such column": (
        {"sql": "FILE", "query": "SELECT id, y FROM rows"},
        {"target": "z"},
        "the data has no column 'z'",
    ),
}


@pytest.mark.parametrize("case", BEGINNINGS)
def test_a_beginning_that_cannot_be_is_one_line(case: str, tmp_path: Path, shop: tuple[Path, pd.DataFrame]) -> None:
    """And nothing is written."""
    given, options, said = BEGINNINGS[case]
    given = {key: f"sqlite:///{shop[0]}" if value == "FILE" else value for key, value in given.items()}
    with pytest.raises(EvergreenError, match=said) as caught:
        scaffold("made", DataOptions(**given), tmp_path / "models", **({"target": "y"} | options))
    assert "\n" not in str(caught.value) and caught.value.fix
    assert not (tmp_path / "models").exists()
