"""A model that is fitted in milliseconds: a straight line through a number and a category."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.sources import Folder
from evergreen.spec import DriftThresholds, Features, Gates, Holdout, Metric, ModelSpec

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline


def contract() -> DataFrameSchema:
    """Numbers within a range, and two kinds."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "at": pa.Column("datetime64[us, UTC]"),
            "x": pa.Column(float, pa.Check.in_range(-100, 100)),
            "kind": pa.Column(str, pa.Check.isin(["a", "b"])),
            "y": pa.Column(float),
        }
    )


def pipeline(seed: int) -> Pipeline:
    """A ridge regression; nothing in it is random."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = ColumnTransformer([("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"])], remainder="passthrough")
    return Pipeline([("columns", columns), ("model", Ridge())])


MODEL = ModelSpec(
    name="toy",
    task="regression",
    source=Folder("toy"),
    contract=contract,
    keys=("id",),
    time="at",
    timezone="UTC",
    target="y",
    features=Features(numeric=("x",), categorical=("kind",)),
    pipeline=pipeline,
    metric=Metric(name="mae"),
    gates=Gates(latency_ms=10_000),
    holdout=Holdout(strategy="latest", share=0.2),
    drift=DriftThresholds(min_rows=50),
)
