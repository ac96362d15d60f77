"""Looking without touching: status and history from the ledger and the registry, with nothing there as well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.cli import status_view as status
from evergreen.decision import Decision
from evergreen.errors import ModelFileError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.registry.version import Version, VersionTags
from evergreen.settings import Settings
from tests.details import detail_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_an_empty_state_is_told_as_empty(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was made yet: every alias and every decision is none, and the next command is named."""
    told = status.read_status(settings, "toy")
    assert told == {
        "model": "toy",
        "champion": None,
        "challenger": None,
        "previous": None,
        "last_drift": None,
        "last_performance": None,
        "last_retrain": None,
        "last_run": None,
    }
    status.show_status(told)
    status.show_history(status.read_history(settings, "toy", None))
    shown = capsys.readouterr().out
    assert shown.count("none") == 7
    assert "evergreen retrain toy" in shown


@pytest.fixture
def log(settings: Settings) -> Callable[..., None]:
    """Write a move that was done: log(hours, "promote", before, after)."""

    def write(hours: int, action: Any, before: int | None, after: int | None) -> None:
        at = NOW + timedelta(hours=hours)
        for phase in ("intent", "done"):
            move = Move(f"{hours}", at, action, phase, before, after, f"<b>why</b> {hours}", "d", "person")  # type: ignore[arg-type]
            Promotions(settings.lake_uri, "toy").write(move)

    return write


@pytest.mark.parametrize(("hours", "champion"), [(-1, None), (0, 1), (1, 1), (2, 2), (5, 1)])
def test_history_at_a_time(settings: Settings, log: Callable[..., None], hours: int, champion: int | None) -> None:
    """What was in production at a time is what the last move before it made."""
    log(0, "promote", None, 1)
    log(2, "promote", 1, 2)
    log(4, "rollback", 2, 1)
    told = status.read_history(settings, "toy", NOW + timedelta(hours=hours))
    assert told["champion"] == champion
    assert len(told["moves"]) == len([at for at in (0, 2, 4) if at <= hours])


def test_history_is_a_table_of_moves(
    settings: Settings, log: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each move once, not its intent as well; a reason that looks like markup stays text."""
    log(0, "promote", None, 1)
    log(2, "promote", 1, 2)
    told = status.read_history(settings, "toy", None)
    assert [(move["before"], move["champion"]) for move in told["moves"]] == [(None, 1), (1, 2)]
    status.show_history(told)
    assert "<b>why</b> 2" in capsys.readouterr().out


def test_history_names_the_event_and_the_run_that_a_promotion_came_of(
    settings: Settings, log: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Event, decision and flow run of a promoted candidate are told; a rollback to it did not come of them."""
    log(0, "promote", 1, 2)
    log(2, "rollback", 2, 1)
    detail = detail_of("retrain", event_id="the-event")
    decision = Decision("d", "retrain", NOW, "promoted", 1, 3, "digest", "better", detail, "the-run")
    Decisions(settings.lake_uri, "toy").record(decision)

    told = status.read_history(settings, "toy", None)

    assert [(move["event_id"], move["flow_run"]) for move in told["moves"]] == [("the-event", "the-run"), (None, None)]
    status.show_history(told)
    assert "comes from event the-event, decision d, flow run the-run" in capsys.readouterr().out


def test_a_loss_is_told(settings: Settings, log: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """Until it is accepted the status has the problem; history tells what was in production before and after it."""
    log(0, "promote", None, 1)
    told = status.read_status(settings, "toy")
    assert (told["champion"], "evergreen accept-loss toy" in told["problem"]) == (None, True)
    status.show_status(told)
    assert "problem" in capsys.readouterr().out
    log(2, "loss", 1, None)
    assert "problem" not in status.read_status(settings, "toy")
    assert [status.read_history(settings, "toy", NOW + timedelta(hours=hours))["champion"] for hours in (1, 3)] == [
        1,
        None,
    ]
    status.show_history(status.read_history(settings, "toy", NOW + timedelta(hours=3)))
    shown = capsys.readouterr().out
    assert "nothing was in production" in shown
    assert "loss" in shown


def test_a_champion_that_cannot_be_loaded_is_told(settings: Settings, log: Callable[..., None], make_spec: Any) -> None:
    """Where the model file does not trust what it holds, the problem is the sentence that a loading would end with."""
    log(0, "promote", None, 1)

    class Untrusting:
        def champion(self, model: str) -> Version:
            return Version(model, 1, "", "", VersionTags(trusted=("os.system",)), "")

        def require_stored(self, version: Version) -> None: ...

        def require_trusted(self, version: Version, spec: Any) -> None:
            raise ModelFileError(f"{version.label} cannot be loaded.", "Trust it.")

    registry: Any = Untrusting()
    promotions = Promotions(settings.lake_uri, "toy")
    assert status._problem(registry, promotions, make_spec()) == "toy version 1 cannot be loaded. Trust it."
    assert status._problem(registry, promotions, None) == ""
