"""A machine's readings without a time, one after the other; what wore off is measured a hundred readings later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.sources import Folder
from evergreen.spec import (
    DriftThresholds,
    Every,
    Features,
    Gates,
    Holdout,
    Labels,
    Metric,
    ModelSpec,
    OnDrift,
    OnPerformance,
    PerformanceThresholds,
    Retraining,
    Rows,
    Shadow,
    Training,
    any_of,
)

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline


def contract() -> DataFrameSchema:
    """What a reading is."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "reading": pa.Column("int64"),
            "load": pa.Column("float64"),
            "heat": pa.Column("float64"),
            "wear": pa.Column("float64", nullable=True),
        }
    )


def pipeline(seed: int) -> Pipeline:
    """A straight line."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("model", Ridge(random_state=seed))])


MODEL = ModelSpec(
    name="machine",
    task="regression",
    source=Folder("machine"),
    labels=Labels(source=Folder("machine_labels")),
    contract=contract,
    keys=("reading",),
    order="rows",
    target="wear",
    features=Features(numeric=("load", "heat")),
    pipeline=pipeline,
    metric=Metric(name="mae"),
    gates=Gates(routine_margin=0.15, persistence="tell", blocks="measured"),
    holdout=Holdout(strategy="blocked", block=Rows(25), every=4, gap=Rows(3), min_rows=20),
    training=Training(last=Rows(600), half_life=Rows(400), min_rows=100, refit=True),
    drift=DriftThresholds(last=Rows(200), min_rows=50, share=0.5),
    performance=PerformanceThresholds(window=Rows(100), last=Rows(200), min_rows=50, tolerance=0.3),
    shadow=Shadow(windows=2, min_rows=50),
    retraining=Retraining(policy=any_of(OnDrift(), OnPerformance(), Every(rows=300))),
)
