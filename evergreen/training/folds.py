"""The folds of the parameter search, by the rules of the split between training and holdout."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.frames import SYSTEM_COLUMNS
from evergreen.data.split import cut_between_times, number_copies
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import Array

if TYPE_CHECKING:
    import pandas as pd

Folds = list[tuple[Array, Array]]


def split_into_folds(spec: ModelSpec, train: pd.DataFrame, y: Array) -> Folds:
    """Pairs of rows to fit on and rows to test on, of training rows (n, in time order where there is time).

    Folds follow time where there is time, cut between two times and with the holdout's gap before each of them. Else
    they are seeded, stratified for a classification, and without keys equal rows are in one fold.
    """
    folds = _folds_in_time(spec, train, y) if spec.time is not None else []
    # Rows of one time have no order, and are divided as rows without time.
    return folds or _shuffled_folds(spec, train, y)


def _folds_in_time(spec: ModelSpec, train: pd.DataFrame, y: Array) -> Folds:
    from sklearn.model_selection import TimeSeriesSplit

    time = train[str(spec.time)].reset_index(drop=True)
    starts = [test[0] for _, test in TimeSeriesSplit(n_splits=spec.search.folds).split(time)]
    cuts = sorted({cut_between_times(time, start) for start in starts} - {0})
    folds: Folds = []
    for start, end in pairwise([*cuts, len(time)]):
        learned = start
        if spec.holdout.gap is not None:
            learned = int(time.searchsorted(time.iloc[start] - spec.holdout.gap, side="right"))
        folds.append((np.arange(learned), np.arange(start, end)))
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
