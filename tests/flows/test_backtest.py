"""What a replay says would have been decided is what the live flows decide."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evergreen.backtest.history import History
from evergreen.backtest.job_cache import JobCache
from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.jobs import JobContext
from evergreen.backtest.simulation import Simulation, SimulationPlan, SimulationResult
from evergreen.data.observations import Observations
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.ledger.timeline import KINDS
from evergreen.registry.client import Registry
from evergreen.registry.model_registry import ModelRegistry
from evergreen.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

MODEL = "watched_bikes"
WEEK = timedelta(days=7)
FIRST = datetime(2011, 4, 14, tzinfo=UTC)
"""A Thursday, on which the windows turn."""
CHANGE, STEPS = date(2011, 4, 21), 8
Fits = list[tuple[bool, int | None, int | None]]


def _live(settings: Settings, rows: pd.DataFrame, land: Callable[..., None]) -> None:
    """Land, watch and retrain week by week, as events and the schedule would have it."""
    from flows.monitor import monitor
    from flows.retrain import retrain

    land(settings.landing, MODEL, rows, None, FIRST)
    retrain(MODEL, reason="first", at=FIRST)
    now = FIRST
    for _ in range(STEPS - 1):
        land(settings.landing, MODEL, rows, now, now + WEEK)
        now += WEEK
        seen = monitor(MODEL, at=now)
        asked = [("drift", seen.decision_id)] if seen.confirmed else []
        asked += [("performance", seen.performance.decision_id)] if str(seen.performance.verdict) == "FAIL" else []
        for reason, decision in [*asked, ("schedule", None)]:
            retrain(MODEL, reason=reason, decision_id=decision, at=now)


def _replayed(settings: Settings) -> tuple[SimulationResult, Fits]:
    import models

    loaded = models.load(MODEL, settings.models)
    history = History.of(Observations(settings.lake_uri, loaded.spec))
    bench = JobContext(loaded.spec, history, JobCache(settings.root / "backtest" / MODEL))
    course = SimulationPlan([FIRST + number * WEEK for number in range(STEPS + 1)], loaded.hash, recipe=loaded.recipe)
    simulation = Simulation(JobRunner(bench), course, loaded.spec.retraining.policy)
    return simulation.run(), _fits(simulation.registry)


def _fits(registry: ModelRegistry) -> Fits:
    """Of every version: whether it has a judged fit of its own, and how many rows each fit learned."""
    tags = [version.tags for version in registry.versions(MODEL)]
    return [(bool(each.judged_sha256), each.judged_rows, each.deployed_rows) for each in tags]


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("refit", [True, False])
def test_live_and_replay_decide_the_same(
    home: Path,
    tmp_path: Path,
    refit: bool,
    monkeypatch: pytest.MonkeyPatch,
    late_bikes: Callable[..., pd.DataFrame],
    land_late: Callable[..., None],
    canonical: Callable[..., str],
) -> None:
    """Byte for byte: every report, retraining, held-back retraining and move, with figures, reasons and ids.

    With a refit the judged and the deployed fit are of as many rows, live and replayed. Without one the
    blocks of the intervals are measured.
    """
    text = (Path(__file__).parent / "models" / f"{MODEL}.py").read_text()
    blocks = "day" if refit else "measured"
    # Live and replay measure the time of a prediction each for itself, beside whatever else the machine does.
    own = f'"persistence": "tell", "blocks": "{blocks}", "latency_ms": 60_000.0'
    text = text.replace('"persistence": "tell"', own)
    training = f'        "training": SHIPPED.training.model_copy(update={{"refit": {refit}}}),\n'
    (tmp_path / "models").mkdir()
    written = text.replace('        "search": Search(),\n', f'        "search": Search(),\n{training}')
    (tmp_path / "models" / f"{MODEL}.py").write_text(written)
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    settings = load_settings()
    _live(settings, late_bikes(date(2011, 1, 1), 170, scenario="concept", change=CHANGE), land_late)
    told = Decisions(settings.lake_uri, MODEL).select(KINDS)
    live = canonical(told, Promotions(settings.lake_uri, MODEL).done())
    story, fits = _replayed(settings)
    replayed = canonical(story.decisions, story.moves)
    print("\n".join(line[:200] for line in live.splitlines()))
    assert replayed == live
    assert fits == _fits(Registry(settings))
    assert {has for has, _, _ in fits} == {refit}
    outcomes = {(one.kind, one.outcome) for one in told}
    assert {("performance", "FAIL"), ("retrain", "promoted"), ("suppressed", "unchanged")} <= outcomes
    assert any(kind == "shadow" for kind, _ in outcomes)
