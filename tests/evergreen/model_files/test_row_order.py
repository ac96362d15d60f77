"""What the order of rows says: whether neighbours are alike, and how many independent rows a stream is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evergreen.model_files.row_order import count_effective_rows, describe_order, measure_order
from evergreen.model_files.source_text import choose_window


def test_rows_whose_neighbours_are_alike_have_an_order() -> None:
    """A walk, and classes that come in runs; the note says what judges and how a time is named."""
    rng = np.random.default_rng(4)
    assert measure_order(pd.Series(np.cumsum(rng.normal(size=400)))) > 0.9
    assert measure_order(pd.Series(np.where(np.sin(np.arange(400) / 20) > 0, "high", "low"))) > 0.9
    assert describe_order(0.93) == (
        "each row's target is like that of the row before (correlation 0.93): a random share of such rows would judge "
        "too kindly, so order='rows' takes the first ones for the oldest, and the last ones judge; if a column has "
        "their time, name it with --time"
    )


@pytest.mark.parametrize(("rows", "window"), [(60, 100), (2_400, 100), (4_100, 200), (12_000, 500), (45_000, 2_000)])
def test_about_twenty_windows_of_a_round_number_of_rows(rows: int, window: int) -> None:
    """From a hundred rows on: fewer say little of a metric."""
    assert choose_window(rows) == window


def test_rows_in_no_order_have_none() -> None:
    """Nor has a table that is sorted by its target, or one of few rows."""
    rng = np.random.default_rng(4)
    assert measure_order(pd.Series(rng.normal(size=400))) == 0
    assert measure_order(pd.Series(rng.choice(["yes", "no"], 400))) == 0
    assert measure_order(pd.Series(np.repeat(["a", "b", "c"], 150))) == 0
    assert measure_order(pd.Series(np.arange(400.0))) == 0
    assert measure_order(pd.Series(np.cumsum(rng.normal(size=50)))) == 0


def autoregression(r: float, rows: int, seed: int = 5) -> pd.Series:
    """A stream whose neighbours have the correlation `r`."""
    noise, values = np.random.default_rng(seed).normal(size=rows), np.zeros(rows)
    for row in range(1, rows):
        values[row] = r * values[row - 1] + noise[row]
    return pd.Series(values)


def test_effective_rows_of_an_autoregression() -> None:
    """They are n (1 - r) / (1 + r); independent rows, and rows that swing, are worth what they are."""
    assert count_effective_rows(autoregression(0.9, 4000), ()) == pytest.approx(4000 * 0.1 / 1.9, rel=0.2)
    assert count_effective_rows(autoregression(0.0, 4000), ()) == pytest.approx(4000, rel=0.1)
    assert count_effective_rows(autoregression(-0.5, 1000), ()) == 1000
    assert count_effective_rows(pd.Series(["a", "b"] * 50), ()) == 100


def test_effective_rows_are_counted_in_each_series() -> None:
    """Two sites that are interleaved have no like neighbours, and their rows are worth as little as those of one."""
    sites = [autoregression(0.9, 2000, seed) + 100 * seed for seed in (1, 2)]
    both = pd.concat(sites).sort_index(kind="stable").reset_index(drop=True)
    site = pd.Series(["north", "south"] * 2000)
    alone = sum(count_effective_rows(each, ()) for each in sites)
    assert count_effective_rows(both, [site]) == pytest.approx(alone)
    assert count_effective_rows(both, ()) > 5 * alone


def test_missing_targets_are_passed_over() -> None:
    """They are no neighbours, and no rows to learn from."""
    values = autoregression(0.9, 500)
    gaps = values.mask(np.arange(500) % 5 == 0)
    assert count_effective_rows(gaps, ()) == pytest.approx(count_effective_rows(gaps.dropna(), ()))
