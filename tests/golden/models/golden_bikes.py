"""Hourly bikes whose counts come a week later.

The golden state was made with this very file, and with its imports: not a line of it is to be changed.
"""

from __future__ import annotations

from datetime import timedelta

from evergreen.sources import Folder
from evergreen.spec import (
    DriftPolicy,
    Features,
    Gates,
    Holdout,
    Labels,
    Metric,
    ModelSpec,
    PerformancePolicy,
    Search,
    Shadow,
    Training,
)

FEATURES = Features(numeric=("temp", "hum", "windspeed", "hr", "workingday"), categorical=("weathersit",))


def prepare(frame):
    """Add the hour that a row is about."""
    import pandas as pd

    day = pd.to_datetime(frame["date"], format="%Y-%m-%d")
    return frame.assign(at=day + pd.to_timedelta(frame["hr"], unit="h"))


def contract():
    """Weather is scaled to 0..1."""
    import pandera.pandas as pa

    between = pa.Check.in_range
    return pa.DataFrameSchema(
        {
            "at": pa.Column("datetime64[us, UTC]"),
            "date": pa.Column(str),
            "hr": pa.Column(int, between(0, 23)),
            "workingday": pa.Column(int, pa.Check.isin([0, 1])),
            "weathersit": pa.Column(int, between(1, 9)),
            "temp": pa.Column(float, between(0, 1)),
            "hum": pa.Column(float, between(0, 1)),
            "windspeed": pa.Column(float, between(0, 1)),
            "cnt": pa.Column(float, pa.Check.ge(0)),
        }
    )


def pipeline(seed):
    """A few small trees."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = ColumnTransformer([("encode", encode, list(FEATURES.categorical))], remainder="passthrough")
    boost = HistGradientBoostingRegressor(max_iter=25, learning_rate=0.2, max_leaf_nodes=12, random_state=seed)
    return Pipeline([("columns", columns), ("model", boost)])


MODEL = ModelSpec(
    name="golden_bikes",
    description="How many bikes are rented in an hour, for the van that spreads them.",
    tags={"owner": "the bikes team"},
    task="regression",
    source=Folder("golden_bikes"),
    labels=Labels(source=Folder("golden_bikes_labels"), time="known_at"),
    prepare=prepare,
    contract=contract,
    keys=("date", "hr"),
    time="at",
    timezone="UTC",
    target="cnt",
    features=FEATURES,
    pipeline=pipeline,
    search=Search(grid={"model__learning_rate": (0.1, 0.2)}, folds=2),
    metric=Metric(name="mae", bound=200.0),
    gates=Gates(margin=0.0, slice_margin=0.25, tags=("owner",), description=True),
    slices=("workingday",),
    holdout=Holdout(strategy="blocked", block=timedelta(days=1), every=3, recent=timedelta(weeks=3), min_rows=72),
    training=Training(last=timedelta(weeks=6), half_life=timedelta(weeks=2), min_rows=336),
    drift=DriftPolicy(
        columns=("temp", "hum", "windspeed", "weathersit"),
        share=0.25,
        last=timedelta(weeks=1),
        weigh="importance",
    ),
    performance=PerformancePolicy(
        tolerance=0.3, last=timedelta(weeks=1), also=(Metric(name="rmse", bound=250.0), Metric(name="r2"))
    ),
    shadow=Shadow(windows=3, min_rows=100),
    retrain_on=("drift", "performance"),
    escalate_after=2,
    trusted=("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
)
