"""The split of a training window: which rows a candidate learns from, and which rows judge it.

Three rules hold for every strategy. Equal rows never stand on both sides: a row that was learned by heart would judge.
A cut in time lies between two times, never among the rows of one: they share what happened then. Rows within
`holdout.gap` of a judging row are on neither side: their labels may overlap with its own.

Rows have a place in their order: a time, or with `order="rows"` the number that they got when they landed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.observations import Observations
from evergreen.data.windows import Mask, block_numbers, order_column
from evergreen.spec.fields import Rows, distance
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Holdout
from evergreen.storage.row_digest import Hashes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What each of n rows is for; a row of the gap is in neither mask.

    Attributes:
        train: rows that are learned from, shape (n,).
        holdout: rows that judge, shape (n,).
    """

    train: Mask
    holdout: Mask


def split_window(observations: Observations, frame: pd.DataFrame) -> Split:
    """Split the labelled rows of a training window, in time order; without keys `frame` has every content column."""
    spec = observations.spec
    return split_rows(spec, frame, None if spec.keys else observations.ids(frame))


def split_rows(spec: ModelSpec, frame: pd.DataFrame, ids: Hashes | None = None) -> Split:
    """Split rows in their order; rows with an equal id (n,) are the same row, and None says that all are different.

    A row that stands there again has the place of its first occurrence, and its share is that of one row. With the
    place of the last one, `latest` would hold out nearly everything of a full export that comes every day, and train on
    what is no longer in it.
    """
    rows = len(frame)
    if ids is None:
        copies, first = np.arange(rows), np.arange(rows)
    else:
        copies, first = number_copies(ids)
    column = order_column(spec)
    places = None if column is None else frame[column].iloc[first].reset_index(drop=True)
    held = _held(spec.holdout, len(first), places)
    train = ~held
    if spec.holdout.gap is not None and places is not None and held.any():
        train &= ~_near(places, held, spec.holdout.gap)
    return Split(train[copies], held[copies])


def number_copies(ids: Hashes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The number of each row among the distinct ones, in the order of first occurrence, and where each comes first."""
    _, first, copies = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[copies], first[order]


def cut_between_times(places: pd.Series, row: int) -> int:
    """Where, nearest to `row`, the time of n ordered rows changes; 0 where it never does."""
    values = places.to_numpy()
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    return int(changes[np.argmin(np.abs(changes - row))]) if len(changes) else 0


def _held(rule: Holdout, rows: int, places: pd.Series | None) -> Mask:
    """Which of `rows` distinct rows judge; `places` has that of each, in order."""
    mask = np.zeros(rows, dtype=bool)
    if rows < 2:
        return mask
    if rule.strategy == "random":
        from sklearn.model_selection import train_test_split

        count = min(math.ceil(rows * rule.share), rows - 1)
        mask[train_test_split(np.arange(rows), test_size=count, random_state=rule.seed)[1]] = True
    elif rule.strategy == "latest":
        start = rows - min(max(1, round(rows * rule.share)), rows - 1)
        if places is not None:
            start = cut_between_times(places, start) or rows
        mask[start:] = True
    elif places is not None:
        mask = block_numbers(places, rule.block) % rule.every == 0
        if rule.recent is not None:
            mask &= (places > places.max() - distance(rule.recent)).to_numpy()
    return mask


def _near(places: pd.Series, held: Mask, gap: timedelta | Rows) -> Mask:
    """Which rows are less than `gap` away from a held one, on either side."""
    unit: timedelta | Rows = Rows(1) if isinstance(gap, Rows) else timedelta(microseconds=1)
    instants = block_numbers(places, unit)
    judging = instants[held]
    after = np.searchsorted(judging, instants)
    since = np.abs(instants - judging[np.maximum(after - 1, 0)])
    until = np.abs(judging[np.minimum(after, len(judging) - 1)] - instants)
    return np.asarray(np.minimum(since, until) < distance(gap) / distance(unit), dtype=bool)
