"""A model that is fitted in parts: a search of the model file over an estimator that says `n_jobs`.

Its predictions are added up in one order; those of a forest with `n_jobs` are not, from call to call.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from evergreen.sources import Folder
from evergreen.spec import DriftThresholds, Features, Gates, Holdout, Metric, ModelSpec, Search, Training

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline


GRID = {"model__tree__max_depth": (2, 5), "model__tree__min_samples_leaf": (1, 9)}


def contract() -> DataFrameSchema:
    """Numbers, and two kinds."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "at": pa.Column("datetime64[us, UTC]"),
            "x": pa.Column(float),
            "kind": pa.Column(str, pa.Check.isin(["a", "b"])),
            "y": pa.Column(float),
        }
    )


def signed_square(x: Any) -> Any:
    """The square with the sign of the number; ends a process whose environment says so."""
    if os.environ.get("EVERGREEN_TEST_DIES"):
        os.kill(os.getpid(), signal.SIGKILL)
    return x * abs(x)


def pipeline(seed: int) -> Pipeline:
    """The mean of a tree and a line."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import VotingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
    from sklearn.tree import DecisionTreeRegressor

    columns = ColumnTransformer(
        [
            ("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"]),
            ("square", FunctionTransformer(signed_square), ["x"]),
        ],
        remainder="passthrough",
    )
    both = VotingRegressor([("tree", DecisionTreeRegressor(random_state=seed)), ("line", Ridge())], n_jobs=-1)
    return Pipeline([("columns", columns), ("model", both)])


MODEL = ModelSpec(
    name="parts",
    task="regression",
    source=Folder("parts"),
    contract=contract,
    keys=("id",),
    time="at",
    timezone="UTC",
    target="y",
    features=Features(numeric=("x",), categorical=("kind",)),
    pipeline=pipeline,
    trusted=("models.parts.signed_square",),
    metric=Metric(name="mae"),
    gates=Gates(latency_ms=60_000),
    holdout=Holdout(strategy="latest", share=0.2),
    training=Training(refit=True),
    search=Search(grid=GRID, folds=3),
    drift=DriftThresholds(min_rows=50),
)
