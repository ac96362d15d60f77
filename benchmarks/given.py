"""The data of the benchmarks, seeded, made in a process of its own.

`python -m benchmarks.given bikes|wide FOLDER ROWS`
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

WIDE_NUMERIC = tuple(f"n{number}" for number in range(10))
WIDE_CATEGORICAL = ("c0", "c1")


def bikes(folder: Path, rows: int) -> None:
    """Simulated hours in the landing format: four fifths as `history.csv`, the last fifth as `news.csv`."""
    from evergreen.simulator import simulate

    frame = simulate(date(2011, 1, 1), rows // 23 + 1, seed=7).head(rows)
    known = rows * 4 // 5
    frame.head(known).to_csv(folder / "history.csv", index=False)
    frame.iloc[known:].to_csv(folder / "news.csv", index=False)


def wide_frame(rows: int, *, first: int = 0, seed: int = 0) -> pd.DataFrame:
    """Rows of `benchmarks/models/wide.py`, one a minute: ten numbers, two categories, a key, a time and a target."""
    import pandas as pd

    random = np.random.default_rng([seed, first])
    numbers = {name: random.normal(size=rows).round(6) for name in WIDE_NUMERIC}
    named = {
        name: random.choice(["red", "green", "blue", "grey"], rows, p=[0.4, 0.3, 0.2, 0.1]) for name in WIDE_CATEGORICAL
    }
    order = np.arange(first, first + rows)
    at = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(order, unit="min")
    target = (numbers["n0"] - 2 * numbers["n1"] + random.normal(scale=0.1, size=rows)).round(6)
    return pd.DataFrame({"id": order, "at": at, **numbers, **named, "y": target})


def wide(folder: Path, rows: int) -> None:
    """`history.csv` with 2,000 rows to train on, and `news.csv` with `rows` after them."""
    wide_frame(2_000).to_csv(folder / "history.csv", index=False)
    wide_frame(rows, first=2_000).to_csv(folder / "news.csv", index=False)


if __name__ == "__main__":
    made = {"bikes": bikes, "wide": wide}[sys.argv[1]]
    made(Path(sys.argv[2]), int(sys.argv[3]))
