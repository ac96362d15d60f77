"""Whether a retraining has anything to do, and what it is: the question that comes before any fitting.

One retrain for one decision: a decision that was answered is not answered again, and a version that a killed run left
behind is found by its decision and taken on from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.data.split import split_window
from evergreen.data.windows import ROW, Window, order_column, training_window
from evergreen.decision import Decision, decision_id
from evergreen.details.decision import Outcome
from evergreen.errors import DataError, EvergreenError
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.promotions import PromotionLog
from evergreen.markdown import many
from evergreen.registry.lineage import against, lineage, params_text, with_params
from evergreen.registry.model_registry import ModelRegistry
from evergreen.registry.promotion import Lock, require_consistent, settle
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table
from evergreen.training.plan_checks import PLAN_CHECKS, ROUTINE, PlanFacts
from evergreen.training.predict import labelled
from evergreen.training.request import Request

Counts = tuple[int, int, str | int | None]
CountRows = Callable[[ModelSpec, Observations, Window], Counts]
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a retraining is going to do.

    Attributes:
        settled: what it comes to without any fitting; None where there is something to fit.
        explanation: why, where it is settled.
        resume: a version that this decision made before; None to make one.
        judged: what its gates found still stands: it was held against the present champion.
        answer: the recorded decision, where it was answered before, or was not to be.
        learned_end: the time of the newest labelled row of the window, or its number where rows have the order of
            landing; None without an order or a label.
    """

    decision_id: str
    request: Request
    snapshot: Snapshot
    window: Window
    champion: Version | None
    train_rows: int
    holdout_rows: int
    settled: Outcome | None = None
    explanation: str = ""
    resume: Version | None = None
    judged: bool = False
    answer: Decision | None = None
    learned_end: str | int | None = None


def plan_retraining(
    observations: Observations,
    spec_hash: str,
    registry: ModelRegistry,
    promotions: PromotionLog,
    ledger: Ledger,
    request: Request,
    *,
    now: datetime,
    lock: Lock,
    refused: Table | None = None,
    count: CountRows | None = None,
) -> Plan:
    """Decide what a retraining has to do.

    Args:
        observations: the model's rows.
        spec_hash: of the model file's code.
        registry: holds the versions.
        promotions: what a killed run left open in it is settled first.
        ledger: holds the decisions.
        request: what asks for the retraining.
        now: logical time (aware, UTC).
        lock: the model's promotion lock; held only where there is something to settle.
        refused: the quarantine, for the message where there are no rows at all.
        count: `count_rows`, or what knows its answers already.

    Raises:
        DataError: there are no rows at all.
        RegistryError: the log names another champion than the registry.
        LostError: the champion is gone, or something of it.
        ModelFileError: something is to be trained, and the champion holds a type that nobody vouches for.
    """
    spec = observations.spec
    settle(registry, promotions, now=now, lock=lock)
    champion = registry.champion(spec.name)
    require_consistent(registry, champion, promotions)
    if champion is not None:
        registry.require_stored(champion)
    if champion is not None and _is_unrecorded(champion, promotions, ledger):
        return _unrecorded(spec, registry, observations, champion)
    snapshot = observations.snapshot()
    if snapshot.rows == 0:
        raise _nothing(spec, refused)
    window = training_window(spec, snapshot, now)
    decision = _id(spec, spec_hash, ledger, champion, snapshot, request, _accepted_loss(promotions))
    facts = PlanFacts(spec, spec_hash, registry, ledger, champion, snapshot, request, decision, now)
    for check in PLAN_CHECKS:
        settled = check(facts)
        if settled is not None:
            outcome, explanation, answer = settled
            return Plan(decision, request, snapshot, window, champion, 0, 0, outcome, explanation, answer=answer)
    if champion is not None:
        # Its gates load the champion, and would leave a candidate that nobody judges.
        registry.require_trusted(champion, spec)
    learned, held, end = (count or count_rows)(spec, observations, window)
    # What is not fitted here needs rows for the baseline alone.
    least = 1 if request.adopts else spec.training.min_rows
    short = learned < least
    resume = registry.find(spec.name, decision)
    if resume is not None and (resume.tags.spec_hash != spec_hash or resume.tags.cleaned is not None):
        # The model file was changed since, most likely because of what the version came to; or its files are gone.
        resume = None
    return Plan(
        decision,
        request,
        snapshot,
        window,
        champion,
        learned,
        held,
        "inconclusive" if short else None,
        _short(spec, snapshot, learned, held, least) if short else "",
        resume,
        resume is not None and resume.tags.compared_with == against(champion.number if champion else None),
        learned_end=end,
    )


def _short(spec: ModelSpec, snapshot: Snapshot, learned: int, holdout_rows: int, least: int) -> str:
    """Why too few rows can be learned from."""
    if learned + holdout_rows == 0:
        rows = many(snapshot.rows, "row")
        return f"none of the {rows} has a known {spec.target!r} by now: there is nothing to learn from"
    return f"{many(learned, 'training row is', 'training rows are')} fewer than the minimum of {least}"


def _nothing(spec: ModelSpec, quarantine: Table | None) -> DataError:
    """Why there are no rows: what was refused last, if anything was."""
    exists = quarantine is not None and quarantine.exists()
    refused = quarantine.read(["origin", "row", "reason", "at"]) if quarantine is not None and exists else None
    if refused is None or refused.empty:
        return DataError(
            f"{spec.name}: there are no rows to train on.", "Put data where the model file's source looks."
        )
    last = refused.sort_values("at", kind="stable").iloc[-1]
    where = last["origin"] if last["row"] < 0 else f"{last['origin']}, row {last['row']}"
    return DataError(
        f"{spec.name}: there are no rows to train on; {where} is in quarantine: {last['reason']}.",
        "Fix the file or the contract in the model file, then run it again.",
    )


def _accepted_loss(promotions: PromotionLog) -> str:
    """The id of the loss since which there is no champion; empty where the last move was another one."""
    moves = promotions.done()
    return moves[-1].id if moves and moves[-1].action == "loss" else ""


def _is_unrecorded(champion: Version, promotions: PromotionLog, ledger: Ledger) -> bool:
    """Whether the champion's own retraining has not told of it yet; a rollback has told of itself."""
    moves = promotions.done()
    if not moves or moves[-1].action != "promote":
        return False
    return ledger.find("retrain", champion.tags.decision_id) is None


def _unrecorded(spec: ModelSpec, registry: ModelRegistry, observations: Observations, champion: Version) -> Plan:
    """A run was killed after it had moved the alias and before it had told: tell what it found."""
    tags = champion.tags
    rival = None if tags.compared_with == "none" else registry.lookup(spec.name, int(tags.compared_with))
    snapshot = observations.snapshot(tags.data_version)
    window = training_window(spec, snapshot)
    learned, held, _ = count_rows(spec, observations, window)
    request = Request(reason=tags.reason, decision_id=tags.decision_id)
    return Plan(tags.decision_id, request, snapshot, window, rival, learned, held, resume=champion, judged=True)


def count_rows(spec: ModelSpec, observations: Observations, window: Window) -> Counts:
    """Rows to learn from, rows to judge by, and the place of the newest of both: its time, or its number."""
    needed = [spec.target, *([spec.time] if spec.time and spec.time != spec.target else [])]
    # Without keys a row is known by its whole content.
    frame = labelled(spec, window.read(observations, needed if spec.keys else None))
    split = split_window(observations, frame)
    column, end = order_column(spec), None
    if column is not None and len(frame):
        newest = frame[column].max()
        end = int(newest) if column == ROW else newest.isoformat()
    return int(split.train.sum()), int(split.holdout.sum()), end


def _id(
    spec: ModelSpec,
    spec_hash: str,
    ledger: Ledger,
    champion: Version | None,
    snapshot: Snapshot,
    request: Request,
    loss: str,
) -> str:
    """The decision that was named, or one that follows from data, code and ground; forced ones are counted.

    After a `loss` the same data and code are another question: what answered it before is gone.

    Raises:
        EvergreenError: the decision that was named is not an id.
    """
    if request.decision_id is not None and not _ID.fullmatch(request.decision_id):
        raise EvergreenError(f"{request.decision_id[:60]!a} is not the id of a decision.", "See: evergreen status NAME")
    number = champion.number if champion else None
    ground = "" if request.reason in ROUTINE else request.reason
    parts = snapshot.digest, spec_hash, ground, params_text(request.params), *filter(None, (loss, request.adopts))
    base = request.decision_id or decision_id(spec.name, number, "retrain", *parts)
    if not request.force:
        return base
    # An attempt that a killed run left without an answer is taken on.
    attempt = 0
    while ledger.find("retrain", f"{base}-{attempt}") is not None:
        attempt += 1
    return f"{base}-{attempt}"


def lineage_of(
    plan: Plan,
    spec: ModelSpec,
    spec_hash: str,
    recipe: str = "",
    *,
    flow_run: str = "",
    code: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The tags of the version that a plan makes, without Evergreen's prefix.

    `recipe` is the model file's; parameters given by hand that its search does not try make another one of it. `code`
    is as in `lineage`.
    """
    return lineage(
        plan.snapshot,
        decision=plan.decision_id,
        reason=plan.request.reason,
        spec_hash=spec_hash,
        recipe=with_params(recipe, spec, plan.request.params),
        compared_with=plan.champion.number if plan.champion else None,
        params=plan.request.params,
        seed=spec.seed,
        flow_run=flow_run,
        event_id=plan.request.event_id or "",
        learned_end=plan.learned_end if isinstance(plan.learned_end, str) else None,
        learned_row=plan.learned_end if isinstance(plan.learned_end, int) else None,
        known=plan.window.as_of,
        code=code,
    )
