"""Adopt a version of another environment: carry it over, run the gates on this one's newest rows, promote if it passed.

Started by hand, where the version is to go: no environment writes into another one. From the gates on it is the way of
a candidate that was trained here. A rerun after a crash ends as an uninterrupted run would.
"""

from __future__ import annotations

from prefect import flow

from evergreen.details.decision import RetrainDetail
from evergreen.training.request import Request
from flows.shared.approval import await_approval, suspended_result
from flows.shared.conclude import conclude
from flows.shared.opening import ingest_new_data, open_run
from tasks.adopt import carry_over, read_offer
from tasks.detect import detect
from tasks.gate import gate
from tasks.plan import plan
from tasks.promote import promote
from tasks.register import register


@flow(flow_run_name="adopt-{model}-{version}-from-{source}", timeout_seconds=3600)
def adopt(model: str, version: int, source: str) -> RetrainDetail:
    """Adopt one version.

    Args:
        model: name of a file in `models/`.
        version: number of the version in the environment that it is in.
        source: that environment, as EVERGREEN_SEES names it; `nameless` for the one without a name.
    """
    context = open_run(model)
    suspended = suspended_result(context)
    if suspended is not None:
        return await_approval(context, suspended)
    with context.hold("retrain", wait=0):
        offer = read_offer(context, source, version)
        ingested = ingest_new_data(context)
        todo = plan(context, Request(offer.reason, adopts=offer.state_sha256))
        if todo.settled is not None:
            return conclude(context, todo, ingested)
        drift = detect(context, todo.champion, todo.snapshot)
        adopted = todo.resume or register(context, carry_over(context, todo, offer))
        judgement = gate(context, todo, adopted, drift)
        outcome = promote(context, adopted, judgement, offer.reason)
        result = conclude(context, todo, ingested, outcome, adopted, drift, judgement)
    return await_approval(context, result)
