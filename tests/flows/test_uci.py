"""The real UCI hourly file, piece by piece, through the model definition that ships."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import models
from evergreen.data.observations import Observations
from evergreen.ledger.decisions import Decisions
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.training.candidate import trained_ids
from evergreen.training.predict import predict, target_of

MODEL = "bike_demand"


def _pieces(file: Path) -> list[tuple[str, pd.DataFrame]]:
    """The first half-year, then three months at a time, by the name of their last month."""
    frame = pd.read_csv(file)
    day = pd.to_datetime(frame["dteday"], format="%m/%d/%Y")
    months = (day.dt.year - 2011) * 12 + day.dt.month
    last = np.maximum(np.ceil(months / 3) * 3, 6).astype(int)
    return [(f"{2011 + (end - 1) // 12}-{(end - 1) % 12 + 1:02}", rows) for end, rows in frame.groupby(last)]


def _error(settings: Settings, version: int, rows: pd.DataFrame) -> float:
    """Mean absolute error of a version on rows of observations that its judged fit did not learn."""
    spec = models.load(MODEL, settings.models).spec
    registry = Registry(settings)
    pipeline = registry.load_judged(registry.get(MODEL, version), spec)
    return float(np.abs(predict(pipeline, spec, rows).values - target_of(spec, rows)).mean())


@pytest.mark.slow
def test_two_real_years_keep_the_champion_fresh(uci: Path, in_process: None, settings: Settings) -> None:
    """Each piece lands once; drift fails before winter; the last champion beats the first on the last month."""
    from flows.monitor import monitor
    from flows.retrain import retrain

    landing = settings.landing / MODEL
    landing.mkdir(parents=True)
    failed: list[str] = []
    for month, rows in _pieces(uci):
        rows.to_csv(landing / f"{month}.csv", index=False)
        seen = monitor(MODEL)
        assert seen.ingest.rows + sum(item.rows or 0 for item in seen.ingest.quarantined) == len(rows), month
        if seen.verdict == "FAIL":
            failed.append(month)
        if seen.champion is None or seen.verdict == "FAIL":
            retrain(MODEL, reason=f"until {month}", decision_id=seen.decision_id)

    spec = models.load(MODEL, settings.models).spec
    observations = Observations(settings.lake_uri, spec)
    before = observations.snapshot()
    (landing / "2011-09-again.csv").write_bytes((landing / "2011-09.csv").read_bytes())
    assert monitor(MODEL).ingest.rows == 0
    assert observations.snapshot() == before, "feeding a month again changed something"

    assert failed
    assert failed[0] <= "2011-12", failed
    registry = Registry(settings)
    champion = registry.champion(MODEL)
    assert champion is not None
    first = registry.get(MODEL, 1)
    assert champion.tags.raw["data_end"] > first.tags.raw["data_end"]
    rows = observations.frame(before.version)
    december = rows[rows["at"] >= datetime(2012, 12, 1, 5, tzinfo=UTC)]
    unseen = ~np.isin(observations.ids(december), trained_ids(registry, champion))
    december = december[unseen].reset_index(drop=True)
    assert len(december) >= 100
    new, old = _error(settings, champion.number, december), _error(settings, 1, december)
    print(f"December 2012: first champion {old:.1f}, version {champion.number} {new:.1f}; failed reports: {failed}")
    print([d.outcome for d in Decisions(settings.lake_uri, MODEL).all("retrain")])
    assert new < old
