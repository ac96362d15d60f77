"""What a model file does not protect from, in sentences with the field that would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from evergreen.data.coercion import kind_of
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from pandera.pandas import Column

_SHOWN = 5


def describe_gaps(spec: ModelSpec, columns: Mapping[str, Column]) -> Iterator[str]:
    """Everything that would pass unnoticed, or act without a person; `columns` are those of the contract."""
    yield from _gaps_of_judgement(spec)
    yield from _gaps_of_rows(spec)
    yield from _gaps_of_ranges(spec, columns)
    yield from _gaps_of_watch(spec)


def _gaps_of_judgement(spec: ModelSpec) -> Iterator[str]:
    name = spec.metric.name
    if spec.metric.bound is None:
        yield (
            f"There is no absolute bound: a first candidate that beats a constant prediction is promoted, whatever its "
            f"{name} is. Set Metric(name={name!r}, bound=...)."
        )
    if not spec.slices:
        yield (
            "There are no slices: a candidate that is better on the whole and worse for one group is promoted. Set "
            "slices=(...)."
        )
    if spec.gates.overfit is None:
        yield "There is no bound on overfitting: training and holdout may lie far apart. Set Gates(overfit=...)."
    if spec.approval.mode == "auto":
        yield (
            "There is no approval: what passes its gates is in production without a person. Set "
            'approval=Approval(mode="manual").'
        )


def _gaps_of_rows(spec: ModelSpec) -> Iterator[str]:
    if not spec.keys:
        yield (
            "There are no keys: a row that comes in two files counts twice, a corrected row replaces nothing, and "
            "labels cannot come later than their rows. Set keys=(...)."
        )
    if spec.time is None and spec.order is None:
        yield (
            "There is no time column: a random holdout mixes old and new rows, so that it promises more than the "
            "future brings where the data change; performance has one window. Set time=..., or order='rows' where what "
            "landed first is older."
        )
    elif spec.holdout.strategy == "random":
        yield (
            f"The holdout is random although rows have {'a time' if spec.time else 'an order'}: a candidate is judged "
            'on the past it learned from. Set Holdout(strategy="latest").'
        )
    if spec.labels is None:
        yield (
            "Labels are taken to come with their rows. Where they come later, measured performance is that of the rows "
            "that have one. Set labels=Labels(...)."
        )
    if spec.time is not None and spec.lateness is None:
        yield "There is no limit on late rows: one of any age is taken. Set lateness=..."


def _gaps_of_ranges(spec: ModelSpec, columns: Mapping[str, Column]) -> Iterator[str]:
    """Numbers that the contract takes whatever they are."""
    numbers = [name for name in (*spec.features.numeric, spec.target) if name in columns]
    free = [name for name in numbers if kind_of(columns[name].dtype) in ("integer", "number")]
    free = [name for name in free if not columns[name].checks]
    if free:
        more = f" and {len(free) - _SHOWN} more" if len(free) > _SHOWN else ""
        yield (
            f"No range is checked for {', '.join(free[:_SHOWN])}{more}: a value in another unit is taken. Give the "
            "column a check in contract(), such as pa.Check.in_range(0, 100)."
        )


def _gaps_of_watch(spec: ModelSpec) -> Iterator[str]:
    unwatched = [name for name in spec.features.all if name not in spec.watched]
    if unwatched:
        more = f" and {len(unwatched) - _SHOWN} more" if len(unwatched) > _SHOWN else ""
        names = f"{', '.join(unwatched[:_SHOWN])}{more}"
        yield f"Drift does not look at {names}: they are not in DriftThresholds(columns=...)."
    for trigger, event in (("drift", "drifted data is"), ("performance", "a worse champion is")):
        if trigger not in spec.retraining.triggers:
            yield f"No retraining follows on {trigger}: {event} only reported. Name it in retraining.triggers."
    if not spec.shadow.windows:
        yield "No promotion is compared with the champion before it, so that a harmful one is not taken back by itself."
