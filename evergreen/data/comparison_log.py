"""The comparison log: what champion and challenger predicted for the same rows of live traffic, and how long it took.

It is what a canary is judged by. Whichever of the two answered, both have predicted the row; what only one of them said
is in the prediction log as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen import naming
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    import pyarrow as pa


class ComparisonLog:
    """The `comparisons` table of one model.

    Columns: `received_at`; `champion` and `challenger`, the versions; `at` and `key` of the row as in the prediction
    log; `request`, its id, and `row`, the position in it; `served`, which of the two answered; of each of the two its
    prediction as in the prediction log, null where it gave none, the `probability` of its classes, whether it `failed`
    (an error, or no finite number), and the `microseconds` that the prediction took, null where the two were not
    measured under the same conditions.
    """

    def __init__(self, lake: str, spec: ModelSpec) -> None:
        self.table = Table(
            naming.table(lake, spec.name, "comparisons"), _schema(spec), high_cardinality=("request", "key")
        )

    def append(self, rows: pa.Table, batch: str) -> None:
        """Commit rows once; do nothing if the batch was committed before.

        Raises:
            EvergreenError: the table cannot be written; it is left as it was.
        """
        self.table.append(rows, batch)


def _schema(spec: ModelSpec) -> pa.Schema:
    import pyarrow as pa

    instant, text, number = pa.timestamp("us", "UTC"), pa.string(), pa.int64()
    fields = [
        *(("received_at", instant), ("champion", number), ("challenger", number), ("at", instant), ("key", number)),
        *(("request", text), ("row", number), ("served", text)),
    ]
    for which in ("champion", "challenger"):
        fields += [
            (f"{which}_prediction", pa.float64() if spec.task == "regression" else text),
            (f"{which}_probability", pa.list_(pa.field("element", pa.float64()))),
            (f"{which}_failed", pa.bool_()),
            (f"{which}_microseconds", pa.float64()),
        ]
    return pa.schema(fields)
