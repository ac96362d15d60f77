"""A version that is served: its pipeline in memory, compiled where that is proven to be equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.spec.model import ModelSpec
from serving.admission.direct import DirectAdmission
from serving.lookup import FeatureLookup
from serving.plan.compile import NoAnswerError, Plan

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

DIRECT_ROWS = 64
"""A request with more rows is predicted as a frame: there a thousand rows take as long as one."""

Answer = tuple[Any, tuple[float, ...] | None]
"""A prediction, and the probability of each class where there is one."""


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
        example: a row as a request may bring it, typical for what the version learned; empty where nobody knows.
        slow_because: why there is no plan; empty where there is one.
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
    slow_because: str
    loaded_at: datetime

    def answer_directly(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[Any]], list[Answer]] | None:
        """The values that plain rows have for the pipeline, and the answer to each; None where only a frame can say."""
        if self.plan is None or self.direct is None or len(rows) > DIRECT_ROWS:
            return None
        admit, predict = self.direct.admit, self.plan.predict
        values: list[list[Any]] = []
        for row in rows:
            admitted = admit(row)
            if admitted is None:
                return None
            values.append(admitted)
        try:
            return values, [predict(each) for each in values]
        except NoAnswerError:
            # The pipeline itself refuses such a row: as a frame it says so.
            return None
