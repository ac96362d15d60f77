"""The id of a row for people: its keys as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def row_ids(rows: pd.DataFrame, spec: ModelSpec, schema: pa.Schema, positions: npt.NDArray[np.int64]) -> pa.Array:
    """The keys as text: the value of one, a JSON array of several; the position without keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not spec.keys:
        return pa.array(positions).cast(pa.string())
    keys = [pa.array(rows[name], schema.field(name).type, from_pandas=True) for name in spec.keys]
    if len(keys) == 1:
        return _to_text(keys[0])
    parts = [_to_json(key) for key in keys]
    inner = pc.binary_join_element_wise(*parts, ", ")
    return pc.binary_join_element_wise("[", inner, "]", "")


def _to_text(key: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.strftime(key, "%Y-%m-%dT%H:%M:%SZ") if pa.types.is_timestamp(key.type) else key.cast(pa.string())


def _to_json(key: pa.Array) -> pa.Array:
    import pyarrow as pa

    if not (pa.types.is_timestamp(key.type) or pa.types.is_string(key.type)):
        return key.cast(pa.string())
    encoded = _to_text(key).dictionary_encode()
    texts = pa.array([json.dumps(text, ensure_ascii=False) for text in encoded.dictionary.to_pylist()], pa.string())
    return texts.take(encoded.indices)
