"""The rules for targets that come later than their rows: what a label has to be, and which of two stands.

The label of a row stands in its target column, and `_labelled_at` says when it became known. Of two labels for one key
the one that was known later stands, in whatever order they arrive; of two that were known at the same time the greater
value. Where the source gives no time, a label is known when it lands, and the last to land stands. A target that comes
with its row is no label: it stands before any, until the row lands again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.coercion import Mask
from evergreen.data.contract import CLOCK_SKEW, Checked, check
from evergreen.spec.data import Labels
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema

KNOWN = "_labelled_at"


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """What becomes of labels whose rows are there; each mask has a place for each label.

    Attributes:
        stands: it is set.
        fresh: it is set where there was none.
        replaces: it is set in the place of another label, which said something else.
        refused: why it is not taken; empty for one that is, or that says what stands already.
    """

    stands: Mask
    fresh: Mask
    replaces: Mask
    refused: npt.NDArray[np.object_]


def rows_schema(spec: ModelSpec, schema: DataFrameSchema) -> DataFrameSchema:
    """What observations are held to: where labels come from elsewhere, a row may come without its target."""
    if spec.labels is None:
        return schema
    return schema.update_column(spec.target, nullable=True, required=False)


def labels_schema(spec: ModelSpec, labels: Labels, schema: DataFrameSchema, now: datetime) -> DataFrameSchema:
    """What labels are held to: the contract's own keys and target, none missing, and a time that has come."""
    import pandera.pandas as pa

    names = dict.fromkeys([*spec.keys, spec.target])
    columns: dict[str, Any] = {name: schema.columns[name] for name in names}
    if labels.time is not None and labels.time not in columns:
        columns[labels.time] = pa.Column("datetime64[us, UTC]")
    needed = {"nullable": False, "required": True}
    found = pa.DataFrameSchema(columns).update_columns(dict.fromkeys(columns, needed))
    if labels.time is None:
        return found
    come = pa.Check(lambda times: times <= now + CLOCK_SKEW, error="in the future")
    return found.update_column(labels.time, checks=[*found.columns[labels.time].checks, come])


def check_labels(
    frame: pd.DataFrame, spec: ModelSpec, labels: Labels, schema: DataFrameSchema, *, now: datetime
) -> Checked:
    """Hold a batch of labels to the contract's own keys and target; of two for one key one is left.

    The accepted rows have the keys, the target and `_labelled_at`.
    """
    # Rivals are told apart here, by when each was known.
    time = spec.time if spec.time in spec.keys else None
    plain = spec.model_copy(update={"prepare": labels.prepare, "keys": (), "time": time})
    checked = check(frame, plain, labels_schema(spec, labels, schema, now), now=now)
    if checked.problem:
        return checked
    import pandas as pd

    known = pd.Series(pd.Timestamp(now), index=checked.rows.index) if labels.time is None else checked.rows[labels.time]
    rows = checked.rows[list(dict.fromkeys([*spec.keys, spec.target]))].assign(**{KNOWN: known.dt.as_unit("us")})
    last, repeats = last_of_each(spec, rows)
    beaten = ~(last | repeats)
    reasons = pd.Series(f"{spec.target}: another label of this batch has the same key", index=rows.index[beaten])
    rejected = pd.concat([checked.rejected, reasons]) if beaten.any() else checked.rejected
    return replace(checked, rows=rows[last], rejected=rejected, repeated=checked.repeated + int(repeats.sum()))


def last_of_each(spec: ModelSpec, labels: pd.DataFrame) -> tuple[Mask, Mask]:
    """Which labels stand among themselves, one for each key, and which of the others say the same as it.

    `labels` are in the order of their landing, and have the keys, the target and `_labelled_at`.
    """
    keys = list(spec.keys)
    numbered = labels[[*keys, spec.target, KNOWN]].reset_index(drop=True)
    by = [KNOWN] if spec.labels is None or spec.labels.time is None else [KNOWN, spec.target]
    ordered = numbered.sort_values(by, kind="stable")
    last = np.zeros(len(labels), dtype=bool)
    last[ordered.index[~ordered.duplicated(subset=keys, keep="last")]] = True
    if last.all():
        return last, ~last
    said = ordered.groupby(keys, sort=False)[spec.target].transform("last").reindex(numbered.index)
    return last, ~last & (numbered[spec.target] == said).to_numpy(dtype=bool)


def weigh(spec: ModelSpec, labels: pa.Table, rows: pa.Table, now: datetime) -> Weighed:
    """Hold labels against what stands in their rows; both tables are of the same length and order."""
    import pyarrow.compute as pc

    timed = spec.labels is not None and spec.labels.time is not None
    new, new_at = labels[spec.target], labels[KNOWN]
    old, old_at = rows[spec.target], rows[KNOWN]
    empty, labelled = _true(old.is_null()), _true(old_at.is_valid()) & ~_true(old.is_null())
    own = ~empty & ~labelled
    same = _true(pc.equal(new, old))
    later = _true(pc.greater(new_at, old_at)) if timed else _true(pc.greater_equal(new_at, old_at))
    if timed:
        later |= _true(pc.equal(new_at, old_at)) & _true(pc.greater(new, old))
    early = _true(pc.greater(rows[spec.time], _instant(now))) if spec.time else np.zeros(len(empty), dtype=bool)
    # Said again later, a label counts from then on; one without a time counts from when it was said first.
    stands = ~early & (empty | (labelled & later & ~same) | (labelled & later & same & timed))
    refused = np.full(len(empty), "", dtype=object)
    refused[labelled & ~later & ~same] = f"{spec.target}: a newer label stands"
    refused[own & ~same] = f"{spec.target}: the row came with a target of its own"
    refused[early] = f"{spec.target}: the row's own time is in the future"
    return Weighed(stands, stands & empty, stands & labelled & ~same, refused)


def carried(
    spec: ModelSpec, rows: pa.Table, held: pa.Table, place: npt.NDArray[np.int64]
) -> tuple[pa.Table, pa.ChunkedArray]:
    """Rows with the targets that they do not bring and their keys have, and when each label became known.

    `place` says where in `held` the row of the same key is, -1 for none. Where labels come from a source of their own,
    a row without a target says nothing about it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    at = pa.array(place, mask=place < 0)
    own, target, labelled_at = rows[spec.target], held[spec.target].take(at), held[KNOWN].take(at)
    keeps = labelled_at.is_valid() if spec.labels is None else pa.chunked_array([pa.array(place >= 0)])
    if not pc.any(keeps).as_py():
        return rows, labelled_at
    kept = pc.if_else(keeps, pc.coalesce(own, target), own)
    same = pc.fill_null(pc.equal(kept, target), False)
    name = rows.column_names.index(spec.target)
    return rows.set_column(name, rows.schema.field(name), kept), pc.if_else(same, labelled_at, None)


def overruled(spec: ModelSpec, rows: pa.Table, held: pa.Table) -> Mask:
    """Which held rows lose their label to a target that their key now lands with; same length and order."""
    import pyarrow.compute as pc

    return _true(held[KNOWN].is_valid()) & _true(pc.not_equal(rows[spec.target], held[spec.target]))


def _true(values: pa.Array | pa.ChunkedArray) -> Mask:
    """A column of truths as a mask; what is not known is not true."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=bool).copy()


def _instant(now: datetime) -> pa.Scalar:
    import pyarrow as pa

    return pa.scalar(now + CLOCK_SKEW, pa.timestamp("us", "UTC"))
