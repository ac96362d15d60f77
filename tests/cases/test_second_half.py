"""The second file: a model file that `evergreen new` wrote from the first half of a table takes the second half.

Public tables that are cut in two differ in what a pipeline can take: values that begin to be missing, decimals among
whole numbers, categories that were not there. None of it refuses a row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from evergreen.data.checked_batch import CheckedBatch, check_batch
from evergreen.data.contract import schema_of
from evergreen.model_files.new import scaffold
from evergreen.sources.file_formats import read_rows
from evergreen.spec.model import ModelSpec
from evergreen.training.fit import fit
from evergreen.training.predict import labelled, predict

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ROWS = 120

Cells = list[str]
Maker = Callable[[np.random.Generator], Cells]


def whole(rng: np.random.Generator) -> Cells:
    return [str(n) for n in rng.integers(-5, rng.choice([2, 9, 5_000]), ROWS)]


def decimals(rng: np.random.Generator) -> Cells:
    return [f"{n:.3f}" for n in rng.normal(100, 30, ROWS)]


def flags(rng: np.random.Generator) -> Cells:
    return list(rng.choice(["true", "false"], ROWS))


def towns(rng: np.random.Generator) -> Cells:
    return list(rng.choice(["Bonn", "Ulm", "Köln", "NA"], ROWS))


def codes(rng: np.random.Generator) -> Cells:
    return [f"{n:05d}" for n in rng.integers(0, 40, ROWS)]


def digits(rng: np.random.Generator) -> Cells:
    return [str(n) for n in rng.choice([3, 17, 42], ROWS)]


FEATURES: dict[str, Maker] = {
    "whole": whole, "decimals": decimals, "flags": flags, "towns": towns, "codes": codes, "digits": digits,
}  # fmt: skip
MISSING = ("", "N/A", "NaN", "null", "n/a", "NULL", "nan")

TARGETS: dict[str, Maker] = {
    "amount": lambda rng: [f"{n:.2f}" for n in rng.gamma(2, 50, ROWS)],
    "count": lambda rng: [str(n) for n in np.sort(rng.poisson(6, ROWS))],
    "month": lambda _: [str(n // 10 + 1) for n in range(ROWS)],
    "class": lambda rng: [str(n) for n in np.tile([0, 1], ROWS // 2)],
    "words": lambda rng: list(np.tile(["no", "yes", "maybe"], ROWS // 3)),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The halves of a table as texts. Features of the second differ in what a pipeline can take."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    kinds = draw(st.lists(st.sampled_from(sorted(FEATURES)), min_size=1, max_size=5))
    columns = {f"f{place}_{kind}": FEATURES[kind](rng) for place, kind in enumerate(kinds)}
    columns["base"] = decimals(rng)
    if draw(st.booleans()):
        at = pd.date_range("2026-01-01", periods=ROWS, freq="7h").strftime(draw(st.sampled_from(["%Y-%m-%d %H:%M"])))
        columns["at"] = list(at if draw(st.booleans()) else rng.permutation(at))
    columns["y"] = TARGETS[draw(st.sampled_from(sorted(TARGETS)))](rng)
    table = pd.DataFrame(columns)
    if draw(st.booleans()):
        table = table.sort_values(draw(st.sampled_from(list(columns))), ignore_index=True, kind="stable")
    halves = table.iloc[: ROWS // 2].copy(), table.iloc[ROWS // 2 :].copy()
    for name in [name for name in columns if name not in ("y", "at")]:
        for half, others in ((0, ("gap",)), (1, ("gap", "all missing", "new"))):
            what = draw(st.sampled_from(("same", "same", *others)))
            halves[half][name] = change(halves[half][name], what, draw(st.sampled_from(MISSING)))
    return halves


def change(cells: pd.Series, what: str, missing: str) -> pd.Series:
    """Cells of a feature as a later file may have them."""
    if what == "all missing":
        return cells.map(lambda _: missing)
    if what == "same":
        return cells
    some = np.arange(len(cells)) % 3 == 0
    if what == "gap":
        return cells.mask(some, missing)
    if str(cells.name).endswith(("whole", "decimals", "digits")) or cells.name == "base":
        return cells.mask(some, "3.25")
    return cells.mask(some, "unheard of")


def check_second(first: pd.DataFrame, second: pd.DataFrame, folder: Path) -> tuple[ModelSpec, list[CheckedBatch]]:
    """The model file made from the first half, and what becomes of both."""
    checked = []
    for name, half in (("part_1.csv", first), ("part_2.csv", second)):
        (folder / name).write_text(half.to_csv(index=False))
        if name == "part_1.csv":
            scaffold("halves", folder / name, folder / "models", target="y", now=NOW)
            spec = models.load("halves", folder / "models").spec
        rows, problem = read_rows(folder / name)
        assert rows is not None, problem
        checked.append(check_batch(rows, spec, schema_of(spec), now=NOW, written=True))
    return spec, checked


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(halves=tables())
def test_no_row_of_the_second_half_is_refused_for_its_features(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Sorted or shuffled, whatever begins to be missing, to be a decimal or to be new."""
    with tempfile.TemporaryDirectory() as folder:
        spec, (_, second) = check_second(*halves, Path(folder))
    assert not second.problem
    if spec.task == "classification":
        known = set(halves[0]["y"])
        refused = ~halves[1]["y"].isin(known).to_numpy()
        assert len(second.rejected) == int(refused.sum())
    else:
        assert second.rejected.tolist() == []


@pytest.mark.parametrize("target", ["amount", "words"])
def test_the_pipeline_takes_what_the_contract_lets_through(target: str, tmp_path: Path) -> None:
    """A model of the first half predicts for every row of the second."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({name: make(rng) for name, make in FEATURES.items()} | {"y": TARGETS[target](rng)})
    first, second = table.iloc[: ROWS // 2], table.iloc[ROWS // 2 :].copy()
    for name in FEATURES:
        second[name] = change(change(second[name], "new", ""), "gap", "null").where(np.arange(len(second)) % 5 > 0, "")
    spec, (learned, predicted) = check_second(first, second, tmp_path)
    fitted = fit(spec, labelled(spec, learned.rows), None, params={"model__max_iter": 5})
    answers = predict(fitted.pipeline, spec, predicted.rows)
    assert len(answers.values) == ROWS // 2


def test_a_letter_among_numbers_is_refused_with_the_line_that_lets_it_in(tmp_path: Path) -> None:
    """No pipeline of numbers can take it, and nobody is left to look for the way."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"ward": digits(rng), "base": decimals(rng), "y": TARGETS["amount"](rng)})
    second = table.iloc[ROWS // 2 :].assign(ward="12A")
    _, (_, refused) = check_second(table.iloc[: ROWS // 2], second, tmp_path)
    assert refused.problem.endswith("ward: not a number (60 rows, first in row 1)")
    assert refused.remedy == (
        'To let it in as a category, write "ward": pa.Column(str, nullable=True) in contract() of the model file, and '
        'move "ward" to categorical=(...)'
    )
