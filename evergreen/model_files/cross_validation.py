"""Whether there is a model in the data: the figure of a new model file on folds, beside those of one-line rules.

It is what `evergreen new` ends with, before anything is landed or trained. The cost is bounded whatever the data: a
sample of the rows, few fits, few trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.frames import model_frame
from evergreen.data.predictions import Predictions
from evergreen.data.windows import ROW, order_column
from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.evaluation.measure import measure
from evergreen.evaluation.persistence import LAST_LABEL, SEASONS
from evergreen.markdown import many, number
from evergreen.model_files.new import NewModelFile
from evergreen.spec.model import ModelSpec
from evergreen.spec.place import describe
from evergreen.spec.training import Search
from evergreen.training.folds import split_into_folds
from evergreen.training.naive import every_forecast
from evergreen.training.pipeline_checks import build_pipeline
from evergreen.training.predict import baseline, labelled, predict, target_of, threads

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 10_000
MAX_CELLS = 1_000_000
MAX_TREES = 2_000
"""Of one fit of many classes, each of which has a tree in every iteration."""

MIN_ROWS = 40
FOLDS = 3
FEW_CLASSES = 3
"""With more of them there is one fold."""
FEW_FEATURES = 50
"""With more of them, or with more than two classes, the first combination of the grid alone is tried: small trees."""

CLEAR_SHARE = 0.01
"""A figure that is better by less than this share of the other is about the same."""

Array = npt.NDArray[Any]
Fold = tuple[Array, Array]


@dataclass(frozen=True, slots=True)
class Figure:
    """The metric of one rule, mean over the folds."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """The figure of a model on folds, and those of one-line rules on the same rows.

    Attributes:
        metric: its name.
        model: its value for the model, mean over the folds.
        rules: the same for one-line rules, a constant first.
        rows: how many rows were used.
        known: of how many.
        folds: how many.
        in_order: the folds follow the order of the rows, so that each is predicted from those before it.
        conclusion: what it means, in sentences.
    """

    metric: str
    model: float
    rules: tuple[Figure, ...]
    rows: int
    known: int
    folds: int
    in_order: bool
    conclusion: str

    @property
    def title(self) -> str:
        """What was done, for the head of a table."""
        order = " in the order of the rows" if self.in_order else ""
        which = f"the newest {self.rows:,}" if self.in_order else f"a random {self.rows:,}"
        rows = f"a sample, {which} of {many(self.known, 'row')}" if self.rows < self.known else many(self.rows, "row")
        return f"Cross-validated in {many(self.folds, 'fold')}{order}, on {rows}"

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


def cross_validate(
    made: NewModelFile,
    spec: ModelSpec,
    now: datetime,
    *,
    max_rows: int = MAX_ROWS,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> CrossValidation:
    """Fit a new model file's pipeline on folds of the rows that it was made from, and measure it beside one-line rules.

    Of the search's grid the first and the last combination are tried, and the better one counts; where a fit takes
    long, the first alone is tried.

    Args:
        made: the file, with its rows.
        spec: the model, loaded from it.
        now: rows of later times are refused (aware).
        max_rows: more are not used: the newest of rows in an order, else a random sample.
        progress: told how many fits of how many are done.

    Raises:
        DataError: the rows are too few, or say nothing.
        ModelFileError: the pipeline cannot be fitted.
    """
    rows = _checked_rows(made, spec, now)
    sample = _sample(rows, spec, max_rows, ordered=made.ordered)
    y = target_of(spec, sample)
    classes = len(set(y.tolist())) if spec.task == "classification" else 1
    folds = _folds(spec, sample, y)[-(FOLDS if classes <= FEW_CLASSES else 1) :]
    if len(sample) < MIN_ROWS or not folds:
        raise DataError(
            f"{many(len(sample), 'row')} with a target are too few for folds of which each says something.",
            "Land more rows.",
        )
    constants = [baseline(spec, y[fit_rows], len(test_rows)) for fit_rows, test_rows in folds]
    rules = {_constant_name(spec): constants}
    if made.ordered:
        of_folds = [
            {forecast.name: forecast.predictions for forecast in every_forecast(spec, sample, fit_rows, test_rows)}
            for fit_rows, test_rows in folds
        ]
        rules |= {
            name: [forecasts[name] for forecasts in of_folds]
            for name in of_folds[0]
            if all(name in forecasts for forecasts in of_folds)
        }
    by_fold = {name: _by_fold(spec, y, folds, predictions) for name, predictions in rules.items()}
    model = _model_by_fold(spec, sample, y, folds, classes, progress)
    figures = tuple(Figure(name, _mean(values)) for name, values in by_fold.items())
    conclusion = _conclude(spec, model, by_fold)
    return CrossValidation(
        spec.metric.name, _mean(model), figures, len(sample), len(rows), len(folds), made.ordered, conclusion
    )


def _checked_rows(made: NewModelFile, spec: ModelSpec, now: datetime) -> pd.DataFrame:
    """The rows with a target, as the contract lets them in, in time order where there is a time."""
    checked = check_batch(made.batch, spec, schema_of(spec), now=now, written=made.written)
    if checked.problem:
        raise DataError(f"The rows do not meet the contract: {checked.problem}.", "Correct it, or the rows.")
    rows = labelled(spec, checked.rows)
    if spec.time is not None:
        rows = rows.sort_values(spec.time, kind="stable", ignore_index=True)
    # The number that each row will get, where their order is that of landing.
    return rows.assign(**{ROW: np.arange(len(rows))})


def _sample(rows: pd.DataFrame, spec: ModelSpec, max_rows: int, *, ordered: bool) -> pd.DataFrame:
    count = min(max_rows, max(MIN_ROWS, MAX_CELLS // len(spec.features.all)))
    if len(rows) <= count:
        return rows
    if ordered:
        return rows.tail(count).reset_index(drop=True)
    return rows.sample(count, random_state=spec.seed).sort_index().reset_index(drop=True)


def _folds(spec: ModelSpec, rows: pd.DataFrame, y: Array) -> list[Fold]:
    """The folds of a search whose training rows have more than one label, and a value of each number."""
    column = order_column(spec)
    if len(rows) <= FOLDS or (column is not None and rows[column].nunique() <= FOLDS):
        return []
    splits = split_into_folds(spec.model_copy(update={"search": Search(folds=FOLDS)}), rows, y)
    numbers = rows[list(spec.features.numeric)].notna().to_numpy()
    return [
        (fit_rows, test_rows)
        for fit_rows, test_rows in splits
        if len(set(y[fit_rows].tolist())) > 1 and numbers[fit_rows].any(axis=0).all()
    ]


def _model_by_fold(
    spec: ModelSpec,
    rows: pd.DataFrame,
    y: Array,
    folds: list[Fold],
    classes: int,
    progress: Callable[[int, int], None],
) -> Array:
    """The metric on each fold of the better one of two combinations of the grid; of one where a fit takes long."""
    from sklearn.model_selection import ParameterGrid

    grid = list(ParameterGrid({name: list(values) for name, values in spec.search.grid.items()}))
    quick = classes <= 2 and len(spec.features.all) <= FEW_FEATURES
    tried = [grid[0], grid[-1]] if quick and len(grid) > 1 else grid[:1]
    x = model_frame(rows, spec.features)
    tries = []
    for turn, parameters in enumerate(tried):
        predictions = []
        for fold, (fit_rows, test_rows) in enumerate(folds):
            pipeline = _fit(spec, parameters, x.iloc[fit_rows], y[fit_rows], classes)
            predictions.append(predict(pipeline, spec, rows.iloc[test_rows]))
            progress(turn * len(folds) + fold + 1, len(tried) * len(folds))
        tries.append(_by_fold(spec, y, folds, predictions))
    sign = 1.0 if spec.metric.kind.greater_is_better else -1.0
    return max(tries, key=lambda values: float(np.nan_to_num(sign * _mean(values), nan=-np.inf)))


def _fit(spec: ModelSpec, parameters: Mapping[str, Any], x: pd.DataFrame, y: Array, classes: int) -> Any:
    pipeline = build_pipeline(spec).set_params(**parameters)
    if classes > 2:
        iterations = pipeline.get_params()["model__max_iter"]
        pipeline.set_params(model__max_iter=min(iterations, max(1, MAX_TREES // classes)))
    try:
        with threads(len(x)):
            return pipeline.fit(x, y)
    except (EvergreenError, MemoryError):
        raise
    except Exception as error:
        raise ModelFileError(
            f"{spec.place('pipeline')}: fitting failed: {describe(error)}.", "Correct pipeline() in the model file."
        ) from error


def _by_fold(spec: ModelSpec, y: Array, folds: list[Fold], predictions: list[Predictions]) -> Array:
    return np.array([measure(spec.metric, y[test], said) for (_, test), said in zip(folds, predictions, strict=True)])


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _constant_name(spec: ModelSpec) -> str:
    if spec.task == "classification":
        return "a constant: the shares of the classes"
    return "a constant: the mean" if spec.metric.name in ("rmse", "mse", "r2") else "a constant: the median"


def _conclude(spec: ModelSpec, model: Array, rules: Mapping[str, Array]) -> str:
    """Whether there is a model in the data, and what to do where a rule is as good; by the metric on each fold."""
    sign = 1.0 if spec.metric.kind.greater_is_better else -1.0
    usable = {name: _mean(values) for name, values in rules.items() if np.isfinite(values).any()}
    if not np.isfinite(model).any() or not usable:
        return f"{spec.metric.name} could not be measured on these folds: a fold may lack a class. Land more rows."
    name = max(usable, key=lambda name: sign * usable[name])
    constant = next(iter(rules))
    # Of rules that do not differ the constant is named: the last label of a stream of noise is better by chance.
    if constant in usable and sign * (usable[name] - usable[constant]) <= CLEAR_SHARE * abs(usable[constant]):
        name = constant
    best, lead = usable[name], sign * (_mean(model) - usable[name])
    if lead > CLEAR_SHARE * abs(best):
        than = "the constant" if name == constant else "every rule of one line"
        if (sign * (model - rules[name]) <= 0).any():
            return (
                f"It is better than {than}, but not in each fold, which may be chance. Land more rows, or look for "
                "features that say more of the target."
            )
        return f"There is a model in the data: it is better than {than}."
    worse = "better than" if lead < -CLEAR_SHARE * abs(best) else "as good as"
    figures = f"({spec.metric.name} {number(best)} against {number(_mean(model))})"
    if name in (LAST_LABEL, *SEASONS):
        return (
            f"{name[0].upper()}{name[1:]} is {worse} the model {figures}: where it is known in time, a rule "
            "of one line would do. Give the model labels of before as features, those that are known when it predicts: "
            "see Lags in docs/model-files.md."
        )
    return (
        f"A constant is {worse} the model {figures}: there is hardly a model in the data, and a candidate will seldom "
        "pass its gates. Look for features that say more of the target."
    )
