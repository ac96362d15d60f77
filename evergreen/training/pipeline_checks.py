"""Whether a model file's pipeline can be fitted, judged and stored at all: asked before anything is fitted.

Whatever can be known of the unfitted pipeline is asked of it here, all of it at once, so that no fit is wasted and no
message of another library has to be understood.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.registry.artifacts import types_in
from evergreen.registry.skops_io import load_skops
from evergreen.registry.trust import strange_types
from evergreen.spec.faults import Fault, closest, ended, mistakes_in
from evergreen.spec.model import ModelSpec
from evergreen.spec.place import definition, describe, failed_in, frame_of, line_of, shown

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def require_fittable(spec: ModelSpec, params: Mapping[str, Any] | None = None) -> None:
    """Build the pipeline and refuse one that cannot be fitted, judged or stored.

    Args:
        spec: the model.
        params: parameters that are given by hand and take the place of the search.

    Raises:
        ModelFileError: it cannot; every reason is named with its place in the model file.
        EvergreenError: `params` names a parameter that the pipeline does not have.
    """
    pipeline = build_pipeline(spec)
    faults = [
        *_odd_values(spec, pipeline),
        *_grid(spec, pipeline),
        *_weights(spec, pipeline),
        *_task(spec, pipeline),
        *_probabilities(spec, pipeline),
        *_unstorable(spec, pipeline),
    ]
    if faults:
        raise mistakes_in(spec.file, faults)
    for name in params or {}:
        if name not in pipeline.get_params():
            raise EvergreenError(ended(f"--param {name}: {_no_parameter(name, pipeline)}"), "Correct the name.")


def build_pipeline(spec: ModelSpec) -> Pipeline:
    """The unfitted pipeline of a model.

    Raises:
        ModelFileError: `pipeline()` fails, or returns something else.
    """
    from sklearn.pipeline import Pipeline

    try:
        pipeline = spec.pipeline(spec.seed)
    except EvergreenError:
        raise
    except Exception as error:
        what = f"{failed_in(spec.pipeline, error)}{_parameter_meant(error)}"
        raise ModelFileError(ended(what), "Correct that line.") from error
    if not isinstance(pipeline, Pipeline):
        what = f"{_pipeline_place(spec)} returned a {type(pipeline).__name__}, and should return a Pipeline"
        raise ModelFileError(f"{what} of scikit-learn.", "Return Pipeline([('model', ...)]).")
    return pipeline


def _pipeline_place(spec: ModelSpec) -> str:
    place = definition(spec.pipeline)
    name = getattr(spec.pipeline, "__name__", "pipeline")
    return f"{shown(place[0])}, line {place[1]}: {name}()" if place else f"{spec.file}: {name}()"


def _fault(spec: ModelSpec, field: str, message: str) -> Fault:
    names = field.split(".")
    line = line_of(spec.path, *names) if spec.path else None
    return Fault(spec.file, line, field, message)


def _pipeline_fault(spec: ModelSpec, message: str) -> Fault:
    place = definition(spec.pipeline)
    return Fault(shown(place[0]) if place else spec.file, place[1] if place else None, "pipeline", message)


def _parameter_meant(error: Exception) -> str:
    """Which parameters a constructor has, where it was given another one; empty for other errors."""
    said = re.match(r"(?:(\w+)\.)?(?:__init__|(\w+))\(\) got an unexpected keyword argument '(\w+)'", str(error))
    frame = frame_of(error)
    called = said and frame and _look_up(frame, said[1] or said[2] or "")
    if not said or not called:
        return ""
    known = [name for name in inspect.signature(called).parameters if name != "self"]
    alike = closest(said[3], known)
    return f"; did you mean {alike}?" if alike else f"; it takes {', '.join(known)}"


def _look_up(frame: types.FrameType, name: str) -> Any:
    return frame.f_locals.get(name) or frame.f_globals.get(name)


def _odd_values(spec: ModelSpec, pipeline: Pipeline) -> Iterator[Fault]:
    """Functions without a name that they could be found by again, and values that scikit-learn refuses."""
    seen: set[int] = set()
    for path, value in sorted(pipeline.get_params().items()):
        for inner in _values_in(value):
            nameless = _nameless(inner)
            if nameless and id(inner) not in seen:
                seen.add(id(inner))
                place = definition(inner) if isinstance(inner, types.FunctionType) else None
                step, _, parameter = path.rpartition("__")
                message = f"step {step or path!r} holds {nameless}" + (f" as {parameter}" if step else "")
                yield Fault(
                    shown(place[0]) if place else spec.file,
                    place[1] if place else None,
                    "pipeline",
                    f"{message}, which cannot be stored with the model; name a function at module level",
                )
        refused = _refused(value)
        if refused:
            yield _pipeline_fault(spec, f"step {path!r}: {refused}")


def _values_in(value: Any, depth: int = 0) -> Iterator[Any]:
    yield value
    if depth < 4 and isinstance(value, list | tuple):
        for item in value:
            yield from _values_in(item, depth + 1)
    elif depth < 4 and isinstance(value, dict):
        yield from _values_in(list(value.values()), depth + 1)
    elif hasattr(value, "func") and hasattr(value, "keywords"):
        yield from _values_in([value.func, *value.args, *value.keywords.values()], depth + 1)


def _nameless(value: Any) -> str:
    """What a value is that no import finds again; empty for another one."""
    named = value if isinstance(value, types.FunctionType | type) else type(value)
    name = getattr(named, "__qualname__", "")
    if "<lambda>" in name:
        return "a lambda"
    if "<locals>" not in name:
        return ""
    kind = "function" if isinstance(named, types.FunctionType) else "class"
    return f"the local {kind} {name.rpartition('.')[2]}"


def _refused(estimator: Any) -> str:
    """Why scikit-learn refuses an estimator's parameters; empty where it takes them, or is not its own."""
    from sklearn.base import BaseEstimator
    from sklearn.utils._param_validation import InvalidParameterError

    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "_parameter_constraints"):
        return ""
    try:
        estimator._validate_params()
    except InvalidParameterError as error:
        return describe(error).partition(": ")[2]
    return ""


def _grid(spec: ModelSpec, pipeline: Pipeline) -> Iterator[Fault]:
    from sklearn.base import clone

    known = pipeline.get_params()
    for name, values in spec.search.grid.items():
        if name not in known:
            yield _fault(spec, f"search.grid.{name}", _no_parameter(name, pipeline))
            continue
        owner, _, own_name = name.rpartition("__")
        if not owner or not hasattr(known[owner], "_parameter_constraints"):
            continue
        for value in values:
            refused = _refused(clone(known[owner]).set_params(**{own_name: value}))
            if refused:
                yield _fault(spec, f"search.grid.{name}", refused)
                break


def _no_parameter(name: str, pipeline: Pipeline) -> str:
    known = sorted(pipeline.get_params())
    step = name.partition("__")[0]
    own = [one for one in known if one.startswith(f"{step}__")]
    alike = closest(name, own or known)
    steps = ", ".join(step for step, _ in pipeline.steps)
    listed = (
        f"step {step!r} has {', '.join(own)}" if own else f"its steps are {steps}, as in {pipeline.steps[-1][0]}__NAME"
    )
    return f"the pipeline has no such parameter; {listed}{f'; did you mean {alike}?' if alike else ''}"


def _weights(spec: ModelSpec, pipeline: Pipeline) -> Iterator[Fault]:
    if spec.training.half_life is None:
        return
    name, last = pipeline.steps[-1]
    taken = inspect.signature(last.fit).parameters.values() if hasattr(last, "fit") else ()
    if not any(one.name == "sample_weight" or one.kind is inspect.Parameter.VAR_KEYWORD for one in taken):
        yield _fault(
            spec,
            "training.half_life",
            f"it weighs rows by their age, and {type(last).__name__}, the step {name!r}, takes no sample_weight; leave "
            "it out, use training.last, or take another estimator",
        )


def _task(spec: ModelSpec, pipeline: Pipeline) -> Iterator[Fault]:
    from sklearn.base import is_classifier, is_regressor

    name, last = pipeline.steps[-1]
    # The class is asked: a stack of estimators says only when it is fitted that it can predict.
    if not hasattr(type(last), "predict"):
        what = last if isinstance(last, str) else type(last).__name__
        yield _pipeline_fault(spec, f"its last step {name!r} is {what}, which cannot predict")
        return
    other = is_regressor(last) if spec.task == "classification" else is_classifier(last)
    if other:
        kind = "regressor" if spec.task == "classification" else "classifier"
        yield _fault(spec, "task", f"it is {spec.task!r}, and {type(last).__name__}, the step {name!r}, is a {kind}")


def _probabilities(spec: ModelSpec, pipeline: Pipeline) -> Iterator[Fault]:
    name, last = pipeline.steps[-1]
    # Whether a stack of estimators has probabilities is known only when it is fitted.
    if spec.task != "classification" or hasattr(last, "predict_proba") or hasattr(last, "final_estimator"):
        return
    for field, metric in (("metric", spec.metric), *(("performance.also", one) for one in spec.performance.also)):
        if metric.kind.needs == "probability":
            yield _fault(
                spec,
                field,
                f"{metric.name!r} needs the probability of each class, and {type(last).__name__}, the step {name!r}, "
                "gives none; take an estimator with predict_proba, or a metric such as 'accuracy' or 'f1'",
            )


def _unstorable(spec: ModelSpec, pipeline: Pipeline) -> Iterator[Fault]:
    """What skops cannot store, or would not load again, as far as the unfitted pipeline shows it."""
    if any(_nameless(inner) for value in pipeline.get_params().values() for inner in _values_in(value)):
        return
    try:
        strange = strange_types(types_in(load_skops().dumps(pipeline)), spec.trusted)
    except Exception as error:
        yield _pipeline_fault(spec, f"it cannot be stored: {describe(error)}")
        return
    if strange:
        them = "it" if len(strange) == 1 else "them"
        yield _fault(
            spec, "trusted", f"the pipeline holds {', '.join(strange)}; if you trust {them}, write trusted={strange!r}"
        )
