"""Export a scored batch to a file, an SQL table or Redis keys.

However often a batch is written, and whatever was killed in between, in the end it is there once. A password goes no
further than the library that connects: destinations are shown without it. A destination with a password in it is
refused, because it would be stored as a parameter of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evergreen.errors import EvergreenError
from evergreen.scoring.file_destination import FileDestination
from evergreen.scoring.redis_destination import PROBABILITY, KeyDestination
from evergreen.scoring.sql_destination import TableDestination
from evergreen.spec.model import ModelSpec
from evergreen.storage.credentials import holds_secret, resolve_env

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.data.prediction_log import PredictionLog

_FORMS = "a .csv, .csv.gz or .parquet file, database-URL#table, redis://host:port/0#prefix, or env:NAME"


class Destination(Protocol):
    """A place that a batch is written to."""

    @property
    def name(self) -> str:
        """The destination as it may be shown: without user and password."""

    def check(self) -> None:
        """Check that the destination can be written, before hours of scoring.

        Raises:
            EvergreenError: it cannot be written.
        """

    def write(self, batch: str, schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Write a batch to the destination, once, a bounded number of rows at a time.

        Raises:
            EvergreenError: it cannot be written.
        """


def require_destination(environment: str, name: str, source: str | None = None) -> None:
    """Refuse a destination that cannot be written, or that is the input itself, before anything is scored.

    Raises:
        EvergreenError: one line says why.
    """
    destination = open_destination(environment, name)
    if (
        source is not None
        and isinstance(destination, FileDestination)
        and destination.path.resolve() == Path(source).resolve()
    ):
        raise EvergreenError(f"{name} is the input itself.", "Name another file for the output.")
    destination.check()


def export_batch(
    environment: str,
    log: PredictionLog,
    batch: str,
    name: str,
    spec: ModelSpec,
    classes: Mapping[int, Sequence[Any]] | None = None,
) -> str:
    """Write a scored batch to a destination; returns the destination as it may be shown.

    Columns: row, id, at (if the model has a time), prediction, `probability_<class>` for each class, version, run_id,
    scored_at; an SQL table also has batch.

    Args:
        environment: whose Redis keys they are.
        log: the prediction log.
        batch: id of the batch.
        name: a file, `database-URL#table`, `redis://host:port/0#prefix`, or `env:NAME`, which holds one of these.
        spec: the model.
        classes: the classes of each version that predicted rows of the batch; by default those that the log stored.

    Raises:
        EvergreenError: the destination cannot be written; what was there before is as it was.
    """
    destination = open_destination(environment, name)
    if classes is None:
        classes = dict.fromkeys(log.progress(batch).scored, log.classes(batch))
    schema = _flat_schema(spec, classes)
    destination.write(batch, schema, (_flatten(chunk, schema, classes) for chunk in log.read_chunks(batch)))
    return destination.name


def open_destination(environment: str, name: str) -> Destination:
    """The destination with this name; nothing is written or connected yet.

    Raises:
        EvergreenError: the name holds a password, or names a variable that is not set.
    """
    text = resolve_env(name, "destination", _FORMS)
    scheme, separator, _ = text.partition("://")
    if not separator:
        return FileDestination(Path(text).expanduser())
    if name == text and holds_secret(text):
        raise EvergreenError(
            "The destination holds a password, which would be stored with the run's parameters.",
            "Put the URL into an environment variable and name that one: env:NAME",
        )
    if scheme in ("redis", "rediss", "unix"):
        return KeyDestination(environment, text)
    return TableDestination(text)


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


def _flatten(chunk: pa.Table, schema: pa.Schema, classes: Mapping[int, Sequence[Any]]) -> pa.Table:
    """A chunk, which is of one version, with a column for each class; a class that the version lacks is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    version = chunk.column("version")[0].as_py()
    positions = {str(label): position for position, label in enumerate(classes.get(version, ()))}
    lists = chunk.column("probability")

    def column(name: str) -> pa.ChunkedArray | pa.Array:
        if not name.startswith(PROBABILITY):
            return chunk.column(name)
        position = positions.get(name.removeprefix(PROBABILITY))
        return pa.nulls(chunk.num_rows, pa.float64()) if position is None else pc.list_element(lists, position)

    return pa.table([column(name) for name in schema.names], schema=schema)
