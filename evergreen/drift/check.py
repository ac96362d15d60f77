"""Comparing what came after a champion's training with the very rows it was trained on."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import Window, current_window
from evergreen.decision import decision_id
from evergreen.drift.compare import compare
from evergreen.drift.report import DriftReport
from evergreen.registry.lineage import first_unlearned, learned_until
from evergreen.registry.model_registry import StoredVersions
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.storage.kept_files import KeptFiles
from evergreen.training import importance
from evergreen.training.predict import predict
from evergreen.training.reference import PREDICTION, REFERENCE, SAMPLE_ROWS
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd


def drift_question(
    spec: ModelSpec, champion: Version, snapshot: Snapshot, now: datetime | None = None
) -> tuple[str, Window]:
    """The decision id of the question whether a champion's data drifted, and the current rows it is about.

    `now` (aware) is the logical time: a target that became known later is missing in those rows. The id does not tell.
    """
    end = learned_until(champion)
    window = current_window(spec, snapshot, end, first_unlearned(champion), now)
    # After how long a person is told of silence is no part of what is asked.
    policy = spec.drift.model_dump(exclude={"silence"})
    return drift_decision_id(spec.name, champion.number, snapshot, end, policy), window


def check_drift(
    observations: Observations,
    versions: StoredVersions,
    champion: Version,
    snapshot: Snapshot,
    *,
    reports: KeptFiles | None,
    now: datetime | None = None,
) -> DriftReport:
    """The drift report of a champion: its reference against what came after, its predictions among the columns.

    Args:
        observations: the model's rows.
        versions: loads the champion.
        champion: the version in production.
        snapshot: the observations that are compared.
        reports: where the report's own folder is made; None draws nothing.
        now: as in `drift_question`.

    Raises:
        ArtifactError: the champion's stored files are not what was registered.
        EvergreenError: the report cannot be stored.
    """
    import pandas as pd

    spec = observations.spec
    decision, window = drift_question(spec, champion, snapshot, now)
    current, _ = window.sample(observations, SAMPLE_ROWS, seed=spec.seed)
    stored = versions.files(champion)
    reference = pd.read_parquet(stored / REFERENCE)
    if len(current) >= spec.drift.min_rows:
        pipeline = versions.load(champion, spec)
        reference = reference.assign(**{PREDICTION: predict(pipeline, spec, reference).values})
        current = current.assign(**{PREDICTION: predict(pipeline, spec, current).values})
    if spec.labels is not None and spec.target in spec.watched:
        reference = _as_unlabelled(reference, current, spec)
    numeric, categorical = _kinds(spec)
    place = naming.report_folder(spec.name, decision)
    with nullcontext() if reports is None else reports.writing(place) as folder:
        report = compare(
            reference,
            current,
            spec.drift,
            numeric=numeric,
            categorical=categorical,
            folder=folder,
            weights=_weights(spec, importance.read(stored)),
            seed=spec.seed,
        )
    return replace(report, decision_id=decision, page=f"{place}/{report.page}" if report.page else None)


def no_champion_report(spec: ModelSpec) -> DriftReport:
    """What a report says before there is anything to compare with."""
    return DriftReport(
        verdict=Verdict.INCONCLUSIVE,
        share=0.0,
        threshold=spec.drift.share,
        columns=(),
        reference_rows=0,
        current_rows=0,
        reason="there is no champion yet to compare with",
    )


def _kinds(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """The watched columns by kind; the prediction is of the target's kind."""
    regression = spec.task == "regression"
    numeric = [name for name in spec.watched if name in spec.features.numeric or (name == spec.target and regression)]
    categorical = [name for name in spec.watched if name not in numeric]
    (numeric if regression else categorical).append(PREDICTION)
    return numeric, categorical


def _weights(spec: ModelSpec, found: dict[str, float] | None) -> dict[str, float] | None:
    """What each watched column counts; the target, where it is watched, as much as the prediction of it."""
    if found is None:
        return None
    features = [name for name in spec.watched if name in spec.features.all]
    return importance.weights(found, features, (PREDICTION, *(name for name in spec.watched if name == spec.target)))


def _as_unlabelled(reference: pd.DataFrame, current: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """The reference with as large a share of targets missing: a label that has not come yet is no fault of the data."""
    missing = round(len(reference) * current[spec.target].isna().mean()) if len(current) else 0
    gone = np.random.default_rng(spec.seed).permutation(len(reference)) < missing
    return reference.assign(**{spec.target: reference[spec.target].mask(gone)})


def drift_decision_id(model: str, champion: int, snapshot: Snapshot, after: str | None, policy: object) -> str:
    """The id of the question whether `snapshot` drifted away from what the champion was trained on."""
    return decision_id(model, champion, "drift", snapshot.digest, str(after), repr(policy))
