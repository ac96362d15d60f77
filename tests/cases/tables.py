"""Tables of the kinds that a default model file did badly on: many zeros, many categories, rare positives."""

from __future__ import annotations

import numpy as np
import pandas as pd


def with_zeros(rows: int = 5_000, seed: int = 3) -> pd.DataFrame:
    """Amounts of which six in ten are 0. Whether there is one, and how much it is, follow from two of three columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    spends = rng.random(rows) < 1 / (1 + np.exp(0.65 - 1.5 * x[:, 0]))
    amount = np.exp(4.9 + 0.6 * x[:, 1] + 0.6 * rng.normal(size=rows))
    return pd.DataFrame(x.round(3), columns=["visits", "basket", "noise"]).assign(
        y=np.where(spends, amount, 0).round(2)
    )


def with_categories(rows: int = 25_000, values: int = 5_000, seed: int = 3) -> pd.DataFrame:
    """Amounts that follow from a number and from a text of thousands of values."""
    rng = np.random.default_rng(seed)
    place, x = rng.integers(0, values, rows), rng.normal(size=rows)
    y = 0.5 * x + rng.normal(0, 0.8, values)[place] + rng.normal(0, 0.93, rows)
    return pd.DataFrame({"x": x.round(3), "place": [f"place {number}" for number in place], "y": y.round(3)})


def with_rare(rows: int = 12_000, share: float = 0.03, seed: int = 3) -> pd.DataFrame:
    """Two classes, one of them rare, that follow from two numbers and their product."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    score = 0.9 * x[:, 0] + 0.7 * x[:, 1] * x[:, 2] + rng.logistic(size=rows)
    late = np.where(score > np.quantile(score, 1 - share), "yes", "no")
    return pd.DataFrame(x.round(3), columns=list("abcd")).assign(y=late)
