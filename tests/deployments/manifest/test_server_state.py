"""Whether a stored schedule is as the file says, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.schedules import CronSchedule

from deployments.manifest.server_state import _schedule_matches

CRON = {"cron": "0 3 1-7 * 1", "timezone": "UTC"}


@pytest.mark.parametrize(
    ("stored", "text", "same"),
    [
        ({}, {}, True),
        ({}, {"day_or": None}, True),
        ({}, {"day_or": True}, True),
        ({}, {"day_or": False}, False),
        ({"day_or": False}, {"day_or": False}, True),
        ({"day_or": False}, {"day_or": True}, False),
        ({"day_or": False}, {}, False),
    ],
)
def test_day_or(stored: dict[str, Any], text: dict[str, Any], same: bool) -> None:
    """The two day fields are compared as Prefect reads them: either one, unless the file says `day_or: false`."""
    schedule = CronSchedule(**CRON | stored).model_dump(mode="json")
    json = {"schedule": schedule, "parameters": {}, "active": True}
    assert _schedule_matches(json, CRON | {"slug": "weekly"} | text) is same
