"""One chunk of an input: held to the contract, predicted, and made into rows of the log and of the quarantine.

It works from a file to files and touches no table, wherever a task may run.
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

from evergreen.data.contract import check_batch, contract_digest, scoring_schema
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.predictions import Predictions
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.scoring.input import MEND, Chunk, Input, InputError
from evergreen.scoring.row_ids import row_ids
from evergreen.scoring.staging import read_arrow, write_arrow
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict, threads

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

LOOKS = 500
"""So often a chunk is cut into smaller pieces to find the rows that break `prepare`; then the rest is refused."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every prediction of a run bears.

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
    """A version in memory, and what its rows are held to; `schema` is that of `scoring_schema`."""

    spec: ModelSpec
    schema: DataFrameSchema
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a chunk.

    Attributes:
        chunk: the chunk.
        rows_in: rows it had.
        rows: rows with a prediction; fewer than were not refused where `prepare` left rows out.
        rejected: refused rows by reason.
        classes: as text, what the columns of the probability stand for.
        predictions: an Arrow file of the log's rows.
        refused: an Arrow file of the quarantine's rows; empty where none was refused.
    """

    chunk: Chunk
    rows_in: int
    rows: int
    rejected: Mapping[str, int]
    classes: tuple[str, ...]
    predictions: str
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """Rows of a chunk by what the contract says of them, both by position in the chunk."""

    rows: pd.DataFrame
    rejected: pd.Series


def require_columns(found: Input, chunk: Chunk, spec: ModelSpec, now: datetime) -> None:
    """Refuse an input that lacks a column before anything of it is scored.

    Raises:
        InputError: a column that the contract or `prepare` needs is missing.
    """
    if not chunk.landed:
        head = _frame(chunk, 1)
        problem = check_batch(_with_target(head, spec), spec, scoring_schema(spec), now=now, scoring=True).problem
        if problem.endswith("is missing"):
            raise InputError(f"{found.name}: {problem}.", MEND)


def score_chunk(chunk: Chunk, version: LoadedVersion, stamp: Stamp, lake: str) -> Scored:
    """Check and predict one chunk.

    Raises:
        EvergreenError: the pipeline fails on rows that the contract accepts.
    """
    spec, frame = version.spec, _frame(chunk)
    plain = spec.model_copy(update={"prepare": None}) if chunk.landed else spec
    given = frame if chunk.landed else _with_target(frame, spec)
    found = _sorted(given, plain, version.schema, stamp.at)
    predictions = _predicted(version.pipeline, spec, found.rows, stamp)
    place = Path(chunk.path)
    files = {name: str(place.with_name(f"{place.stem}-{name}.arrow")) for name in ("scored", "refused")}
    write_arrow(_logged(chunk, frame, found.rows, predictions, spec, stamp, lake), Path(files["scored"]))
    if len(found.rejected):
        positions = _positions(chunk, frame)[found.rejected.index.to_numpy()]
        refused = _refused(frame.loc[found.rejected.index], positions, found.rejected, spec, stamp)
        write_arrow(quarantine_table(lake, spec.name).to_arrow(refused), Path(files["refused"]))
    reasons = Counter(found.rejected.tolist())
    classes = () if predictions.probability is None else tuple(map(str, predictions.classes or ()))
    refused_file = files["refused"] if reasons else ""
    return Scored(chunk, len(frame), len(found.rows), dict(reasons), classes, files["scored"], refused_file)


def _frame(chunk: Chunk, most: int | None = None) -> pd.DataFrame:
    """The rows of a chunk, or the first so many of them, numbered from 0."""
    frame: pd.DataFrame = read_arrow(chunk.path).slice(0, most).to_pandas()
    return frame.reset_index(drop=frame.index.names == [None])


def _with_target(frame: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """The rows with a target, known or not, for a `prepare` that looks at it."""
    absent = spec.prepare is not None and spec.target not in frame.columns
    return frame.assign(**{spec.target: np.nan}) if absent else frame


def _sorted(frame: pd.DataFrame, spec: ModelSpec, schema: DataFrameSchema, now: datetime) -> _Sorted:
    """What the contract says of each row; rows that nothing can be said of together are looked at in smaller pieces.

    `prepare` may fail for a single row, and a check for the whole of what it was given.
    """
    import pandas as pd

    pieces = [(0, len(frame))]
    accepted: list[pd.DataFrame] = []
    rejected: list[pd.Series] = []
    looks = 0
    while pieces:
        start, stop = pieces.pop()
        checked = check_batch(frame.iloc[start:stop], spec, schema, now=now, scoring=True)
        looks += 1
        if not checked.problem:
            accepted.append(checked.rows.set_axis(checked.rows.index + start))
            rejected.append(checked.rejected.set_axis(checked.rejected.index + start))
        elif stop - start == 1 or looks > LOOKS:
            rejected.append(pd.Series(checked.problem, index=range(start, stop), dtype="object"))
        else:
            middle = (start + stop) // 2
            # The first half comes first: the stack gives back what was put last.
            pieces += [(middle, stop), (start, middle)]
    rows = pd.concat(accepted) if len(accepted) > 1 else accepted[0] if accepted else frame.iloc[:0]
    # `prepare` may have changed the order; the answer is in that of the input.
    return _Sorted(rows if rows.index.is_monotonic_increasing else rows.sort_index(), pd.concat(rejected).sort_index())


def _predicted(pipeline: Pipeline, spec: ModelSpec, rows: pd.DataFrame, stamp: Stamp) -> Predictions:
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
            "Narrow the contract, or roll back to a version that can do with them.",
        ) from None


def _positions(chunk: Chunk, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The position in the input of each row of a chunk."""
    if chunk.landed:
        return frame["_row"].to_numpy(dtype=np.int64)
    return np.arange(chunk.first, chunk.first + len(frame), dtype=np.int64)


def _logged(
    chunk: Chunk,
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    predictions: Predictions,
    spec: ModelSpec,
    stamp: Stamp,
    lake: str,
) -> pa.Table:
    """The rows of the log."""
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
        "prediction": _answers(predictions, spec),
        "probability": _probabilities(predictions),
        "run_id": pa.repeat(stamp.run_id, len(rows)),
    }
    return pa.table(columns).select(log.table.schema.names).cast(log.table.schema)


def _answers(predictions: Predictions, spec: ModelSpec) -> pa.Array:
    import pyarrow as pa

    if spec.task == "regression":
        return pa.array(predictions.values)
    labels, codes = np.unique(predictions.values, return_inverse=True)
    return pa.array([str(label) for label in labels.tolist()]).take(pa.array(codes.ravel()))


def _probabilities(predictions: Predictions) -> pa.Array:
    import pyarrow as pa

    given = predictions.probability
    if given is None:
        return pa.nulls(len(predictions.values), pa.list_(pa.float64()))
    offsets = np.arange(0, given.size + 1, given.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.ascontiguousarray(given).ravel())


def _refused(
    rows: pd.DataFrame, positions: npt.NDArray[np.int64], reasons: pd.Series, spec: ModelSpec, stamp: Stamp
) -> pd.DataFrame:
    """The quarantine's rows of refused rows, each as it came; as at ingest the first row of an input is row 1."""
    # JSON has no infinity: it would become null, which is not what was there.
    infinite = [name for name in rows.select_dtypes("float") if (rows[name].abs() == float("inf")).any()]
    text = rows.astype(dict.fromkeys(infinite, "str")).to_json(
        orient="records", lines=True, date_format="iso", double_precision=15, default_handler=str
    )
    return records((positions + 1).tolist(), reasons.tolist(), text.splitlines(), spec, stamp)


def records(rows: list[int], reasons: list[str], payloads: list[str], spec: ModelSpec, stamp: Stamp) -> pd.DataFrame:
    """Rows of the quarantine; row -1 is the input as a whole."""
    import pandas as pd

    return pd.DataFrame(
        {
            "batch": stamp.batch,
            "origin": stamp.origin,
            "row": rows,
            "reason": reasons,
            "payload": payloads,
            "contract": contract_digest(spec),
            "at": pd.Timestamp(stamp.at),
        }
    )
