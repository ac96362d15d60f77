"""In which rows a feature was served with another value than landed, and what is common to them, in words.

No value of a row is in these words: a factor and an offset are of all rows together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.frames import to_text
from evergreen.markdown import many

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 1e-9
"""Numbers that differ by a smaller share are equal: the same sum in another order, or a number written as text, differs
by some 1e-16 of its value, and no unit or rounding by so little. The server holds its compiled pipeline to the same."""
FEW = 10
"""Of fewer rows nothing is said to be common."""
MOST = 0.9
"""What is common to this share of the rows that differ is said of them."""
ALIKE = 1e-3
"""A factor and an offset say what was served to within this share of its size: a client may have rounded."""

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ServedColumn:
    """One feature of n rows, online and as it landed.

    Attributes:
        known: the request log has it, as a value of the column's kind or as a missing one, shape (n,).
        differs: both are known and they differ, shape (n,).
        how: in which way, in words; empty where nothing differs.
    """

    known: Flags
    differs: Flags
    how: str


def compare_numbers(online: Sequence[Any], known: Flags, landed: pd.Series) -> ServedColumn:
    """A numeric feature: `online` as JSON has it, None where it was missing; `landed` float64, NaN where it is."""
    is_number = np.array([value is None or isinstance(value, int | float) for value in online], dtype=bool)
    known = known & is_number
    values = [value if fits else None for value, fits in zip(online, is_number, strict=True)]
    got = np.array([np.nan if value is None else float(value) for value in values], dtype=float)
    truth = landed.to_numpy(dtype=float)
    with np.errstate(over="ignore"):
        # A client of the Open Inference Protocol may send numbers of 32 bits, which is no other value.
        short = got == truth.astype(np.float32).astype(float)
    equal = short | np.isclose(got, truth, rtol=CLOSE, atol=0.0, equal_nan=True)
    differs = known & ~equal
    return ServedColumn(known, differs, _how(got, truth, np.isnan(got), np.isnan(truth), differs, _of_numbers))


def compare_texts(online: Sequence[Any], known: Flags, landed: pd.Series) -> ServedColumn:
    """A category: as `compare_numbers`, of texts; numbers and flags are read as the pipeline reads them."""
    import pandas as pd

    got = to_text(pd.Series(list(online), dtype="object"))
    lost, gone = got.isna().to_numpy(), landed.isna().to_numpy()
    left, right = (column.astype("object").to_numpy() for column in (got, landed))
    differs = known & ((lost != gone) | (~lost & ~gone & (left != right)))
    return ServedColumn(known, differs, _how(left, right, lost, gone, differs, _of_texts))


def _how(got: Any, truth: Any, lost: Flags, gone: Flags, differs: Flags, of_values: Any) -> str:
    """Each way in which rows differ, with how many of them do where there are several; empty where none differs."""
    ways = list(_ways(got, truth, lost, gone, differs, of_values)) if differs.any() else []
    return ways[0][0] if len(ways) == 1 else "; ".join(f"{way} in {many(rows, 'row')}" for way, rows in ways)


def _ways(got: Any, truth: Any, lost: Flags, gone: Flags, differs: Flags, of_values: Any) -> Iterator[tuple[str, int]]:
    missing, present, both = differs & lost, differs & gone, differs & ~lost & ~gone
    if missing.any():
        yield "missing online where a value landed", int(missing.sum())
    if present.any():
        what = _constant(got[present]) or "a value online"
        yield f"{what} where none landed", int(present.sum())
    if both.any():
        yield of_values(got[both], truth[both]), int(both.sum())


def _constant(got: Any) -> str:
    """Whether what was served is one and the same value; empty where it is not, or nobody can tell."""
    is_one = len(got) >= FEW and bool((got == got[0]).all())
    return "one and the same value online (a default?)" if is_one else ""


def _of_texts(got: Any, truth: Any) -> str:
    plain = [
        (str(one).strip().casefold(), str(other).strip().casefold()) for one, other in zip(got, truth, strict=True)
    ]
    if all(one == other for one, other in plain):
        return "online differs by case or by blanks only"
    return _several(got, truth) or "another value online"


def _of_numbers(got: Floats, truth: Floats) -> str:
    return _several(got, truth) or _line(got, truth) or "another value online"


def _several(got: Any, truth: Any) -> str:
    """Online a constant while what landed is none."""
    return _constant(got) if len(set(truth.tolist())) > 1 else ""


def _line(got: Floats, truth: Floats) -> str:
    """What was served as a multiple of what landed, and an offset where it takes one; empty where it is neither.

    The factor is the median ratio; with an offset, the median slope between rows half the rows apart in the order of
    what landed, and the median rest.
    """
    finite = np.isfinite(got) & np.isfinite(truth)
    got, truth = got[finite], truth[finite]
    if len(got) < FEW:
        return ""
    for factor, offset in _candidates(got, truth):
        off = np.abs(got - (factor * truth + offset))
        if np.mean(off <= ALIKE * np.maximum(np.abs(got), ALIKE * np.median(np.abs(got)))) >= MOST:
            return _in_words(factor, offset, bool(np.median(off) > CLOSE * np.median(np.abs(got))))
    return ""


def _candidates(got: Floats, truth: Floats) -> Iterator[tuple[float, float]]:
    nonzero = truth != 0
    if nonzero.any():
        yield float(np.median(got[nonzero] / truth[nonzero])), 0.0
    yield 1.0, float(np.median(got - truth))
    order = np.argsort(truth, kind="stable")
    half = len(order) // 2
    apart = truth[order[half:]] - truth[order[: len(order) - half]]
    rise = (got[order[half:]] - got[order[: len(order) - half]])[apart > 0]
    if (apart > 0).any():
        slope = float(np.median(rise / apart[apart > 0]))
        yield slope, float(np.median(got - slope * truth))


def _in_words(factor: float, offset: float, is_rough: bool) -> str:
    def written(figure: float) -> str:
        return f"{figure:.3g}" if is_rough else f"{figure:.6g}"

    if abs(factor - 1.0) < ALIKE:
        if not offset:
            return "online is the landed value but for a small part of it, as by rounding"
        times = "the landed value"
    else:
        times = f"{written(factor)} times the landed value"
    end = f" {'plus' if offset > 0 else 'less'} {written(abs(offset))}" if offset else ""
    return f"online is {'about ' if is_rough else ''}{times}{end}"
