"""Send OpenLineage events of ingest, retrain and score, where `EVERGREEN_OPENLINEAGE` says where to.

How a run ended is told by Prefect's hooks, which see every end: also that of a process that was killed, whose worker
runs them. The hook of a good end is added when a run begins and events are wanted, because Prefect logs two lines for
each hook that it runs. Whatever goes wrong here is a warning in the log of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.logging.loggers import flow_run_logger

import models
from evergreen import naming
from evergreen.details.decision import RetrainDetail
from evergreen.errors import EvergreenError
from evergreen.events import is_rehearsal
from evergreen.ingest.landing import Landing
from evergreen.runs.context import RunContext
from evergreen.runs.results import ScoreResult
from evergreen.settings import Settings, load_settings

if TYPE_CHECKING:
    from evergreen.runs.lineage_client import LineageClient
    from evergreen.runs.lineage_events import Event
    from evergreen.runs.lineage_events import State as RunState

FLOWS = ("retrain", "score")
"""The flows whose runs are told of; the ingest of every flow is."""


def begin_run(settings: Settings) -> None:
    """Tell that the flow run began, or that it goes on after a person was waited for."""
    context = FlowRunContext.get()
    if not _is_wanted(settings) or context is None or context.flow_run is None or context.flow is None:
        return
    if context.flow.name in FLOWS:
        if tell_completion not in context.flow.on_completion_hooks:
            context.flow.on_completion(tell_completion)
        # A run that was suspended counts its attempts anew.
        goes_on = context.flow_run.run_count > 1 or bool(context.flow_run.empirical_policy.pause_keys)
        _tell(context.flow, context.flow_run, "RUNNING" if goes_on else "START")


def tell_completion(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell that a flow run completed, with what it read and wrote."""
    _tell(flow, flow_run, "COMPLETE", result=state.result(raise_on_failure=False))


def tell_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell that a flow run failed, and with which error."""
    found = state.result(raise_on_failure=False) if state.data is not None else None
    is_error = isinstance(found, BaseException)
    _tell(flow, flow_run, "FAIL", error=found if is_error else EvergreenError(f"The run ended as {state.name}."))


def tell_cancellation(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell that a flow run was cancelled."""
    _tell(flow, flow_run, "ABORT")


ENDS: Mapping[str, Any] = {
    "on_failure": [tell_failure],
    "on_crashed": [tell_failure],
    "on_cancellation": [tell_cancellation],
}
"""For the decorator of a flow that is told of: how it may end."""


@contextmanager
def ingest_run(context: RunContext) -> Iterator[Callable[[Landing | None], None]]:
    """Tell that an ingest began, and how it ended.

    Yields a function that takes what landed; None where nothing was new and nothing was read.
    """
    surroundings = FlowRunContext.get()
    landed: list[Landing | None] = []
    if not _is_wanted(context.settings) or surroundings is None or surroundings.flow_run is None:
        yield landed.append
        return
    flow, run, identifier = surroundings.flow, surroundings.flow_run, str(uuid4())

    def tell(state: RunState, error: BaseException | None = None) -> None:
        def make() -> Event:
            from evergreen.runs.lineage_events import LineageRun, ingest_touched, run_event

            settings, spec = context.settings, context.spec
            whole = LineageRun(str(run.id), naming.lineage_job(flow.name if flow else "", spec.name))
            step = LineageRun(identifier, naming.lineage_job("ingest", spec.name), "TASK", parent=whole)
            landing = landed[0] if landed else None
            touched = ingest_touched(settings, spec, landing) if landing is not None else None
            return run_event(settings.environment, state, step, touched, now=datetime.now(UTC), error=error)

        _send(context.settings, flow, run, make)

    tell("START")
    try:
        yield landed.append
    except BaseException as error:
        tell("FAIL", error)
        raise
    tell("COMPLETE")


def _tell(
    flow: Flow[Any, Any], run: FlowRun, state: RunState, *, result: object = None, error: BaseException | None = None
) -> None:
    """Send an event of a flow run; `result` is what the flow returned. A rehearsal is no run of a model."""
    settings = load_settings()
    if not _is_wanted(settings) or is_rehearsal(run.parameters.get("decision_id")):
        return

    def make() -> Event:
        from evergreen.runs.lineage_events import LineageRun, retrain_touched, run_event, score_touched

        model, touched = run.parameters["model"], None
        match result:
            case RetrainDetail():
                touched = retrain_touched(settings, models.load_spec(model, settings.models), result)
            case ScoreResult():
                spec = models.load_spec(model, settings.models)
                touched = score_touched(settings, spec, result, run.parameters.get("input"))
        whole = LineageRun(str(run.id), naming.lineage_job(flow.name, model), due=run.expected_start_time)
        return run_event(settings.environment, state, whole, touched, now=datetime.now(UTC), error=error)

    _send(settings, flow, run, make)


def _is_wanted(settings: Settings) -> bool:
    return bool(settings.openlineage.get_secret_value())


def _send(settings: Settings, flow: Flow[Any, Any] | None, run: FlowRun, make: Callable[[], Event]) -> None:
    """Make an event and send it; a fault is told, and fails nothing."""
    try:
        _open_client(settings.openlineage.get_secret_value()).send(make())
        return
    except ImportError:
        problem = 'EVERGREEN_OPENLINEAGE needs the extra, which is not installed. Run: pip install ".[lineage]"'
    except EvergreenError as error:
        problem = str(error)
    except Exception as error:
        # Its message may quote an address with a password in it.
        problem = f"An OpenLineage event could not be made ({type(error).__name__}); the run goes on."
    flow_run_logger(flow_run=run, flow=flow, model=run.parameters.get("model", "")).warning("lineage: %s", problem)


@lru_cache(maxsize=1)
def _open_client(setting: str) -> LineageClient:
    """The client of this process, which remembers whether its place was away."""
    from evergreen.runs.lineage_client import LineageClient

    return LineageClient(setting)
