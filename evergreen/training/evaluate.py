"""Gathering the evidence that the gates look at: the stored candidate and the champion on the same unseen rows."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.split import number_copies, split_window
from evergreen.data.windows import Window, order_column, row_weights, watched_groups
from evergreen.errors import ArtifactError, EvergreenError
from evergreen.evaluation.autocorrelation import describe_order
from evergreen.evaluation.bootstrap import Groups, bootstrap
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.gates import against_champion, run_gates, verdict_of
from evergreen.evaluation.judgement import Judgement
from evergreen.evaluation.measure import measure
from evergreen.evaluation.refit import DeployedFit
from evergreen.evaluation.slices import picked, slices
from evergreen.markdown import many
from evergreen.registry.lineage import against, same_recipe
from evergreen.registry.model_registry import ModelRegistry, StoredVersions
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.training.candidate import DEPLOYED, JUDGED_PROBE, PROBE, deployed_ids, stored_ids, trained_ids
from evergreen.training.naive import apply_rule, naive_forecasts, read_known_times
from evergreen.training.predict import baseline, labelled, predict, target_of
from evergreen.verdicts import Check, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


LEVEL = 0.05
"""1 - confidence of the interval that is told of the holdout's figure; nothing is decided by it."""


def evaluate_candidate(
    observations: Observations, versions: StoredVersions, version: Version, champion: Version | None, window: Window
) -> Judgement:
    """Hold a registered candidate to the model file's gates.

    The holdout is what the split left out of training, without any row that the champion was trained on. Where a fit is
    deployed that learned the holdout too, the judged fit of the candidate meets the judged fit of the champion.

    A candidate that was carried over from another environment may have learned rows of this holdout there: they are
    left out as well. As nothing was fitted here, there are rows that no fit has learned, and the deployed fits meet.

    Raises:
        ArtifactError: the candidate's or the champion's stored files are not what was registered.
    """
    spec = observations.spec
    frame = labelled(spec, window.read(observations))
    split = split_window(observations, frame)
    train, holdout = frame[split.train], frame[split.holdout].reset_index(drop=True)
    ids, adopted = observations.ids(holdout), bool(version.tags.adopted_from)
    learned, held_out = deployed_ids if adopted else trained_ids, len(ids)
    for each in (champion, version if adopted else None):
        if each is not None:
            known = np.isin(ids, learned(versions, each))
            holdout, ids = holdout[~known].reset_index(drop=True), ids[~known]
    pipeline, refitted = versions.load(version, spec), bool(version.tags.judged_sha256) and not adopted
    candidate = versions.load_judged(version, spec) if refitted else pipeline
    load_rival = versions.load if adopted else versions.load_judged
    y = target_of(spec, holdout)
    nothing = baseline(spec, target_of(spec, train), 0)
    predictions = predict(candidate, spec, holdout) if len(holdout) else nothing
    rival = predict(load_rival(champion, spec), spec, holdout) if champion and len(holdout) else None
    copies, first = number_copies(ids)
    groups: Groups = watched_groups(spec, holdout)
    if groups is None and len(first) < len(ids):
        groups = copies
    evidence = Evidence(
        y=y,
        candidate=predictions,
        champion=rival,
        baseline=baseline(spec, target_of(spec, train), len(holdout)),
        slices={column: holdout[column].to_numpy() for column in spec.slices},
        groups=groups,
        overlap=int(np.isin(ids, learned(versions, version)).sum()),
        copies=len(ids) - len(first),
        order=describe_order(target_of(spec, frame)) if spec.holdout.strategy == "random" else "",
        train_value=_train_value(spec, version, candidate, train),
        latency_ms=_latency(pipeline, spec, frame),
        size_mb=version.tags.size_mb,
        tags=version.tags.raw,
        description=version.tags.reason,
        integrity=_integrity(candidate, spec, versions, version, JUDGED_PROBE if refitted else PROBE),
        same_as_champion=champion is not None and champion.number == version.number,
        routine=same_recipe(version, champion),
        learned_before=held_out - len(ids) if adopted else 0,
    )
    if refitted:
        predicted = predict(pipeline, spec, holdout) if len(holdout) else nothing
        deployed = _deployed(observations, versions, version, (pipeline, candidate), frame, predicted)
        evidence = replace(evidence, deployed=deployed)
    if len(holdout):
        evidence = _with_rules(evidence, observations, window, frame, train, holdout)
    checks = run_gates(evidence, spec, seed=spec.seed)
    value = measure(spec.metric, y, predictions) if len(y) else float("nan")
    comparison = against_champion(evidence, spec, seed=spec.seed) if len(y) else None
    ends = (comparison.low, comparison.high) if comparison else ()
    interval = ends if ends and np.isfinite(ends).all() else None
    rival_value = _finite(comparison.champion_value) if comparison else None
    by_slice, spread = _by_slice(spec, evidence), _spread(spec, evidence)
    return Judgement(checks, verdict_of(checks), _finite(value), rival_value, interval, len(holdout), by_slice, spread)


def _train_value(spec: ModelSpec, version: Version, candidate: Pipeline, train: pd.DataFrame) -> float:
    """The metric on the rows that the candidate was trained on; what its training found where those are elsewhere."""
    if version.tags.adopted_from:
        return float("nan") if version.tags.train_value is None else version.tags.train_value
    return measure(spec.metric, target_of(spec, train), predict(candidate, spec, train))


def _with_rules(
    evidence: Evidence,
    observations: Observations,
    window: Window,
    frame: pd.DataFrame,
    train: pd.DataFrame,
    holdout: pd.DataFrame,
) -> Evidence:
    """The evidence with the rules of one line that the model file names; rows are told apart by `_row`."""
    spec = observations.spec
    if spec.gates.baseline is not None:
        evidence = replace(evidence, rule=apply_rule(spec, spec.gates.baseline, holdout, evidence.baseline.classes))
    if spec.gates.persistence == "off" or order_column(spec) is None:
        return evidence
    learned, judged = (np.flatnonzero(frame["_row"].isin(rows["_row"])) for rows in (train, holdout))
    known = read_known_times(observations, window, frame)
    return replace(evidence, naive=naive_forecasts(spec, frame, known, learned, judged))


def _spread(spec: ModelSpec, evidence: Evidence) -> tuple[float, float] | None:
    if not len(evidence.y):
        return None
    about = (spec.metric, evidence.y, evidence.candidate)
    estimate = bootstrap(*about, groups=evidence.groups, level=LEVEL, seed=spec.seed)
    return (estimate.low, estimate.high) if np.isfinite([estimate.low, estimate.high]).all() else None


def _by_slice(spec: ModelSpec, evidence: Evidence) -> dict[str, float]:
    """What a performance report holds the metric of each slice against."""
    found: dict[str, float] = {}
    for name, rows in slices(evidence.slices, spec.gates.slice_min_rows):
        # A function of the user's own may not do with so few rows; the gates need no figure here.
        with suppress(EvergreenError):
            found[name] = measure(spec.metric, evidence.y[rows], picked(evidence.candidate, rows))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _deployed(
    observations: Observations,
    versions: StoredVersions,
    version: Version,
    fits: tuple[Pipeline, Pipeline],
    frame: pd.DataFrame,
    predicted: Predictions,
) -> DeployedFit:
    """What there is to know of the fit that is deployed.

    `fits` are that one and the judged one, `frame` has the rows of the window, and `predicted` is what the deployed fit
    says of the holdout.
    """
    spec, (pipeline, judged) = observations.spec, fits
    learned = np.intersect1d(trained_ids(versions, version), stored_ids(versions.files(version) / DEPLOYED))
    common = frame[np.isin(observations.ids(frame), learned)].reset_index(drop=True)
    integrity = _integrity(pipeline, spec, versions, version, PROBE)
    if not len(common):
        return DeployedFit(predicted, integrity, 0, *[float("nan")] * 3)
    y, weights = target_of(spec, common), row_weights(spec, common)
    of_each = (predict(pipeline, spec, common), predict(judged, spec, common), baseline(spec, y, len(common)))
    values = [measure(spec.metric, y, predictions, weights) for predictions in of_each]
    return DeployedFit(predicted, integrity, len(common), *values)


def _integrity(pipeline: Pipeline, spec: ModelSpec, versions: StoredVersions, version: Version, file: str) -> str:
    """Whether a pipeline that was loaded again repeats what it predicted right after fitting, as `file` has it."""
    import pandas as pd

    try:
        probe = pd.read_parquet(versions.files(version) / file)
    except (ArtifactError, OSError) as error:
        return str(error)
    again = predict(pipeline, spec, probe).values
    before = probe["_prediction"].to_numpy()
    differing = int((again.astype(before.dtype) != before).sum())
    return f"{differing} of {many(len(probe), 'prediction')} differ after loading it again" if differing else ""


def _latency(candidate: Pipeline, spec: ModelSpec, frame: pd.DataFrame) -> float:
    """Median time of predicting one row, in milliseconds, after one to warm up.

    The lesser of elapsed and processor time: that another process has the processor is no fault of the candidate, and
    neither is that it uses several of them at once.
    """
    row = frame.tail(1)
    times = []
    for _ in range(8):
        start, spent = time.perf_counter(), time.process_time()
        predict(candidate, spec, row)
        times.append(min(time.perf_counter() - start, time.process_time() - spent) * 1000)
    return float(np.median(times[1:]))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def reject_repeat(judgement: Judgement, version: Version, versions: Sequence[Version]) -> Judgement:
    """The judgement with a failed check where the very same model was taken back or refused under another number."""
    state = version.tags.state_sha256
    for known in versions if state and judgement.verdict is Verdict.PASS else ():
        same = known.number != version.number and known.tags.state_sha256 == state
        for what, why in (("rolled back", known.tags.rolled_back), ("refused by its canary", known.tags.refused)):
            if same and why is not None:
                reason = f"the very model of version {known.number}, which was {what}: {why}"
                check = Check("repeat", Verdict.FAIL, None, None, reason)
                return replace(judgement, checks=(*judgement.checks, check), verdict=Verdict.FAIL)
    return judgement


def record_judgement(
    registry: ModelRegistry,
    version: Version,
    spec: ModelSpec,
    judgement: Judgement,
    *,
    champion: Version | None,
    description: str,
) -> Version:
    """Write what the gates found down with the version, its status last; `champion` is what it was held against."""
    checks = {check.name: str(check.status) for check in judgement.checks}
    tags = {
        "holdout_rows": str(judgement.rows),
        "checks": json.dumps(checks),
        "compared_with": against(champion.number if champion else None),
        "judgement": judgement.to_text(),
        **{name: repr(value) for name, value in figures(spec, judgement).items()},
    }
    return registry.conclude(version, judgement.verdict, description, tags)


def figures(spec: ModelSpec, judgement: Judgement) -> dict[str, float]:
    """The deciding metric on the holdout, of the candidate and of the champion, by the names that they are kept by."""
    name = spec.metric.name
    values = {naming.holdout_metric(name): judgement.value, naming.champion_metric(name): judgement.champion_value}
    return {key: value for key, value in values.items() if value is not None}
