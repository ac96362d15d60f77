"""The iris data set: three species from four measurements, judged on a random fifth of the flowers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.sources import Bundled
from evergreen.spec import DriftThresholds, Features, Holdout, Metric, ModelSpec

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

MEASURES = ("sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm")
SPECIES = ("setosa", "versicolor", "virginica")


def contract() -> DataFrameSchema:
    """Measurements are positive centimetres; the species is one of three."""
    import pandera.pandas as pa

    columns = {name: pa.Column(float, pa.Check.in_range(0, 30, include_min=False)) for name in MEASURES}
    return pa.DataFrameSchema(columns | {"species": pa.Column(str, pa.Check.isin(SPECIES))})


def pipeline(seed: int) -> Pipeline:
    """Scale the measurements, then a random forest of fifty trees."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    forest = RandomForestClassifier(n_estimators=50, random_state=seed)
    return Pipeline([("scale", StandardScaler()), ("model", forest)])


MODEL = ModelSpec(
    name="iris",
    task="classification",
    source=Bundled("iris"),
    contract=contract,
    target="species",
    features=Features(numeric=MEASURES),
    pipeline=pipeline,
    metric=Metric(name="accuracy", bound=0.9),
    holdout=Holdout(strategy="random", share=0.2, seed=42),
    drift=DriftThresholds(min_rows=30),
    trusted=("sklearn.tree._tree.Tree",),
)
