"""The bikes whose counts come a week later, retrained by a policy of the model file."""

from __future__ import annotations

from datetime import timedelta

from evergreen.sources import Folder
from evergreen.spec import (
    Budget,
    Every,
    Labels,
    OnDrift,
    OnPerformance,
    PerformanceThresholds,
    Retraining,
    Search,
    any_of,
)
from evergreen.spec.gates import ROUTINE_MARGIN
from models.bike_demand import MODEL as SHIPPED


def pipeline(seed: int) -> object:
    """The shipped one with fewer trees."""
    return SHIPPED.pipeline(seed).set_params(model__max_iter=60)


MODEL = SHIPPED.model_copy(
    update={
        "name": "watched_bikes",
        "source": Folder("watched_bikes"),
        "labels": Labels(source=Folder("watched_bikes_labels"), time="known_at"),
        "search": Search(),
        "pipeline": pipeline,
        "gates": SHIPPED.gates.model_copy(update={"routine_margin": ROUTINE_MARGIN, "persistence": "tell"}),
        "performance": PerformanceThresholds(last=timedelta(weeks=2), tolerance=0.25),
        "retraining": Retraining(policy=Budget(any_of(OnDrift(), OnPerformance(), Every(days=21)), at_most=2, days=21)),
    }
)
