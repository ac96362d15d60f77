"""What asks for a retraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        reason: why; one of `ROUTINE`, or a ground of its own.
        decision_id: the stored decision that this answers; None lets it follow from the data.
        force: retrain although there is nothing new, or although the decision was answered.
        params: pipeline parameters to use instead of searching; None searches.
        event_id: the event that started this, where one did.
        adopts: `state_sha256` of a stored model that is judged in place of one that is fitted; empty where one is.
    """

    reason: str = "manual"
    decision_id: str | None = None
    force: bool = False
    params: Mapping[str, Any] | None = None
    event_id: str | None = None
    adopts: str = ""
