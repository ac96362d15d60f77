"""Rows that no source has sent and that a plan could get wrong: seeded, and bounded in number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.spec.data import Features
from serving.plan.ensembles import read_ensemble
from serving.plan.trees import LEAF, Array, Tree, go_left

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

NUMBERS = (math.nan, 0.0, -1.0, 5e-324, 1e30, 3.5e38, 1.7e308, -1.7e308, math.inf, -math.inf)
"""What is put into each number: missing, tiny, beyond float32 (3.4e38), nearly beyond float64, infinite."""

CATEGORIES = 200
"""Of a column of more, as many are drawn."""

POOL = 500
"""Real rows, and as many mixed ones, that thresholds are put into."""

NODES = 2_000
"""Nodes of trees whose thresholds are tried. Of more, those of trees drawn at random."""

Pair = tuple[str, int, float]

STEPS = 80
"""Halvings of an interval of floats until its ends are neighbours; 64 suffice but near 0."""


MISSING, CATEGORY = "missing", "a category"


@dataclass(frozen=True, eq=False, slots=True)
class MadeRows:
    """Rows as the pipeline sees them, and of each what it was made for: a column or none, and a word; never a value."""

    frame: pd.DataFrame
    purposes: Sequence[tuple[str, str]]


def value_rows(pipeline: Pipeline, rows: pd.DataFrame, features: Features, random: np.random.Generator) -> MadeRows:
    """Real rows with one cell changed: each number to `NUMBERS`, each category to every known one and to new ones."""
    texts = sorted(_categories(pipeline))
    changes: list[tuple[str, str, Any]] = [
        (name, _purpose(value), value) for value in NUMBERS for name in features.numeric
    ]
    for name in features.categorical:
        known = sorted({*texts, *rows[name].dropna().tolist()})
        if len(known) > CATEGORIES:
            known = [known[place] for place in sorted(random.choice(len(known), CATEGORIES, replace=False).tolist())]
        unseen = "?" * (1 + max(map(len, known), default=0))
        changes += [(name, CATEGORY, category) for category in (*known, unseen, "")]
        changes.append((name, MISSING, math.nan))
    frame = rows.iloc[random.integers(0, len(rows), len(changes))].reset_index(drop=True)
    for name in features.all:
        places = [place for place, (changed, _, _) in enumerate(changes) if changed == name]
        frame[name] = _with_cells(frame[name], places, [changes[place][2] for place in places])
    return MadeRows(frame, [(name, purpose) for name, purpose, _ in changes])


def _purpose(value: float) -> str:
    return MISSING if math.isnan(value) else "infinite" if math.isinf(value) else "an extreme number"


def _with_cells(column: pd.Series, places: Sequence[int], values: Sequence[Any]) -> pd.Series:
    import pandas as pd

    cells = column.tolist()
    for place, value in zip(places, values, strict=True):
        cells[place] = value
    return pd.Series(cells, index=column.index, dtype=column.dtype)


def _categories(part: Any) -> Iterator[str]:
    """The texts that the encoders of a pipeline know."""
    for known in getattr(part, "categories_", ()):
        yield from (category for category in np.asarray(known).tolist() if isinstance(category, str))
    for name in ("steps", "transformers_"):
        for step in getattr(part, name, ()):
            yield from _categories(step[1])
    for name in ("regressor_", "_preprocessor"):
        if getattr(part, name, None) is not None:
            yield from _categories(getattr(part, name))


def mixed_rows(
    rows: pd.DataFrame, gaps: Sequence[str], texts: Mapping[str, Sequence[str]], random: np.random.Generator
) -> MadeRows:
    """Rows whose cells come from several real rows, half of them with missing cells in the columns `gaps`.

    Of the cells that change in a column of `texts`, half are drawn from these.
    """
    mixed = rows.iloc[random.integers(0, len(rows), POOL)].reset_index(drop=True)
    for name in mixed.columns:
        cells = rows[name].iloc[random.integers(0, len(rows), POOL)].tolist()
        if texts.get(name):
            drawn = random.integers(0, len(texts[name]), POOL).tolist()
            cells = [
                texts[name][place] if take else cell
                for place, take, cell in zip(drawn, random.random(POOL) < 0.5, cells, strict=True)
            ]
        changed = np.flatnonzero(random.random(POOL) < 0.5).tolist()
        mixed[name] = _with_cells(mixed[name], changed, [cells[place] for place in changed])
        if name in gaps:
            mixed[name] = mixed[name].mask((random.random(POOL) < 0.2) & (np.arange(POOL) % 2 == 0))
    return MadeRows(mixed, [("", "cells of several rows")] * POOL)


def threshold_rows(
    pipeline: Pipeline, pool: pd.DataFrame, gaps: Sequence[str], features: Features, random: np.random.Generator
) -> MadeRows:
    """On both sides of the thresholds of the trees, as near as float64 has numbers, and with the number missing.

    The way to a node is built, not searched: each number on it is set to the edge of a threshold, and the categories
    are those of a row of the pool that takes the way. What a number of a row is to the trees (scaled, filled, rounded
    to float32) is asked of the pipeline's own steps, so that a mistake of the plan there is met as well.

    Args:
        pool: rows that the pipeline takes.
        gaps: the columns that may be missing.
    """
    steps, model = _parts(pipeline)
    trees = read_ensemble(model).trees if _has_trees(model) else []
    if not trees:
        return MadeRows(pool.iloc[:0], [])
    ask = _asker(steps, model)
    base = pool.iloc[[0]]
    source = _sources(ask, base, features)
    drawn = _draw_nodes(trees, random)
    pairs = sorted(
        {
            (source[column], column, float(tree.threshold[node]))
            for tree, nodes in drawn
            for node in nodes - set(tree.categories)
            if (column := int(tree.feature[node])) in source
        }
    )
    edges = _edges(ask, base, pool, pairs, narrow=trees[0].narrow)
    asked = ask(pool)
    made = [found for tree, nodes in drawn for found in _ways(tree, nodes, asked, source, edges, gaps)]
    frame = pool.iloc[[row for row, _, _ in made]].reset_index(drop=True)
    for name in features.numeric:
        cells = frame[name].tolist()
        frame[name] = np.array([numbers.get(name, cell) for (_, _, numbers), cell in zip(made, cells, strict=True)])
    return MadeRows(frame, [(name, "a threshold of the trees") for _, name, _ in made])


def _draw_nodes(trees: Sequence[Tree], random: np.random.Generator) -> list[tuple[Tree, set[int]]]:
    """Nodes of trees drawn at random, whole ways from the root on, until there are `NODES`."""
    drawn, left = [], NODES
    for place in random.permutation(len(trees)).tolist():
        tree = trees[place]
        inner = np.flatnonzero(tree.feature != LEAF)
        above = {int(child[node]): int(node) for node in inner for child in (tree.left, tree.right)}
        nodes: set[int] = set()
        for last in random.permutation(inner).tolist():
            node: int | None = last
            while node is not None and node not in nodes:
                nodes.add(node)
                node = above.get(node)
            if len(nodes) >= left:
                break
        drawn.append((tree, nodes))
        left -= len(nodes)
        if left <= 0:
            break
    return drawn


def _ways(
    tree: Tree,
    nodes: set[int],
    asked: Array,
    source: Mapping[int, str],
    edges: Mapping[Pair, tuple[float, float]],
    gaps: Sequence[str],
) -> Iterator[tuple[int, str, dict[str, float]]]:
    """For each node that asks a number: a row of the pool, the number's name, and the numbers to put into the row."""
    waiting: list[tuple[int, Array, dict[str, float], frozenset[str]]] = [(0, np.arange(len(asked)), {}, frozenset())]
    while waiting:
        node, rows, numbers, lost = waiting.pop()
        if node not in nodes or not len(rows):
            continue
        column = int(tree.feature[node])
        left, right, missing_left = int(tree.left[node]), int(tree.right[node]), bool(tree.missing_left[node])
        name = source.get(column, "")
        edge = edges.get((name, column, float(tree.threshold[node])))
        if node in tree.categories or not name:
            goes_left = go_left(tree, node, asked[rows, column])
            waiting += [(left, rows[goes_left], numbers, lost), (right, rows[~goes_left], numbers, lost)]
        elif edge is not None:
            below, above = numbers | {name: edge[0]}, numbers | {name: edge[1]}
            yield int(rows[0]), name, below
            yield int(rows[0]), name, above
            if name in gaps and name not in lost:
                yield int(rows[0]), name, numbers | {name: math.nan}
            # `lost`: a row in which this number is missing would have gone the other way.
            waiting.append((left, rows, below, lost if missing_left else lost | {name}))
            waiting.append((right, rows, above, lost | {name} if missing_left else lost))


def _has_trees(model: Any) -> bool:
    return any(hasattr(model, name) for name in ("_predictors", "estimators_", "tree_"))


def _parts(pipeline: Any) -> tuple[list[Any], Any]:
    """The transformers one after the other, and the model behind them."""
    steps: list[Any] = []
    model = pipeline
    while hasattr(model, "steps") or hasattr(model, "regressor_"):
        if hasattr(model, "steps"):
            steps += [step for _, step in model.steps[:-1] if step is not None and not isinstance(step, str)]
            model = model.steps[-1][1]
        else:
            model = model.regressor_
    return steps, model


def _asker(steps: Sequence[Any], model: Any) -> Callable[[pd.DataFrame], Array]:
    """From rows to what the trees ask, shape (rows, columns)."""

    def ask(rows: pd.DataFrame) -> Array:
        matrix: Any = rows
        for step in steps:
            matrix = step.transform(matrix)
        if hasattr(model, "_preprocess_X"):
            matrix = model._preprocess_X(matrix, reset=False)
        return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype="float64")

    return ask


def _sources(ask: Callable[[pd.DataFrame], Array], base: pd.DataFrame, features: Features) -> dict[int, str]:
    """Which number of a row each column of the trees comes from: what changes with it, and with no other."""
    names = features.numeric
    rows = base.iloc[[0] * 2 * len(names)].reset_index(drop=True)
    for place, name in enumerate(names):
        cells = rows[name].to_numpy(copy=True)
        cells[2 * place : 2 * place + 2] = (0.0, 1.0) if not math.isfinite(cells[0]) else (cells[0], cells[0] + 1.0)
        rows[name] = cells
    asked = ask(rows)
    found: dict[int, list[str]] = {}
    for place, name in enumerate(names):
        first, second = asked[2 * place], asked[2 * place + 1]
        for column in np.flatnonzero((first != second) & ~(np.isnan(first) | np.isnan(second))).tolist():
            found.setdefault(column, []).append(name)
    return {column: names[0] for column, names in found.items() if len(names) == 1}


def _edges(
    ask: Callable[[pd.DataFrame], Array], base: pd.DataFrame, pool: pd.DataFrame, pairs: Sequence[Pair], narrow: bool
) -> dict[Pair, tuple[float, float]]:
    """The two neighbouring numbers of a row between which each threshold lies; without those that no number reaches."""
    if not pairs:
        return {}
    columns = np.array([column for _, column, _ in pairs])
    thresholds = np.array([threshold for _, _, threshold in pairs])
    rows = base.iloc[[0] * len(pairs)].reset_index(drop=True)

    def left(numbers: Array) -> Array:
        for name in {name for name, _, _ in pairs}:
            mine = np.array([each == name for each, _, _ in pairs])
            rows[name] = np.where(mine, numbers, float(base[name].iloc[0]))
        values = ask(rows)[np.arange(len(pairs)), columns]
        with np.errstate(over="ignore"):
            compared: Array = (values.astype("float32") if narrow else values) <= thresholds
        return compared

    least = np.array([float(pool[name].min()) for name, _, _ in pairs])
    most = np.array([float(pool[name].max()) for name, _, _ in pairs])
    low, high = least - (most - least) - 1.0, most + (most - least) + 1.0
    # Of a number that nothing changes, the threshold is the edge.
    finite = np.where(np.isfinite(thresholds), thresholds, 0.0)
    beyond = np.nextafter(finite, np.inf)
    direct = left(finite) & ~left(beyond)
    low, high = np.where(direct, finite, low), np.where(direct, beyond, high)
    at_low = left(low)
    usable = at_low != left(high)
    for _ in range(STEPS):
        middle = low + (high - low) / 2
        open_ = usable & (middle > low) & (middle < high)
        if not open_.any():
            break
        same = left(np.where(open_, middle, low)) == at_low
        low = np.where(open_ & same, middle, low)
        high = np.where(open_ & ~same, middle, high)
    found = zip(pairs, usable.tolist(), low.tolist(), high.tolist(), strict=True)
    return {pair: (lower, upper) for pair, is_usable, lower, upper in found if is_usable}
