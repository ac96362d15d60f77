"""The steps of the flows. Each holds policy only: cache key, retries, timeout, what is logged."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.logging import get_run_logger

from evergreen.errors import BusyError, EvergreenError
from evergreen.ledger.promotions import Move
from evergreen.runs.context import RunContext

P = ParamSpec("P")
R = TypeVar("R")


def run_logger(
    model: str, decision: str = "", version: int | None = None, *, step: bool = True
) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The logger of this run; where logs are JSON, what its lines are about are fields of theirs.

    Args:
        model: name of the model.
        decision: the id of the decision that the lines belong to.
        version: number of the version that they are about.
        step: the lines say how far a run is; other lines are for the log alone, and a terminal leaves them out.
    """
    return get_run_logger(model=model, decision=decision, version=version, step=step)


def log_alias(context: RunContext, move: Move | None) -> None:
    """Log which version the `champion` alias names now, with the decision that its version was trained for."""
    if move is not None:
        logger = run_logger(context.spec.name, move.decision_id, move.after, step=False)
        after, before = (f"version {number}" if number else "none" for number in (move.after, move.before))
        logger.info("alias: champion is %s now, and was %s: %s", after, before, move.action)


def passing(_task: Any, _run: Any, state: Any) -> bool:
    """Whether to retry after a failure: an EvergreenError needs a person to fix something, so a retry is useless."""
    return not isinstance(state.result(raise_on_failure=False), EvergreenError)


def passing_or_busy(task: Any, run: Any, state: Any) -> bool:
    """Whether to retry after a failure: also where another run holds the lock or wrote first, which ends in seconds."""
    return passing(task, run, state) or isinstance(state.result(raise_on_failure=False), BusyError)


def retried(
    name: str,
    *,
    timeout_seconds: float | None = None,
    cache_policy: CachePolicy = NO_CACHE,
    worth_retrying: Callable[[Any, Any, Any], bool] = passing,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a step that is safe to repeat into a task: two more attempts, after 2 and 10 seconds.

    Args:
        name: of its task runs; may name arguments of the step in braces.
        timeout_seconds: of each attempt; without a limit where None.
        cache_policy: when a stored result is used instead; never by default.
        worth_retrying: whether a failure gets another attempt, by task, task run and state.
    """
    return task(
        cache_policy=cache_policy,
        retries=2,
        retry_delay_seconds=[2, 10],
        retry_condition_fn=worth_retrying,
        timeout_seconds=timeout_seconds,
        task_run_name=name,
    )


def shown(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a step that shows what is stored already into a task whose failure does not fail its run.

    A Prefect server that stands still would otherwise turn a promotion into a failed run. The failed task and its log
    stay in the Prefect UI.

    Args:
        name: of its task runs; may name arguments of the step in braces.
    """

    def make(step: Callable[P, None]) -> Callable[P, None]:
        made = task(cache_policy=NO_CACHE, timeout_seconds=120, task_run_name=name)(step)

        @functools.wraps(step)
        def show(*args: P.args, **kwargs: P.kwargs) -> None:
            made(*args, **kwargs, return_state=True)

        return show

    return make
