"""A model of the benchmarks: ten numbers and two categories, all of them watched, fitted in no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.sources import Folder
from evergreen.spec import Features, Holdout, Metric, ModelSpec, Training

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

FEATURES = Features(numeric=tuple(f"n{number}" for number in range(10)), categorical=("c0", "c1"))


def contract() -> DataFrameSchema:
    """Numbers within reach of a normal distribution, known categories."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "id": pa.Column(int, pa.Check.ge(0)),
            "at": pa.Column("datetime64[us, UTC]"),
            **{name: pa.Column(float, pa.Check.in_range(-100, 100)) for name in FEATURES.numeric},
            **{name: pa.Column(str, pa.Check.isin(["red", "green", "blue", "grey"])) for name in FEATURES.categorical},
            "y": pa.Column(float),
        }
    )


def pipeline(seed: int) -> Pipeline:
    """A linear model on one-hot categories; nothing in it is random."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    encode = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("encode", encode, list(FEATURES.categorical))], remainder="passthrough")
    return Pipeline([("columns", columns), ("model", Ridge())])


MODEL = ModelSpec(
    name="wide",
    task="regression",
    source=Folder("wide"),
    contract=contract,
    keys=("id",),
    time="at",
    timezone="UTC",
    target="y",
    features=FEATURES,
    pipeline=pipeline,
    metric=Metric(name="mae"),
    holdout=Holdout(strategy="latest"),
    training=Training(min_rows=50),
)
