"""What a replay says would have been decided is what the live flows decide."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evergreen.backtest.clock import Clock
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
from evergreen.spec.fields import Rows

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


MACHINE, WINDOW, BEGIN = "machine", 100, 4
"""A model whose rows have no time, the rows of a window, and after how many windows the first version is made."""


def _readings(windows: int, change: int) -> pd.DataFrame:
    """Readings that follow each other; from the window `change` on the machine wears otherwise."""
    import numpy as np
    import pandas as pd

    random, count = np.random.default_rng(3), windows * WINDOW
    load = np.convolve(random.normal(size=count + 19), np.full(20, 0.3), mode="valid")
    heat = random.normal(size=count) + np.where(np.arange(count) < change * WINDOW, 0.0, 1.5)
    slope = np.where(np.arange(count) < change * WINDOW, 1.0, -1.0)
    wear = 2 * load + slope * heat + random.normal(scale=0.3, size=count)
    return pd.DataFrame({"reading": range(count), "load": load, "heat": heat, "wear": wear})


def _land_readings(landing: Path, rows: pd.DataFrame, window: int, first: int = 0) -> None:
    """Land the rows up to the end of a window, from that of the window `first` on, and the labels of those before."""
    for place, columns, late in (
        (MACHINE, ["reading", "load", "heat"], 0),
        (f"{MACHINE}_labels", ["reading", "wear"], 1),
    ):
        (landing / place).mkdir(parents=True, exist_ok=True)
        new = rows.iloc[max(0, (first - late) * WINDOW) : (window - late) * WINDOW]
        new[columns].to_csv(landing / place / f"{window:03}.csv", index=False)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_live_and_replay_decide_the_same_of_rows_without_a_time(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, canonical: Callable[..., str]
) -> None:
    """Byte for byte where rows have the order of landing: a window of rows is a day of the replay's clock."""
    from flows.monitor import monitor
    from flows.retrain import retrain

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{MACHINE}.py").write_text((Path(__file__).parent / "models" / f"{MACHINE}.py").read_text())
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    settings, clock, windows = load_settings(), Clock(Rows(WINDOW)), 14
    steps = [clock.instant(window * WINDOW) for window in range(BEGIN, windows + 1)]
    rows = _readings(windows, change=7)
    _land_readings(settings.landing, rows, BEGIN)
    retrain(MACHINE, reason="first", at=steps[0])
    for window, now in enumerate(steps[1:-1], start=BEGIN + 1):
        _land_readings(settings.landing, rows, window, first=window - 1)
        seen = monitor(MACHINE, at=now)
        asked = [("drift", seen.decision_id)] if seen.confirmed else []
        asked += [("performance", seen.performance.decision_id)] if str(seen.performance.verdict) == "FAIL" else []
        for reason, decision in [*asked, ("schedule", None)]:
            retrain(MACHINE, reason=reason, decision_id=decision, at=now)
    told = Decisions(settings.lake_uri, MACHINE).select(KINDS)
    live = canonical(told, Promotions(settings.lake_uri, MACHINE).done())

    import models

    loaded = models.load(MACHINE, settings.models)
    history = History.of(Observations(settings.lake_uri, loaded.spec))
    bench = JobContext(loaded.spec, history, JobCache(settings.root / "backtest" / MACHINE))
    story = Simulation(JobRunner(bench), SimulationPlan(steps, loaded.hash, recipe=loaded.recipe), None)
    replayed = story.run()
    print("\n".join(line[:200] for line in live.splitlines()))
    assert canonical(replayed.decisions, replayed.moves) == live
    outcomes = {(one.kind, one.outcome) for one in told}
    assert {("performance", "FAIL"), ("retrain", "promoted")} <= outcomes
    assert any(kind == "shadow" for kind, _ in outcomes)
    # A window whose rows have no label yet judges nobody.
    reports = [one for one in told if one.kind == "performance"]
    assert all("window" in one.reason for one in reports if one.outcome == "INCONCLUSIVE")
