"""Cutting a column into named bins by the reference: deciles for numbers, the frequent categories for text."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

DECILES = 10
CATEGORIES = 50
FREQUENT = 5
"""Rows expected in a category's bin, at least: Cochran (1954), Biometrics 10(4)."""
OTHER = "(all other categories)"


def deciles(known: pd.Series, values: pd.Series, most: int) -> tuple[pd.Series, pd.Series]:
    """Cut numbers at the reference's quantiles; a value that fills a whole bin gets one of its own.

    Without that, a column of 95 % zeros would have nothing to tell a zero from a negative number.
    """
    steps = np.arange(1, most) / most
    quantiles, times = np.unique(np.quantile(known.to_numpy(), steps, method="lower"), return_counts=True)
    edges: list[float] = []
    shown: list[float] = []
    for value, ties in zip(quantiles.tolist(), times.tolist(), strict=True):
        edges += [math.nextafter(value, -math.inf), value] if ties > 1 else [value]
        shown += [value, value] if ties > 1 else [value]
    names = [f"01: up to {shown[0]:g}"]
    for place, (low, high) in enumerate(pairwise(shown), start=2):
        names.append(f"{place:02}: {high:g}" if low == high else f"{place:02}: over {low:g} up to {high:g}")
    names.append(f"{len(names) + 1:02}: over {shown[-1]:g}")
    return _name_bins(known, names, edges), _name_bins(values, names, edges)


def _name_bins(values: pd.Series, names: list[str], edges: list[float]) -> pd.Series:
    import pandas as pd

    bins = np.searchsorted(np.array(edges), values.to_numpy(dtype="float64"), side="left")
    return pd.Series(np.array(names, dtype=object)[bins], index=values.index, dtype="str")


def categories(known: pd.Series, values: pd.Series, most: int) -> tuple[pd.Series, pd.Series]:
    """Keep the categories that are frequent on either side, both sides counting alike; the rest is one bin.

    Alike, so that a rare category that takes over a small window is seen. Only those that the reference holds: how
    many are new is judged apart.
    """
    old, new = known.value_counts(normalize=True), values.value_counts(normalize=True)
    return _keep_frequent(known, values, (old + new.reindex(old.index).fillna(0.0)) / 2, most)


def fair_categories(known: pd.Series, values: pd.Series, most: int) -> tuple[pd.Series, pd.Series]:
    """Keep the categories that are frequent among all rows; the rest is one bin.

    What chance made frequent in a small window is hardly favoured here, and so it can be asked what chance does.
    `categories` picks it out: of 20 equal categories in 100 rows, 1.1 % of the unshifted columns then pass for drifted
    at a p-value of 0.1 %.
    """
    old, new = known.value_counts(), values.value_counts()
    return _keep_frequent(known, values, (old + new.reindex(old.index).fillna(0)) / (len(known) + len(values)), most)


def _keep_frequent(known: pd.Series, values: pd.Series, share: pd.Series, most: int) -> tuple[pd.Series, pd.Series]:
    frequent = share[share * min(len(known), len(values)) >= FREQUENT]
    ranked = sorted(frequent.items(), key=lambda item: (-item[1], str(item[0])))
    everything = len(ranked) == len(share) <= most and bool(values.isin(share.index).all())
    kept = [str(name) for name, _ in ranked[: most if everything else most - 1]]
    return known.where(known.isin(kept), OTHER), values.where(values.isin(kept), OTHER)
