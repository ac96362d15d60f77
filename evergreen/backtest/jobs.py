"""The heavy steps of a simulation: fits, reports, comparisons and predictions, each named by what it follows from.

Every job calls the core that the live flow calls, on the observations as they were known at its time. A job is known by
its rows, the model file, the fits and the time, not by the policy that asks for it, so that what several policies ask
for is worked out once. A result is a dataclass that is kept as JSON.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen import naming
from evergreen.backtest.history import History, PointInTimeRows
from evergreen.backtest.job_cache import JobCache, fit_fingerprint, key_of, verdict_fingerprint
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.windows import Window, training_window
from evergreen.drift.check import check_drift
from evergreen.drift.report import DriftReport
from evergreen.errors import EvergreenError
from evergreen.evaluation.judgement import Judgement
from evergreen.performance.check import measure_performance
from evergreen.performance.labelled_rows import labelled_rows
from evergreen.performance.report import PerformanceReport
from evergreen.performance.rules import forecast_rows
from evergreen.performance.shadow import FormerComparison, Pair, compare_with_former
from evergreen.registry.artifacts import JUDGED, PIPELINE, load_pipeline, packed, sha256, state_sha256, verify
from evergreen.registry.lineage import same_recipe
from evergreen.registry.version import Version
from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Training
from evergreen.training.candidate import fit_candidate
from evergreen.training.evaluate import evaluate_candidate
from evergreen.training.plan import Counts, count_rows
from evergreen.training.predict import predict

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted candidate in the cache.

    Attributes:
        model_id: the name of its folder in the cache.
        seconds: processor seconds that search and fit took.
        tags: hashes and size of what was stored, as a version bears them.
    """

    model_id: str
    seconds: float
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Measured:
    """A performance report and the digest of the rows that it was measured on."""

    report: PerformanceReport
    digest: str


@dataclass(frozen=True, slots=True)
class PredictedRows:
    """Predictions as plain values, in the order of the rows."""

    values: list[Any]
    probability: list[list[float]] | None
    classes: tuple[Any, ...] | None

    @classmethod
    def of(cls, predictions: Predictions) -> PredictedRows:
        """Plain values of arrays."""
        probability = None if predictions.probability is None else predictions.probability.tolist()
        return cls(predictions.values.tolist(), probability, predictions.classes)

    def predictions(self) -> Predictions:
        """Arrays of the plain values."""
        probability = None if self.probability is None else np.array(self.probability)
        return Predictions(np.array(self.values), probability, self.classes)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be worked out once.

    Attributes:
        kind: one of `KINDS`.
        now: the logical time (aware, UTC).
        training: the training window.
        about: what else it is about, as the function of its kind takes it.
    """

    kind: str
    now: datetime
    training: Training
    about: tuple[Any, ...] = ()


class CachedVersions:
    """Loads the fits of the cache; the `model_id` of a version names its folder. The last few stay in memory."""

    def __init__(self, cache: JobCache) -> None:
        self.cache = cache
        self._pipeline = lru_cache(maxsize=24)(self._load)
        self._verified: set[str] = set()

    def load(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The version's pipeline, its hash checked first."""
        return self._pipeline(version.model_id, version.tags.sha256, spec.trusted)

    def load_judged(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The fit that the gates judged, its hash checked first; see `StoredVersions`."""
        expected = version.tags.judged_sha256
        if not expected:
            return self.load(version, spec)
        return self._pipeline(version.model_id, expected, spec.trusted, f"{naming.RUN_FOLDER}/{JUDGED}")

    def files(self, version: Version) -> Path:
        """The folder of what was stored beside the pipeline, its hash checked first."""
        folder = self.cache.fit(version.model_id) / naming.RUN_FOLDER
        if version.model_id not in self._verified:
            verify(folder, version.tags.files_sha256, f"fit {version.model_id}")
            self._verified.add(version.model_id)
        return folder

    def _load(self, model_id: str, expected: str, trusted: tuple[str, ...], file: str = PIPELINE) -> Pipeline:
        return load_pipeline(self.cache.fit(model_id), expected, trusted, f"fit {model_id}", file=file)


class JobContext:
    """What every job works with, in whatever process it is.

    Attributes:
        spec: the model.
        history: everything known by now.
        cache: where results are kept.
        versions: loads the fits.
    """

    def __init__(self, spec: ModelSpec, history: History, cache: JobCache) -> None:
        self.spec, self.history, self.cache = spec, history, cache
        self.versions = CachedVersions(cache)
        self.rows = lru_cache(maxsize=256)(self._rows)
        self.fit_fingerprint = lru_cache(maxsize=None)(self._fit_fingerprint)
        self._counts: dict[tuple[str | None, Training], Counts] = {}

    @cached_property
    def fingerprint(self) -> str:
        """What every verdict follows from beside rows and fits."""
        return verdict_fingerprint(self.spec)

    def count_rows(self, spec: ModelSpec, rows: Observations, window: Window) -> Counts:
        """As `count_rows` of a plan: policies with the same window ask at the same time."""
        name = (window.as_of, spec.training)
        if name not in self._counts:
            self._counts[name] = count_rows(spec, rows, window)
        return self._counts[name]

    def _rows(self, now: datetime, training: Training) -> PointInTimeRows:
        return self.history.at(now, self.spec.model_copy(update={"training": training}))

    def _fit_fingerprint(self, training: Training) -> str:
        return fit_fingerprint(self.spec.model_copy(update={"training": training}))


def fit(context: JobContext, now: datetime, training: Training) -> Fit:
    """Search, fit and store a candidate of what was known before `now`."""
    rows, part = context.rows(now, training), context.cache.begin()
    began = time.process_time()
    part.mkdir()
    try:
        window = training_window(rows.spec, rows.snapshot(), now)
        candidate = fit_candidate(rows, window, part / naming.RUN_FOLDER)
        seconds = time.process_time() - began
        stored = packed(candidate.pipeline, rows.spec.file, rows.spec.trusted)
        (part / PIPELINE).write_bytes(stored)
    except EvergreenError:
        shutil.rmtree(part)
        raise
    size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file()) / 1e6
    judged = part / naming.RUN_FOLDER / JUDGED
    tags = {
        "sha256": sha256(part / PIPELINE),
        "files_sha256": sha256(part / naming.RUN_FOLDER),
        "state_sha256": state_sha256(part / PIPELINE),
        "size_mb": f"{size:.3f}",
        **candidate.tags,
        **({"judged_sha256": sha256(judged)} if judged.exists() else {}),
    }
    model_id = _fit_key(context, now, training)
    context.cache.end(part, model_id)
    return Fit(model_id, seconds, tags)


def drift(context: JobContext, now: datetime, training: Training, champion: Version) -> DriftReport:
    """The drift report of a champion, without a page."""
    rows = context.rows(now, training)
    return check_drift(rows, context.versions, champion, rows.snapshot(), reports=None, now=now)


def performance(context: JobContext, now: datetime, training: Training, champion: Version) -> Measured:
    """The performance report of a champion."""
    rows = context.rows(now, training)
    judged = labelled_rows(rows, champion, rows.snapshot(), now)
    naive = forecast_rows(rows, champion, rows.snapshot(), judged, now)
    report = measure_performance(rows.spec, context.versions, champion, judged, naive=naive)
    return Measured(report, judged.digest)


def shadow(context: JobContext, now: datetime, training: Training, pair: Pair, before: int) -> FormerComparison:
    """The champion beside the one that it replaced, if there are more windows than `before`."""
    rows = context.rows(now, training)
    return compare_with_former(rows, context.versions, rows.snapshot(), pair, before, now)


def gate(
    context: JobContext, now: datetime, training: Training, candidate: Version, champion: Version | None, gates: Gates
) -> Judgement:
    """What these gates find of a candidate."""
    rows = context.rows(now, training)
    rows = rows.of(rows.spec.model_copy(update={"gates": gates}))
    window = training_window(rows.spec, rows.snapshot(), now)
    return evaluate_candidate(rows, context.versions, candidate, champion, window)


def serve(context: JobContext, now: datetime, _training: Training, until: datetime, version: Version) -> PredictedRows:
    """What a version predicts for the rows from `now` on and before `until`, whether they have a label or not."""
    first, last = context.history.between(now, until)
    frame = context.history.rows.slice(first, last - first).to_pandas()
    return PredictedRows.of(predict(context.versions.load(version, context.spec), context.spec, frame))


def _fit_key(context: JobContext, now: datetime, training: Training) -> str:
    """By the rows that a fit learns from or is judged by."""
    learned = context.history.learned(training.last, now)
    return key_of("fit", context.fit_fingerprint(training), learned.hex, learned.rows)


def _serve_key(context: JobContext, now: datetime, _training: Training, until: datetime, version: Version) -> str:
    """By the fit and the features."""
    rows = context.history.features(*context.history.between(now, until))
    return key_of("serve", version.model_id, rows.hex, rows.rows)


def _performance_facts(context: JobContext, champion: Version) -> tuple[object, ...]:
    """The champion's fit, and what its gates measured."""
    tags, judgement = champion.tags, champion.tags.judgement
    slices = sorted(judgement.slices.items()) if judgement else []
    return champion.model_id, tags.figures.get(naming.holdout_metric(context.spec.metric.name)), slices


def _gate_facts(_context: JobContext, candidate: Version, champion: Version | None, gates: Gates) -> tuple[object, ...]:
    """Both fits, whether they are of one recipe, and what a routine candidate has to prove."""
    return candidate.model_id, champion and champion.model_id, same_recipe(candidate, champion), gates.routine_margin


def _by(kind: str, facts: Callable[..., tuple[object, ...]]) -> Callable[..., str]:
    """A key by the rows that were known, and by some facts of what a job is about."""

    def key(context: JobContext, now: datetime, training: Training, *about: Any) -> str:
        digest = context.rows(now, training).snapshot().digest
        return key_of(kind, context.fingerprint, training, now.isoformat(), digest, *facts(context, *about))

    return key


KINDS: Mapping[str, tuple[Callable[..., Any], Callable[..., str], type[Any]]] = {
    "fit": (fit, _fit_key, Fit),
    "drift": (drift, _by("drift", lambda _, champion: (champion.model_id,)), DriftReport),
    "performance": (performance, _by("performance", _performance_facts), Measured),
    "shadow": (
        shadow,
        _by("shadow", lambda _, pair, before: (*(one.model_id for one in pair), before)),
        FormerComparison,
    ),
    "gate": (gate, _by("gate", _gate_facts), Judgement),
    "serve": (serve, _serve_key, PredictedRows),
}
"""By kind: the function that works it out, the one that names its result, and the result's type."""


def key_of_job(context: JobContext, job: Job) -> str:
    """The name of a job's result."""
    return KINDS[job.kind][1](context, job.now, job.training, *job.about)


def work_out(context: JobContext, job: Job) -> dict[str, Any]:
    """Work a job out and keep its result as JSON; what is at fault with the input is a result, too."""
    began = time.process_time()
    outcome: dict[str, Any]
    try:
        outcome = {"result": asdict(KINDS[job.kind][0](context, job.now, job.training, *job.about))}
    except EvergreenError as error:
        outcome = {"fault": [error.what, error.fix]}
    stored = {"cost": time.process_time() - began, **json.loads(json.dumps(outcome, default=str))}
    context.cache.keep(job.kind, key_of_job(context, job), stored)
    return stored


def read_result(kind: str, told: Mapping[str, Any]) -> Any:
    """The result behind its JSON.

    Raises:
        EvergreenError: the input was at fault.
    """
    if "fault" in told:
        raise EvergreenError(*told["fault"])
    return _reader(kind)(told["result"])


@cache
def _reader(kind: str) -> Callable[[Any], Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(KINDS[kind][2]).validate_python
