"""The digest of rows: a sum over the rows of a hash of each.

It does not depend on the order in which rows came or on the files they lie in, and what is added and taken away can be
reckoned with it without reading the rest again. It notices faults and tampering by chance or by hand; it is no
signature against somebody who knows the formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

_WORD = 1 << 64
Hashes = npt.NDArray[np.uint64]


def row_hashes(rows: pa.Table | pa.RecordBatch, names: Sequence[str]) -> Hashes:
    """A 64-bit hash of each row's named columns, the same for equal values whatever file or batch they lie in."""
    total = np.zeros(rows.num_rows, dtype=np.uint64)
    for name in sorted(names):
        total = _mixed(total * np.uint64(31) + _column_hashes(rows.column(name)))
    return total


@dataclass(frozen=True, slots=True)
class Digest:
    """Two sums over the row hashes, modulo 2**64, and their count."""

    first: int
    second: int
    rows: int

    @classmethod
    def parse(cls, text: str, rows: int) -> Digest:
        """The digest behind 32 hex digits."""
        return cls(int(text[:16], 16), int(text[16:], 16), rows)

    @property
    def hex(self) -> str:
        """As 32 hex digits."""
        return f"{self.first:016x}{self.second:016x}"

    def plus(self, hashes: Hashes, sign: int = 1) -> Digest:
        """The digest with these rows added, or with `sign` -1 taken away."""
        first = int(hashes.sum(dtype=np.uint64))
        second = int(_mixed(hashes ^ np.uint64(0x9E3779B97F4A7C15)).sum(dtype=np.uint64))
        return Digest(
            (self.first + sign * first) % _WORD, (self.second + sign * second) % _WORD, self.rows + sign * len(hashes)
        )

    def minus(self, hashes: Hashes) -> Digest:
        """The digest without these rows."""
        return self.plus(hashes, -1)


def _mixed(words: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit that goes in moves every bit out."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _column_hashes(column: pa.Array | pa.ChunkedArray) -> Hashes:
    import pandas as pd
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    if pa.types.is_primitive(column.type):
        values = column.fill_null(0).to_numpy(zero_copy_only=False)
        # Plus nothing: minus zero is zero.
        values = values + 0.0 if values.dtype.kind == "f" else values
        hashes: Hashes = pd.util.hash_array(values)
    else:
        # Each different text is hashed once.
        coded = column.fill_null("").dictionary_encode()
        words = coded.dictionary.to_numpy(zero_copy_only=False).astype(object)
        hashes = pd.util.hash_array(words, categorize=False)[coded.indices.to_numpy()]
    return hashes if missing is None else np.where(missing, np.uint64(0x5851F42D4C957F2D), hashes)
