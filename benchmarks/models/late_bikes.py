"""The bikes that ship, but for one thing: how many were rented is known later than the weather."""

from __future__ import annotations

from datetime import timedelta

from evergreen.sources import Folder
from evergreen.spec import Labels, PerformanceThresholds, Retraining
from models.bike_demand import MODEL as SHIPPED

MODEL = SHIPPED.model_copy(
    update={
        "name": "late_bikes",
        "source": Folder("late_bikes"),
        "labels": Labels(source=Folder("late_bikes_labels"), time="known_at"),
        "performance": PerformanceThresholds(tolerance=0.25, last=timedelta(weeks=2)),
        "retraining": Retraining(triggers=("drift", "performance")),
    }
)
