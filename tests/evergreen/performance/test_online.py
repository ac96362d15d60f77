"""Rows that were served online are judged as the same rows scored in a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.performance.report import PerformanceReport
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.verdicts import Verdict
from serving.access import Access
from serving.app import App, Parts
from serving.champion import ChampionFollower, Followed, make_served
from serving.frame_worker import FrameWorker
from serving.http import Limits
from serving.prediction_queue import PredictionQueue
from tests.evergreen.performance.test_check import Watch, watch  # noqa: F401 - a fixture
from tests.evergreen.scoring.test_chunk import Scorer
from tests.serving.conftest import ask

Rows = Callable[..., pd.DataFrame]
DAY = timedelta(days=1)


def _serve(home: Watch, pipeline: Any, rows: pd.DataFrame) -> None:
    """Ask for each row by itself, with its key and its time, and write what was answered."""
    served = make_served(home.spec, pipeline, rows, number=home.champion.number, sha256="")
    follower = ChampionFollower(home.settings, home.registry, {"toy": Followed(served)}, lambda _name: home.spec)
    queue = PredictionQueue(home.settings.lake_uri)
    app = App(Parts(follower, FrameWorker(), queue, Access(), Limits(), "0"))

    async def ask_all() -> None:
        for row in rows.drop(columns="y").to_dict("records"):
            body = row | {"at": row["at"].strftime("%Y-%m-%dT%H:%M:%SZ")}
            answer = await ask(app, "/models/toy/predict", body)
            assert (answer.status, answer.json["version"]) == (200, home.champion.number)

    asyncio.run(ask_all())
    queue.write()
    assert (queue.counts.kept, queue.counts.without_key) == (len(rows), 0)


def _report(home: Watch, rows: pd.DataFrame) -> PerformanceReport:
    """The report when the labels come, a week after the rows."""
    home.land("unlabelled", rows.assign(y=None))
    home.label(rows, datetime(2025, 2, 1, tzinfo=UTC))
    return home.look(now=datetime(2025, 2, 2, tzinfo=UTC))


def test_labels_a_week_later_give_the_verdict_of_a_batch(
    watch: Watch,  # noqa: F811
    make_rows: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report is the same; answers of another fit give another one."""
    rows = make_rows(150, start=300)
    pipeline = watch.registry.load(watch.champion, watch.spec)
    other = watch.spec.pipeline(0).fit(rows[["x", "kind"]], rows["y"] * 2)
    places = [watch.elsewhere(tmp_path / name) for name in ("online", "batch", "planted")]
    online, batch, planted = places
    _serve(online, pipeline, rows)
    file = tmp_path / "rows.csv"
    rows.drop(columns="y").to_csv(file, index=False)
    settings = Settings(home=tmp_path / "scorer", lake=batch.settings.lake)
    Scorer(batch.spec, settings, pipeline, version=batch.champion.number)(file)
    _serve(planted, other, rows)
    # What was said counts, not what the champion would say now: that is something else.
    wrong = watch.spec.pipeline(0).fit(rows[["x", "kind"]], rows["y"] * 0)
    monkeypatch.setattr(Registry, "load", lambda *_arguments: wrong)
    served, scored, lied = (_report(home, rows) for home in places)
    assert (served.verdict, served.rows, served.decision_id) == (scored.verdict, scored.rows, scored.decision_id)
    assert (served.rows, served.verdict) == (150, Verdict.PASS), served
    assert (served.value, served.interval) == (pytest.approx(scored.value), pytest.approx(scored.interval))
    assert lied.verdict is Verdict.FAIL
