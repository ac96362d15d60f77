"""The rules for labels, targets that come later than their rows: what a label has to satisfy, and which of two stands.

The label of a row is in its target column, and `_labelled_at` says when it became known. Of two labels for one key the
one that became known later stands, in whatever order they arrive. Of two that became known at the same time the greater
value stands. If the source gives no time, a label becomes known when it lands, and the last one to land stands. A
target that comes with its row is no label: it stands before any label, until the row lands again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.checked_batch import CLOCK_SKEW, IN_FUTURE, CheckedBatch, check_batch
from evergreen.data.row_errors import Mask
from evergreen.spec.data import Labels
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema

LABELLED_AT = "_labelled_at"


@dataclass(frozen=True, slots=True, eq=False)
class LabelResolution:
    """What happens to n labels whose rows exist; every array has shape (n,).

    Attributes:
        stands: the label is set in its row.
        added: it is set in a row that had none.
        replaces: it is set in place of another label with a different value.
        rejected: why it is rejected; empty if it is set, or equals what is there.
    """

    stands: Mask
    added: Mask
    replaces: Mask
    rejected: npt.NDArray[np.object_]


def rows_schema(spec: ModelSpec, schema: DataFrameSchema) -> DataFrameSchema:
    """The schema for observations: where labels come from a source of their own, a row may lack its target."""
    if spec.labels is None:
        return schema
    return schema.update_column(spec.target, nullable=True, required=False)


def labels_schema(spec: ModelSpec, labels: Labels, schema: DataFrameSchema, now: datetime) -> DataFrameSchema:
    """The schema for labels: the contract's own keys and target, none missing, and a time that is not in the future."""
    import pandera.pandas as pa

    names = dict.fromkeys([*spec.keys, spec.target])
    columns: dict[str, Any] = {name: schema.columns[name] for name in names}
    if labels.time is not None and labels.time not in columns:
        columns[labels.time] = pa.Column("datetime64[us, UTC]")
    required = {"nullable": False, "required": True}
    label_schema = pa.DataFrameSchema(columns).update_columns(dict.fromkeys(columns, required))
    if labels.time is None:
        return label_schema
    not_future = pa.Check(lambda times: times <= now + CLOCK_SKEW, error=IN_FUTURE)
    return label_schema.update_column(labels.time, checks=[*label_schema.columns[labels.time].checks, not_future])


def check_labels(
    frame: pd.DataFrame,
    spec: ModelSpec,
    labels: Labels,
    schema: DataFrameSchema,
    *,
    now: datetime,
    written: bool = False,
) -> CheckedBatch:
    """Check a batch of labels against the contract's own keys and target; of several for one key, one is accepted.

    The accepted rows have the keys, the target and `_labelled_at`.
    """
    # Without keys, so that labels with one key are compared here, by when each became known.
    time = spec.time if spec.time in spec.keys else None
    unkeyed = spec.model_copy(update={"prepare": labels.prepare, "keys": (), "time": time})
    checked = check_batch(frame, unkeyed, labels_schema(spec, labels, schema, now), now=now, written=written)
    if checked.problem:
        return checked
    import pandas as pd

    if labels.time is None:
        known_at = pd.Series(pd.Timestamp(now), index=checked.rows.index)
    else:
        known_at = checked.rows[labels.time]
    rows = checked.rows[list(dict.fromkeys([*spec.keys, spec.target]))]
    rows = rows.assign(**{LABELLED_AT: known_at.dt.as_unit("us")})
    latest, repeats = latest_per_key(spec, rows)
    superseded = ~(latest | repeats)
    reasons = pd.Series(f"{spec.target}: another label of this batch has the same key", index=rows.index[superseded])
    rejected = pd.concat([checked.rejected, reasons]) if superseded.any() else checked.rejected
    return replace(checked, rows=rows[latest], rejected=rejected, repeated=checked.repeated + int(repeats.sum()))


def latest_per_key(spec: ModelSpec, labels: pd.DataFrame) -> tuple[Mask, Mask]:
    """Which labels stand among themselves, one for each key, and which of the others have the same value as theirs.

    `labels` are in the order of their landing, and have the keys, the target and `_labelled_at`.
    """
    keys = list(spec.keys)
    numbered = labels[[*keys, spec.target, LABELLED_AT]].reset_index(drop=True)
    by = [LABELLED_AT] if spec.labels is None or spec.labels.time is None else [LABELLED_AT, spec.target]
    ordered = numbered.sort_values(by, kind="stable")
    latest = np.zeros(len(labels), dtype=bool)
    latest[ordered.index[~ordered.duplicated(subset=keys, keep="last")]] = True
    if latest.all():
        return latest, ~latest
    latest_value = ordered.groupby(keys, sort=False)[spec.target].transform("last").reindex(numbered.index)
    return latest, ~latest & (numbered[spec.target] == latest_value).to_numpy(dtype=bool)


def resolve_labels(spec: ModelSpec, labels: pa.Table, rows: pa.Table, now: datetime) -> LabelResolution:
    """Decide for each label whether it is set in its row; both tables have the same length and order."""
    import pyarrow.compute as pc

    has_times = spec.labels is not None and spec.labels.time is not None
    new, new_at = labels[spec.target], labels[LABELLED_AT]
    old, old_at = rows[spec.target], rows[LABELLED_AT]
    empty, labelled = _to_mask(old.is_null()), _to_mask(old_at.is_valid()) & ~_to_mask(old.is_null())
    came_with_row = ~empty & ~labelled
    same = _to_mask(pc.equal(new, old))
    later = _to_mask(pc.greater(new_at, old_at)) if has_times else _to_mask(pc.greater_equal(new_at, old_at))
    if has_times:
        later |= _to_mask(pc.equal(new_at, old_at)) & _to_mask(pc.greater(new, old))
    in_future = np.zeros(len(empty), dtype=bool)
    if spec.time:
        in_future = _to_mask(pc.greater(rows[spec.time], _latest_time(now)))
    # A label that is repeated with a later time counts from then on; one without a time counts from when it came first.
    stands = ~in_future & (empty | (labelled & later & ~same) | (labelled & later & same & has_times))
    rejected = np.full(len(empty), "", dtype=object)
    rejected[labelled & ~later & ~same] = f"{spec.target}: a newer label stands"
    rejected[came_with_row & ~same] = f"{spec.target}: the row came with a target of its own"
    rejected[in_future] = f"{spec.target}: the row's own time is {IN_FUTURE}"
    return LabelResolution(stands, stands & empty, stands & labelled & ~same, rejected)


def carry_labels(
    spec: ModelSpec, rows: pa.Table, stored: pa.Table, positions: npt.NDArray[np.int64]
) -> tuple[pa.Table, pa.ChunkedArray]:
    """Give rows that come without a target the one that is stored for their key.

    Args:
        spec: the model; where labels come from a source of their own, a row without a target says nothing about it.
        rows: the rows of a batch (n).
        stored: rows of the table.
        positions: the position in `stored` of each row's key, -1 for none, shape (n,).

    Returns:
        The rows with their targets, and when each label became known.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    at = pa.array(positions, mask=positions < 0)
    own, target, labelled_at = rows[spec.target], stored[spec.target].take(at), stored[LABELLED_AT].take(at)
    carries = labelled_at.is_valid() if spec.labels is None else pa.chunked_array([pa.array(positions >= 0)])
    if not pc.any(carries).as_py():
        return rows, labelled_at
    targets = pc.if_else(carries, pc.coalesce(own, target), own)
    same = pc.fill_null(pc.equal(targets, target), False)
    index = rows.column_names.index(spec.target)
    return rows.set_column(index, rows.schema.field(index), targets), pc.if_else(same, labelled_at, None)


def overridden_labels(spec: ModelSpec, rows: pa.Table, stored: pa.Table) -> Mask:
    """Which stored rows lose their label to the target that their key lands with now; same length and order."""
    import pyarrow.compute as pc

    return _to_mask(stored[LABELLED_AT].is_valid()) & _to_mask(pc.not_equal(rows[spec.target], stored[spec.target]))


def _to_mask(values: pa.Array | pa.ChunkedArray) -> Mask:
    """A column of booleans as a mask; null counts as false."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=bool).copy()


def _latest_time(now: datetime) -> pa.Scalar:
    import pyarrow as pa

    return pa.scalar(now + CLOCK_SKEW, pa.timestamp("us", "UTC"))
