"""The data of the benchmarks, seeded, made in a process of its own.

`python -m benchmarks.given bikes|wide FOLDER ROWS`, `hours FILE ROWS`, or `years FILE SCENARIO`
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

WIDE_NUMERIC = tuple(f"n{number}" for number in range(10))
WIDE_CATEGORICAL = ("c0", "c1")


def bikes(folder: Path, rows: int) -> None:
    """Simulated hours in the landing format: four fifths as `history.csv`, the last fifth as `news.csv`."""
    from evergreen.sources.simulator import simulate

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


def years(file: Path, scenario: Any) -> None:
    """Two years without season or growth; from May of the second one on they follow the scenario."""
    from evergreen.sources.simulator import simulate

    change = None if scenario == "none" else date(2012, 5, 3)
    frame = simulate(date(2011, 1, 1), 731, seed=7, scenario=scenario, change=change, growth=0.0, seasonal=0.0)
    frame.to_csv(file, index=False)


def hours(file: Path, rows: int) -> None:
    """A simulated year of `bike_demand`, over and over from the year 1700 on, as Parquet."""
    import pandas as pd

    from evergreen.sources.simulator import simulate

    year = simulate(date(2011, 1, 1), 365, seed=7)
    order = np.arange(rows + rows // 1000 + 100)
    days = pd.Timestamp("1700-01-01") + pd.to_timedelta(order // 24, unit="D")
    clock = days + pd.to_timedelta(order % 24, unit="h")
    # Without the hours that Washington's clock skips, which would go to quarantine.
    there = clock.tz_localize("America/New_York", ambiguous=np.zeros(len(order), bool), nonexistent="NaT").notna()
    frame = year.iloc[order % len(year)].assign(dteday=days.strftime("%m/%d/%Y"), hr=order % 24)
    frame[there].head(rows).to_parquet(file, index=False)


if __name__ == "__main__":
    if sys.argv[1] == "years":
        years(Path(sys.argv[2]), sys.argv[3])
    else:
        {"bikes": bikes, "wide": wide, "hours": hours}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
