"""Predict rows as frames in one thread of its own; what waits meanwhile is predicted together.

A frame takes 10 to 30 ms whether it has one row or two hundred, so 64 clients at a time are answered thirty times as
fast together as one by one. A batch waits for more requests a tenth of the time at most that the last one took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from evergreen.data.frames import model_frame
from evergreen.training.predict import predict
from serving.admission.frames import AdmittedFrame, admit_frame, frame_of_rows, require_sound
from serving.faults import RequestError
from serving.row_preparation import RowPreparation
from serving.version import Answer, ServedVersion

if TYPE_CHECKING:
    import pandas as pd

TOGETHER = 256
"""Requests of one row that are predicted together, at most."""
WAITING = 2_000
"""Requests that wait, at most; more are told to come again."""
_GATHER = 0.1
"""The share of a batch's time that the next one may wait for requests."""
_TURN_SECONDS = 0.0005
_REFUSED = HTTPStatus.UNPROCESSABLE_ENTITY


@dataclass(frozen=True, slots=True, eq=False)
class FrameAnswer:
    """The answer to rows that were predicted as a frame.

    Attributes:
        values: what the pipeline got for each row, in the order of the features.
        answers: one for each row.
        rows: the checked rows, with their keys and time where they have them, of all that was predicted together.
        first: the position of this answer's first row in `rows`.
    """

    values: list[list[Any]]
    answers: list[Answer]
    rows: pd.DataFrame
    first: int = 0


class Asked(Protocol):
    """The rows of a request, or a frame in their place; `written` says that every value of it is a text."""

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102 - as in the class
    @property
    def frame(self) -> pd.DataFrame | None: ...  # noqa: D102
    @property
    def written(self) -> bool: ...  # noqa: D102


def kind_of_rows(version: ServedVersion, asked: Asked) -> object:
    """Equal for requests that may share a frame: one row each, of the same columns and types of values.

    A value of another type in the same column could change how the others are read.
    """
    if asked.frame is not None or len(asked.rows) != 1:
        return id(asked)
    return (id(version), *((name, type(value)) for name, value in asked.rows[0].items()))


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    version: ServedVersion
    rows: Sequence[Mapping[str, Any]]
    frame: pd.DataFrame | None
    written: bool
    answer: asyncio.Future[FrameAnswer]

    @property
    def kind(self) -> object:
        return kind_of_rows(self.version, self)


class FrameWorker:
    """Answers requests as frames, one batch after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._expected = 0, 0.0
        self._began: float | None = None

    async def predict(
        self, version: ServedVersion, rows: Sequence[Mapping[str, Any]], frame: pd.DataFrame | None, *, written: bool
    ) -> FrameAnswer:
        """Answer rows, or a frame in their place; `written` says that every value of it is a text.

        Raises:
            RequestError: rows break the contract, the pipeline fails on them, or too many wait.
        """
        if self.waiting >= WAITING:
            message = f"{WAITING} requests are waiting already; send it again later."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message)
        answer: asyncio.Future[FrameAnswer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(version, rows, frame, written, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    @property
    def waiting(self) -> int:
        """Requests that are not being predicted yet."""
        return len(self._waiting)

    def is_stuck(self, seconds: float) -> bool:
        """Whether one batch has been predicted for longer than that: what waits behind it is not answered."""
        return self._began is not None and asyncio.get_running_loop().time() - self._began > seconds

    def close(self) -> None:
        """End the thread when it is done with its batch."""
        self._thread.shutdown(wait=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await self._gather()
            batch = self._take()
            self._began = began = loop.time()
            try:
                results = await loop.run_in_executor(self._thread, answer_together, batch[0].version, batch)
            except BaseException as error:
                results = [error for _ in batch]
                if isinstance(error, asyncio.CancelledError):
                    raise
            for item, result in zip(batch, results, strict=True):
                # A client that went away has cancelled its own.
                if item.answer.done():
                    continue
                if isinstance(result, BaseException):
                    item.answer.set_exception(result)
                else:
                    item.answer.set_result(result)
            self._began = None
            self._expected = min(TOGETHER, len(batch) + len(self._waiting)), loop.time() - began

    async def _gather(self) -> None:
        """Wait for those that were answered last to ask again, for a tenth of the time that they took at most.

        They do so one after another: without this the first of them would be predicted alone, and all others would
        wait for it; and clients that once fell into two halves would take turns for ever.
        """
        requests, seconds = self._expected
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds * _GATHER
        while len(self._waiting) < requests and loop.time() < until:
            await asyncio.sleep(_TURN_SECONDS)

    def _take(self) -> list[_Waiting]:
        """The oldest request, and those that may share its frame."""
        kind = self._waiting[0].kind
        batch = [item for item in self._waiting if item.kind == kind][:TOGETHER]
        taken = set(map(id, batch))
        self._waiting = [item for item in self._waiting if id(item) not in taken]
        return batch


def answer_together(version: ServedVersion, batch: Sequence[Asked]) -> list[FrameAnswer | BaseException]:
    """What becomes of each request of a batch, all of one `kind_of_rows`."""
    first, rows = batch[0], [row for item in batch for row in item.rows]
    answered: FrameAnswer | None = None
    results: list[FrameAnswer | BaseException]
    try:
        frame = first.frame if first.frame is not None else frame_of_rows(rows)
        admitted = admit_frame(frame, version.spec, version.schema, now=datetime.now(UTC), written=first.written)
        if len(batch) == 1:
            answered = _predicted(version, require_sound(admitted))
            results = [answered]
        else:
            answered = _predicted(version, admitted.rows) if len(admitted.rows) else None
            results = _split(batch, admitted, answered)
    except RequestError as error:
        results = [error for _ in batch]
    if version.preparation is not None and first.frame is None:
        _compare(version.preparation, rows, answered, results)
    return results


def _split(
    batch: Sequence[Asked], admitted: AdmittedFrame, answered: FrameAnswer | None
) -> list[FrameAnswer | BaseException]:
    """The answers to requests of one row each."""
    results: list[FrameAnswer | BaseException] = [_fault_of(admitted, position) for position in range(len(batch))]
    if answered is not None:
        for place, position in enumerate(admitted.rows.index):
            one = FrameAnswer([answered.values[place]], [answered.answers[place]], answered.rows, place)
            results[position] = one
    return results


def _compare(
    preparation: RowPreparation,
    rows: Sequence[Mapping[str, Any]],
    answered: FrameAnswer | None,
    results: Sequence[FrameAnswer | BaseException],
) -> None:
    """Hold `prepare_row` against what became of rows as a frame."""
    if answered is not None:
        preparation.compare([rows[position] for position in answered.rows.index], answered.rows, answered.values)
    if len(rows) == len(results):
        refused = (isinstance(each, RequestError) and each.status == _REFUSED for each in results)
        preparation.compare_refused([row for row, is_refused in zip(rows, refused, strict=True) if is_refused])


def _fault_of(admitted: AdmittedFrame, position: int) -> BaseException:
    faults = tuple(replace(fault, row=0) for fault in admitted.faults if fault.row == position)
    try:
        require_sound(AdmittedFrame(admitted.rows, faults))
    except RequestError as error:
        return error
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "lost", "The row was neither predicted nor refused.")


def _predicted(version: ServedVersion, rows: pd.DataFrame) -> FrameAnswer:
    spec = version.spec
    try:
        predictions = predict(version.pipeline, spec, rows)
    except Exception as error:
        # The message may show values of the rows.
        message = f"Version {version.number} fails on rows that the contract accepts ({type(error).__name__})."
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "prediction_failed", message) from None
    labels = predictions.values.tolist()
    shares = [None] * len(labels) if predictions.probability is None else map(tuple, predictions.probability.tolist())
    values = model_frame(rows, spec.features).astype("object").to_numpy().tolist()
    return FrameAnswer(values, list(zip(labels, shares, strict=True)), rows)
