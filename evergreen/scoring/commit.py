"""Commit the scored chunks of an input in their order.

Rejected rows are committed first, then the predictions, together with how far the batch has come. A run that was killed
continues after the last commit; nothing is lost or written twice. The predictions do not depend on the chunks' size.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.errors import DataError
from evergreen.markdown import many
from evergreen.scoring.chunk import RunStamp, ScoredChunk, batch_records
from evergreen.scoring.input import FIX_INPUT, InputError, ScoringInput
from evergreen.scoring.staging import read_arrow
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

CHUNK_ROWS = 100_000
"""Rows of a chunk by default; half as many were a tenth slower, and took 90 MB less."""

MAX_REASONS = 50
"""Reasons that are counted separately; all others are counted together."""

Key = TypeVar("Key")


def require_rows(scoring_input: ScoringInput, progress: Progress) -> None:
    """Refuse an input without rows.

    Raises:
        InputError: it had none.
    """
    if not progress.rows_in:
        raise InputError(f"{scoring_input.name}: it has no rows.", FIX_INPUT)


def require_scored(scoring_input: ScoringInput, progress: Progress) -> None:
    """Refuse to report success if no row could be scored; by then all of them are in quarantine.

    Raises:
        DataError: no row could be scored.
    """
    if not progress.rows_scored and progress.rejected:
        reason, rows = max(progress.rejected.items(), key=lambda item: item[1])
        raise DataError(
            f"{scoring_input.name}: none of its {many(progress.rows_in, 'row')} meets the contract: {reason} "
            f"({many(rows, 'row')}).",
            "They are in quarantine with their reasons; fix them and score them again.",
        )


def commit_chunk(
    log: PredictionLog, quarantine: Table, progress: Progress, scored: ScoredChunk, version: int
) -> Progress:
    """Commit the next chunk of a batch, its rejected rows first; returns how far the batch has come then."""
    if scored.quarantined:
        _quarantine_rejected(quarantine, progress, scored)
    after = Progress(
        progress.batch,
        progress.chunks + 1,
        scored.chunk.end,
        progress.rows_in + scored.rows_in,
        _add_counts(progress.scored, {version: scored.rows}),
        _limit_reasons(_add_counts(progress.rejected, scored.rejected)),
        scored.classes or progress.classes,
    )
    log.append(read_arrow(scored.predictions), after)
    for file in filter(None, (scored.chunk.path, scored.predictions, scored.quarantined)):
        Path(file).unlink(missing_ok=True)
    return after


def reject_input(quarantine: Table, scoring_input: ScoringInput, problem: str, spec: ModelSpec, now: datetime) -> None:
    """Record in quarantine that an input was rejected as a whole, and where it is; the input stays there."""
    stamp = RunStamp(scoring_input.batch, scoring_input.name, 0, "", now)
    record = batch_records([-1], [problem], [scoring_input.location], spec, stamp)
    quarantine.append(record, f"{scoring_input.batch}:whole")


def _quarantine_rejected(quarantine: Table, progress: Progress, scored: ScoredChunk) -> None:
    """Commit rejected rows, without those that a killed run committed, in whatever chunk they were."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    rows = read_arrow(scored.quarantined)
    beyond_progress = (ds.field("batch") == progress.batch) & (ds.field("row") > progress.next_row)
    pieces = quarantine.scan(["row"], beyond_progress)
    committed = [row for piece in pieces for row in piece.column(0).to_pylist()]
    new = rows.filter(pa.array(~np.isin(rows.column("row").to_numpy(), committed))) if committed else rows
    if new.num_rows:
        quarantine.append(new, f"{progress.batch}:{scored.chunk.first}-{scored.chunk.end}:rows")


def _add_counts(left: Mapping[Key, int], right: Mapping[Key, int]) -> dict[Key, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in dict.fromkeys([*left, *right])}


def _limit_reasons(counts: Mapping[str, int]) -> dict[str, int]:
    """At most `MAX_REASONS` reasons, the rest counted together."""
    if len(counts) <= MAX_REASONS:
        return dict(counts)
    rest = "other reasons"
    named = {reason: rows for reason, rows in counts.items() if reason != rest}
    first = dict(list(named.items())[: MAX_REASONS - 1])
    return first | {rest: sum(counts.values()) - sum(first.values())}
