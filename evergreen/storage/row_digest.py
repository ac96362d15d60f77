"""The digest of rows: the sum, over all rows, of a hash of each row.

The digest does not depend on the order of the rows or on the files that hold them. Rows are added to it and taken away
without reading the others again. It reveals faults and accidental or careless changes; it is no signature against
somebody who knows the formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

_MODULUS = 1 << 64
Hashes = npt.NDArray[np.uint64]


def row_hashes(rows: pa.Table | pa.RecordBatch, names: Sequence[str]) -> Hashes:
    """A 64-bit hash of the named columns of each row, shape (n,).

    Equal values have equal hashes, whatever file or batch holds them.
    """
    hashes = np.zeros(rows.num_rows, dtype=np.uint64)
    for name in sorted(names):
        hashes = _mix(hashes * np.uint64(31) + _column_hashes(rows.column(name)))
    return hashes


@dataclass(frozen=True, slots=True)
class Digest:
    """Two sums over the row hashes, modulo 2**64, and the number of rows."""

    first: int
    second: int
    rows: int

    @classmethod
    def parse(cls, text: str, rows: int) -> Digest:
        """Read a digest from its 32 hex digits."""
        return cls(int(text[:16], 16), int(text[16:], 16), rows)

    @property
    def hex(self) -> str:
        """The digest as 32 hex digits."""
        return f"{self.first:016x}{self.second:016x}"

    def plus(self, hashes: Hashes, sign: int = 1) -> Digest:
        """The digest with the rows of these hashes added, or taken away with `sign` -1."""
        first = int(hashes.sum(dtype=np.uint64))
        second = int(_mix(hashes ^ np.uint64(0x9E3779B97F4A7C15)).sum(dtype=np.uint64))
        return Digest(
            (self.first + sign * first) % _MODULUS,
            (self.second + sign * second) % _MODULUS,
            self.rows + sign * len(hashes),
        )

    def minus(self, hashes: Hashes) -> Digest:
        """The digest without the rows of these hashes."""
        return self.plus(hashes, -1)


def _mix(words: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every input bit affects every output bit."""
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
        # Adding 0.0 turns -0.0 into 0.0, so that both have one hash.
        values = values + 0.0 if values.dtype.kind == "f" else values
        hashes: Hashes = pd.util.hash_array(values)
    else:
        # Each distinct text is hashed once.
        encoded = column.fill_null("").dictionary_encode()
        texts = encoded.dictionary.to_numpy(zero_copy_only=False).astype(object)
        hashes = pd.util.hash_array(texts, categorize=False)[encoded.indices.to_numpy()]
    return hashes if missing is None else np.where(missing, np.uint64(0x5851F42D4C957F2D), hashes)
