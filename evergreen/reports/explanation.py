"""How much a version's predictions move with each column: SHAP values where the extra is there, else what is stored.

SHAP (Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions) shares a prediction's distance from
the average one among the columns. Here it is estimated by permutations of the columns (Strumbelj and Kononenko 2014)
over the whole pipeline, for three reasons that were measured: it speaks of the columns as they are in the data,
whatever the pipeline makes of them; it takes every pipeline that predicts numbers or probabilities; and with 100 rows
against 50 it agrees with the exact values of the trees of `models/bike_demand.py`, in four to ten seconds.

Only the mean over the rows leaves this module. The extra `explain` brings shap.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from evergreen.data.frames import model_frame
from evergreen.data.sampling import sample
from evergreen.errors import DataError, EvergreenError
from evergreen.markdown import many
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.reports.card_store import stored
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict
from evergreen.training.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
ROWS, BACKGROUND, FEWEST = 100, 50, 20
AT_ONCE = 20_000
"""Rows predicted in one call, about, which bounds the memory with many columns."""
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What each column matters.

    Attributes:
        method: `shap`, the mean of |SHAP value| over rows; `permutation`, what the metric loses without the column.
        unit: what the figures count, in words.
        columns: the figures, the largest first; empty where nothing is known.
        rows: how many rows were explained; 0 where the figures are stored ones.
        note: why it is not SHAP, or not all of it; empty where it is.
    """

    method: Literal["shap", "permutation"]
    unit: str
    columns: Mapping[str, float]
    rows: int = 0
    note: str = ""


def explain(spec: ModelSpec, registry: Registry, version: Version, *, seconds: float = SECONDS) -> Explanation:
    """SHAP values within about so many seconds; where there can be none, the stored permutation importance and why."""
    try:
        found, rows = _shap(spec, registry, version, seconds)
    except ImportError:
        return _stored(spec, registry, version, "shap is not installed (extra `explain`)")
    except EvergreenError as error:
        return _stored(spec, registry, version, error.what.rstrip("."))
    except Exception as error:
        # A pipeline of the user's own may refuse rows that were put together of others.
        return _stored(spec, registry, version, f"the pipeline could not be explained ({type(error).__name__})")
    unit = (
        f"mean |SHAP value|, in the unit of {spec.target}"
        if spec.task == "regression"
        else "mean |SHAP value|, as probability"
    )
    note = "" if rows >= ROWS else f"SHAP values of {many(rows, 'row')} only: there were no more, or no more time."
    return Explanation("shap", unit, _largest_first(found), rows, note)


def _stored(spec: ModelSpec, registry: Registry, version: Version, why: str) -> Explanation:
    found, _ = stored(registry, version)
    note = f"Permutation importance, for {why}." if found else f"No importance is known, for {why}."
    return Explanation("permutation", f"loss of {spec.metric.name}", _largest_first(found or {}), 0, note)


def _shap(spec: ModelSpec, registry: Registry, version: Version, seconds: float) -> tuple[dict[str, float], int]:
    """Mean |SHAP value| by column, and over how many rows of the reference sample."""
    import pandas as pd

    shap = _library()
    pipeline = registry.load(version, spec)
    x = model_frame(pd.read_parquet(registry.files(version) / REFERENCE), spec.features)
    if len(x) < FEWEST:
        raise DataError(f"the reference sample has {many(len(x), 'row')}, fewer than {FEWEST}")
    codes, decoded = _coded(x)

    def outputs(coded: Array) -> Array:
        predictions = predict(pipeline, spec, decoded(coded))
        if (probability := predictions.probability) is not None:
            return np.asarray(probability[:, 1:] if probability.shape[1] == 2 else probability)
        if spec.task == "classification":
            raise DataError("the pipeline gives no probabilities")
        return np.asarray(predictions.values, dtype=np.float64)

    rows = codes.iloc[_picked(len(codes), ROWS, spec.seed)].to_numpy()
    background = sample(codes, BACKGROUND, seed=spec.seed + 1).to_numpy()
    with _seeded():
        masker = shap.maskers.Independent(background, max_samples=len(background))
        explainer = shap.explainers.Permutation(outputs, masker, seed=spec.seed)
        evaluations, sizes, end = 2 * rows.shape[1] + 1, [], time.monotonic() + seconds
        batch = min(evaluations, AT_ONCE // len(background))
        for row in rows[:, None]:
            # One row a call: of every further one in a call shap 0.51 works out main effects that nobody asked for.
            values = explainer(row, max_evals=evaluations, batch_size=batch, silent=True).values
            sizes.append(np.abs(np.asarray(values)).reshape(1, rows.shape[1], -1).mean(axis=2))
            if time.monotonic() > end:
                break
    every = np.concatenate(sizes)
    if not np.isfinite(every).all():
        raise DataError("the pipeline's predictions are not finite")
    return dict(zip(x.columns, every.mean(axis=0).tolist(), strict=True)), len(every)


def _library() -> Any:
    """Shap, whose plots call what the newest matplotlib is about to give up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

    return shap


def _coded(x: pd.DataFrame) -> tuple[pd.DataFrame, Callable[[Array], pd.DataFrame]]:
    """The features as numbers, which is all that shap takes, and the way back: categories become positions."""
    import pandas as pd

    known = {}
    coded = x.copy()
    for name in x.columns:
        if not pd.api.types.is_float_dtype(x[name].dtype):
            positions, known[name] = pd.factorize(x[name], use_na_sentinel=False)
            coded[name] = positions.astype("float64")

    def decoded(rows: Array) -> pd.DataFrame:
        frame = pd.DataFrame(rows, columns=x.columns)
        return frame.assign(**{name: names.take(frame[name].to_numpy(dtype="int64")) for name, names in known.items()})

    return coded, decoded


def _picked(rows: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions in no order, so that the first of them are a fair sample where the time is up before the last."""
    return np.random.default_rng(seed).permutation(rows)[:most]


@contextmanager
def _seeded() -> Iterator[None]:
    """Shap seeds NumPy's global generator; whoever draws from it afterwards goes on as before."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def _largest_first(found: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
