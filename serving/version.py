"""A version that is served: its pipeline in memory, compiled where that is proven to be equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from evergreen.spec.model import ModelSpec
from serving.admission.direct import DirectAdmission
from serving.faults import RequestError
from serving.lookup import FeatureLookup
from serving.plan.compile import NoAnswerError, Plan
from serving.row_preparation import RowPreparation

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

DIRECT_ROWS = 64
"""A request with more rows is predicted as a frame: there a thousand rows take as long as one."""

Answer = tuple[Any, tuple[float, ...] | None]
"""A prediction, and the probability of each class where there is one."""


class DirectAnswer(NamedTuple):
    """The answer to plain rows.

    Attributes:
        rows: with the contract's columns.
        values: what the pipeline gets for each.
        answers: one for each.
    """

    rows: Sequence[Mapping[str, Any]]
    values: list[list[Any]]
    answers: list[Answer]


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """What answers requests until another one takes its place.

    Attributes:
        spec: the model, as its file was when the version was loaded.
        schema: of the rows that are predicted (`scoring_schema`).
        number: of the version.
        alias: by which it is served.
        sha256: of the stored pipeline.
        pipeline: the fitted pipeline.
        classes: of a classification, as JSON values, else None.
        plan: the compiled pipeline; None where rows are predicted as frames.
        lookup: fetches the features that a request leaves out; None where it brings all.
        direct: what admits plain rows without a frame; None as for `plan`.
        preparation: prepares rows without a frame; None where they need it not, or only `prepare` can.
        example: a row as a request may bring it, typical for what the version learned; empty where nobody knows.
        not_compiled: why there is no plan; empty where there is one.
        loaded_at: when it was loaded (aware).
    """

    spec: ModelSpec
    schema: DataFrameSchema
    number: int
    alias: str
    sha256: str
    pipeline: Pipeline
    classes: tuple[Any, ...] | None
    plan: Plan | None
    direct: DirectAdmission | None
    example: Mapping[str, Any]
    lookup: FeatureLookup | None
    preparation: RowPreparation | None
    not_compiled: str
    loaded_at: datetime

    @property
    def slow_because(self) -> str:
        """Why rows are answered as frames; empty where plain rows are answered by the plan."""
        return self.not_compiled or (self.preparation.slow_because if self.preparation is not None else "")

    def is_same(self, number: int, sha256: str) -> bool:
        """Whether it is that version, with that pipeline."""
        return (number, sha256) == (self.number, self.sha256)

    def answer_directly(self, rows: Sequence[Mapping[str, Any]]) -> DirectAnswer | None:
        """The answer to plain rows; None where only a frame can say."""
        admitted = self.admit_directly(rows)
        if admitted is None or self.plan is None:
            return None
        predict = self.plan.predict
        try:
            return DirectAnswer(*admitted, [predict(each) for each in admitted[1]])
        except NoAnswerError:
            # The pipeline itself refuses such a row: as a frame it says so.
            return None

    def admit_directly(
        self, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[Sequence[Mapping[str, Any]], list[list[Any]]] | None:
        """Plain rows with the contract's columns, and what the plan gets for each; None where only a frame can say."""
        if self.plan is None or self.direct is None or len(rows) > DIRECT_ROWS:
            return None
        if self.preparation is not None:
            prepared = self.preparation.prepare(rows)
            if prepared is None:
                return None
            rows = prepared
        admit = self.direct.admit
        values: list[list[Any]] = []
        for row in rows:
            admitted = admit(row)
            if admitted is None:
                return None
            values.append(admitted)
        return rows, values

    def is_finite(self, answers: Sequence[Answer]) -> bool:
        """Whether every number of its answers is one."""
        # The difference of an infinite number, or of none, with itself is not zero.
        if self.classes is None:
            return all(value - value == 0.0 for value, _ in answers)
        return all(share - share == 0.0 for _, shares in answers if shares is not None for share in shares)

    def require_finite(self, answers: Sequence[Answer]) -> None:
        """Refuse to answer a number that is none.

        Raises:
            RequestError: a prediction or a probability is not finite.
        """
        if not self.is_finite(answers):
            message = f"Version {self.number} predicts no finite value for these rows."
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "not_finite", message)
