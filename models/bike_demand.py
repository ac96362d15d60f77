"""Hourly demand for shared bikes, predicted from the calendar and the weather, in the UCI Bike Sharing schema.

Put the real hourly file, or monthly parts of it, into the landing folder `.evergreen/landing/bike_demand/`. As long as
the folder is empty, a seeded simulator makes the rows, so that everything runs offline.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from evergreen.sources import Fallback, Folder, Simulator
from evergreen.spec import (
    DriftThresholds,
    Features,
    Gates,
    Holdout,
    Metric,
    ModelSpec,
    Search,
    Serve,
    Training,
)

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

WEATHER = ("temp", "atemp", "hum", "windspeed")
CALENDAR = ("mnth", "hr", "weekday", "holiday", "workingday")
FEATURES = Features(numeric=(*WEATHER, *CALENDAR), categorical=("season", "weathersit"))


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the hour of each row as `at`, from `dteday` and `hr`, and its `date` as text."""
    import pandas as pd

    day = pd.to_datetime(frame["dteday"], format="%m/%d/%Y")
    return frame.assign(at=day + pd.to_timedelta(frame["hr"], unit="h"), date=day.dt.strftime("%Y-%m-%d"))


def contract() -> DataFrameSchema:
    """The ranges of the UCI file: weather is scaled to 0..1, calendar columns are integers, `cnt` counts rides."""
    import pandera.pandas as pa

    between = pa.Check.in_range
    return pa.DataFrameSchema(
        {
            "at": pa.Column("datetime64[us, UTC]"),
            "date": pa.Column(str),
            "season": pa.Column(int, between(1, 4)),
            "mnth": pa.Column(int, between(1, 12)),
            "hr": pa.Column(int, between(0, 23)),
            "weekday": pa.Column(int, between(0, 6)),
            "holiday": pa.Column(int, pa.Check.isin([0, 1])),
            "workingday": pa.Column(int, pa.Check.isin([0, 1])),
            "weathersit": pa.Column(int, between(1, 9)),
            **{name: pa.Column(float, between(0, 1)) for name in WEATHER},
            "cnt": pa.Column(float, pa.Check.ge(0)),
        }
    )


def pipeline(seed: int) -> Pipeline:
    """Gradient-boosted trees. A season or weather situation that training never saw becomes a category of its own."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = ColumnTransformer([("encode", encode, list(FEATURES.categorical))], remainder="passthrough")
    # On the UCI file 200 trees at half the learning rates are 1.5 % better, and the search takes three times as long.
    boost = HistGradientBoostingRegressor(max_iter=60, random_state=seed)
    return Pipeline([("columns", columns), ("model", boost)])


MODEL = ModelSpec(
    name="bike_demand",
    task="regression",
    source=Fallback(Folder("bike_demand"), Simulator(start=date(2011, 1, 1), days=365)),
    prepare=prepare,
    contract=contract,
    keys=("date", "hr"),
    time="at",
    timezone="America/New_York",
    target="cnt",
    features=FEATURES,
    pipeline=pipeline,
    search=Search(grid={"model__learning_rate": (0.1, 0.2), "model__max_leaf_nodes": (15, 31)}, folds=3),
    metric=Metric(name="mae", bound=200.0),
    # The same recipe on newer rows may be 15 % worse at most, another one has to be proven better: docs/gates.md.
    # Each candidate is told beside repeating the count of an hour ago; with beat it would have to be better.
    gates=Gates(routine_margin=0.15, slice_margin=0.25, persistence="tell"),
    slices=("workingday", "weathersit"),
    # Every fifth day of the last eight weeks: a candidate can learn a recent change and still be judged on it.
    holdout=Holdout(strategy="blocked", block=timedelta(days=1), every=5, recent=timedelta(weeks=8), min_rows=72),
    # On the UCI file half a year of history is much better than all of it: demand nearly doubles within two years.
    # What is deployed has learned the rows that judged, too.
    training=Training(last=timedelta(days=180), min_rows=336, refit=True),
    # Calendar columns always change; drift is measured on the weather and on the champion's predictions.
    drift=DriftThresholds(columns=(*WEATHER, "weathersit"), share=0.5, last=timedelta(weeks=4), min_rows=168),
    # A request brings the calendar and the weather as the contract has them; key and time may come along.
    serve=Serve(rows="contract"),
    trusted=("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
)
