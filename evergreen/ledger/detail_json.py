"""The details of decisions as JSON: how the table, the command line and `why` write them, and how the table reads them.

Rows of older versions are read, too: a key that they lack has its default, and one that is not known is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from evergreen.decision import Kind
from evergreen.details.canary import CanaryDetail
from evergreen.details.decision import (
    ApprovalDetail,
    Detail,
    EscalationDetail,
    Ingested,
    ReconciledDetail,
    RetrainDetail,
    SuppressedDetail,
)
from evergreen.details.watch import DataDetail, DriftDetail, PerformanceDetail, ShadowDetail, SkewDetail, TriggerDetail
from evergreen.errors import EvergreenError

DETAILS: Mapping[Kind, type[Detail]] = {
    "drift": DriftDetail,
    "performance": PerformanceDetail,
    "skew": SkewDetail,
    "shadow": ShadowDetail,
    "data": DataDetail,
    "retrain": RetrainDetail,
    "approval": ApprovalDetail,
    "escalation": EscalationDetail,
    "suppressed": SuppressedDetail,
    "reconciled": ReconciledDetail,
    "canary": CanaryDetail,
}
"""By kind: the type of its details."""


def detail_to_json(detail: Detail) -> dict[str, Any]:
    """The detail as one JSON object, in lists, objects and plain values."""
    told: dict[str, Any] = to_json(detail)
    if isinstance(detail, TriggerDetail) and detail.because is None:
        del told["called"], told["because"]
    for window in told["windows"] if isinstance(detail, PerformanceDetail) else ():
        if window["first_row"] is None:
            del window["first_row"]
    if isinstance(detail, SuppressedDetail) and detail.asked_for is None:
        del told["asked_for"], told["event_id"]
    if isinstance(detail, PerformanceDetail) and not detail.rules:
        del told["rules"]
    if isinstance(detail, ApprovalDetail) and not detail.canary:
        del told["canary"]
    if isinstance(detail, RetrainDetail):
        told["report"] = told["drift"].pop("report")
        told["ingest"] = ingested_to_json(detail.ingest)
    return told


def ingested_to_json(ingested: Ingested) -> dict[str, Any]:
    """What came in; doubts only where there are any."""
    told: dict[str, Any] = to_json(ingested)
    if not ingested.doubts:
        del told["doubts"]
    return told


def detail_from_json(kind: Kind, decision: str, told: Mapping[str, Any]) -> Detail:
    """The detail of a decision, by its kind; `decision` is its id.

    Raises:
        EvergreenError: it lacks a fact that every version has stored, or has one of another type.
    """
    from pydantic import ValidationError

    if kind == "retrain" and isinstance(told.get("drift"), Mapping):
        told = {**told, "drift": {**told["drift"], "report": told.get("report")}}
    try:
        return _reader(kind)(told)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise EvergreenError(
            f"The detail of {kind} decision {decision} cannot be read: {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}.",
            "Restore the table of decisions: it was not written by this version of Evergreen or an older one.",
        ) from None


def to_json(value: Any) -> Any:
    """A frozen type in lists, objects and plain values."""
    if is_dataclass(value):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: to_json(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    return str(value) if isinstance(value, str) else value


@cache
def _reader(kind: Kind) -> Callable[[Mapping[str, Any]], Detail]:
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Detail] = TypeAdapter(DETAILS[kind])
    return adapter.validate_python
