"""Bikes in a database: rows and their counts are read on from where the last reading stopped.

The golden state does not depend on the code of this file, but for `contract`: its imports may follow the code.
"""

from __future__ import annotations

from datetime import timedelta

from evergreen.sources import SqlSource
from evergreen.spec import DriftPolicy, Features, Holdout, Labels, Metric, ModelSpec, Training

DATABASE = "sqlite:///landing/trips.db"
"""Counts from the working folder, which is the state's own."""


def contract():
    """Weather is scaled to 0..1."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "at": pa.Column("datetime64[us, UTC]"),
            "hr": pa.Column(int, pa.Check.in_range(0, 23)),
            "temp": pa.Column(float, pa.Check.in_range(0, 1)),
            "cnt": pa.Column(float, pa.Check.ge(0)),
        }
    )


def pipeline(seed):
    """A straight line."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", Ridge())])


MODEL = ModelSpec(
    name="golden_trips",
    task="regression",
    source=SqlSource(DATABASE, "SELECT id, at, hr, temp FROM trips", watermark="id", batch_rows=100),
    labels=Labels(
        source=SqlSource(DATABASE, "SELECT id, cnt, known_at FROM counts", watermark="known_at"), time="known_at"
    ),
    contract=contract,
    keys=("id",),
    time="at",
    timezone="UTC",
    target="cnt",
    features=Features(numeric=("hr", "temp")),
    pipeline=pipeline,
    metric=Metric(name="mae"),
    holdout=Holdout(min_rows=30),
    training=Training(min_rows=100),
    drift=DriftPolicy(min_rows=1000, silence=timedelta(days=7)),
)
