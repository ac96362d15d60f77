"""What was refused, with the reason: one place for rows, for whole batches and for labels that lost their place."""

from __future__ import annotations

import shutil
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen import naming
from evergreen.data.contract import Checked
from evergreen.errors import EvergreenError
from evergreen.settings import Settings
from evergreen.sources.base import Batch
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    import pandas as pd


def quarantine_table(lake: str, model: str) -> Table:
    """The `quarantine` table of a model: one row a refused row, or a refused batch (`row` is then -1)."""
    import pyarrow as pa

    text = pa.string()
    fields = [("batch", text), ("origin", text), ("row", pa.int64()), ("reason", text), ("payload", text)]
    return Table(
        naming.table(lake, model, "quarantine"),
        pa.schema([*fields, ("contract", text), ("at", pa.timestamp("us", "UTC"))]),
        join=50,
    )


def keep_rows(quarantine: Table, item: Batch, checked: Checked, contract: str, now: datetime) -> None:
    """Keep the refused rows of a batch as they came, once."""
    if checked.rejected.empty or item.frame is None:
        return
    refused = item.frame.reset_index(drop=True).loc[checked.rejected.index]
    rows = (checked.rejected.index + 1).to_list()
    frame = _records(item.id, item.name, contract, now, rows, checked.rejected.to_list(), _texts(refused))
    quarantine.append(frame, f"{item.id}:{contract}:rows")


def keep_labels(
    quarantine: Table, labels: pd.DataFrame, reasons: list[str], commit: str, contract: str, now: datetime
) -> None:
    """Keep labels that lost their place, once, though the run be killed between this and what they lost it to.

    `labels` has the keys, the target and `_labelled_at`; `_batch`, `_origin` and `_row` name where each came from, or
    what took its place.
    """
    if labels.empty:
        return
    place = ["_batch", "_origin", "_row"]
    batch, origin, rows = (labels[name].to_list() for name in place)
    frame = _records(batch, origin, contract, now, rows, reasons, _texts(labels.drop(columns=place)))
    if quarantine.has(commit):
        # Killed before the labels were settled; by now there may be more of them to keep.
        frame, there = _not_there(quarantine, frame)
        commit = f"{commit}:{there}"
    if len(frame):
        quarantine.append(frame, commit)


def _not_there(quarantine: Table, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The records that are not kept yet, and how many there are of the same batches."""
    import pandas as pd
    import pyarrow.dataset as ds

    names = ["batch", "row", "reason"]
    held = quarantine.read(names, ds.field("batch").isin(frame["batch"].unique().tolist()))
    there = pd.MultiIndex.from_frame(frame[names]).isin(pd.MultiIndex.from_frame(held))
    return frame[~there], len(held)


def _texts(rows: pd.DataFrame) -> list[str]:
    """Each row as JSON, with every digit."""
    # JSON has no infinity: it would become null, which is not what was there.
    infinite = [name for name in rows.select_dtypes("float") if (rows[name].abs() == float("inf")).any()]
    text: str = rows.astype(dict.fromkeys(infinite, "str")).to_json(
        orient="records", lines=True, date_format="iso", double_precision=15
    )
    return text.splitlines()


def keep_batch(
    quarantine: Table, settings: Settings, spec: ModelSpec, item: Batch, problem: str, contract: str, now: datetime
) -> None:
    """Keep the batch's own bytes (or its rows as Parquet), then the record that points to them."""
    folder = settings.quarantine(spec.name)
    payload = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if item.path is not None:
            # A file's name may be as long as names can be, or no text at all; what a person called it is cut short.
            payload = str(shutil.copy2(item.path, folder / f"{item.id}-{item.origin[-50:].replace('/', '_')}"))
        elif item.frame is not None:
            payload = str(folder / f"{item.id}.parquet")
            item.frame.astype("str").to_parquet(payload)
    except OSError as error:
        raise EvergreenError(
            f"{item.name} is refused ({problem}), and cannot be kept in {folder}: {error.strerror or error}.",
            "Free space or mend the folder's mode, then run it again.",
        ) from None
    record = _records(item.id, item.name, contract, now, [-1], [problem], [payload])
    quarantine.append(record, f"{item.id}:{contract}:whole")


def _records(
    batch: str | list[str],
    origin: str | list[str],
    contract: str,
    now: datetime,
    rows: list[int],
    reasons: list[str],
    payloads: list[str],
) -> pd.DataFrame:
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
