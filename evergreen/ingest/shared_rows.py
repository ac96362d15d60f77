"""Rows of one file that stand word for word in another, for a model without keys.

With keys such a row is the same row. Without them nothing says so, and it counts again in training and in the holdout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.observations import Observations
from evergreen.markdown import many
from evergreen.storage.row_digest import Hashes, row_hashes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds
    from pandera.pandas import DataFrameSchema

TOLD_SHARE = 0.5
"""From this share on it is told: short rows with few values are alike by chance."""


def describe_shared_rows(observations: Observations, landed: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say whether most rows of a file that landed stand in other files, too, and how they could be told apart.

    Args:
        observations: of a model without keys.
        landed: the origins that landed, each with the columns of `distinct_columns`.
    """
    counts = count_shared_rows(observations, list(landed)) if landed else {}
    told = [origin for origin, (rows, shared) in counts.items() if shared >= TOLD_SHARE * rows]
    if not told:
        return
    origin = max(sorted(told), key=lambda name: counts[name][1])
    rows, shared = counts[origin]
    more = f", and so it is with {len(told) - 1} more of the files" if len(told) > 1 else ""
    fix = "Name the columns that identify a row in keys=(...)"
    if names := landed[origin]:
        fix = (
            f"The column {names[0]!r} is different in every row: to tell them apart by it, add it to contract() and "
            f"set keys=({names[0]!r},)"
        )
    yield (
        f"{origin}: {shared:,} of {many(rows, 'row')} stand word for word in other files{more}. They count again, "
        f"because without keys nothing says that they are the same. {fix} in {observations.spec.file}."
    )


def count_shared_rows(observations: Observations, origins: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count the rows of each of these origins, and those of them that another origin has, too.

    The table streams past twice; memory grows with the rows of `origins` alone.
    """
    import pyarrow.dataset as ds

    pieces: dict[str, list[Hashes]] = {}
    for origin, hashes in _hashes(observations, ds.field("_origin").isin(list(origins))):
        pieces.setdefault(origin, []).append(hashes)
    own = {origin: np.concatenate(arrays) for origin, arrays in pieces.items()}
    known = np.unique(np.concatenate([*own.values(), np.zeros(1, np.uint64)]))
    # A row stands in several origins where the least and the greatest of their numbers differ.
    numbers: dict[str, int] = {}
    least, greatest = np.full(len(known), np.iinfo(np.int64).max), np.full(len(known), -1)
    for origin, hashes in _hashes(observations, None):
        number = numbers.setdefault(origin, len(numbers))
        places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        places = places[known[places] == hashes]
        least[places] = np.minimum(least[places], number)
        greatest[places] = np.maximum(greatest[places], number)
    shared = known[least < greatest]
    return {origin: (len(hashes), int(np.isin(hashes, shared).sum())) for origin, hashes in own.items()}


def _hashes(observations: Observations, where: ds.Expression | None) -> Iterator[tuple[str, Hashes]]:
    """The hashes of the content of all rows, piece by piece, each with its origin."""
    for batch in observations.table.scan((*observations.content, "_origin"), where):
        hashes = row_hashes(batch, observations.content)
        encoded = batch.column(batch.num_columns - 1).dictionary_encode()
        codes: npt.NDArray[np.int32] = encoded.indices.to_numpy()
        for code, origin in enumerate(encoded.dictionary.to_pylist()):
            yield origin, hashes[codes == code]


def distinct_columns(frame: pd.DataFrame, schema: DataFrameSchema) -> tuple[str, ...]:
    """The columns of a batch that the contract does not have, and that are different in every row."""
    unknown = [name for name in frame.columns if str(name) not in schema.columns]
    return tuple(str(name) for name in unknown if len(frame) > 1 and frame[name].is_unique)
