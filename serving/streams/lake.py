"""Keep the predictions of messages in the lake, each message once, whoever else keeps the same one.

What is in the table `predictions` counts: a message that is there already is answered from it, whatever version would
answer now. Features go to `requests` the same way, after the predictions; what a killed process left out there is added
when its messages come again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evergreen import naming
from evergreen.data.contract import contract_digest
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import quarantine_records, quarantine_table
from evergreen.spec.model import ModelSpec
from evergreen.storage.append_once import OnceWriter
from evergreen.storage.delta_table import Table
from serving.prediction_queue import QueueCounts, rows_of
from serving.served import Served
from serving.streams.message import Message
from serving.version import Answer, ServedVersion

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.registry.client import Registry
    from serving.streams.answers import Answered

_COMPACT_EVERY = 100
"""A commit a second would leave as many small files."""
_OTHERS = "other rows of its message are refused"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What is kept of a message.

    Attributes:
        number: of the version that answered.
        answers: one for each row.
    """

    number: int
    answers: Sequence[Answer]


@dataclass(slots=True)
class StreamLog:
    """The tables of one model.

    Attributes:
        lake: folder or URL of the Delta tables.
        registry: says which classes former versions have.
        source: the name of the queue, stream or topic.
    """

    lake: str
    registry: Registry
    source: str
    _predictions: OnceWriter = field(default_factory=lambda: OnceWriter("run_id"))
    _requests: OnceWriter = field(default_factory=lambda: OnceWriter("request"))
    _refused: OnceWriter = field(default_factory=lambda: OnceWriter("origin"))
    _observations: tuple[ServedVersion, Observations] | None = None
    _classes: dict[int, tuple[Any, ...] | None] = field(default_factory=dict)

    def look(self, spec: ModelSpec) -> None:
        """Read what was kept last; to be done before the first message is taken.

        Raises:
            EvergreenError: a table cannot be read.
        """
        self._predictions.look(self._prediction_table(spec))
        self._requests.look(self._request_table(spec))
        self._refused.look(quarantine_table(self.lake, spec.name))

    def find(self, version: ServedVersion, messages: Sequence[Message]) -> dict[str, Kept]:
        """What is kept of messages that may have been answered before, by their ids."""
        ids = {each.id for each in messages}
        doubtful = {each.id for each in messages if each.again} | self._predictions.suspects(ids)
        return self._read(version, doubtful)

    def keep(self, version: ServedVersion, served: Sequence[Served], again: Collection[str]) -> dict[str, Kept]:
        """Commit the answers to messages that have none yet.

        Args:
            version: that answered them all.
            served: one for each message; `request` is its id.
            again: ids that may have been answered before.

        Returns:
            What is kept of those that had an answer already; theirs was not committed.

        Raises:
            EvergreenError: a table cannot be read or written.
        """
        if not served:
            return {}
        spec, now = version.spec, datetime.now(UTC)
        rows = rows_of(served, self.lake, self._observations_of(version), QueueCounts())
        batch = naming.stream_batch(self.source, now.date())
        predictions = _with_column(rows.predictions, "batch", [batch] * rows.predictions.num_rows)
        there = self._predictions.append(self._prediction_table(spec), predictions, again)
        kept = self._read(version, there)
        requests = rows.requests
        if kept:
            names, numbers = (requests.column(name).to_pylist() for name in ("request", "version"))
            numbers = [
                kept[name].number if name in kept else number for name, number in zip(names, numbers, strict=True)
            ]
            requests = _with_column(requests, "version", numbers)
        self._requests.append(self._request_table(spec), requests, {*again, *there})
        return kept

    def refuse(self, spec: ModelSpec, refused: Sequence[Answered]) -> None:
        """Commit refused messages to the quarantine, row by row, with code, column and reason.

        Raises:
            EvergreenError: the table cannot be read or written.
        """
        if not refused:
            return
        table, now = quarantine_table(self.lake, spec.name), datetime.now(UTC)
        lines = [
            (naming.stream_origin(self.source, each.message.id), *line) for each in refused for line in _lines(each)
        ]
        origins, rows, reasons, payloads = (list(column) for column in zip(*lines, strict=True))
        batch = naming.stream_batch(self.source, now.date())
        records = quarantine_records(batch, origins, contract_digest(spec), now, rows, reasons, payloads)
        again = {naming.stream_origin(self.source, each.message.id) for each in refused if each.message.again}
        self._refused.append(table, table.to_arrow(records), again)

    def version_of(self, version: ServedVersion, kept: Kept) -> ServedVersion:
        """What an answer that is kept is written with: its own version, with the classes that it had."""
        if kept.number == version.number:
            return version
        return replace(version, number=kept.number, classes=self._classes_of(version, kept.number))

    def _read(self, version: ServedVersion, ids: Collection[str]) -> dict[str, Kept]:
        if not ids:
            return {}
        columns = ("run_id", "row", "version", "prediction", "probability")
        found = self._predictions.find(self._prediction_table(version.spec), ids, columns).to_pylist()
        rows: dict[str, list[Mapping[str, Any]]] = {}
        for row in sorted(found, key=lambda each: each["row"]):
            rows.setdefault(row["run_id"], []).append(row)
        return {name: self._kept(version, each) for name, each in rows.items()}

    def _kept(self, version: ServedVersion, rows: Sequence[Mapping[str, Any]]) -> Kept:
        number = int(rows[0]["version"])
        if version.spec.task == "regression":
            return Kept(number, [(row["prediction"], None) for row in rows])
        classes = version.classes if number == version.number else self._classes_of(version, number)
        labels = {str(label): label for label in classes or ()}
        return Kept(
            number,
            [
                (
                    labels.get(row["prediction"], row["prediction"]),
                    tuple(row["probability"]) if classes and row["probability"] is not None else None,
                )
                for row in rows
            ],
        )

    def _classes_of(self, version: ServedVersion, number: int) -> tuple[Any, ...] | None:
        """The classes of another version; None where they cannot be known any more."""
        if number not in self._classes:
            try:
                former = self.registry.get(version.spec.name, number)
                self._classes[number] = tuple(self.registry.load(former, version.spec).classes_.tolist())
            except (EvergreenError, AttributeError) as error:
                _LOG.warning("The classes of version %d are not known (%s).", number, type(error).__name__)
                self._classes[number] = None
        return self._classes[number]

    def _observations_of(self, version: ServedVersion) -> Observations:
        if self._observations is None or self._observations[0] is not version:
            self._observations = version, Observations(self.lake, version.spec)
        return self._observations[1]

    def _prediction_table(self, spec: ModelSpec) -> Table:
        return replace(PredictionLog(self.lake, spec).table, compact_every=_COMPACT_EVERY)

    def _request_table(self, spec: ModelSpec) -> Table:
        return replace(RequestLog(self.lake, spec).table, compact_every=_COMPACT_EVERY)


def _with_column(rows: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    import pyarrow as pa

    place = rows.schema.get_field_index(name)
    return rows.set_column(place, rows.schema.field(name), pa.array(values, rows.schema.field(name).type))


def _lines(refused: Answered) -> list[tuple[int, str, str]]:
    """The number of each row, from 1, why it was not predicted, and the row as JSON; -1 for a message as a whole."""
    import orjson

    error, call = refused.error, refused.call
    assert error is not None  # noqa: S101 - it is refused
    if not error.faults or call is None:
        return [(-1, f"{error.code}: {error.message}", refused.message.body.decode(errors="backslashreplace"))]
    reasons: dict[int, list[str]] = {}
    for fault in error.faults:
        reasons.setdefault(fault.row, []).append(f"{fault.column}: {fault.reason}" if fault.column else fault.reason)
    return [
        (number + 1, f"{error.code}: {'; '.join(reasons.get(number, [_OTHERS]))}", orjson.dumps(row).decode())
        for number, row in enumerate(call.rows)
    ]
