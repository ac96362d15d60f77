"""Keep what was answered: from memory into the lake, in one commit for each model every few seconds.

An answer never waits for the lake. While the lake cannot be written, rows wait in memory; when the memory that they may
take is full, answers go on and the rows that are not kept are counted.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from secrets import token_hex
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.errors import EvergreenError
from evergreen.spec.model import ModelSpec
from serving.comparison import Compared, Comparer, comparison_columns
from serving.identity import Identity, identities_of_frame, identities_of_rows
from serving.served import Served
from serving.version import ServedVersion

if TYPE_CHECKING:
    import pyarrow as pa

SECONDS = 10.0
"""Between two commits of a model."""
MOST_ROWS = 500_000
"""Rows that wait in memory, at most: about 150 MB."""
_CONVERT_SECONDS = 0.5

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows in the columns of the tables: a fifth of the memory of the objects that they came from."""

    requests: pa.Table
    predictions: pa.Table
    comparisons: pa.Table


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Rows that are committed under one id until they are there."""

    id: str
    spec: ModelSpec
    rows: _Rows


@dataclass(slots=True)
class QueueCounts:
    """Rows since the start.

    Attributes:
        kept: that are in the lake.
        not_kept: that the queue had no place for.
        without_key: that are kept without the key that they brought, because it cannot be read.
        failures: commits that failed; their rows are tried again.
        problem: why the last one failed; empty where it did not.
    """

    kept: int = 0
    not_kept: int = 0
    without_key: int = 0
    failures: int = 0
    problem: str = ""


@dataclass(slots=True)
class PredictionQueue:
    """The rows that were answered and are not in the lake yet.

    Attributes:
        lake: folder or URL of the Delta tables.
        most_rows: that wait, at most.
        seconds: between two commits.
        counts: what became of the rows.
        comparer: lets both versions of an open canary predict them.
    """

    lake: str
    most_rows: int = MOST_ROWS
    seconds: float = SECONDS
    counts: QueueCounts = field(default_factory=QueueCounts)
    comparer: Comparer = field(default_factory=Comparer)
    _served: deque[Served] = field(default_factory=deque)
    _rows: dict[str, list[tuple[ModelSpec, _Rows]]] = field(default_factory=dict)
    _pending: dict[str, _Batch] = field(default_factory=dict)
    _observations: dict[tuple[str, str], tuple[ServedVersion, Observations]] = field(default_factory=dict)
    _waiting: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _name: str = field(default_factory=lambda: f"online-{token_hex(6)}")
    _batches: int = 0

    def put(self, served: Served) -> None:
        """Keep the rows of a request, unless there is no place or the model file's share leaves them out."""
        share = served.version.spec.serve.log if served.version.spec.serve else 1.0
        if share < 1.0 and random.random() >= share:  # noqa: S311 - a sample, not a secret
            return
        rows = len(served.answers)
        with self._counting:
            if self._waiting + rows > self.most_rows:
                self.counts.not_kept += rows
                return
            self._waiting += rows
        self._served.append(served)

    @property
    def waiting(self) -> int:
        """Rows that are not in the lake yet."""
        return self._waiting

    def start(self) -> None:
        """Begin to write every few seconds, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is left, once, and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.write()
        # A batch that had failed before leaves what came after it for a second commit.
        self.write()
        if self._waiting:
            _LOG.error("%d predictions are lost: %s", self._waiting, self.counts.problem)

    def _run(self) -> None:
        written = time.monotonic()
        while not self._stop.wait(_CONVERT_SECONDS):
            try:
                with self._writing:
                    self._convert()
                if time.monotonic() - written >= self.seconds:
                    written = time.monotonic()
                    self.write()
            except Exception as error:
                # A thread that ended would keep nothing any more, and say nothing.
                self.counts.problem = f"Writing failed ({type(error).__name__})."
                _LOG.error("the prediction log: %s", self.counts.problem)

    def _finish(self, rows: int, *, kept: bool) -> None:
        """Take rows off what waits."""
        with self._counting:
            self._waiting -= rows
            self.counts.kept += rows if kept else 0
            self.counts.not_kept += 0 if kept else rows

    def write(self) -> None:
        """Commit what waits, one commit of each table for each model; a batch that fails is tried again next time."""
        with self._writing:
            self._convert()
            for model in list({**self._pending, **self._rows}):
                if model not in self._pending:
                    self._pending[model] = self._take(model)
                batch = self._pending[model]
                try:
                    RequestLog(self.lake, batch.spec).append(batch.rows.requests, batch.id)
                    PredictionLog(self.lake, batch.spec).append_online(batch.rows.predictions, batch.id)
                    if batch.rows.comparisons.num_rows:
                        ComparisonLog(self.lake, batch.spec).append(batch.rows.comparisons, batch.id)
                except Exception as error:
                    self.counts.failures += 1
                    self.counts.problem = error.what if isinstance(error, EvergreenError) else type(error).__name__
                    _LOG.warning(
                        "%s: predictions wait for the lake: %s", model, self.counts.problem, extra={"model": model}
                    )
                else:
                    self.counts.problem = ""
                    self._finish(batch.rows.requests.num_rows, kept=True)
                    del self._pending[model]

    def _take(self, model: str) -> _Batch:
        """The next batch of a model; rows in other types, of a version with another task, are left for the next one."""
        import pyarrow as pa

        waiting = self._rows.pop(model)
        kind = waiting[0][1].predictions.schema
        parts = list(takewhile(lambda part: part[1].predictions.schema.equals(kind), waiting))
        if rest := waiting[len(parts) :]:
            self._rows[model] = rest
        self._batches += 1
        name = f"{self._name}-{self._batches:06}"
        requests = pa.concat_tables([rows.requests for _, rows in parts])
        predictions = pa.concat_tables([rows.predictions for _, rows in parts])
        column = pa.repeat(name, predictions.num_rows)
        predictions = predictions.set_column(predictions.schema.get_field_index("batch"), "batch", column)
        comparisons = pa.concat_tables([rows.comparisons for _, rows in parts])
        return _Batch(name, parts[-1][0], _Rows(requests, predictions, comparisons))

    def _observations_of(self, version: ServedVersion) -> Observations:
        """Made once for a version: the types of its columns are read from its model file's contract."""
        place = version.spec.name, version.alias
        served, observations = self._observations.get(place, (None, None))
        if observations is None or served is not version:
            observations = Observations(self.lake, version.spec)
            self._observations[place] = version, observations
        return observations

    def _convert(self) -> None:
        """Bring what was answered into the columns of the tables."""
        taken = [self._served.popleft() for _ in range(len(self._served))]
        compared = self.comparer.compare(taken)
        groups: dict[int, list[Served]] = defaultdict(list)
        for served in taken:
            groups[id(served.version)].append(served)
        for group in groups.values():
            spec = group[0].version.spec
            try:
                observations = self._observations_of(group[0].version)
                rows = rows_of(group, self.lake, observations, self.counts, compared)
            except Exception as error:
                lost = sum(len(served.answers) for served in group)
                self._finish(lost, kept=False)
                self.counts.problem = f"{lost} rows could not be brought into columns ({type(error).__name__})."
                _LOG.error("%s: %s", spec.name, self.counts.problem, extra={"model": spec.name})
            else:
                self._rows.setdefault(spec.name, []).append((spec, rows))


def rows_of(
    group: Sequence[Served],
    lake: str,
    observations: Observations,
    counts: QueueCounts,
    compared: Mapping[int, Compared] = MappingProxyType({}),
) -> _Rows:
    """The rows of requests that one version answered, in the columns of the tables."""
    import orjson

    version = group[0].version
    spec, names = version.spec, version.spec.features.all
    # Requests that were predicted together share a frame, which is read once.
    frames = {id(served.checked): served.checked for served in group if served.checked is not None}
    whole = {key: identities_of_frame(spec, frame, observations) for key, frame in frames.items()}
    identities: dict[int, list[Identity]] = {
        id(served): whole[id(served.checked)][served.first : served.first + len(served.answers)]
        for served in group
        if served.checked is not None
    }
    plain = [served for served in group if served.rows is not None]
    arrived = [row for served in plain for row in served.rows or ()]
    read = iter(identities_of_rows(spec, version.schema, arrived, observations))
    identities |= {id(served): [next(read) for _ in served.answers] for served in plain}
    each = [(served, number) for served in group for number in range(len(served.answers))]
    whose = [identity for served in group for identity in identities[id(served)]]
    counts.without_key += sum(identity.unread for identity in whose)
    answers = [served.answers[number] for served, number in each]
    received = [int(served.received_at * 1e6) for served, _ in each]
    request = [served.request for served, _ in each]
    columns: dict[str, Sequence[Any]] = {
        "batch": [""] * len(each),
        "chunk": [0] * len(each),
        "version": [version.number] * len(each),
        "at": [identity.at for identity in whose],
        "key": [identity.key for identity in whose],
        "row": [number for _, number in each],
        "request": request,
        "run_id": request,
        "route": [version.alias] * len(each),
        "received_at": received,
        "scored_at": received,
        "microseconds": [served.microseconds for served, _ in each],
        # JSON has no NaN: a value that is missing is null.
        "features": [
            orjson.dumps(dict(zip(names, served.values[number], strict=True))).decode() for served, number in each
        ],
        "id": [identity.id if identity.id is not None else name for identity, name in zip(whose, request, strict=True)],
        "prediction": [answer if spec.task == "regression" else str(answer) for answer, _ in answers],
        "probability": [None if shares is None else list(shares) for _, shares in answers],
    }
    logs = RequestLog(lake, spec).table.schema, PredictionLog(lake, spec).table.schema
    both, schema = [], ComparisonLog(lake, spec).table.schema
    if compared:
        both = [(served, compared[id(served)]) for served in group if id(served) in compared]
    comparisons = _table(comparison_columns(both, identities), schema) if both else schema.empty_table()
    requests, predictions = (_table(columns, schema) for schema in logs)
    return _Rows(requests, predictions, comparisons)


def _table(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema}, schema=schema)
