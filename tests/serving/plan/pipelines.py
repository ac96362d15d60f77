"""Random pipelines of the parts that have a compiled form, and random frames for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor

from evergreen.sources import Bundled
from evergreen.spec import Features, Metric, ModelSpec
from evergreen.training.predict import threads

FEATURES = Features(numeric=("amount", "age", "score"), categorical=("city", "plan"))
CITIES = ("Bern", "Chur", "Genf", "Zug", 'a "quoted" one', "x\ny")
PLANS = ("basic", "family", "1")


@dataclass(frozen=True)
class Case:
    """A fitted pipeline, its model, and rows that it was not fitted on."""

    pipeline: Pipeline
    spec: ModelSpec
    rows: pd.DataFrame


def table(seed: int, rows: int, missing: float, unseen: float = 0.0) -> pd.DataFrame:
    """Rows of the features, as observations hold them; some cells are missing, some categories new."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": random.lognormal(3, 1, rows),
            "age": random.integers(18, 90, rows).astype("float64"),
            "score": random.normal(0, 1e-3, rows),
            "city": random.choice(CITIES, rows),
            "plan": random.choice(PLANS, rows),
        }
    ).astype({"city": "str", "plan": "str"})
    for name in frame.columns:
        if name in FEATURES.categorical:
            frame[name] = frame[name].where(random.random(rows) >= unseen, "never seen")
        frame[name] = frame[name].mask(random.random(rows) < missing)
    return frame


def target(frame: pd.DataFrame, classes: Sequence[Any] | None, seed: int) -> np.ndarray:
    """A target that depends on the features; positive, or one of the classes."""
    random = np.random.default_rng([seed, 1])
    signal = np.log1p(frame["amount"].fillna(20)) + frame["age"].fillna(50) / 40 + 300 * frame["score"].fillna(0)
    signal += frame["city"].isin(CITIES[:2]) + (frame["plan"] == "basic") * 0.5
    value = np.asarray(np.exp(signal / 4) + random.exponential(0.3, len(frame)))
    if classes is None:
        return value
    ranks = (value.argsort().argsort() * len(classes)) // len(value)
    return np.array(classes, dtype=object if isinstance(classes[0], str) else "int64")[ranks]


def fit(pipeline: Pipeline, rows: pd.DataFrame, y: np.ndarray) -> Pipeline:
    """Fit in one thread: beside a busy core two of them wait for each other."""
    with threads(len(rows)):
        fitted: Pipeline = pipeline.fit(rows, y)
    return fitted


def model_spec(task: str, pipeline: Callable[[int], Pipeline]) -> ModelSpec:
    """A model of these features; its source and its contract are not asked."""
    metric = Metric(name="mae") if task == "regression" else Metric(name="accuracy")
    fields: dict[str, Any] = {"name": "toy", "source": Bundled("iris"), "contract": dict, "target": "y"}
    return ModelSpec(task=task, features=FEATURES, pipeline=pipeline, metric=metric, **fields)


scalers = st.sampled_from(
    [
        "passthrough",
        StandardScaler(),
        StandardScaler(with_mean=False),
        MinMaxScaler(feature_range=(-1, 2), clip=True),
        MinMaxScaler(),
        RobustScaler(),
        MaxAbsScaler(),
        FunctionTransformer(),
    ]
)
imputers = st.sampled_from(
    [
        SimpleImputer(),
        SimpleImputer(strategy="median", add_indicator=True),
        SimpleImputer(strategy="constant", fill_value=-1.0),
        SimpleImputer(strategy="most_frequent"),
    ]
)
coders = st.sampled_from(
    [
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=math.nan),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=3),
        OrdinalEncoder(encoded_missing_value=-5),
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.2, sparse_output=False),
        OneHotEncoder(drop="first", sparse_output=False),
        OneHotEncoder(drop="if_binary", handle_unknown="ignore", sparse_output=False, dtype="float32"),
        TargetEncoder(),
        Pipeline([("fill", SimpleImputer(strategy="constant", fill_value="none")), ("code", OneHotEncoder())]),
        Pipeline(
            [
                ("fill", SimpleImputer(strategy="most_frequent")),
                ("code", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=99)),
            ]
        ),
    ]
)


@st.composite
def number_steps(draw: st.DrawFn, filled: bool) -> Any:
    """What is done to the numbers; with `filled`, none of them is missing afterwards."""
    steps = [draw(imputers)] if filled or draw(st.booleans()) else []
    steps += draw(st.lists(scalers, max_size=2))
    if not steps:
        return "passthrough"
    return Pipeline([(f"step{place}", step) for place, step in enumerate(steps)])


def regressors() -> dict[str, Any]:
    """Regressors by name: those that need every number, and those that do not."""
    forest = {"n_estimators": 5, "random_state": 0}
    few = {"max_iter": 6, "min_samples_leaf": 5, "random_state": 0, "early_stopping": False}
    return {
        "linear": LinearRegression(),
        "ridge": Ridge(),
        "lasso": Lasso(alpha=0.1),
        "elastic": ElasticNet(alpha=0.1),
        "poisson": PoissonRegressor(max_iter=50, tol=0.01),
        "gamma": GammaRegressor(max_iter=50, tol=0.01),
        "tweedie": TweedieRegressor(power=1.5, link="log", max_iter=50, tol=0.01),
        "gradient boosting": GradientBoostingRegressor(n_estimators=6, random_state=0),
        "gradient boosting from zero": GradientBoostingRegressor(n_estimators=6, init="zero", random_state=0),
        "log target": TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
        "scaled target": TransformedTargetRegressor(
            DecisionTreeRegressor(random_state=0), transformer=StandardScaler()
        ),
        "spread target": TransformedTargetRegressor(
            Pipeline([("m", HistGradientBoostingRegressor(**few))]),
            transformer=FunctionTransformer(np.copy),
            check_inverse=False,
        ),
        "dummy": DummyRegressor(strategy="median"),
        "tree": DecisionTreeRegressor(random_state=0),
        "random tree": ExtraTreeRegressor(random_state=0),
        "forest": RandomForestRegressor(**forest),
        "extra trees": ExtraTreesRegressor(**forest),
        "histogram": HistGradientBoostingRegressor(**few),
        "histogram of counts": HistGradientBoostingRegressor(loss="poisson", **few),
        "histogram of amounts": HistGradientBoostingRegressor(loss="gamma", **few),
        "histogram median": HistGradientBoostingRegressor(loss="absolute_error", **few),
    }


def classifiers() -> dict[str, Any]:
    """Classifiers by name."""
    forest = {"n_estimators": 5, "random_state": 0}
    few = {"max_iter": 6, "min_samples_leaf": 5, "random_state": 0, "early_stopping": False}
    return {
        "logistic": LogisticRegression(tol=0.1),
        "stochastic": SGDClassifier(loss="log_loss", tol=0.1, random_state=0),
        "margin": SGDClassifier(tol=0.1, random_state=0),
        "vectors": LinearSVC(tol=0.5, random_state=0),
        "ridge": RidgeClassifier(),
        "gradient boosting": GradientBoostingClassifier(n_estimators=6, random_state=0),
        "dummy": DummyClassifier(),
        "tree": DecisionTreeClassifier(random_state=0),
        "forest": RandomForestClassifier(**forest),
        "extra trees": ExtraTreesClassifier(**forest, max_depth=4),
        "histogram": HistGradientBoostingClassifier(**few),
        "histogram by half": FixedThresholdClassifier(HistGradientBoostingClassifier(**few)),
        "logistic by a third": FixedThresholdClassifier(LogisticRegression(tol=0.1), threshold=1 / 3),
    }


OF_TWO_CLASSES = ("histogram by half", "logistic by a third")
TAKES_MISSING = ("dummy", "tree", "random tree", "forest", "extra trees", "histogram")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A random pipeline, fitted on random rows, and other rows with missing and unseen values."""
    task = draw(st.sampled_from(["regression", "classification"]))
    models = regressors() if task == "regression" else classifiers()
    name = draw(st.sampled_from(sorted(models)))
    classes = None
    if task == "classification":
        more = [] if name in OF_TWO_CLASSES else [("low", "mid", "high"), (3, 1, 2, 7)]
        classes = draw(st.sampled_from([("no", "yes"), (0, 1), *more]))
    filled = not name.startswith(TAKES_MISSING)
    seed = draw(st.integers(0, 50))
    coder = draw(coders)
    others = draw(st.sampled_from(["drop", "passthrough"]))
    numbers = list(
        FEATURES.numeric if draw(st.booleans()) or (filled and others == "passthrough") else ("score", "age")
    )
    columns = ColumnTransformer(
        [("numbers", draw(number_steps(filled)), numbers), ("texts", coder, list(FEATURES.categorical))],
        remainder=others,
    )
    steps: list[tuple[str, Any]] = [("columns", columns)]
    if filled:
        steps.append(("fill", SimpleImputer()))
    if name.startswith("histogram") or draw(st.booleans()):
        columns.sparse_threshold = 0
    steps.append(("model", models[name]))
    pipeline = Pipeline(steps)
    train = table(seed, 90, draw(st.sampled_from([0.0, 0.1])))
    fit(pipeline, train, target(train, classes, seed))
    return Case(pipeline, model_spec(task, lambda _: pipeline), table(seed + 1000, 40, 0.1, unseen=0.1))
