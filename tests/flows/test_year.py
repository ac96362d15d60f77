"""Months of the simulator through the flows, two weeks at a time, labels a week late; as a proof a year."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from evergreen.data.prediction_log import PredictionLog
from evergreen.ledger.promotions import Promotions
from evergreen.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

pytestmark = pytest.mark.usefixtures("in_process")
MODEL = "late_bikes"
STEP, DELAY, WINDOW = timedelta(days=14), timedelta(days=7), timedelta(days=7)
CHANGE = datetime(2011, 12, 1, tzinfo=UTC)
SCHEDULED = 6
"""The cron's retrain, every so many steps."""


@dataclass(frozen=True)
class Course:
    """When rows begin, until when the first champion may learn (a Thursday, on which the windows turn), and steps."""

    begin: date
    first: datetime
    steps: int

    @property
    def end(self) -> datetime:
        return self.first + self.steps * STEP

    def rows(self, late_bikes: Callable[..., pd.DataFrame], **law: Any) -> pd.DataFrame:
        return late_bikes(self.begin, (self.end.date() - self.begin).days, **law)


MONTHS = pytest.param(Course(date(2011, 6, 1), datetime(2011, 11, 10, tzinfo=UTC), 9), marks=pytest.mark.slow)
SUMMER = pytest.param(Course(date(2011, 1, 1), datetime(2011, 6, 2, tzinfo=UTC), 6), marks=pytest.mark.slow)
YEAR = pytest.param(
    Course(date(2011, 1, 1), datetime(2011, 9, 1, tzinfo=UTC), 26), marks=pytest.mark.proof(name="year")
)


def _live(settings: Settings, rows: pd.DataFrame, land: Callable[..., None], course: Course) -> list[dict[str, Any]]:
    """Land, watch, score and retrain until the course is over; what happened at each step."""
    from flows.monitor import monitor
    from flows.retrain import retrain
    from flows.score import score

    land(settings.landing, MODEL, rows, None, course.first)
    first = retrain(MODEL, reason="first", at=course.first)
    assert first is not None
    assert first.outcome == "promoted", first.explanation
    told, now = [], course.first
    for step in range(1, course.steps + 1):
        land(settings.landing, MODEL, rows, now, now + STEP)
        now += STEP
        seen = monitor(MODEL, at=now)
        score(MODEL)
        asked = [("drift", seen.decision_id)] if seen.confirmed else []
        asked += [("performance", seen.performance.decision_id)] if str(seen.performance.verdict) == "FAIL" else []
        asked += [("schedule", None)] if step % SCHEDULED == 0 else []
        for reason, decision in asked:
            retrain(MODEL, reason=reason, decision_id=decision, at=now)
        told.append({"at": now, "performance": str(seen.performance.verdict), "asked": [reason for reason, _ in asked]})
    return told


def _errors(settings: Settings, rows: pd.DataFrame) -> pd.Series:
    """Absolute error of what was predicted when the rows came, by their time."""
    from models import load

    log = PredictionLog(settings.lake_uri, load(MODEL, settings.models).spec)
    both = log.table.read(["at", "prediction"]).merge(rows[["at", "cnt"]], on="at", validate="one_to_one")
    return (both["prediction"] - both["cnt"]).abs().set_axis(both["at"]).sort_index()


@pytest.fixture
def year(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with the model of these tests."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(Path(__file__).parent / "models"))
    return load_settings()


@pytest.mark.parametrize("course", [MONTHS, YEAR], ids=["months", "year"])
def test_a_change_of_law_is_answered_once_its_labels_are_there(
    course: Course, year: Settings, late_bikes: Callable[..., pd.DataFrame], land_late: Callable[..., None]
) -> None:
    """Performance fails within two windows after the labels of the new law matured, and the error comes back down."""
    rows = course.rows(late_bikes, scenario="concept", change=CHANGE.date())
    told = _live(year, rows, land_late, course)
    failed = [step["at"] for step in told if step["performance"] == "FAIL"]
    assert failed
    assert CHANGE + WINDOW + DELAY <= failed[0] <= CHANGE + 3 * WINDOW + DELAY
    assert "performance" in next(step["asked"] for step in told if step["at"] == failed[0])
    errors = _errors(year, rows)
    before, worst, after = (
        float(errors[since:until].mean())
        for since, until in (
            (course.first, CHANGE),
            (CHANGE, failed[0]),
            (datetime(2012, 2, 16, tzinfo=UTC), course.end),
        )
    )
    print(f"mean absolute error: {before:.1f} before, {worst:.1f} under the new law, {after:.1f} after: {failed}")
    assert worst > 1.5 * before
    assert after < min(1.5 * before, worst / 2)
    moves = Promotions(year.lake_uri, MODEL).done()
    assert any(move.reason == "performance" and move.at >= failed[0] for move in moves)


@pytest.mark.parametrize("course", [SUMMER, YEAR], ids=["summer", "year"])
def test_without_a_change_there_are_only_the_scheduled_retrains(
    course: Course, year: Settings, late_bikes: Callable[..., pd.DataFrame], land_late: Callable[..., None]
) -> None:
    """Weeks in which nothing changes ask for nothing beside the cron."""
    told = _live(year, course.rows(late_bikes), land_late, course)
    assert [step["asked"] for step in told if step["asked"]] == [["schedule"]] * (len(told) // SCHEDULED)
    assert not np.any([step["performance"] == "FAIL" for step in told])
