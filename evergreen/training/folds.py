"""The folds of the parameter search, by the rules of the split between training and holdout."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.frames import SYSTEM_COLUMNS
from evergreen.data.split import cut_between_times, number_copies
from evergreen.data.windows import order_column
from evergreen.spec.fields import distance
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import Array

if TYPE_CHECKING:
    import pandas as pd

Folds = list[tuple[Array, Array]]


def split_into_folds(spec: ModelSpec, train: pd.DataFrame, y: Array) -> Folds:
    """Pairs of rows to fit on and rows to test on, of training rows (n, in their order where they have one).

    Folds follow the order: a time, cut between two times, or the number of each row. The holdout's gap lies before each
    of them. Else they are seeded, and stratified for a classification. Without keys equal rows are in one fold, in an
    order of landing that of the first of them.
    """
    folds = _folds_in_order(spec, train, y) if order_column(spec) is not None else []
    # Rows of one time have no order, and are divided as rows without time.
    return folds or _shuffled_folds(spec, train, y)


def _folds_in_order(spec: ModelSpec, train: pd.DataFrame, y: Array) -> Folds:
    from sklearn.model_selection import TimeSeriesSplit

    copies = first = np.arange(len(train))
    if spec.time is None and not spec.keys:
        # Equal rows of one time are on one side of a cut anyway.
        copies, first = number_copies(_content_hashes(train))
    places = train[str(order_column(spec))].iloc[first].reset_index(drop=True)
    if len(places) <= spec.search.folds:
        return []
    starts = [test[0] for _, test in TimeSeriesSplit(n_splits=spec.search.folds).split(places)]
    cuts = sorted({cut_between_times(places, start) for start in starts} - {0})
    folds: Folds = []
    for start, end in pairwise([*cuts, len(places)]):
        learned = start
        if spec.holdout.gap is not None:
            learned = int(places.searchsorted(places.iloc[start] - distance(spec.holdout.gap), side="right"))
        folds.append((np.flatnonzero(copies < learned), np.flatnonzero((copies >= start) & (copies < end))))
    folds = [fold for fold in folds if len(fold[0])]
    numbers = train[list(spec.features.numeric)].notna().to_numpy()
    seen = numbers.any(axis=0)
    # A stretch in which only one class was seen, or a column that begins later has no value, cannot be learned from.
    usable = [
        fold for fold in folds if len(set(y[fold[0]].tolist())) > 1 and (numbers[fold[0]].any(axis=0) == seen).all()
    ]
    return usable or folds


def _shuffled_folds(spec: ModelSpec, train: pd.DataFrame, y: Array) -> Folds:
    from sklearn.model_selection import KFold, StratifiedKFold

    copies, first = np.arange(len(y)), np.arange(len(y))
    if not spec.keys:
        copies, first = number_copies(_content_hashes(train))
    count, targets = spec.search.folds, y[first]
    if spec.task == "classification" and min(np.unique(targets.astype(str), return_counts=True)[1]) >= count:
        splits = StratifiedKFold(count, shuffle=True, random_state=spec.seed).split(first, targets)
    else:
        splits = KFold(min(count, len(first)), shuffle=True, random_state=spec.seed).split(first)
    if len(first) == len(y):
        return list(splits)
    return [(np.flatnonzero(np.isin(copies, fit)), np.flatnonzero(np.isin(copies, test))) for fit, test in splits]


def _content_hashes(train: pd.DataFrame) -> Array:
    import pandas as pd

    content = train.drop(columns=[name for name in train.columns if name in SYSTEM_COLUMNS])
    return pd.util.hash_pandas_object(content, index=False).to_numpy()
