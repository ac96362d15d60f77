"""The queries of a dashboard, as Grafana sends them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any


def queries(whole: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each query of a dashboard with the panel or the event that it is of."""
    for panel in whole["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for event in whole["annotations"]["list"]:
        yield event["name"], event["expr"]


def as_prometheus_is_asked(expr: str, model: str = "toy", window: str = "5m") -> str:
    """A query with what Grafana puts in the place of its variables."""
    asked = expr.replace("$__rate_interval", window).replace("$model", model)
    assert not re.search(r"\$\w+", asked), asked
    return asked
