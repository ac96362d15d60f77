"""The names of what belongs to a model."""

from __future__ import annotations

import pytest

from evergreen.naming import dashed


@pytest.mark.parametrize(
    ("what", "model", "name"),
    [("retrain", "bike_demand", "retrain-bike-demand"), ("drift-report", "iris", "drift-report-iris")],
)
def test_a_name_holds_no_underscore(what: str, model: str, name: str) -> None:
    """Dashes only: Prefect refuses an artifact's key with an underscore."""
    assert dashed(what, model) == name
