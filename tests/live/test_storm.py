"""Many events at once: one retrain for a model, however often its report fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evergreen.events import drift_event
from tests.live.clone import Stack, until

pytestmark = pytest.mark.slow


@pytest.fixture
def emit(stack: Stack) -> Callable[..., None]:
    """Send events of failed reports to the stack's server."""
    from prefect.events import emit_event
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def send(*events: Any) -> None:
        with temporary_settings({PREFECT_API_URL: stack.url}):
            for event in events:
                emit_event(event=event.name, resource=event.resource(""), payload=dict(event.payload))

    return send


def test_twenty_failed_reports_of_two_models_give_one_retrain_each(
    stack: Stack, emit: Callable[..., None], champion: Callable[[str], int]
) -> None:
    """Twenty events of each model within ten seconds: one run of its retrain each, for a decision of its own."""
    for model in ("north", "south"):
        champion(model)
    before = {model: len(stack.runs(f"retrain-{model}")) for model in ("north", "south")}
    emit(
        *(
            drift_event(model, "FAIL", decision_id=f"{model}-{number}", share=0.5, columns=("x",))
            for number in range(20)
            for model in ("north", "south")
        )
    )

    def started() -> dict[str, list[dict[str, Any]]]:
        return {model: stack.runs(f"retrain-{model}")[before[model] :] for model in before}

    until(lambda: all(started().values()), "both models are retrained")
    for model, runs in started().items():
        # The server hears events that come together in any order.
        assert [run["parameters"]["decision_id"].partition("-")[0] for run in runs] == [model]
        assert stack.ended(runs[0]["id"])["state_type"] == "COMPLETED"
    # The server has worked through all forty by now: they came before the runs' own events.
    assert {model: len(runs) for model, runs in started().items()} == {"north": 1, "south": 1}
