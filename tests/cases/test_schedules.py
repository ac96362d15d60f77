"""Schedules that mean something else than they seem to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deployments.manifest import sync
from evergreen.settings import Settings
from tests.shipped import copy_shipped

SHIPPED = '      - {cron: "0 4 * * *", timezone: UTC, slug: daily, parameters: {reason: schedule}}\n'
BOTH = (
    '      - {cron: "0 3 1-7 * 1", timezone: Europe/Berlin, slug: weekly, day_or: false,'
    " parameters: {reason: schedule}}\n"
)


def _runs_in_2027(schedule: dict[str, Any]) -> list[datetime]:
    from prefect.server.schemas.schedules import CronSchedule

    cron = CronSchedule(**{key: schedule[key] for key in ("cron", "timezone", "day_or") if key in schedule})
    return asyncio.run(cron.get_dates(500, datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)))


def test_first_monday(tmp_path: Path) -> None:
    """`0 3 1-7 * 1` runs on 124 days of a year; with `day_or: false`, which a sync leaves, on twelve first Mondays."""
    path = tmp_path / "prefect.yaml"
    path.write_text(sync.PATH.read_text().replace(SHIPPED, BOTH))
    assert sync.sync(Settings(models=copy_shipped(tmp_path / "models")), path).changes == ()
    entries = yaml.safe_load(path.read_text())["deployments"]
    (schedule,) = next(entry["schedules"] for entry in entries if entry["name"] == "retrain-iris")
    runs = _runs_in_2027(schedule)
    assert [(run.month, run.weekday()) for run in runs] == [(month, 0) for month in range(1, 13)]
    assert max(run.day for run in runs) <= 7
    del schedule["day_or"]
    assert len(_runs_in_2027(schedule)) == 124
