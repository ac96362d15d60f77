"""A decision says what it is about, and what its detail is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from evergreen.decision import Decision
from evergreen.details.decision import RetrainDetail
from evergreen.details.watch import DataDetail, DriftDetail, TriggerDetail
from tests.details import detail_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_detail_is_of_the_type_that_is_expected() -> None:
    """Another one is a fault of the code, which names the decision and its kind."""
    decision = Decision("d1", "drift", NOW, "FAIL", 1, 3, "digest", "so", detail_of("drift"))
    assert decision.detail_as(DriftDetail) is decision.detail_as(TriggerDetail) is decision.detail
    with pytest.raises(TypeError, match="Decision d1 of kind drift has a DriftDetail, not a RetrainDetail"):
        decision.detail_as(RetrainDetail)
    with pytest.raises(TypeError):
        decision.detail_as(DataDetail)
