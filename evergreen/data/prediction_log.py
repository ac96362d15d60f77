"""The prediction log: what a champion predicted, one row a prediction, appended chunk by chunk, each chunk once.

The chunks of a batch are committed in order, and every commit stores how far the batch has come: a run that was killed
continues after the last one. Files, databases and Redis are written from the log, so that they can be written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen import naming
from evergreen.data.predictions import Predictions
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch has come. The fields' names are stored in the log's commits.

    Attributes:
        batch: its id.
        chunks: how many of its chunks are committed.
        next_row: position in the input of the first row that is not committed.
        rows_in: rows that were read so far.
        scored: of these, rows with a prediction, by the version that made it.
        rejected: of these, rows in quarantine, by reason.
        classes: the classes of the columns of `probability`, as text; empty without it.
        closed: the batch is complete.
    """

    batch: str
    chunks: int = 0
    next_row: int = 0
    rows_in: int = 0
    scored: Mapping[int, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    closed: bool = False

    @property
    def rows_scored(self) -> int:
        """Rows with a prediction."""
        return sum(self.scored.values())

    @property
    def rows_rejected(self) -> int:
        """Rows in quarantine."""
        return sum(self.rejected.values())

    @classmethod
    def parse(cls, text: str) -> Progress:
        """Read progress from its JSON text."""
        fields = json.loads(text)
        scored = {int(version): rows for version, rows in fields["scored"].items()}
        return cls(**fields | {"scored": scored, "classes": tuple(fields["classes"])})

    @property
    def text(self) -> str:
        """The progress as JSON."""
        return json.dumps(asdict(self))


class PredictionLog:
    """The `predictions` table of one model.

    Columns: `batch`, the scored input; `chunk`, its number; `version` of the model; `at`, the row's own time (UTC, null
    without one); `key`, the row's identity as in `Observations.ids`, viewed as a signed number, null for a row that was
    served online without one; `row`, its position in
    the input from 0 (in the observations: its `_row`), with gaps where rows were rejected; `id`, the key's value as
    text, a JSON array for several keys, the position without keys; `prediction`, float64, or the label as text;
    `probability` of each class in the order of the version's classes, null without; `run_id` of the flow run;
    `scored_at`.
    """

    def __init__(self, lake: str, spec: ModelSpec) -> None:
        self.spec = spec
        columns = ("key", "row", "id", *(("prediction",) if spec.task == "regression" else ()))
        self.table = Table(naming.table(lake, spec.name, "predictions"), _schema(spec), high_cardinality=columns)

    def append(self, rows: pa.Table, progress: Progress) -> None:
        """Commit the next chunk of a batch; do nothing if it was committed before.

        `rows` are in the order of the input, in the table's columns; `progress` includes them.

        Raises:
            EvergreenError: the table cannot be written; it is left as it was.
        """
        self.table.append(rows, f"{progress.batch}:{progress.chunks - 1}", {"progress": progress.text})

    def append_online(self, rows: pa.Table, batch: str) -> None:
        """Commit predictions that were served one by one; do nothing if the batch was committed before.

        Raises:
            EvergreenError: the table cannot be written; it is left as it was.
        """
        self.table.append(rows, f"{batch}:0")

    def close(self, progress: Progress) -> Progress:
        """Record that a batch is complete."""
        closed = replace(progress, closed=True)
        self.table.append(self.table.schema.empty_table(), f"{closed.batch}:{_CLOSED}", {"progress": closed.text})
        return closed

    def progress(self, batch: str) -> Progress:
        """How far a batch has come; a batch that was never begun has no chunks."""
        has_commit = self.table.commit_lookup()
        closed = has_commit(f"{batch}:{_CLOSED}")
        if not closed and not has_commit(f"{batch}:0"):
            return Progress(batch)
        recorded = next((progress for progress in self._recorded() if progress.batch == batch), None)
        return recorded or self._count_progress(batch, closed)

    def latest(self, prefix: str) -> Progress | None:
        """The progress of the batch that was written last, of those whose id begins with `prefix`."""
        if not self.table.exists():
            return None
        recorded = next((progress for progress in self._recorded() if progress.batch.startswith(prefix)), None)
        return recorded or self._count_latest(prefix)

    def committed_chunks(self, batch: str) -> tuple[int, ...]:
        """The numbers of a batch's chunks that are committed."""
        return tuple(range(self.progress(batch).chunks))

    def classes(self, batch: str) -> tuple[str, ...]:
        """The classes of the elements of a batch's `probability`, as text; empty if it has none."""
        return self.progress(batch).classes

    def read_chunks(self, batch: str) -> Iterator[pa.Table]:
        """Read a batch's committed rows in their order, one chunk at a time, in the table's columns.

        Memory is bounded by the largest chunk. A chunk whose every row was rejected is skipped.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        for chunk in self.committed_chunks(batch):
            where = (ds.field("batch") == batch) & (ds.field("chunk") == chunk)
            pieces = list(self.table.scan(self.table.schema.names, where))
            if rows := sum(piece.num_rows for piece in pieces):
                table = pa.Table.from_batches(pieces).cast(self.table.schema)
                positions = table.column("row").to_numpy()
                is_sorted = rows == 1 or bool((positions[1:] > positions[:-1]).all())
                yield table if is_sorted else table.sort_by("row")

    def find(
        self,
        version: int,
        keys: npt.NDArray[np.uint64],
        since: datetime | None,
        classes: Sequence[Any] | None = None,
    ) -> tuple[npt.NDArray[np.intp], Predictions]:
        """Find the predictions of a version for rows with these keys.

        Of several predictions for one key the first counts, batch or online, for it is what was acted upon; of several
        of one time, that of the earlier row.

        Args:
            version: of the model.
            keys: identities as in `Observations.ids`, shape (n,).
            since: only rows whose own time is this (aware) or later are searched; None searches all.
            classes: the version's classes, which give labels their type; without them labels come back as text.

        Returns:
            Positions in `keys` that have a prediction, ascending, shape (m,), and the predictions of these m rows.
        """
        import pyarrow.dataset as ds

        where = (ds.field("version") == version) & ds.field("key").is_valid()
        if since is not None:
            # A row that was served online may have no time of its own.
            where &= (ds.field("at") >= since) | ds.field("at").is_null()
        wanted = np.unique(keys.view(np.int64))
        names = ("key", "prediction", "probability", "scored_at", "row")
        pieces = []
        for piece in self.table.scan(names, where):
            hits = np.isin(piece.column("key").to_numpy(), wanted)
            if hits.any():
                pieces.append(piece.take(np.flatnonzero(hits)))
        logged = self.table.to_frame(pieces, names).sort_values(["scored_at", "row"], ignore_index=True)
        first = logged.drop_duplicates("key", keep="first").sort_values("key", ignore_index=True)
        logged_keys = first["key"].to_numpy()
        positions = np.flatnonzero(np.isin(keys.view(np.int64), logged_keys))
        rows = first.iloc[np.searchsorted(logged_keys, keys.view(np.int64)[positions])]
        return positions, self._to_predictions(rows, classes)

    def _to_predictions(self, rows: pd.DataFrame, classes: Sequence[Any] | None) -> Predictions:
        if self.spec.task == "regression":
            return Predictions(rows["prediction"].to_numpy(dtype="float64"), None, None)
        by_text = {str(label): label for label in classes or ()}
        labels = [by_text.get(label, label) for label in rows["prediction"].tolist()]
        values = np.array(labels, dtype="int64" if labels and isinstance(labels[0], int) else object)
        lists = rows["probability"].tolist()
        probability = np.array(lists, dtype="float64") if lists and lists[0] is not None else None
        return Predictions(values, probability, tuple(classes) if classes is not None else None)

    def _recorded(self) -> Iterator[Progress]:
        """The progress that the commits stored, newest first."""
        for metadata in self.table.all_commit_metadata(self.table.open()):
            if "progress" in metadata:
                yield Progress.parse(metadata["progress"])

    def _count_progress(self, batch: str, closed: bool) -> Progress:
        """How far a batch has come, by its rows: Delta forgets the metadata of its commits after a month."""
        import pyarrow.dataset as ds

        rows = self.table.read(("chunk", "row", "version"), ds.field("batch") == batch)
        versions, counts = np.unique(rows["version"].to_numpy(), return_counts=True)
        scored = dict(zip(versions.tolist(), counts.tolist(), strict=True))
        has_commit, chunks = self.table.commit_lookup(), 0
        while has_commit(f"{batch}:{chunks}"):
            chunks += 1
        next_row = 0 if rows.empty else int(rows["row"].max()) + 1
        return Progress(batch, chunks, next_row, len(rows), scored, closed=closed)

    def _count_latest(self, prefix: str) -> Progress | None:
        import pyarrow.compute as pc

        newest = ""
        for piece in self.table.scan(("batch",), pc.starts_with(pc.field("batch"), prefix)):
            newest = max([newest, *piece.column(0).unique().to_pylist()])
        return self.progress(newest) if newest else None


def _schema(spec: ModelSpec) -> pa.Schema:
    """The table's schema. Columns that are searched come first, because Delta keeps statistics of the first ones."""
    import pyarrow as pa

    instant, text, number = pa.timestamp("us", "UTC"), pa.string(), pa.int64()
    return pa.schema(
        [
            *(("batch", text), ("chunk", number), ("version", number), ("at", instant), ("key", number)),
            *(("row", number), ("scored_at", instant), ("id", text)),
            ("prediction", pa.float64() if spec.task == "regression" else text),
            ("probability", pa.list_(pa.field("element", pa.float64()))),
            ("run_id", text),
        ]
    )
