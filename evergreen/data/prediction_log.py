"""What the champion said, kept: one row a prediction, appended chunk by chunk, each chunk once.

The chunks of a batch are committed in their order, and every commit says how far the batch has come: a run that was
killed goes on behind the last one. What leaves for files, databases or Redis is written from here, so that it can be
written again.
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
    import pyarrow as pa

_CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch has come.

    Attributes:
        batch: its id.
        chunks: how many of its chunks are committed.
        next_row: position of the first row of the input that is not.
        rows_in: rows that were read so far.
        scored: of these, rows with a prediction, by the version that made it.
        rejected: of these, rows in quarantine, by reason.
        classes: as text, what the columns of `probability` stand for; empty without it.
        closed: nothing is to come.
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
        """The progress behind what `text` gave."""
        told = json.loads(text)
        scored = {int(version): rows for version, rows in told["scored"].items()}
        return cls(**told | {"scored": scored, "classes": tuple(told["classes"])})

    @property
    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


class PredictionLog:
    """The `predictions` table of one model.

    Columns: `batch`, the scored input; `chunk` of it; `version` of the model; `at`, the row's own time (UTC, null
    without one); `key`, the row's identity as in `Observations.ids`, viewed as a signed number; `row`, its position in
    the input from 0 (in the observations: its `_row`), with gaps where rows were refused; `id`, the key's value as
    text, a JSON array for several keys, the position without keys; `prediction`, float64, or the label as text;
    `probability` of each class in the order of the version's classes, null without; `run_id` of the flow run;
    `scored_at`.
    """

    def __init__(self, lake: str, spec: ModelSpec) -> None:
        self.spec = spec
        distinct = ("key", "row", "id", *(("prediction",) if spec.task == "regression" else ()))
        self.table = Table(naming.table(lake, spec.name, "predictions"), _schema(spec), distinct=distinct)

    def append(self, rows: pa.Table, progress: Progress) -> None:
        """Commit the next chunk of a batch; nothing happens if it was committed before.

        `rows` are in the order of the input, in the table's columns; `progress` counts them in.

        Raises:
            EvergreenError: the table cannot be written; it is left as it was.
        """
        self.table.append(rows, f"{progress.batch}:{progress.chunks - 1}", {"progress": progress.text})

    def close(self, progress: Progress) -> Progress:
        """Say that nothing more belongs to a batch."""
        closed = replace(progress, closed=True)
        self.table.append(self.table.schema.empty_table(), f"{closed.batch}:{_CLOSED}", {"progress": closed.text})
        return closed

    def progress(self, batch: str) -> Progress:
        """How far a batch has come; one that was never begun has not come far."""
        has = self.table.commits()
        closed = has(f"{batch}:{_CLOSED}")
        if not closed and not has(f"{batch}:0"):
            return Progress(batch)
        return next((found for found in self._told() if found.batch == batch), None) or self._counted(batch, closed)

    def latest(self, prefix: str) -> Progress | None:
        """The batch, of those whose id begins with `prefix`, that was written last."""
        if not self.table.exists():
            return None
        told = next((found for found in self._told() if found.batch.startswith(prefix)), None)
        return told or self._latest_counted(prefix)

    def done(self, batch: str) -> tuple[int, ...]:
        """The numbers of a batch's chunks that are committed."""
        return tuple(range(self.progress(batch).chunks))

    def classes(self, batch: str) -> tuple[str, ...]:
        """As text, what the elements of a batch's `probability` stand for; empty where it has none."""
        return self.progress(batch).classes

    def chunks(self, batch: str) -> Iterator[pa.Table]:
        """A batch's committed rows in their order, one chunk at a time, in the table's columns.

        Memory is bounded by the largest chunk; a chunk of which every row was refused is passed over.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        for chunk in self.done(batch):
            where = (ds.field("batch") == batch) & (ds.field("chunk") == chunk)
            found = list(self.table.scan(self.table.schema.names, where))
            if rows := sum(piece.num_rows for piece in found):
                table = pa.Table.from_batches(found).cast(self.table.schema)
                order = table.column("row").to_numpy()
                sorted_already = rows == 1 or bool((order[1:] > order[:-1]).all())
                yield table if sorted_already else table.sort_by("row")

    def find(
        self,
        version: int,
        keys: npt.NDArray[np.uint64],
        since: datetime | None,
        classes: Sequence[Any] | None = None,
    ) -> tuple[npt.NDArray[np.intp], Predictions]:
        """Which of `keys` (n,) have a prediction of this version, and these, in the same order.

        Of several predictions for one key the newest counts, and of those of one time the one of the later row. Only
        rows whose own time is `since` (aware) or later are looked at; None looks at all. `classes` are those of the
        version: labels come back in their type, as text without them.

        Returns:
            Positions in `keys`, ascending, shape (m,), and the predictions of these m rows.
        """
        import pyarrow.dataset as ds

        where = ds.field("version") == version
        if since is not None:
            where &= ds.field("at") >= since
        wanted = np.unique(keys.view(np.int64))
        names = ("key", "prediction", "probability", "scored_at", "row")
        pieces = []
        for piece in self.table.scan(names, where):
            hits = np.isin(piece.column("key").to_numpy(), wanted)
            if hits.any():
                pieces.append(piece.take(np.flatnonzero(hits)))
        found = self.table.frame_of(pieces, names).sort_values(["scored_at", "row"], ignore_index=True)
        newest = found.drop_duplicates("key", keep="last").sort_values("key", ignore_index=True)
        known = newest["key"].to_numpy()
        positions = np.flatnonzero(np.isin(keys.view(np.int64), known))
        rows = newest.iloc[np.searchsorted(known, keys.view(np.int64)[positions])]
        return positions, self._predictions(rows, classes)

    def _predictions(self, rows: Any, classes: Sequence[Any] | None) -> Predictions:
        if self.spec.task == "regression":
            return Predictions(rows["prediction"].to_numpy(dtype="float64"), None, None)
        named = {str(label): label for label in classes or ()}
        labels = [named.get(label, label) for label in rows["prediction"].tolist()]
        values = np.array(labels, dtype="int64" if labels and isinstance(labels[0], int) else object)
        given = rows["probability"].tolist()
        probability = np.array(given, dtype="float64") if given and given[0] is not None else None
        return Predictions(values, probability, tuple(classes) if classes is not None else None)

    def _told(self) -> Iterator[Progress]:
        """What the commits said of their batches, the newest first."""
        for facts in self.table.earlier_facts(self.table.open()):
            if "progress" in facts:
                yield Progress.parse(facts["progress"])

    def _counted(self, batch: str, closed: bool) -> Progress:
        """How far a batch has come by its rows: Delta forgets after a month what its commits said."""
        import pyarrow.dataset as ds

        rows = self.table.read(("chunk", "row", "version"), ds.field("batch") == batch)
        versions, counts = np.unique(rows["version"].to_numpy(), return_counts=True)
        scored = dict(zip(versions.tolist(), counts.tolist(), strict=True))
        has, chunks = self.table.commits(), 0
        while has(f"{batch}:{chunks}"):
            chunks += 1
        next_row = 0 if rows.empty else int(rows["row"].max()) + 1
        return Progress(batch, chunks, next_row, len(rows), scored, closed=closed)

    def _latest_counted(self, prefix: str) -> Progress | None:
        import pyarrow.compute as pc

        newest = ""
        for piece in self.table.scan(("batch",), pc.starts_with(pc.field("batch"), prefix)):
            newest = max([newest, *piece.column(0).unique().to_pylist()])
        return self.progress(newest) if newest else None


def _schema(spec: ModelSpec) -> pa.Schema:
    """Delta keeps statistics of the first columns; what is looked for stands there."""
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
