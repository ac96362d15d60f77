"""The bikes that ship, but their counts come a week later, from a source of their own."""

from __future__ import annotations

from datetime import timedelta

from evergreen.sources import Folder
from evergreen.spec import Labels, PerformanceThresholds, Retraining, Search
from models.bike_demand import MODEL as SHIPPED

MODEL = SHIPPED.model_copy(
    update={
        "name": "late_bikes",
        "source": Folder("late_bikes"),
        "labels": Labels(source=Folder("late_bikes_labels"), time="known_at"),
        "search": Search(),
        "performance": PerformanceThresholds(last=timedelta(weeks=2)),
        "retraining": Retraining(triggers=("drift", "performance")),
    }
)
