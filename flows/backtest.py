"""Choose a retraining policy for one model: simulate each policy over the recorded history and recommend one.

Production state is not changed. Only the results are stored; the next backtest continues from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

from prefect import flow
from pydantic import Field, NonNegativeFloat, PositiveFloat

from evergreen.backtest.report import Backtest
from flows.shared.executors import executor, workers
from flows.shared.opening import ingest_new_data, open_run
from tasks.replay import replay
from tasks.report import report_backtest


@flow(flow_run_name="backtest-{model}", timeout_seconds=12 * 3600)
def backtest(
    model: str = "bike_demand",
    policies: Sequence[str] = (),
    windows: Sequence[str] = (),
    routine_margins: Sequence[Annotated[float, Field(ge=0, lt=1)]] = (),
    prices: Mapping[str, NonNegativeFloat] | None = None,
    since: datetime | int | None = None,
    report_from: datetime | int | None = None,
    label_delay_days: NonNegativeFloat | None = None,
    train_hours: PositiveFloat | None = None,
    change: datetime | int | None = None,
    page: str | None = None,
) -> Backtest:
    """Simulate several retraining policies over the recorded history of one model.

    Args:
        model: name of a file in `models/`.
        policies: such as `never`, `every 30 days`, `on drift`, `OnDrift(confirm=2, of=3)`; the usual ones by default.
        windows: training windows to try with the best of them, such as `90d`, `all`, `half-life 90d`.
        routine_margins: burdens of proof of a routine candidate to try with the best of them, as `Gates` has it.
        prices: of a `retrain`, and of a unit of `error` of one row, in one unit of your own.
        since: the first step; by default as soon as there is enough to learn from. Where rows have the order of landing
            this and the other places in the history are numbers of rows.
        report_from: steps from here on are reported, those before choose; by default the second half.
        label_delay_days: how long after its row a label is taken to be known; by default as it was stored.
        train_hours: how long a training takes; by default as long as it was measured to take.
        change: when the data-generating process is known to have changed.
        page: where the HTML page goes; by default below EVERGREEN_HOME.
    """
    context = open_run(model)
    ingest_new_data(context)
    request = {
        "policies": policies,
        "windows": windows,
        "routine_margins": routine_margins,
        "prices": prices or {},
        "since": since,
        "report_from": report_from,
        "train_time": None if train_hours is None else timedelta(hours=train_hours),
        "change": change,
    }
    delay = None if label_delay_days is None else timedelta(days=label_delay_days)
    with executor(context.settings) as pool:
        report = replay(context, request, delay, pool, workers(context.settings))
    report_backtest(context, report, page)
    return report
