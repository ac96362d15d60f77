"""Predict with the champion: a file, a table, or the observations that have no prediction yet.

The champion is looked up at each run. Chunks are predicted in parallel and committed in their order: a rerun after a
crash continues after the last commit, and an input that is scored twice is there once.
"""

from __future__ import annotations

import time
from typing import Annotated

from prefect import flow
from pydantic import Field

from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from evergreen.runs.results import ScoreResult
from evergreen.scoring.commit import CHUNK_ROWS, require_rows, require_scored
from evergreen.scoring.export import require_destination
from evergreen.scoring.input import InputError, ScoringInput
from flows.shared.chunks import score_chunks
from flows.shared.lineage import ENDS
from flows.shared.opening import champion_and_snapshot, ingest_new_data, open_run
from tasks import run_logger
from tasks.export import export
from tasks.predict import close_batch, reject_input, resolve_input
from tasks.record import record_run
from tasks.report import report_score

WAIT = 30.0
"""Seconds that a scoring waits for another one of the same model to end."""


@flow(flow_run_name="score-{model}", timeout_seconds=24 * 3600, **ENDS)
def score(
    model: str = "bike_demand",
    input: str | None = None,
    output: str | None = None,
    chunk_rows: Annotated[int, Field(ge=1)] = CHUNK_ROWS,
) -> ScoreResult:
    """Score an input with the champion.

    Args:
        model: name of a file in `models/`.
        input: a .csv, .csv.gz or .parquet file, or a Delta table's folder or URL; by default what lands, and every
            observation without a prediction.
        output: where the predictions go beside the log: a .csv or .parquet file, a SQL table's or Redis' URL, env:NAME.
        chunk_rows: rows at a time; memory grows with it, the predictions are the same.
    """
    context = open_run(model)
    if output is not None:
        require_destination(context.settings.environment, output, input)
    with context.hold("score", wait=WAIT):
        if input is None:
            ingest_new_data(context)
        champion, _ = champion_and_snapshot(context)
        if champion is None:
            run_logger(model).warning("score: %s has no champion yet: nothing was scored", model)
            return ScoreResult(model, None, 0, 0, 0, None, context.flow_run)
        scoring_input = resolve_input(context, champion, input)
        result = _score_input(context, champion, scoring_input, output, chunk_rows)
    report_score(context.settings.environment, result)
    record_run(context, "score", result.rows_in - result.repeated, f"version {champion.number}")
    return result


def _score_input(
    context: RunContext, champion: Version, scoring_input: ScoringInput, output: str | None, chunk_rows: int
) -> ScoreResult:
    """Score the rows without a prediction, export them, close the batch; a rerun resumes after any of these steps."""
    before = context.predictions.progress(scoring_input.batch)
    began = time.monotonic()
    try:
        after = before if before.closed else score_chunks(context, champion, scoring_input, before, chunk_rows)
        seconds = max(time.monotonic() - began, 1e-3)
        if scoring_input.kind != "observations":
            require_rows(scoring_input, after)
    except InputError as error:
        reject_input(context, scoring_input, error.what)
        raise
    destination = export(context, scoring_input.batch, output) if output is not None and after.chunks else None
    if after.chunks and not after.closed:
        after = close_batch(context, after)
    if scoring_input.kind != "observations":
        require_scored(scoring_input, after)
    return ScoreResult(
        model=context.spec.name,
        version=champion.number,
        rows_in=after.rows_in,
        rows_scored=after.rows_scored,
        rows_rejected=after.rows_rejected,
        output=destination,
        run_id=context.flow_run,
        batch=scoring_input.batch,
        repeated=before.rows_scored,
        rows_per_second=round((after.rows_in - before.rows_in) / seconds, 1),
        versions=after.scored,
        reasons=after.rejected,
    )
