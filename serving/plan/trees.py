"""Decision trees of scikit-learn in one form: read from a fitted model, and what a row meets in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

LEAF = -1
MISSING_CATEGORY = -1.0
"""The code of a missing or unknown category of a native categorical feature; scikit-learn's own is NaN."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Tree:
    """One tree of n nodes; node 0 is the root.

    Attributes:
        feature: the column that a node asks, `LEAF` in a leaf; shape (n,).
        threshold: a number goes left if it is at most this; float64, shape (n,).
        left: the node to the left; shape (n,).
        right: the node to the right; shape (n,).
        missing_left: a missing number goes left; shape (n,).
        values: what a leaf adds to each total; shape (n, totals).
        categories: of a node that asks a category, the codes that go left, with `MISSING_CATEGORY` where it does.
        narrow: a number is rounded to float32 before it is compared.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    values: Array
    categories: Mapping[int, frozenset[float]] = field(default_factory=dict)
    narrow: bool = False

    @property
    def depth(self) -> int:
        """The longest way from the root to a leaf, in steps."""
        deep, level = 0, np.array([0])
        while (level := level[self.feature[level] != LEAF]).size:
            level = np.concatenate((self.left[level], self.right[level]))
            deep += 1
        return deep


def read_tree(tree: Any, scale: float = 1.0, total: int = 0, totals: int | None = None) -> Tree:
    """A tree of a forest, of gradient boosting, or on its own (`sklearn.tree._tree.Tree`).

    Args:
        scale: by which the leaves are multiplied.
        total: the total that its one value is added to, where it has one of several.
        totals: how many there are; None: as many as the tree has values.
    """
    leaf = np.asarray(tree.children_left) == LEAF
    found = np.asarray(tree.value, dtype="float64")[:, 0, :] * scale
    values = found
    if totals is not None:
        values = np.zeros((len(leaf), totals))
        values[:, total] = found[:, 0]
    return Tree(
        feature=np.where(leaf, LEAF, tree.feature),
        threshold=np.asarray(tree.threshold, dtype="float64"),
        left=np.asarray(tree.children_left),
        right=np.asarray(tree.children_right),
        missing_left=np.asarray(tree.missing_go_to_left).astype(bool),
        values=values,
        narrow=True,
    )


def read_histogram_tree(predictor: Any, known: Sequence[int | None], total: int, totals: int) -> Tree:
    """A tree of histogram-based gradient boosting (`TreePredictor`).

    Args:
        known: of each column, how many categories it has; None of a number.
        total: the total that it is added to.
        totals: how many there are.
    """
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    values = np.zeros((len(nodes), totals))
    values[:, total] = nodes["value"]
    feature = np.where(leaf, LEAF, nodes["feature_idx"])
    categories = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        codes = {float(code) for code in range(known[feature[node]] or 0) if bits[code // 32] >> (code % 32) & 1}
        missing = {MISSING_CATEGORY} if nodes["missing_go_to_left"][node] else set()
        categories[node] = frozenset(codes | missing)
    return Tree(
        feature=feature,
        threshold=nodes["num_threshold"].astype("float64"),
        left=nodes["left"].astype("int64"),
        right=nodes["right"].astype("int64"),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=values,
        categories=categories,
    )


def widened(threshold: Array) -> Array:
    """The largest float64 that float32 rounds to at most each threshold.

    Rounding keeps the order of numbers. Comparing with this is therefore the same as rounding first, which a plan then
    need not do: half a step above the largest float32 that is at most the threshold, or just below where a tie goes up.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        below = threshold.astype("float32")
        below = np.where(below > threshold, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf))
        middle = below.astype("float64") + (above.astype("float64") - below.astype("float64")) / 2
        tie_goes_down = middle.astype("float32") == below
    edge = np.where(tie_goes_down, middle, np.nextafter(middle, -np.inf))
    widest: Array = np.where(np.isinf(above), threshold, edge)
    return widest


def go_left(tree: Tree, node: int, values: Array) -> Array:
    """Which of some values of the column that a node asks go left; shape as `values`."""
    if node in tree.categories:
        codes = np.where(np.isnan(values) | (values < 0), MISSING_CATEGORY, values)
        return np.isin(codes, list(tree.categories[node]))
    with np.errstate(over="ignore"):
        compared = values.astype("float32") if tree.narrow else values
    goes: Array = np.where(np.isnan(values), tree.missing_left[node], compared <= tree.threshold[node])
    return goes
