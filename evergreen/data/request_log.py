"""The request log: the features of rows that were answered online, as the model got them.

A row of it and its prediction in the prediction log have the same `request` and `row`; there the request is `run_id`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen import naming
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    import pyarrow as pa


class RequestLog:
    """The `requests` table of one model.

    Columns: `received_at`; `version` that answered; `at`, the row's own time (UTC, null without one); `key`, as in the
    prediction log, null for a row without one; `request`, the request's id; `row`, its position in the request from 0;
    `route`, by which alias it was answered; `features`, a JSON object of the values that the pipeline got, null where
    one was missing; `microseconds`, what the whole request took.
    """

    def __init__(self, lake: str, spec: ModelSpec) -> None:
        self.table = Table(
            naming.table(lake, spec.name, "requests"), _schema(), high_cardinality=("request", "features")
        )

    def append(self, rows: pa.Table, batch: str) -> None:
        """Commit rows once; do nothing if the batch was committed before.

        Raises:
            EvergreenError: the table cannot be written; it is left as it was.
        """
        self.table.append(rows, batch)


def _schema() -> pa.Schema:
    """The table's schema. The features are one text, so that a model file may change its features at any time."""
    import pyarrow as pa

    instant, text, number = pa.timestamp("us", "UTC"), pa.string(), pa.int64()
    return pa.schema(
        [
            *(("received_at", instant), ("version", number), ("at", instant), ("key", number)),
            *(("request", text), ("row", number), ("route", text), ("features", text), ("microseconds", number)),
        ]
    )
