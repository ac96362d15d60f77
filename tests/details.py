"""Details of decisions for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evergreen.decision import Kind
from evergreen.details.canary import CanaryDetail, CanaryQuestion
from evergreen.details.decision import (
    ApprovalDetail,
    Detail,
    DriftResult,
    EscalationDetail,
    Ingested,
    MetricResult,
    ReconciledDetail,
    RetrainDetail,
    SnapshotFacts,
    SuppressedDetail,
)
from evergreen.details.watch import DataDetail, DriftDetail, PerformanceDetail, ShadowDetail, SkewDetail, SkewedColumn
from evergreen.verdicts import Verdict

ASKED = CanaryQuestion("outcome", Verdict.PASS, -0.01, (-0.03, 0.02), 0.2, 150, "It is as good.", "mae")

_DETAILS: Mapping[Kind, Detail] = {
    "drift": DriftDetail(
        share=0.5,
        threshold=0.3,
        columns=("x",),
        report=None,
        confirmed=True,
        failed=(1, 1),
        needed=1,
        answered_by="",
    ),
    "performance": PerformanceDetail("mae", 2.0, (1.5, 2.5), 1.0, 200),
    "shadow": ShadowDetail("mae", gain=-2.0, rows=200, champion=2, former=1, promotion="m1"),
    "skew": SkewDetail(
        rows=200,
        of=200,
        features=2,
        columns=(SkewedColumn("x", Verdict.FAIL, 200, 50, 0.15, "missing online", ("7",)),),
        max_share=0.01,
        look=1,
        since="2026-01-01T00:00:00+00:00",
    ),
    "data": DataDetail(7),
    "retrain": RetrainDetail(
        model="toy",
        outcome="rejected",
        version=2,
        champion=1,
        reason="drift",
        explanation="worse",
        metric=MetricResult("mae", 1.0),
        drift=DriftResult("FAIL", 0.5, ("x",), "x drifted"),
        snapshot=SnapshotFacts(3, 100, "digest", None, None),
        decision_id="d1",
        ingest=Ingested(False, 10),
    ),
    "approval": ApprovalDetail(2, "Ann"),
    "escalation": EscalationDetail(3, "rejected", "d1"),
    "suppressed": SuppressedDetail("d1"),
    "reconciled": ReconciledDetail("d1", "r1"),
    "canary": CanaryDetail(2, 1, "d1", 1, (5, 25), 25, rows=200, questions=(ASKED,)),
}


def detail_of(kind: Kind, **facts: Any) -> Any:
    """A detail of a kind, with the facts that the test is about."""
    return replace(_DETAILS[kind], **facts)
