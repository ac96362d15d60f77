"""Score one chunk of an input: check it against the contract, predict it, and make rows for the log and the quarantine.

The chunk is read from a file and the results are written to files. No table is touched, wherever a task may run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import contract_digest, scoring_schema
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.predictions import Predictions
from evergreen.data.row_ids import row_ids
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import quarantine_records, quarantine_table, to_json_lines
from evergreen.scoring.input import FIX_INPUT, Chunk, InputError, ScoringInput
from evergreen.scoring.staging import read_arrow, write_arrow
from evergreen.sources.typed_frames import frame_of_table
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict, threads

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

MAX_CHECKS = 500
"""How many pieces of a chunk are checked to find the rows that break `prepare`; after that the rest is rejected."""


@dataclass(frozen=True, slots=True)
class RunStamp:
    """What every prediction of a run is stamped with.

    Attributes:
        batch: the input's id.
        origin: the input, as a person would name it.
        version: of the model.
        run_id: of the flow run.
        at: when (aware, UTC).
    """

    batch: str
    origin: str
    version: int
    run_id: str
    at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVersion:
    """A model version in memory, and the schema of the rows that it scores (`scoring_schema`)."""

    spec: ModelSpec
    schema: DataFrameSchema
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """What became of a chunk.

    Attributes:
        chunk: the chunk.
        rows_in: how many rows it had.
        rows: rows with a prediction; fewer than were accepted if `prepare` left rows out.
        rejected: number of rejected rows by reason.
        classes: the classes of the columns of the probability, as text.
        predictions: an Arrow file with the rows for the log.
        quarantined: an Arrow file with the rows for the quarantine; empty if no row was rejected.
    """

    chunk: Chunk
    rows_in: int
    rows: int
    rejected: Mapping[str, int]
    classes: tuple[str, ...]
    predictions: str
    quarantined: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedRows:
    """The rows of a chunk after the contract: the accepted ones, and the reason of each rejected one.

    Both are indexed by position in the chunk.
    """

    rows: pd.DataFrame
    rejected: pd.Series


def require_columns(scoring_input: ScoringInput, chunk: Chunk, spec: ModelSpec, now: datetime) -> None:
    """Refuse an input that lacks a column, before anything of it is scored.

    Raises:
        InputError: a column that the contract or `prepare` needs is missing.
    """
    if not chunk.landed:
        head = _read_frame(chunk, 1)
        schema = scoring_schema(spec)
        rows = _with_target(head, spec)
        checked = check_batch(rows, spec, schema, now=now, scoring=True, written=chunk.written)
        if checked.problem.startswith("column "):
            asks = f", which the model file asks for: {checked.failure}" if checked.failure else ""
            raise InputError(f"{scoring_input.name}: {checked.problem}{asks}.", FIX_INPUT)


def score_chunk(chunk: Chunk, version: LoadedVersion, stamp: RunStamp, lake: str) -> ScoredChunk:
    """Check and predict one chunk.

    Raises:
        EvergreenError: the pipeline fails on rows that the contract accepts.
    """
    spec, frame = version.spec, _read_frame(chunk)
    # Landed rows are prepared already.
    prepared_spec = spec.model_copy(update={"prepare": None}) if chunk.landed else spec
    rows_in = frame if chunk.landed else _with_target(frame, spec)
    checked = _check_rows(rows_in, prepared_spec, version.schema, stamp.at, written=chunk.written)
    predictions = _predict_rows(version.pipeline, spec, checked.rows, stamp)
    path = Path(chunk.path)
    scored_file, quarantined_file = (
        str(path.with_name(f"{path.stem}-{name}.arrow")) for name in ("scored", "rejected")
    )
    write_arrow(_log_rows(chunk, frame, checked.rows, predictions, spec, stamp, lake), Path(scored_file))
    if len(checked.rejected):
        positions = _positions(chunk, frame)[checked.rejected.index.to_numpy()]
        # As at ingest, the first row of an input is row 1.
        records = batch_records(
            (positions + 1).tolist(),
            checked.rejected.tolist(),
            to_json_lines(frame.loc[checked.rejected.index]),
            spec,
            stamp,
        )
        write_arrow(quarantine_table(lake, spec.name).to_arrow(records), Path(quarantined_file))
    reasons = dict(Counter(checked.rejected.tolist()))
    classes = () if predictions.probability is None else tuple(map(str, predictions.classes or ()))
    return ScoredChunk(
        chunk, len(frame), len(checked.rows), reasons, classes, scored_file, quarantined_file if reasons else ""
    )


def batch_records(
    rows: list[int], reasons: list[str], payloads: list[str], spec: ModelSpec, stamp: RunStamp
) -> pd.DataFrame:
    """Rows for the quarantine (see `quarantine_records`); row -1 is the input as a whole."""
    contract = contract_digest(spec)
    return quarantine_records(stamp.batch, stamp.origin, contract, stamp.at, rows, reasons, payloads)


def _read_frame(chunk: Chunk, rows: int | None = None) -> pd.DataFrame:
    """The first `rows` rows of a chunk, by default all, numbered from 0."""
    return frame_of_table(read_arrow(chunk.path).slice(0, rows))


def _with_target(frame: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """The rows with a target column, which `prepare` may look at; its values are missing if it was not there."""
    is_absent = spec.prepare is not None and spec.target not in frame.columns
    return frame.assign(**{spec.target: np.nan}) if is_absent else frame


def _check_rows(
    frame: pd.DataFrame, spec: ModelSpec, schema: DataFrameSchema, now: datetime, *, written: bool
) -> CheckedRows:
    """Check each row against the contract.

    `prepare` may fail because of a single row, and a check may reject everything it is given. Such rows are checked
    again in smaller pieces.
    """
    import pandas as pd

    pieces = [(0, len(frame))]
    accepted: list[pd.DataFrame] = []
    rejected: list[pd.Series] = []
    checks = 0
    while pieces:
        start, stop = pieces.pop()
        checked = check_batch(frame.iloc[start:stop], spec, schema, now=now, scoring=True, written=written)
        checks += 1
        if not checked.problem:
            accepted.append(checked.rows.set_axis(checked.rows.index + start))
            rejected.append(checked.rejected.set_axis(checked.rejected.index + start))
        elif stop - start == 1 or checks > MAX_CHECKS:
            rejected.append(pd.Series(checked.problem, index=range(start, stop), dtype="object"))
        else:
            middle = (start + stop) // 2
            # The stack returns the last piece first, so that the first half is checked first.
            pieces += [(middle, stop), (start, middle)]
    rows = pd.concat(accepted) if len(accepted) > 1 else accepted[0] if accepted else frame.iloc[:0]
    # `prepare` may have changed the order; predictions are in the order of the input.
    rows = rows if rows.index.is_monotonic_increasing else rows.sort_index()
    return CheckedRows(rows, pd.concat(rejected).sort_index())


def _predict_rows(pipeline: Pipeline, spec: ModelSpec, rows: pd.DataFrame, stamp: RunStamp) -> Predictions:
    if rows.empty:
        return Predictions(np.empty(0))
    try:
        # One processor: other chunks have the others.
        with threads(0):
            return predict(pipeline, spec, rows)
    except (EvergreenError, MemoryError):
        raise
    except Exception as error:
        # The message may show values of the rows.
        raise EvergreenError(
            f"{spec.name} version {stamp.version}: its pipeline fails on rows of {stamp.origin} that the contract "
            f"accepts ({type(error).__name__}).",
            "Narrow the contract, or roll back to a version that can predict them.",
        ) from None


def _positions(chunk: Chunk, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The position in the input of each row of a chunk, shape (n,)."""
    if chunk.landed:
        return frame["_row"].to_numpy(dtype=np.int64)
    return np.arange(chunk.first, chunk.first + len(frame), dtype=np.int64)


def _log_rows(
    chunk: Chunk,
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    predictions: Predictions,
    spec: ModelSpec,
    stamp: RunStamp,
    lake: str,
) -> pa.Table:
    """The rows for the prediction log."""
    import pyarrow as pa

    log = PredictionLog(lake, spec)
    if not len(rows):
        return log.table.schema.empty_table()
    positions = _positions(chunk, frame)[rows.index.to_numpy()]
    observations = Observations(lake, spec)
    target = frame[spec.target][rows.index] if chunk.landed else None
    keys = observations.ids(rows if spec.keys else rows.assign(**{spec.target: target}))
    columns = {
        "batch": pa.repeat(stamp.batch, len(rows)),
        "chunk": pa.repeat(pa.scalar(chunk.number, pa.int64()), len(rows)),
        "version": pa.repeat(pa.scalar(stamp.version, pa.int64()), len(rows)),
        "at": pa.nulls(len(rows)) if spec.time is None else pa.array(rows[spec.time]),
        "key": keys.view(np.int64),
        "row": positions,
        "scored_at": pa.repeat(pa.scalar(stamp.at, pa.timestamp("us", "UTC")), len(rows)),
        "id": row_ids(rows, spec, observations.table.schema, positions),
        "prediction": _prediction_column(predictions, spec),
        "probability": _probability_column(predictions),
        "run_id": pa.repeat(stamp.run_id, len(rows)),
    }
    return pa.table(columns).select(log.table.schema.names).cast(log.table.schema)


def _prediction_column(predictions: Predictions, spec: ModelSpec) -> pa.Array:
    import pyarrow as pa

    if spec.task == "regression":
        return pa.array(predictions.values)
    labels, codes = np.unique(predictions.values, return_inverse=True)
    return pa.array([str(label) for label in labels.tolist()]).take(pa.array(codes.ravel()))


def _probability_column(predictions: Predictions) -> pa.Array:
    import pyarrow as pa

    probability = predictions.probability
    if probability is None:
        return pa.nulls(len(predictions.values), pa.list_(pa.float64()))
    offsets = np.arange(0, probability.size + 1, probability.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.ascontiguousarray(probability).ravel())
