"""Whether an hour is busy, approved by a person.

The golden state was made with this very file, and with its imports: not a line of it is to be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from evergreen.sources import Batch, Folder, Waiting
from evergreen.spec import (
    DriftPolicy,
    Features,
    Gates,
    Holdout,
    Metric,
    ModelSpec,
    PerformancePolicy,
    Shadow,
    Training,
)


@dataclass(frozen=True)
class Revised:
    """A source of one's own: a landing folder whose files are all of one revision."""

    folder: Folder
    revision: str

    def fingerprint(self, root: Path) -> str:
        """That of the folder."""
        return self.folder.fingerprint(root)

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """The folder's files, each with the revision."""
        for item in self.folder.read(root, new):
            yield replace(item, revision=self.revision) if isinstance(item, Batch) else item


def prepare(frame):
    """Add the hour that a row is about, and whether it was busy."""
    import numpy as np
    import pandas as pd

    day = pd.to_datetime(frame["date"], format="%Y-%m-%d")
    rush = np.where(frame["cnt"] > 150, "busy", "quiet") if "cnt" in frame else np.full(len(frame), "quiet")
    return frame.assign(at=day + pd.to_timedelta(frame["hr"], unit="h"), rush=rush)


def contract():
    """Weather is scaled to 0..1."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "at": pa.Column("datetime64[us, UTC]"),
            "date": pa.Column(str),
            "hr": pa.Column(int, pa.Check.in_range(0, 23)),
            "workingday": pa.Column(int, pa.Check.isin([0, 1])),
            "temp": pa.Column(float, pa.Check.in_range(0, 1)),
            "hum": pa.Column(float, pa.Check.in_range(0, 1)),
            "rush": pa.Column(str, pa.Check.isin(["busy", "quiet"])),
        }
    )


def pipeline(seed):
    """A few small trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    boost = HistGradientBoostingClassifier(max_iter=10, max_leaf_nodes=8, early_stopping=False, random_state=seed)
    return Pipeline([("model", boost)])


def patience(truth, answers):
    """A metric of one's own, which cannot be measured on few rows."""
    if len(truth) < 200:
        raise ValueError("it takes two hundred rows")
    return float((truth == answers).mean())


def once_there_are_many(context):
    """A policy of one's own: nothing is retrained before there are a thousand rows."""
    return context.rows >= 1000


MODEL = ModelSpec(
    name="golden_rush",
    tags={"owner": "the bikes team"},
    task="classification",
    source=Revised(Folder("golden_rush"), "spring"),
    prepare=prepare,
    contract=contract,
    keys=("date", "hr"),
    time="at",
    timezone="UTC",
    target="rush",
    features=Features(numeric=("temp", "hum", "hr", "workingday")),
    pipeline=pipeline,
    metric=Metric(name="log_loss"),
    gates=Gates(margin=0.5, slice_margin=1.0),
    slices=("workingday",),
    holdout=Holdout(strategy="latest", share=0.25, min_rows=72),
    training=Training(last=timedelta(weeks=4), min_rows=168),
    drift=DriftPolicy(columns=("temp", "hum"), share=0.5, last=timedelta(weeks=1), confirm=2, of=3),
    performance=PerformancePolicy(
        tolerance=0.5,
        also=(
            Metric(name="brier"),
            Metric(name="accuracy", bound=0.82),
            Metric(name="patience", function=patience, greater_is_better=True),
        ),
    ),
    shadow=Shadow(windows=2, rollback=False),
    policy=once_there_are_many,
    approval="manual",
    trusted=("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
)
