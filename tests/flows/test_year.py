"""More than a year of the simulator through the flows, two weeks at a time, labels a week late."""

from __future__ import annotations

from collections.abc import Callable
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

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]
MODEL = "late_bikes"
BEGIN, DAYS = date(2011, 1, 1), 440
STEP, DELAY, WINDOW = timedelta(days=14), timedelta(days=7), timedelta(days=7)
FIRST = datetime(2011, 9, 1, tzinfo=UTC)
"""The first champion learns what is known by then; a Thursday, on which the windows turn."""
CHANGE = datetime(2011, 12, 1, tzinfo=UTC)
SCHEDULED = 6
"""The cron's retrain, every so many steps."""


def _live(settings: Settings, rows: pd.DataFrame, land: Callable[..., None], steps: int) -> list[dict[str, Any]]:
    """Land, watch, score and retrain until the year is over; what happened at each step."""
    from flows.monitor import monitor
    from flows.retrain import retrain
    from flows.score import score

    land(settings.landing, MODEL, rows, None, FIRST)
    first = retrain(MODEL, reason="first", at=FIRST)
    assert first is not None
    assert first.outcome == "promoted", first.explanation
    told, now = [], FIRST
    for step in range(1, steps + 1):
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


def test_a_change_of_law_is_answered_once_its_labels_are_there(
    year: Settings, late_bikes: Callable[..., pd.DataFrame], land_late: Callable[..., None]
) -> None:
    """Performance fails within two windows after the labels of the new law matured, and the error comes back down."""
    rows = late_bikes(BEGIN, DAYS, scenario="concept", change=CHANGE.date())
    told = _live(year, rows, land_late, 14)
    failed = [step["at"] for step in told if step["performance"] == "FAIL"]
    assert failed
    assert CHANGE + WINDOW + DELAY <= failed[0] <= CHANGE + 3 * WINDOW + DELAY
    assert "performance" in next(step["asked"] for step in told if step["at"] == failed[0])
    errors = _errors(year, rows)
    before, worst, after = (
        float(errors[since:until].mean())
        for since, until in (
            (FIRST, CHANGE),
            (CHANGE, failed[0]),
            (datetime(2012, 2, 16, tzinfo=UTC), datetime(2012, 3, 15, tzinfo=UTC)),
        )
    )
    print(f"mean absolute error: {before:.1f} before, {worst:.1f} under the new law, {after:.1f} after: {failed}")
    assert worst > 1.5 * before
    assert after < min(1.5 * before, worst / 2)
    moves = Promotions(year.lake_uri, MODEL).done()
    assert any(move.reason == "performance" and move.at >= failed[0] for move in moves)


def test_without_a_change_there_are_only_the_scheduled_retrains(
    year: Settings, late_bikes: Callable[..., pd.DataFrame], land_late: Callable[..., None]
) -> None:
    """Sixteen weeks in which nothing changes ask for nothing beside the cron."""
    told = _live(year, late_bikes(BEGIN, DAYS), land_late, 8)
    assert [step["asked"] for step in told if step["asked"]] == [["schedule"]] * (len(told) // SCHEDULED)
    assert not np.any([step["performance"] == "FAIL" for step in told])
