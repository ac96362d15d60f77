"""Scoring: what became of an input's chunks is committed in their order.

Refused rows first, then the predictions, together with how far the batch has come: a run that was killed goes on behind
the last commit with nothing lost or twice. Whatever the size of the chunks, the predictions are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.errors import DataError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.scoring.chunk import Scored, Stamp, records
from evergreen.scoring.input import MEND, Input, InputError
from evergreen.scoring.staging import read_arrow
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

CHUNK_ROWS = 100_000
"""Rows of a chunk where nobody says otherwise; half as many were a tenth slower, and took 90 MB less."""

REASONS = 50
"""Reasons that are counted by themselves; all others count together."""

Key = TypeVar("Key")


def require_rows(found: Input, progress: Progress) -> None:
    """Refuse an input without rows.

    Raises:
        InputError: there was none.
    """
    if not progress.rows_in:
        raise InputError(f"{found.name}: it has no rows.", MEND)


def require_scored(found: Input, progress: Progress) -> None:
    """Refuse to call it a success where no row could be scored; they are all in quarantine by then.

    Raises:
        DataError: none could.
    """
    if not progress.rows_scored and progress.rejected:
        reason, rows = max(progress.rejected.items(), key=lambda item: item[1])
        raise DataError(
            f"{found.name}: none of its {progress.rows_in} rows meets the contract: {reason} ({rows} rows).",
            "They are in quarantine with their reasons; mend them and score them again.",
        )


def keep(log: PredictionLog, settings: Settings, progress: Progress, scored: Scored, version: int) -> Progress:
    """Commit the next chunk of a batch, its refused rows first; returns how far the batch has come then."""
    if scored.refused:
        _keep_refused(quarantine_table(settings.lake_uri, log.spec.name), progress, scored)
    after = Progress(
        progress.batch,
        progress.chunks + 1,
        scored.chunk.end,
        progress.rows_in + scored.rows_in,
        _sum(progress.scored, {version: scored.rows}),
        _bounded(_sum(progress.rejected, scored.rejected)),
        scored.classes or progress.classes,
    )
    log.append(read_arrow(scored.predictions), after)
    for file in filter(None, (scored.chunk.path, scored.predictions, scored.refused)):
        Path(file).unlink(missing_ok=True)
    return after


def _keep_refused(quarantine: Table, progress: Progress, scored: Scored) -> None:
    """Keep refused rows, but for those that a killed run kept already, whatever chunk they were in."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    rows = read_arrow(scored.refused)
    uncommitted = (ds.field("batch") == progress.batch) & (ds.field("row") > progress.next_row)
    known = [row for piece in quarantine.scan(["row"], uncommitted) for row in piece.column(0).to_pylist()]
    fresh = rows.filter(pa.array(~np.isin(rows.column("row").to_numpy(), known))) if known else rows
    if fresh.num_rows:
        quarantine.append(fresh, f"{progress.batch}:{scored.chunk.first}-{scored.chunk.end}:rows")


def refuse(found: Input, problem: str, spec: ModelSpec, settings: Settings, now: datetime) -> None:
    """Note in quarantine that an input was refused as a whole; it stays where it is, and the note says where."""
    stamp = Stamp(found.batch, found.name, 0, "", now)
    record = records([-1], [problem], [found.place], spec, stamp)
    quarantine_table(settings.lake_uri, spec.name).append(record, f"{found.batch}:whole")


def _sum(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in [*one, *(key for key in other if key not in one)]}


def _bounded(reasons: Mapping[str, int]) -> dict[str, int]:
    """At most so many reasons, the rest together."""
    if len(reasons) <= REASONS:
        return dict(reasons)
    rest = "other reasons"
    named = {reason: rows for reason, rows in reasons.items() if reason != rest}
    kept = dict(list(named.items())[: REASONS - 1])
    return kept | {rest: sum(reasons.values()) - sum(kept.values())}
