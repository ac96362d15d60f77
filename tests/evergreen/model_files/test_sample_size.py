"""Warnings of rows that are few, or worth few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evergreen.model_files.inference import examine
from evergreen.model_files.sample_size import describe_sample

RNG = np.random.default_rng(6)


def notes(y: Any, *, ordered: bool = False, **options: Any) -> tuple[str, ...]:
    rows = pd.DataFrame({"x": RNG.normal(size=len(y)), "y": y} | options.pop("columns", {}))
    return describe_sample(rows, examine(rows, target="y", **options), ordered=ordered)


def walk(rows: int) -> Any:
    return np.cumsum(RNG.normal(size=rows))


def test_fewer_than_a_hundred_positives_are_told() -> None:
    """Of the rarer class, whichever it is."""
    few = np.where(np.arange(3_000) < 60, "yes", "no")
    assert notes(few) == (
        "only 60 rows of 'yes': with fewer than 100 every figure is uncertain, and a fifth of them judges; land more "
        "before you trust one",
    )
    assert "only 60 rows of 'no'" in notes(np.where(np.arange(3_000) < 60, "no", "yes"))[0]
    assert notes(np.where(np.arange(3_000) < 100, "yes", "no")) == ()


def test_small_ones_of_many_classes_are_told() -> None:
    """From ten rows on a class is one to learn from."""
    y = np.array(["a", "b", "c"])[np.arange(900) % 3]
    y[:4] = "d"
    assert notes(y) == ("1 of the classes have fewer than 10 rows, such as 'd'",)


def test_a_stream_that_is_worth_few_rows_is_told() -> None:
    """Only where there is an order; a long stream of like neighbours, in the order of its times."""
    at = pd.date_range("2026-01-01", periods=500, freq="h").strftime("%Y-%m-%d %H:%M").to_numpy()
    table = pd.DataFrame({"at": at, "y": walk(500)}).sample(frac=1, random_state=1)
    (note,) = notes(table["y"].to_numpy(), ordered=True, time="at", columns={"at": table["at"].to_numpy()})
    assert note.startswith("neighbouring rows are so alike that the 500 rows are worth about ")
    assert note.endswith("with fewer than 100 a gate seldom proves anything; land a longer stretch")
    assert notes(table["y"].to_numpy()) == ()
    assert notes(RNG.normal(size=500), ordered=True) == ()


def test_series_are_told_apart_by_the_keys() -> None:
    """Two sites whose rows are interleaved have unlike neighbours, and still are two walks."""
    at = np.repeat(pd.date_range("2026-01-01", periods=300, freq="h").strftime("%Y-%m-%d %H:%M"), 2)
    y = np.column_stack([walk(300), 500 + walk(300)]).ravel()
    columns = {"at": at, "site": np.tile(["north", "south"], 300)}
    (note,) = notes(y, ordered=True, time="at", keys=("site", "at"), columns=columns)
    assert "the 600 rows are worth about " in note
