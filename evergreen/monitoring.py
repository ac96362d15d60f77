"""Comparing what came after a champion's training with the very rows it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.decisions import Decision, decision_id, drift_decision
from evergreen.drift import DriftReport, compare
from evergreen.observations import Observations, Snapshot
from evergreen.registry import Registry, Version
from evergreen.settings import Settings
from evergreen.spec import ModelSpec
from evergreen.training import predict
from evergreen.verdicts import Verdict
from evergreen.windows import Window, current_window

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS = 20_000
REFERENCE = "reference.parquet"
PREDICTION = "prediction"


def drift_question(spec: ModelSpec, champion: Version, snapshot: Snapshot) -> tuple[str, Window]:
    """The decision id of the question whether a champion's data drifted, and the current rows it is about."""
    end = champion.tags.get("data_end") or None
    window = current_window(spec, snapshot, end, int(champion.tags["next_row"]))
    # After how long a person is told of silence is no part of what is asked.
    policy = spec.drift.model_dump(exclude={"silence"})
    return drift_decision(spec.name, champion.number, snapshot, end, policy), window


def data_question(
    spec: ModelSpec, champion: Version | None, snapshot: Snapshot, known: Sequence[Decision | None]
) -> tuple[str, int] | None:
    """The decision id of the news that data landed, and how many rows since the champion's; None without news.

    `known` are the last decisions about data: landed or learned from. By the digest of what is there rather than by
    what this run landed, so that the news of a run that was killed in between is told by the next one.
    """
    seen = {decision.digest for decision in known if decision is not None}
    if champion is not None:
        seen.add(champion.tags.get("data_digest", ""))
    if snapshot.rows == 0 or snapshot.digest in seen:
        return None
    rows = snapshot.next_row - (int(champion.tags["next_row"]) if champion is not None else 0)
    return decision_id(spec.name, champion.number if champion else None, "data", snapshot.digest), rows


def detect(
    spec: ModelSpec, settings: Settings, registry: Registry, champion: Version, snapshot: Snapshot, *, decision: str
) -> DriftReport:
    """The drift report of a champion: its reference against what came after, its predictions among the columns.

    Raises:
        ArtifactError: the champion's stored files are not what was registered.
    """
    import pandas as pd

    observations = Observations(settings.lake_uri, spec)
    _, window = drift_question(spec, champion, snapshot)
    current, _ = window.sample(observations, SAMPLE_ROWS, seed=spec.seed)
    reference = pd.read_parquet(registry.files(champion) / REFERENCE)
    if len(current) >= spec.drift.min_rows:
        pipeline = registry.load(champion, spec)
        reference = reference.assign(**{PREDICTION: predict(pipeline, spec, reference).values})
        current = current.assign(**{PREDICTION: predict(pipeline, spec, current).values})
    numeric, categorical = _kinds(spec)
    folder: Path = settings.reports(spec.name) / decision
    return compare(
        reference, current, spec.drift, numeric=numeric, categorical=categorical, folder=folder, seed=spec.seed
    )


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
        html=None,
        json=None,
    )


def _kinds(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """The watched columns by kind; the prediction is of the target's kind."""
    regression = spec.task == "regression"
    numeric = [name for name in spec.watched if name in spec.features.numeric or (name == spec.target and regression)]
    categorical = [name for name in spec.watched if name not in numeric]
    (numeric if regression else categorical).append(PREDICTION)
    return numeric, categorical


def reference_sample(frame: pd.DataFrame, spec: ModelSpec, *, seed: int) -> pd.DataFrame:
    """What is kept of a candidate's training rows to compare later ones with."""
    from evergreen.drift import sample

    return sample(frame.drop(columns=["_row"]), SAMPLE_ROWS, seed=seed)
