"""From rows to a stored candidate: split, fit, and keep with it what later decisions need.

Stored beside the pipeline: the reference sample and its profile, the identities of every row it was trained on, what
each feature matters on the holdout, and a probe (rows with the predictions made right after fitting) that the integrity
gate repeats.

With `Training(refit=True)` there are two fits: the judged one of the training rows, and the deployed one, with the same
parameters, of all rows of the window. The deployed one is the pipeline and has the reference. The judged one is stored
beside it, and the importance of the features is its own, because the deployed one has no rows left that it did not
learn.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.split import split_window
from evergreen.data.windows import Window, row_weights
from evergreen.registry.artifacts import JUDGED, packed
from evergreen.registry.client import Registry
from evergreen.registry.model_registry import StoredVersions
from evergreen.registry.version import Candidate, Version
from evergreen.spec.model import ModelSpec
from evergreen.training import importance
from evergreen.training.fit import Fitted, fit
from evergreen.training.predict import labelled, predict
from evergreen.training.reference import REFERENCE, reference_sample
from evergreen.training.workers import FitWorkers

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

TRAINED, PROBE, PROFILE, SEARCH = "trained_rows.parquet", "probe.parquet", "profile.json", "search.json"
DEPLOYED, JUDGED_PROBE = "deployed_rows.parquet", "judged_probe.parquet"
"""With a refit: the rows that the deployed fit learned (`TRAINED` has the judged one's), and the judged one's probe."""
_PROBE_ROWS = 200


@dataclass(frozen=True, slots=True, eq=False)
class FittedCandidate:
    """A candidate in memory, its other files in a folder.

    Attributes:
        pipeline: the fit that is deployed.
        fitted: the fit that is judged; without a refit its pipeline is the one that is deployed.
        rows: how many rows the judged fit learned.
        classes: those of a classification.
        importances: of the features, on the holdout.
        tags: what the version says of its two fits; empty without a refit.
    """

    pipeline: Pipeline
    fitted: Fitted
    rows: int
    classes: tuple[Any, ...] | None
    importances: Mapping[str, float]
    tags: Mapping[str, str]


def build_candidate(
    observations: Observations,
    registry: Registry,
    window: Window,
    *,
    decision: str,
    params: Mapping[str, Any] | None,
    tags: Mapping[str, str],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    workers: FitWorkers | None = None,
) -> Candidate:
    """Fit a candidate on the window's training rows and store it; see `fit` for `workers`.

    Raises:
        DataError: there is nothing to learn from the target.
        ModelFileError: the pipeline cannot be fitted or stored.
    """
    spec = observations.spec
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / naming.RUN_FOLDER
        candidate = fit_candidate(observations, window, folder, params=params, progress=progress, workers=workers)
        figures = {naming.train_metric(spec.metric.name): candidate.fitted.value, "train_rows": candidate.rows}
        return registry.log(
            spec,
            candidate.pipeline,
            run_name=naming.training_run(decision),
            classes=candidate.classes,
            params=candidate.fitted.params,
            metrics=figures | importance.shown(candidate.importances),
            files=folder,
            dataset={
                "name": spec.name,
                "digest": window.snapshot.digest,
                "table": window.snapshot.table,
                "version": str(window.snapshot.version),
                "rows": str(window.snapshot.rows),
            },
            tags={**tags, **candidate.tags},
        )


def fit_candidate(
    observations: Observations,
    window: Window,
    folder: Path,
    *,
    params: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    workers: FitWorkers | None = None,
) -> FittedCandidate:
    """Fit on the window's training rows; what is kept beside the pipeline goes to `folder`, which is made.

    A refit takes the parameters that were found on the training rows: it costs one fit, and no search.

    Raises:
        DataError, ModelFileError: as in `build_candidate`.
    """
    spec = observations.spec
    frame = labelled(spec, window.read(observations))
    split = split_window(observations, frame)
    train = frame[split.train].reset_index(drop=True)
    fitted = fit(spec, train, row_weights(spec, train), params=params, progress=progress, workers=workers)
    pipeline = refit(spec, frame, fitted.params, workers) if spec.training.refit else fitted.pipeline
    probe = frame.tail(_PROBE_ROWS).reset_index(drop=True)
    predicted = predict(pipeline, spec, probe)
    matters = importance.importances(fitted.pipeline, spec, frame[split.holdout], seed=spec.seed)
    folder.mkdir()
    tags = {}
    if spec.training.refit:
        (folder / JUDGED).write_bytes(packed(fitted.pipeline, spec.file, spec.trusted))
        _write_probe(folder / JUDGED_PROBE, probe, predict(fitted.pipeline, spec, probe))
        _write_ids(folder / DEPLOYED, observations, frame)
        tags = {"judged_rows": str(len(train)), "deployed_rows": str(len(frame))}
    _write_probe(folder / PROBE, probe, predicted)
    _write_ids(folder / TRAINED, observations, train)
    _store(folder, spec, frame if spec.training.refit else train, fitted)
    importance.write(folder, spec, matters)
    return FittedCandidate(pipeline, fitted, len(train), predicted.classes, matters, tags)


def refit(
    spec: ModelSpec, frame: pd.DataFrame, params: Mapping[str, Any], workers: FitWorkers | None = None
) -> Pipeline:
    """The fit that is deployed: of every labelled row of a window (in time order), with parameters already found."""
    return fit(spec, frame, row_weights(spec, frame), params=params, workers=workers).pipeline


def trained_ids(versions: StoredVersions, version: Version) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The identity of every row that a version's judged fit was trained on.

    Where the tag that names the judged fit was taken away, the model is judged in its place, and has learned more.
    """
    folder = versions.files(version)
    model_is_judged = not version.tags.judged_sha256 and (folder / DEPLOYED).exists()
    return stored_ids(folder / (DEPLOYED if model_is_judged else TRAINED))


def deployed_ids(versions: StoredVersions, version: Version) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The identity of every row that the fit of a version that is deployed was trained on."""
    folder = versions.files(version)
    return stored_ids(folder / (DEPLOYED if (folder / DEPLOYED).exists() else TRAINED))


def stored_ids(file: Path) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The identities of rows, as they were stored with a version."""
    import pandas as pd

    return pd.read_parquet(file)["id"].to_numpy(dtype=np.uint64)


def _write_probe(file: Path, probe: pd.DataFrame, predicted: Predictions) -> None:
    probe.assign(_prediction=predicted.values).to_parquet(file, index=False)


def _write_ids(file: Path, observations: Observations, rows: pd.DataFrame) -> None:
    import pandas as pd

    pd.DataFrame({"id": observations.ids(rows)}).to_parquet(file, index=False)


def _store(folder: Path, spec: ModelSpec, learned: pd.DataFrame, fitted: Fitted) -> None:
    reference = reference_sample(learned, seed=spec.seed)
    reference.to_parquet(folder / REFERENCE, index=False)
    (folder / PROFILE).write_text(json.dumps(_profile(spec, reference), indent=1))
    (folder / SEARCH).write_text(json.dumps({"metric": spec.metric.name, "tried": fitted.tried}, indent=1))


def _profile(spec: ModelSpec, reference: pd.DataFrame) -> dict[str, Any]:
    """Shares of missing values, quantiles and categories of the reference, to be read by people and pages."""
    from evergreen.data.frames import model_frame

    plain = model_frame(reference, spec.features)
    columns: dict[str, Any] = {}
    for name in spec.features.numeric:
        quantiles = plain[name].replace([np.inf, -np.inf], np.nan).quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
        values = [None if np.isnan(value) else float(value) for value in quantiles]
        columns[name] = {"missing": float(plain[name].isna().mean()), "quantiles": values}
    for name in spec.features.categorical:
        shares = plain[name].value_counts(normalize=True).head(50)
        columns[name] = {"missing": float(plain[name].isna().mean()), "shares": shares.to_dict()}
    return {"rows": len(reference), "columns": columns}
