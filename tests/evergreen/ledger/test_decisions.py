"""A decision is kept once, under an id that follows from what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision, decision_id
from evergreen.drift.check import drift_decision_id
from evergreen.drift.compare import ColumnDrift
from evergreen.drift.report import DriftReport
from evergreen.ledger.decisions import Decisions
from evergreen.settings import Settings
from evergreen.spec.monitoring import DriftThresholds
from evergreen.verdicts import Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SNAPSHOT = Snapshot("table", 7, 100, None, None, 100, "ab" * 16)
ENTRY = Decision("id1", "drift", NOW, "FAIL", 3, 7, "digest", "it drifted", {"share": 0.5, "columns": ["x"]}, "run")


@pytest.fixture
def decisions(settings: Settings) -> Decisions:
    """An empty ledger."""
    return Decisions(settings.lake_uri, "toy")


def test_an_empty_ledger_answers(decisions: Decisions) -> None:
    """Nothing was ever decided: nothing is found, and no table is needed for that."""
    assert decisions.find("drift", "id1") is None
    assert decisions.last("drift") is None
    assert decisions.all("retrain") == ()


def test_a_decision_comes_back_as_it_was(decisions: Decisions) -> None:
    """What was recorded is read back whole, also without a champion."""
    first = replace(ENTRY, id="id0", kind="retrain", champion=None, flow_run="")
    decisions.record(ENTRY)
    decisions.record(first)
    assert decisions.find("drift", "id1") == ENTRY
    assert decisions.find("retrain", "id0") == first
    assert decisions.find("retrain", "id1") is None


def test_the_same_question_is_one_entry(decisions: Decisions) -> None:
    """A decision that is recorded again stays as it was; of two kinds, an id may be in both."""
    decisions.record(ENTRY)
    decisions.record(replace(ENTRY, outcome="PASS", at=NOW + timedelta(hours=1)))
    decisions.record(replace(ENTRY, kind="retrain"))
    assert decisions.all("drift") == (ENTRY,)
    assert len(decisions.all("retrain")) == 1


def test_the_newest_is_last(decisions: Decisions) -> None:
    """Entries are told in the order of their time, whenever they were written."""
    for hours in (2, 3, 1):
        decisions.record(replace(ENTRY, id=f"id{hours}", at=NOW + timedelta(hours=hours)))
    assert [entry.id for entry in decisions.all("drift")] == ["id1", "id2", "id3"]
    last = decisions.last("drift")
    assert last is not None
    assert last.id == "id3"


def test_an_id_follows_from_what_it_is_about() -> None:
    """Another model, champion, part, data, window or policy is another question; nothing else is."""
    ids = {
        decision_id("toy", 1, "retrain", "a"),
        decision_id("toy", None, "retrain", "a"),
        decision_id("toy", 1, "retrain", "b"),
        decision_id("other", 1, "retrain", "a"),
        decision_id("toy", 1, "retrain", "a", ""),
    }
    assert len(ids) == 5
    assert all(len(found) == 16 for found in ids)
    policy = DriftThresholds()
    asked = drift_decision_id("toy", 1, SNAPSHOT, "2025", policy)
    assert asked == drift_decision_id("toy", 1, replace(SNAPSHOT, version=9), "2025", DriftThresholds())
    others = {
        drift_decision_id("toy", 2, SNAPSHOT, "2025", policy),
        drift_decision_id("toy", 1, replace(SNAPSHOT, digest="cd" * 16), "2025", policy),
        drift_decision_id("toy", 1, SNAPSHOT, None, policy),
        drift_decision_id("toy", 1, SNAPSHOT, "2025", DriftThresholds(threshold=0.2)),
    }
    assert asked not in others
    assert len(others) == 4


def test_the_scores_of_a_report_are_kept_once(decisions: Decisions) -> None:
    """Every column of a report is a row, also one without a score; the same report again adds none."""
    scored = ColumnDrift("x", "numeric", Verdict.FAIL, 0.4, "psi", 0.25, 0.0, 0.1, 0.0, "far")
    unscored = replace(scored, name="z", verdict=Verdict.INCONCLUSIVE, score=None, threshold=None)
    report = DriftReport(Verdict.FAIL, 0.5, 0.3, (scored, unscored), 100, 100, "it drifted")
    for _ in range(2):
        decisions.record_scores("id1", NOW, 3, report.columns)
    decisions.record_scores("id2", NOW, 3, ())
    kept = decisions.scores.read().sort_values("column")
    assert kept["column"].tolist() == ["x", "z"]
    assert kept["score"].tolist() == [0.4, pytest.approx(float("nan"), nan_ok=True)]
    assert kept["verdict"].tolist() == ["FAIL", "INCONCLUSIVE"]
    assert set(kept["decision_id"]) == {"id1"}
