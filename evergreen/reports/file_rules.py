"""What a model file asks for, in sentences: split, training, metric, gates, drift, performance, retraining."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from evergreen.markdown import many, number
from evergreen.spec.canary import canary_of
from evergreen.spec.fields import Rows
from evergreen.spec.model import ModelSpec
from evergreen.spec.policy import name_of


def describe_task(spec: ModelSpec) -> Iterator[str]:
    """What is predicted, and what a row is."""
    yield f"It predicts {spec.target!r}: {spec.task}."
    if spec.keys:
        yield f"A row is named by {_names(spec.keys)}; one with a known key replaces the earlier one."
    if spec.time is not None:
        zone = f"; a time without an offset is of {spec.timezone}" if spec.timezone else ", with an offset in the data"
        yield f"The time of a row is in {spec.time!r}{zone}."
    if spec.order == "rows":
        yield "Rows have the order in which they landed: what landed first is older."
    if spec.labels is not None:
        yield f"Labels come later, from a {type(spec.labels.source).__name__} of their own."
    yield f"A batch of which more than {spec.max_rejected:.0%} of the rows break the contract is refused whole."


def describe_split(spec: ModelSpec) -> Iterator[str]:
    """Which rows judge, and which are learned from."""
    holdout, training = spec.holdout, spec.training
    if holdout.strategy == "random":
        yield f"A random {holdout.share:.0%} of the rows judge a candidate (seed {holdout.seed})."
    elif holdout.strategy == "latest":
        yield f"The newest {holdout.share:.0%} of the rows judge a candidate."
    else:
        recent = f" of the last {_span(holdout.recent)}" if holdout.recent else ""
        yield f"Every {_ordinal(holdout.every)} piece of {_span(holdout.block)}{recent} judges a candidate."
    if holdout.gap is not None:
        yield f"Rows within {_span(holdout.gap)} of such a row are neither learned nor judged."
    yield f"With fewer than {many(holdout.min_rows, 'such row')} the gates prove nothing."
    window = f"the last {_span(training.last)}" if training.last else "all of the history"
    weighs = f"; a row {_span(training.half_life)} old counts half" if training.half_life else ""
    yield f"A candidate learns from {window}, of at least {many(training.min_rows, 'row')}{weighs}."
    if training.refit:
        yield (
            "The gates judge this fit. What is deployed is fitted once more with the same parameters, and learns the "
            "rows that judged as well."
        )
    if spec.search.size > 1:
        yield (
            f"{spec.search.size} combinations of {_names(tuple(spec.search.grid))} are tried in {spec.search.folds} "
            "folds each."
        )


def describe_gates(spec: ModelSpec) -> Iterator[str]:
    """The metric, and what a candidate has to prove."""
    metric, gates = spec.metric, spec.gates
    better = "larger" if metric.kind.greater_is_better else "smaller"
    own = ", a function of the model file" if metric.function else ""
    yield f"The metric is {metric.name}{own}: {better} is better."
    if metric.bound is not None:
        worst = "at least" if metric.kind.greater_is_better else "at most"
        yield f"It has to be {worst} {number(metric.bound)}, and better than a constant prediction."
    else:
        yield "It has to be better than that of a constant prediction."
    if gates.baseline is not None:
        yield "It has to be better than that of the rule that the model file names as baseline."
    if gates.persistence == "beat":
        yield f"It has to be better than that of repeating the last known label{_season(spec)}."
    elif gates.persistence == "tell":
        yield f"It is told beside that of repeating the last known label{_season(spec)}."
    margin = f"not to be more than {gates.margin:.1%} worse" if gates.margin else "to be better"
    candidate = "A candidate" if gates.routine_margin is None else "A new recipe"
    yield f"{candidate} has to be proven {margin} than the champion, at a level of {gates.level:g}."
    if gates.routine_margin is not None:
        yield (
            f"The same recipe on newer rows has to be proven not to be more than {gates.routine_margin:.1%} worse, and "
            "must not be proven worse at all."
        )
    if spec.time is not None and gates.blocks == "measured":
        yield "Its interval counts days whose errors are alike as one."
    elif spec.order == "rows":
        alike = ", and stretches whose errors are alike as one" if gates.blocks == "measured" else ""
        yield f"Its interval counts stretches of rows{alike}."
    if spec.slices:
        yield (
            f"No value of {_names(spec.slices)} with {many(gates.slice_min_rows, 'row')} or more may be proven more "
            f"than {gates.slice_margin:.0%} worse."
        )
    if gates.overfit is not None:
        yield f"Training and holdout may differ by {number(gates.overfit)} at most."
    yield f"A prediction takes {number(gates.latency_ms)} ms at most, the stored model {number(gates.size_mb)} MB."
    if gates.tags:
        yield f"The tags {_names(gates.tags)} have to be set."
    if gates.description:
        yield "The model file has to say what the model is for."


def describe_watch(spec: ModelSpec) -> Iterator[str]:
    """How drift and performance are watched."""
    drift, performance = spec.drift, spec.performance
    columns = f"{_names(spec.watched)} and the prediction" if drift.columns else "every feature and the prediction"
    yield f"Drift compares {columns} by {drift.method}, with a threshold of {number(drift.threshold)}."
    weighed = " of the importance" if drift.weigh == "importance" else " of them"
    confirmed = f", and counts when {drift.confirm} of {many(drift.of, 'report')} fail" if drift.of > 1 else ""
    yield f"A report fails when {drift.share:.0%}{weighed} drifted{confirmed}; it needs {many(drift.min_rows, 'row')}."
    ordered = spec.time is not None or spec.order is not None
    window = f" windows of {_span(performance.window)}" if ordered else ""
    yield (
        f"Performance is measured on{window or ' rows'} of which {performance.coverage:.0%} have their label, and "
        f"fails when the error is proven to be {performance.tolerance:.0%} above the one at promotion."
    )
    if spec.shadow.windows:
        windows = many(spec.shadow.windows, "window") if ordered else "one window"
        back = ", and is taken back by itself if it is worse" if spec.shadow.rollback else ""
        yield f"A promotion is compared with the former champion in {windows}{back}."


def describe_retraining(spec: ModelSpec) -> Iterator[str]:
    """When it is retrained, and who lets a candidate into production."""
    retraining = spec.retraining
    if retraining.policy is not None:
        yield f"The policy decides when to retrain: {name_of(retraining.policy)}."
    elif retraining.triggers:
        starts = "starts" if len(retraining.triggers) == 1 else "start"
        yield f"Beside a schedule, {_names(retraining.triggers, quoted=False)} {starts} a retraining."
    else:
        yield "Only a schedule or a person starts a retraining."
    if retraining.triggers:
        yield f"After one, the next one for the same trigger waits for {_span(retraining.cooldown)}."
    escalated = many(retraining.escalate_after, "retraining")
    yield f"A person is told when {escalated} in a row brought no new champion."
    if spec.approval.mode == "manual":
        yield f"A person approves a candidate; the run waits {_span(spec.approval.timeout)} for that."
    elif spec.approval.mode == "canary":
        canary = canary_of(spec)
        shares = ", ".join(f"{share} %" for share in canary.steps)
        how = f"answers {shares} of the requests, step by step" if canary.mode == "steps" else "predicts in the shadow"
        yield f"A candidate meets live traffic first: it {how}, and has {_span(canary.budget)} to prove itself."


def describe_serving(spec: ModelSpec) -> Iterator[str]:
    """What a request brings; nothing of a model that is not served online."""
    serve = spec.serve
    if serve is None:
        return
    if spec.prepare is not None and serve.rows == "arriving":
        yield "It is served over HTTP; a request brings the columns as they arrive, and prepare() runs on them."
    else:
        yield "It is served over HTTP; a request brings the columns of the contract that are features."
    if serve.lookup is not None:
        of = f"Of {_names(serve.lookup.columns)}, what" if serve.lookup.columns else "What"
        yield f"{of} a request leaves out is looked up by {serve.lookup.key!r}."
    if serve.log < 1:
        yield f"Of the requests {serve.log:.0%} are kept; only these can be held against their labels."
    if spec.keys and serve.log and spec.skew.max_share < 1:
        yield (
            f"What was asked is compared with what lands later by {_names(spec.keys)}: a feature that is proven to "
            f"differ in more than {spec.skew.max_share * 100:.3g}% of the rows is told."
        )


def _season(spec: ModelSpec) -> str:
    return ", and the label of a season ago" if spec.time is not None else ""


def _names(names: tuple[str, ...], *, quoted: bool = True) -> str:
    shown = [repr(name) if quoted else name for name in names]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _span(length: timedelta | Rows | None) -> str:
    """A length of time in the largest unit that divides it, or so many rows."""
    if isinstance(length, Rows):
        return str(length)
    seconds = (length or timedelta(0)).total_seconds()
    for unit, size in (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size and seconds % size == 0 and (unit != "week" or seconds < 4 * 7 * 86_400 * 3):
            return many(int(seconds // size), unit)
    return f"{seconds:g} seconds"


def _ordinal(place: int) -> str:
    return {2: "second", 3: "third"}.get(place, f"{place}th")
