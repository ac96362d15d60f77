"""What a replay says would have been decided is what the live flows decide."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evergreen.decisions import Decisions
from evergreen.ledger import KINDS
from evergreen.observations import Observations
from evergreen.past import History
from evergreen.promotion_log import Promotions
from evergreen.replay import Course, Story, Walk, canonical
from evergreen.replay_pool import Pool
from evergreen.replay_store import Store
from evergreen.replay_work import Bench
from evergreen.settings import Settings, load_settings
from evergreen.simulator import simulate

if TYPE_CHECKING:
    import pandas as pd

MODEL = "watched_bikes"
DELAY, WEEK = timedelta(days=7), timedelta(days=7)
FIRST = datetime(2011, 4, 14, tzinfo=UTC)
"""A Thursday, on which the windows turn."""
CHANGE, STEPS = date(2011, 4, 21), 8


def _stream() -> pd.DataFrame:
    """Four months of simulated rows with their time, and when each count became known."""
    import pandas as pd

    from models.bike_demand import prepare

    rows = prepare(simulate(date(2011, 1, 1), 170, seed=11, scenario="concept", change=CHANGE, growth=0, seasonal=0))
    clock = rows["at"].dt.tz_localize("America/New_York", ambiguous="NaT", nonexistent="NaT")
    at = clock.dt.tz_convert("UTC")
    return rows.assign(at=at, known_at=at + pd.Timedelta(DELAY))[at.notna()]


def _land(landing: Path, rows: pd.DataFrame, since: datetime | None, until: datetime) -> None:
    """The rows before `until`, and the counts that are known by then."""
    labels = ["date", "hr", "cnt", "known_at"]
    features = [name for name in rows if name not in ("at", "known_at", "date", "cnt", "casual", "registered")]
    for place, clock, columns in ((MODEL, "at", features), (f"{MODEL}_labels", "known_at", labels)):
        new = rows[(rows[clock] >= (since or rows["at"].min())) & (rows[clock] < until)]
        (landing / place).mkdir(parents=True, exist_ok=True)
        new[columns].to_csv(landing / place / f"{until:%Y%m%d}.csv", index=False)


def _live(settings: Settings, rows: pd.DataFrame) -> None:
    """Land, watch and retrain week by week, as events and the schedule would have it."""
    from flows.monitor import monitor
    from flows.retrain import retrain

    _land(settings.landing, rows, None, FIRST)
    retrain(MODEL, reason="first", at=FIRST)
    now = FIRST
    for _ in range(STEPS - 1):
        _land(settings.landing, rows, now, now + WEEK)
        now += WEEK
        seen = monitor(MODEL, at=now)
        asked = [("drift", seen.decision_id)] if seen.confirmed else []
        asked += [("performance", seen.performance.decision_id)] if str(seen.performance.verdict) == "FAIL" else []
        for reason, decision in [*asked, ("schedule", None)]:
            retrain(MODEL, reason=reason, decision_id=decision, at=now)


def _replayed(settings: Settings) -> Story:
    import models

    loaded = models.load(MODEL, settings.models)
    history = History.of(Observations(settings.lake_uri, loaded.spec))
    bench = Bench(loaded.spec, history, Store(settings.root / "backtest" / MODEL))
    course = Course([FIRST + number * WEEK for number in range(STEPS + 1)], loaded.hash)
    return Pool(bench).run({"live": Walk(bench, course, loaded.spec.policy).run()})["live"]


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_live_and_replay_decide_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte: every report, retraining, held-back retraining and move, with figures, reasons and ids."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(Path(__file__).parent / "models"))
    settings = load_settings()
    _live(settings, _stream())
    told = Decisions(settings.lake_uri, MODEL).select(KINDS)
    live = canonical(told, Promotions(settings.lake_uri, MODEL).done())
    story = _replayed(settings)
    replayed = canonical(story.decisions, story.moves)
    print("\n".join(line[:200] for line in live.splitlines()))
    assert replayed == live
    outcomes = {(one.kind, one.outcome) for one in told}
    assert {("performance", "FAIL"), ("retrain", "promoted"), ("suppressed", "unchanged")} <= outcomes
    assert any(kind == "shadow" for kind, _ in outcomes)
