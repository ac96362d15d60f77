"""A run that has lost its lock registers, judges, promotes and records nothing more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

import tasks.gate
from evergreen.drift.check import no_champion_report
from evergreen.errors import BusyError
from evergreen.registry.version import Candidate
from evergreen.runs.context import RunContext
from evergreen.settings import Settings
from evergreen.training.plan import Plan
from evergreen.training.request import Request
from tasks.promote import promote
from tasks.record import record_retrain
from tasks.register import register
from tests.tasks.test_gate import PASSED, Case


class Lost:
    """A lock that another machine has by now."""

    def require(self) -> None:
        raise BusyError("This retrain of toy was taken for dead, and another one may have begun.", "")


@pytest.fixture
def case(
    settings: Settings, make_spec: Callable[..., Any], make_rows: Callable[..., Any],
    make_version: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
) -> Case:  # fmt: skip
    """A version that waits for its gates, in a run that lost its lock after it was registered."""
    monkeypatch.setattr(tasks.gate, "run_logger", lambda *_, **__: logging.getLogger("test"))
    monkeypatch.setattr(tasks.gate, "evaluate_candidate", lambda *_args, **_kwargs: PASSED)
    spec = make_spec()
    case = Case(settings, spec, make_version(spec, make_rows(100)))
    case.context._held = Lost()
    return case


def _register(context: RunContext, case: Case, _plan: Plan) -> None:
    register.fn(context, Candidate("run", "model", "", "", "", 0.0, {"decision_id": "other", "spec_hash": "spec"}))


def _gate(context: RunContext, case: Case, plan: Plan) -> None:
    tasks.gate.gate.fn(context, plan, case.now, no_champion_report(context.spec))


def _promote(context: RunContext, case: Case, _plan: Plan) -> None:
    promote.fn(context, case.now, PASSED, "test")


def _record(context: RunContext, case: Case, plan: Plan) -> None:
    record_retrain.fn(context, plan, None, "promoted", case.now)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [_register, _gate, _promote, _record])
def test_a_step_without_the_lock_changes_nothing(case: Case, step: Callable[..., None]) -> None:
    """The version is as it was, for whoever has the lock now; nothing is in the log or the ledger."""
    context = case.context
    plan = Plan("first", Request(), case.snapshot, case.window, None, 80, 20, resume=case.version)
    with pytest.raises(BusyError, match="was taken for dead"):
        step(context, case, plan)
    assert [version.status for version in context.registry.versions("toy")] == ["PENDING"]
    assert context.registry.named_by("challenger") == {}
    assert context.promotions.all() == ()
    assert context.ledger.all("retrain") == ()
