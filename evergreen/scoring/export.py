"""Where a scored batch goes beside the predictions table: a file, a SQL table, Redis keys.

However often a batch is written, and whatever was killed in between, in the end it is there once. A password never
gets further than the library that connects: targets are shown without it, and one that is written out is refused,
because it would be kept as a parameter of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evergreen.errors import EvergreenError
from evergreen.scoring.file_target import FileTarget
from evergreen.scoring.redis_target import PROBABILITY, KeyTarget
from evergreen.scoring.sql_target import TableTarget
from evergreen.spec.model import ModelSpec
from evergreen.storage.credentials import holds_secret, resolve_env

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.data.prediction_log import PredictionLog

_FORMS = "a .csv, .csv.gz or .parquet file, database-URL#table, redis://host:port/0#prefix, or env:NAME"


class Target(Protocol):
    """One place that a batch is written to."""

    @property
    def name(self) -> str:
        """As it may be shown: without user and password."""

    def check(self) -> None:
        """Look whether it can be written, before hours of scoring.

        Raises:
            EvergreenError: it cannot.
        """

    def write(self, batch: str, schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Put a batch there, once, a bounded number of rows at a time.

        Raises:
            EvergreenError: it cannot be written.
        """


def require(target: str, source: str | None = None) -> None:
    """Refuse a target that cannot be written, or that is the input itself, before anything is scored.

    Raises:
        EvergreenError: one line says why.
    """
    place = _opened(target)
    if source is not None and isinstance(place, FileTarget) and place.path.resolve() == Path(source).resolve():
        raise EvergreenError(f"{target} is the input itself.", "Name another file for the output.")
    place.check()


def export_batch(
    log: PredictionLog, batch: str, target: str, spec: ModelSpec, classes: Mapping[int, Sequence[Any]] | None = None
) -> str:
    """Write a scored batch to a target; returns the target as it may be shown.

    Columns: row, id, at (where the model has a time), prediction, `probability_<class>` for each class, version,
    run_id, scored_at; a SQL table also has batch.

    Args:
        log: where the batch is kept.
        batch: its id.
        target: a file, `database-URL#table`, `redis://host:port/0#prefix`, or `env:NAME`, which holds one of these.
        spec: the model.
        classes: those of each version that the batch has predictions of; where none are given, what the log says.

    Raises:
        EvergreenError: the target cannot be written; what was there before is as it was.
    """
    place = _opened(target)
    known = classes if classes is not None else dict.fromkeys(log.progress(batch).scored, log.classes(batch))
    schema = _flat_schema(spec, known)
    place.write(batch, schema, (_flat(chunk, schema, known) for chunk in log.read_chunks(batch)))
    return place.name


def _flat_schema(spec: ModelSpec, classes: Mapping[int, Sequence[Any]]) -> pa.Schema:
    import pyarrow as pa

    instant, text = pa.timestamp("us", "UTC"), pa.string()
    labels = dict.fromkeys(str(label) for _, labels in sorted(classes.items()) for label in labels)
    return pa.schema(
        [
            *(("batch", text), ("row", pa.int64()), ("id", text)),
            *([("at", instant)] if spec.time else []),
            ("prediction", pa.float64() if spec.task == "regression" else text),
            *((f"{PROBABILITY}{label}", pa.float64()) for label in labels),
            *(("version", pa.int64()), ("run_id", text), ("scored_at", instant)),
        ]
    )


def _flat(chunk: pa.Table, schema: pa.Schema, classes: Mapping[int, Sequence[Any]]) -> pa.Table:
    """A chunk with a column for each class; a chunk is of one version. A class that the version has not is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    order = {str(label): place for place, label in enumerate(classes.get(chunk.column("version")[0].as_py(), ()))}
    lists = chunk.column("probability")
    columns = [
        chunk.column(name)
        if not name.startswith(PROBABILITY)
        else pa.nulls(chunk.num_rows, pa.float64())
        if (place := order.get(name.removeprefix(PROBABILITY))) is None
        else pc.list_element(lists, place)
        for name in schema.names
    ]
    return pa.table(columns, schema=schema)


def _opened(target: str) -> Target:
    text = resolve_env(target, "target", _FORMS)
    scheme, separator, _ = text.partition("://")
    if not separator:
        return FileTarget(Path(text).expanduser())
    if target == text and holds_secret(text):
        raise EvergreenError(
            "The target holds a password, which would be kept with the run's parameters.",
            "Put the URL into an environment variable and name that one: env:NAME",
        )
    if scheme in ("redis", "rediss", "unix"):
        return KeyTarget(text)
    return TableTarget(text)
