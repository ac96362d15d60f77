"""Trees as Python: a small one becomes nested ifs, a large one lists that a loop walks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from serving.plan.program import Column, Program, number
from serving.plan.trees import LEAF, Tree, widened

DEEPEST = 60
"""A deeper tree is walked: Python takes no more than a hundred levels of indentation."""

NODES = 50_000
"""Of more nodes all trees are walked: as ifs they take a second or more to compile."""

NODES_OF_A_FUNCTION = 4_000
"""From 250 on a function of any length is as fast as another; of 60, calls cost a third more."""

Addends = tuple[tuple[int, float], ...]


def add_trees(program: Program, trees: Sequence[Tree], columns: Sequence[Column], starts: Sequence[str]) -> list[str]:
    """Add up what the leaves that a row falls into give, tree after tree, as scikit-learn does.

    Args:
        program: the lines go here.
        trees: in the order of the sum.
        columns: what the trees ask. A missing category is `MISSING_CATEGORY`.
        starts: the totals before the first tree, as lines have them.

    Returns:
        the variables of the totals.
    """
    large = sum(len(tree.feature) for tree in trees) > NODES
    totals = [program.let(start) for start in starts]
    for walked, some in groupby(trees, key=lambda tree: large or tree.depth > DEEPEST):
        for group in [list(some)] if walked else _chunks(some):
            _add_group(program, group, columns, totals, walked)
    return totals


def _chunks(trees: Iterator[Tree]) -> Iterator[list[Tree]]:
    chunk: list[Tree] = []
    for tree in trees:
        if chunk and sum(len(each.feature) for each in [*chunk, tree]) > NODES_OF_A_FUNCTION:
            yield chunk
            chunk = []
        chunk.append(tree)
    yield chunk


def _add_group(
    program: Program, trees: Sequence[Tree], columns: Sequence[Column], totals: Sequence[str], walked: bool
) -> None:
    """Call one function for some trees."""
    used = sorted({int(place) for tree in trees for place in tree.feature[tree.feature != LEAF]})
    variables = [columns[place].variable for place in used]
    if walked:
        walk = program.keep(_walker(trees, used, len(totals)))
        program.add(f"{', '.join(totals)} = {walk}(({', '.join(variables)},), {', '.join(totals)})")
        return
    name = program.new("trees")
    names = {place: columns[place].variable for place in used}
    lines = [f"def {name}({', '.join((*variables, *totals))}):"]
    for tree in trees:
        _write_tree(lines, tree, names, totals)
    lines.append(f" return {', '.join(totals)}")
    program.functions.append("\n".join(lines) + "\n")
    program.add(f"{', '.join(totals)} = {name}({', '.join((*variables, *totals))})")


def _write_tree(lines: list[str], tree: Tree, names: dict[int, str], totals: Sequence[str]) -> None:
    feature, left, right = tree.feature.tolist(), tree.left.tolist(), tree.right.tolist()
    threshold, missing_left = _edges(tree).tolist(), tree.missing_left.tolist()
    values = tree.values.tolist()

    def write(node: int, indent: str) -> None:
        if feature[node] == LEAF:
            added = [f"{totals[place]} += {number(value)}" for place, value in _addends(values[node])]
            lines.append(indent + ("; ".join(added) or "pass"))
            return
        asked = names[feature[node]]
        if node in tree.categories:
            codes = ", ".join(number(code) for code in sorted(tree.categories[node]))
            condition = f"{asked} in ({codes},)" if codes else "False"
        elif missing_left[node]:
            # True of NaN, too.
            condition = f"not {asked} > {number(threshold[node])}"
        else:
            condition = f"{asked} <= {number(threshold[node])}"
        lines.append(f"{indent}if {condition}:")
        write(left[node], indent + " ")
        lines.append(f"{indent}else:")
        write(right[node], indent + " ")

    write(0, " ")


def _edges(tree: Tree) -> Any:
    return widened(tree.threshold) if tree.narrow else tree.threshold


def _addends(values: Sequence[float]) -> Addends:
    """What a leaf adds; adding 0 changes nothing."""
    return tuple((place, value) for place, value in enumerate(values) if value != 0.0)


def _walker(trees: Sequence[Tree], used: Sequence[int], totals: int) -> Callable[..., Any]:
    """A function of the used columns and the totals, which gives the totals after these trees."""
    place_of = {place: at for at, place in enumerate(used)} | {LEAF: LEAF}
    shared: dict[Addends, Addends] = {}
    packed = []
    for tree in trees:
        edges: list[Any] = _edges(tree).tolist()
        for node, codes in tree.categories.items():
            edges[node] = codes
        leaves: list[Any] = [None] * len(edges)
        for node in (tree.feature == LEAF).nonzero()[0].tolist():
            values = tree.values[node].tolist()
            leaves[node] = values[0] if totals == 1 else shared.setdefault(_addends(values), _addends(values))
        feature = [place_of[place] for place in tree.feature.tolist()]
        step = _careful_step if tree.categories else _step
        packed.append(
            (step, feature, edges, tree.left.tolist(), tree.right.tolist(), tree.missing_left.tolist(), leaves)
        )

    def walk_one(values: tuple[float, ...], total: float) -> float:
        gap = any(map(math.isnan, values))
        for step, feature, edges, left, right, missing_left, leaves in packed:
            walk = _careful_step if gap else step
            total += leaves[walk(values, feature, edges, left, right, missing_left)]
        return total

    def walk_many(values: tuple[float, ...], *starts: float) -> list[float]:
        gap = any(map(math.isnan, values))
        sums = list(starts)
        for step, feature, edges, left, right, missing_left, leaves in packed:
            walk = _careful_step if gap else step
            for place, value in leaves[walk(values, feature, edges, left, right, missing_left)]:
                sums[place] += value
        return sums

    return walk_one if totals == 1 else walk_many


def _step(
    values: Sequence[float], feature: list[int], edges: list[Any], left: list[int], right: list[int], _: list[bool]
) -> int:
    """The leaf of a row without missing numbers."""
    node = 0
    while (asked := feature[node]) >= 0:
        node = left[node] if values[asked] <= edges[node] else right[node]
    return node


def _careful_step(
    values: Sequence[float],
    feature: list[int],
    edges: list[Any],
    left: list[int],
    right: list[int],
    missing_left: list[bool],
) -> int:
    """The leaf of a row with missing numbers or categories."""
    node = 0
    while (asked := feature[node]) >= 0:
        value, edge = values[asked], edges[node]
        if isinstance(edge, frozenset):
            goes_left = value in edge
        else:
            goes_left = value <= edge or (math.isnan(value) and missing_left[node])
        node = left[node] if goes_left else right[node]
    return node
