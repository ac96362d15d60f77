"""Models at the end of a pipeline, as regressors and as classifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.plan.ensembles import add_ensemble
from serving.plan.linear import add_scores
from serving.plan.program import Column, Matrix, NotCompiledError, Program, number, refuse_missing
from serving.plan.transformers import check_columns, kind_of, transform

TREES = ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees")
LINEAR_REGRESSORS = (
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "BayesianRidge",
    "HuberRegressor", "QuantileRegressor", "SGDRegressor",
)  # fmt: skip
GENERALIZED = ("PoissonRegressor", "GammaRegressor", "TweedieRegressor")


@dataclass(frozen=True, slots=True)
class Classified:
    """A classifier's answer: the expressions of its probabilities, or None; and of the place of its class."""

    place: str
    probabilities: str | None


def add_regressor(program: Program, model: Any, matrix: Matrix) -> str:
    """Add the lines of a fitted regressor; the variable of its prediction.

    Raises:
        NotCompiledError: the part, or an option of it, has no compiled form.
    """
    kind = kind_of(model)
    check_columns(model, matrix)
    if kind == "Pipeline":
        return add_regressor(program, model.steps[-1][1], _before_last(program, model, matrix))
    add = _REGRESSORS.get(kind)
    if add is None:
        raise NotCompiledError(f"{kind} has no compiled form as a regressor")
    return add(program, model, matrix)


def add_classifier(program: Program, model: Any, matrix: Matrix) -> Classified:
    """Add the lines of a fitted classifier.

    Raises:
        NotCompiledError: the part, or an option of it, has no compiled form.
    """
    kind = kind_of(model)
    check_columns(model, matrix)
    if kind == "Pipeline":
        return add_classifier(program, model.steps[-1][1], _before_last(program, model, matrix))
    add = _CLASSIFIERS.get(kind)
    if add is None:
        raise NotCompiledError(f"{kind} has no compiled form as a classifier")
    return add(program, model, matrix)


def _before_last(program: Program, pipeline: Any, matrix: Matrix) -> Matrix:
    for _, step in pipeline.steps[:-1]:
        matrix = transform(program, step, matrix)
    return matrix


def _link_inverse(program: Program, link: Any, variable: str) -> str:
    """From the scale of the sum to that of the target."""
    functions = {"IdentityLink": "{}", "LogLink": "exp({})", "LogitLink": "expit({})", "HalfLogitLink": "expit(2 * {})"}
    kind = type(link).__name__
    if kind not in functions:
        raise NotCompiledError(f"{kind} is a link function that has no compiled form")
    return program.let(functions[kind].format(variable)) if kind != "IdentityLink" else variable


def _trees(program: Program, model: Any, matrix: Matrix) -> str:
    total, *more = add_ensemble(program, model, matrix)
    if more:
        raise NotCompiledError(f"{type(model).__name__} predicts several numbers, which is not compiled")
    link = model._loss.link if type(model).__name__ == "HistGradientBoostingRegressor" else None
    return total if link is None else _link_inverse(program, link, total)


def _linear(program: Program, model: Any, matrix: Matrix) -> str:
    score, *more = add_scores(program, model, matrix)
    if more:
        raise NotCompiledError(f"{type(model).__name__} predicts several targets, which is not compiled")
    return _link_inverse(program, model._base_loss.link, score) if type(model).__name__ in GENERALIZED else score


def _constant(program: Program, model: Any, matrix: Matrix) -> str:
    if model.n_outputs_ != 1:
        raise NotCompiledError("DummyRegressor predicts several targets, which is not compiled")
    return program.let(number(np.asarray(model.constant_).item()))


def _transformed(program: Program, model: Any, matrix: Matrix) -> str:
    """TransformedTargetRegressor: a regressor, and the way back to the target's scale."""
    predicted = add_regressor(program, model.regressor_, matrix)
    back = model.transformer_
    kind = kind_of(back)
    if kind == "FunctionTransformer":
        if back.validate:
            refuse_missing(program, [Column(predicted)])
        function = back.inverse_func
        if function is None:
            return predicted
        if not isinstance(function, np.ufunc) or (function.nin, function.nout) != (1, 1) or back.inv_kw_args:
            raise NotCompiledError("TransformedTargetRegressor has an inverse_func other than a function of NumPy")
        return program.let(f"call({program.keep(function)}, {predicted})")
    if kind == "StandardScaler":
        refuse_missing(program, [Column(predicted)])
        value = f"{predicted} * {number(back.scale_[0])}" if back.with_std else predicted
        return program.let(f"{value} + {number(back.mean_[0])}" if back.with_mean else value)
    raise NotCompiledError(f"TransformedTargetRegressor has a {kind} on its target, which is not compiled")


def _two(program: Program, probability: str) -> Classified:
    """Of two classes the second one's probability says it all."""
    other = program.let(f"1.0 - {probability}")
    return Classified(f"1 if {probability} > {other} else 0", f"({other}, {probability})")


def _several(program: Program, probabilities: str) -> Classified:
    found = program.let(probabilities)
    return Classified(f"most_likely({found})", found)


def _boosted_classes(program: Program, model: Any, matrix: Matrix) -> Classified:
    totals = add_ensemble(program, model, matrix)
    if len(totals) > 1:
        return _several(program, f"softmax(({', '.join(totals)}))")
    return _two(program, _link_inverse(program, model._loss.link, totals[0]))


def _averaged_classes(program: Program, model: Any, matrix: Matrix) -> Classified:
    totals = add_ensemble(program, model, matrix)
    if len(totals) == 2:
        return Classified(f"1 if {totals[1]} > {totals[0]} else 0", f"({', '.join(totals)})")
    return _several(program, f"({', '.join(totals)},)")


def _logistic(program: Program, model: Any, matrix: Matrix) -> Classified:
    scores = add_scores(program, model, matrix)
    if len(scores) == 1:
        return _two(program, program.let(f"expit({scores[0]})"))
    return _several(program, f"softmax(({', '.join(scores)}))")


def _stochastic_gradient(program: Program, model: Any, matrix: Matrix) -> Classified:
    if model.loss == "modified_huber":
        raise NotCompiledError("SGDClassifier has the loss modified_huber, which is not compiled")
    if model.loss != "log_loss":
        return _scored_classes(program, model, matrix)
    scores = add_scores(program, model, matrix)
    if len(scores) > 1:
        return _by_score(scores, f"shares(({', '.join(scores)}))")
    chance = program.let(f"expit({scores[0]})")
    return _by_score(scores, f"(1.0 - {chance}, {chance})")


def _scored_classes(program: Program, model: Any, matrix: Matrix) -> Classified:
    """A classifier without probabilities."""
    return _by_score(add_scores(program, model, matrix), None)


def _by_score(scores: Sequence[str], probabilities: str | None) -> Classified:
    """The class of the largest score; probabilities of several scores may be equal where the scores are not."""
    if len(scores) == 1:
        return Classified(f"1 if {scores[0]} > 0.0 else 0", probabilities)
    return Classified(f"largest(({', '.join(scores)}))", probabilities)


def _constant_classes(program: Program, model: Any, matrix: Matrix) -> Classified:
    if model.n_outputs_ != 1 or model.strategy not in ("prior", "most_frequent", "constant"):
        raise NotCompiledError(f"DummyClassifier has the strategy {model.strategy}, which is not compiled")
    chances = model.predict_proba(np.zeros((1, 1)))[0].tolist()
    return Classified(str(int(np.argmax(chances))), f"({', '.join(map(number, chances))},)")


def _thresholded(program: Program, model: Any, matrix: Matrix) -> Classified:
    """A threshold, set or tuned, on the probability of one class of two."""
    inner = add_classifier(program, getattr(model, "estimator_", model.estimator), matrix)
    classes = model.classes_.tolist()
    if inner.probabilities is None or model.response_method == "decision_function" or len(classes) != 2:
        raise NotCompiledError(f"{kind_of(model)} has a threshold that is not one of a probability of two classes")
    if kind_of(model) == "FixedThresholdClassifier":
        threshold, positive = 0.5 if model.threshold == "auto" else model.threshold, model.pos_label
    else:
        # The label that the scorer takes for the positive one has no public name.
        threshold, positive = model.best_threshold_, model._curve_scorer._get_pos_label()
    place = 1 if positive is None else classes.index(positive)
    chances = program.let(inner.probabilities)
    return Classified(f"{place} if {chances}[{place}] >= {number(threshold)} else {1 - place}", chances)


_REGRESSORS: Mapping[str, Callable[[Program, Any, Matrix], str]] = {
    **{f"{kind}Regressor": _trees for kind in (*TREES, "GradientBoosting", "HistGradientBoosting")},
    **dict.fromkeys((*LINEAR_REGRESSORS, *GENERALIZED), _linear),
    "DummyRegressor": _constant,
    "TransformedTargetRegressor": _transformed,
}
_CLASSIFIERS: Mapping[str, Callable[[Program, Any, Matrix], Classified]] = {
    **{f"{kind}Classifier": _averaged_classes for kind in TREES},
    **dict.fromkeys(("GradientBoostingClassifier", "HistGradientBoostingClassifier"), _boosted_classes),
    "LogisticRegression": _logistic,
    "SGDClassifier": _stochastic_gradient,
    **dict.fromkeys(("RidgeClassifier", "LinearSVC"), _scored_classes),
    "DummyClassifier": _constant_classes,
    **dict.fromkeys(("FixedThresholdClassifier", "TunedThresholdClassifierCV"), _thresholded),
}
