"""A version is judged once, and never left PENDING by a fault on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import tasks.gate
from evergreen.data.observations import Observations
from evergreen.data.windows import training_window
from evergreen.drift.check import no_champion_report
from evergreen.evaluation.judgement import Judgement
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from evergreen.settings import Settings
from evergreen.spec.gates import Gates
from evergreen.training.plan import Plan
from evergreen.training.request import Request
from evergreen.verdicts import Check, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSED = Judgement((Check("metric", Verdict.PASS, 1.0, None, "well"),), Verdict.PASS, 1.0, 2.0, (0.5, 1.5), 20)


class Case:
    """A registered version, the plan that led to it, and the gate's task as a plain function."""

    def __init__(self, settings: Settings, spec: Any, version: Version) -> None:
        self.spec, self.version = spec, version
        self.context = RunContext(spec, "spec", settings, Registry(settings), NOW)
        snapshot = Observations(settings.lake_uri, spec).snapshot()
        self.window = training_window(spec, snapshot)
        self.snapshot = snapshot

    def gate(self, *, judged: bool = False) -> Judgement:
        plan = Plan("first", Request(), self.snapshot, self.window, None, 80, 20, resume=self.version, judged=judged)
        found: Judgement = tasks.gate.gate.fn(self.context, plan, self.now, no_champion_report(self.spec))
        return found

    @property
    def now(self) -> Version:
        return self.context.registry.get("toy", 1)


@pytest.fixture
def case(
    settings: Settings,
    make_spec: Callable[..., Any],
    make_rows: Callable[..., Any],
    make_version: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Case:
    """A version that waits for its gates."""
    monkeypatch.setattr(tasks.gate, "run_logger", lambda *_, **__: logging.getLogger("test"))
    spec = make_spec()
    return Case(settings, spec, make_version(spec, make_rows(100)))


@pytest.mark.parametrize("where", ["evaluate_candidate", "enrich"])
@pytest.mark.parametrize("error", [ValueError("no such column"), KeyboardInterrupt("stopped")])
def test_a_fault_leaves_it_inconclusive(
    case: Case, where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised while it is judged or written down, the version says INCONCLUSIVE and why; it is raised on."""

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(tasks.gate, "evaluate_candidate", lambda *_args, **_kwargs: PASSED)
    owner: Any = tasks.gate if where == "evaluate_candidate" else Registry
    monkeypatch.setattr(owner, where, fail)
    with pytest.raises(type(error)):
        case.gate()
    assert case.now.status == "INCONCLUSIVE"
    assert str(error.args[0]) in case.now.description


def test_what_is_required_may_be_set_in_mlflow(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag of the registered model, or of the version, counts as one of the model file; a missing one is named."""
    case.context.spec = case.spec.model_copy(update={"gates": Gates(tags=("owner", "ticket"), latency_ms=10_000)})
    registry = case.context.registry
    registry.client.set_registered_model_tag("toy", "owner", "the team")
    first = {check.name: check for check in case.gate().checks}["tags"]
    assert (first.status, first.value) == (Verdict.FAIL, 1.0)
    assert "Missing or empty tags: ticket." in first.reason
    registry.client.set_model_version_tag("toy", "1", "ticket", "7")
    assert {check.name: check for check in case.gate().checks}["tags"].status is Verdict.PASS


def test_a_judgement_stands(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written down whole is read back, equal; a judgement that does not stand is made again."""
    monkeypatch.setattr(tasks.gate, "evaluate_candidate", lambda *_args, **_kwargs: PASSED)
    assert case.gate() == PASSED
    assert (case.now.status, case.now.tags.raw["compared_with"]) == ("PASSED", "none")

    def again(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tasks.gate, "evaluate_candidate", again)
    assert case.gate(judged=True) == PASSED
    with pytest.raises(ZeroDivisionError):
        case.gate(judged=False)


def test_half_a_judgement_does_not_stand(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is written last: where it disagrees, the run was killed before, and the gates are asked again."""
    monkeypatch.setattr(tasks.gate, "evaluate_candidate", lambda *_args, **_kwargs: PASSED)
    case.gate()
    case.context.registry.conclude(case.now, Verdict.INCONCLUSIVE, "swept", {})
    assert case.gate(judged=True) == PASSED
    assert case.now.status == "PASSED"
