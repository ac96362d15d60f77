"""The quarantine: what was rejected, with the reason. One table for rows, whole batches and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen import naming
from evergreen.data.checked_batch import IN_FUTURE, CheckedBatch
from evergreen.errors import EvergreenError
from evergreen.settings import Settings
from evergreen.sources.base import Batch
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table
from evergreen.storage.kept_files import KeptFiles, copy_file

if TYPE_CHECKING:
    import pandas as pd

REASONS: Mapping[str, tuple[str, ...]] = {
    "label": ("a newer label", "target of its own"),
    "repeated": ("another row of this batch", "the header again"),
    "total": ("looks like a total",),
    "key": ("a key ",),
    "time": (" time", IN_FUTURE),
    "number": ("not a number", "not a whole number", "too large", "infinite", "neither true nor false"),
}
"""Words of a reason by its class, in the order in which they are looked for."""
OTHER_REASON = "contract"
"""The class of every other reason: a check of the contract."""


def quarantine_table(lake: str, model: str) -> Table:
    """The `quarantine` table of a model: one row a rejected row, or a rejected batch (`row` is then -1)."""
    import pyarrow as pa

    text = pa.string()
    fields = [("batch", text), ("origin", text), ("row", pa.int64()), ("reason", text), ("payload", text)]
    return Table(
        naming.table(lake, model, "quarantine"),
        pa.schema([*fields, ("contract", text), ("at", pa.timestamp("us", "UTC"))]),
        compact_every=50,
    )


def count_refusals(table: Table) -> tuple[int, Mapping[str, int]]:
    """How many batches were refused as a whole, and how many rows and labels, by the class of their reason."""
    batches, rows = 0, Counter[str]()
    if not table.exists():
        return batches, rows
    for record in table.scan(["row", "reason"]):
        for row, reason in zip(record["row"].to_pylist(), record["reason"].to_pylist(), strict=True):
            if row < 0:
                batches += 1
            else:
                rows[reason_class(reason)] += 1
    return batches, rows


def reason_class(reason: str) -> str:
    """One of a few words for a reason, which may name a column and quotes the contract."""
    said = reason.partition(": ")[2] or reason
    return next(
        (name for name, words in REASONS.items() if any(word in said or reason.startswith(word) for word in words)),
        OTHER_REASON,
    )


def quarantine_rows(quarantine: Table, item: Batch, checked: CheckedBatch, contract: str, now: datetime) -> None:
    """Store the rejected rows of a batch as they came, once."""
    if checked.rejected.empty or item.frame is None:
        return
    rejected = item.frame.reset_index(drop=True).loc[checked.rejected.index]
    rows = (checked.rejected.index + 1).to_list()
    payloads = to_json_lines(rejected)
    records = quarantine_records(item.id, item.name, contract, now, rows, checked.rejected.to_list(), payloads)
    quarantine.append(records, f"{item.id}:{contract}:rows")


def quarantine_labels(
    quarantine: Table, labels: pd.DataFrame, reasons: list[str], commit: str, contract: str, now: datetime
) -> None:
    """Store labels that are rejected or replaced, once, also if the run is killed before they are replaced.

    `labels` has the keys, the target and `_labelled_at`; `_batch`, `_origin` and `_row` name where each label, or the
    one that replaces it, came from.
    """
    if labels.empty:
        return
    place = ["_batch", "_origin", "_row"]
    batches, origins, rows = (labels[name].to_list() for name in place)
    payloads = to_json_lines(labels.drop(columns=place))
    records = quarantine_records(batches, origins, contract, now, rows, reasons, payloads)
    if quarantine.has_commit(commit):
        # A run was killed before it set the labels; by now there may be more of them to store.
        records, stored = _without_stored(quarantine, records)
        commit = f"{commit}:{stored}"
    if len(records):
        quarantine.append(records, commit)


def quarantine_batch(
    quarantine: Table, settings: Settings, spec: ModelSpec, item: Batch, problem: str, contract: str, now: datetime
) -> None:
    """Store the batch's own bytes (or its rows as Parquet), then the record that points to them.

    Raises:
        EvergreenError: the bytes cannot be stored.
    """
    files, folder = KeptFiles(settings.report_place), naming.quarantine_folder(spec.name)
    payload = ""
    try:
        # A file's name may be as long as names can be, or no text at all; only its end is kept.
        name = f"{item.id}-{item.origin[-50:].replace('/', '_')}" if item.path is not None else f"{item.id}.parquet"
        with files.writing(folder) as place:
            if item.path is not None:
                copy_file(item.path, place / name)
                payload = f"{folder}/{name}"
            elif item.frame is not None:
                item.frame.astype("str").to_parquet(place / name)
                payload = f"{folder}/{name}"
    except OSError as error:
        raise EvergreenError(
            f"{item.name} is rejected ({problem}), and cannot be kept in {settings.report_place}/{folder}: "
            f"{error.strerror or error}.",
            "Free space or fix the folder's mode, then run it again.",
        ) from None
    records = quarantine_records(item.id, item.name, contract, now, [-1], [problem], [payload])
    quarantine.append(records, f"{item.id}:{contract}:whole")


def quarantine_records(
    batch: str | list[str],
    origin: str | list[str],
    contract: str,
    now: datetime,
    rows: list[int],
    reasons: list[str],
    payloads: list[str],
) -> pd.DataFrame:
    """Rows for the quarantine table.

    Args:
        batch: id of the batch, for all records or for each.
        origin: where it came from, likewise.
        contract: digest of what was checked.
        now: when (aware).
        rows: number of each row in its batch, from 1; -1 for a batch as a whole.
        reasons: why each was rejected.
        payloads: each row as JSON, or the file that holds the batch.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "batch": batch,
            "origin": origin,
            "row": rows,
            "reason": reasons,
            "payload": payloads,
            "contract": contract,
            "at": pd.Timestamp(now),
        }
    )


def to_json_lines(rows: pd.DataFrame) -> list[str]:
    """Convert each row to JSON, with every digit."""
    # JSON has no infinity: it would become null, which is not what was there.
    infinite = [name for name in rows.select_dtypes("float") if (rows[name].abs() == float("inf")).any()]
    text: str = rows.astype(dict.fromkeys(infinite, "str")).to_json(
        orient="records", lines=True, date_format="iso", double_precision=15, default_handler=str
    )
    return text.splitlines()


def _without_stored(quarantine: Table, records: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The records that are not stored yet, and how many of the same batches are."""
    import pandas as pd
    import pyarrow.dataset as ds

    names = ["batch", "row", "reason"]
    stored = quarantine.read(names, ds.field("batch").isin(records["batch"].unique().tolist()))
    is_stored = pd.MultiIndex.from_frame(records[names]).isin(pd.MultiIndex.from_frame(stored))
    return records[~is_stored], len(stored)
