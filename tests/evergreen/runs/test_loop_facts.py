"""What is stored of a model's loop, read as one state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.decision import Decision
from evergreen.ingest.ingest import ingest
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.runs import loop_facts
from evergreen.runs.history import Run, Runs
from evergreen.runs.loop_facts import LoopFacts, read_facts, stored_state
from evergreen.settings import Settings
from tests.conftest import NOW, Given
from tests.details import detail_of


def read(settings: Settings, spec: Any) -> LoopFacts:
    return read_facts(settings, "toy", lambda _name: spec)


def test_a_model_of_which_nothing_is_stored_has_no_tables_afterwards(
    settings: Settings, make_spec: Callable[..., Any]
) -> None:
    """To be looked at makes nothing."""
    facts = read(settings, make_spec())
    assert (facts.problem, facts.rows, facts.newest, facts.runs) == ("", 0, {}, {})
    assert facts.ledger.champion is None
    assert not Path(settings.lake_uri).exists()


def test_landed_and_refused_rows_are_counted(
    settings: Settings, make_spec: Callable[..., Any], make_rows: Callable[..., pd.DataFrame]
) -> None:
    """A batch that was refused whole is one batch; rows count by the class of what is wrong with them."""
    good = make_rows(40)
    bad = good.assign(id=good["id"] + 100, x=["?", *good["x"][1:].astype(str)])
    spec = make_spec(source=Given(good=good, bad=bad, torn=good.drop(columns="x")), max_rejected=0.5)
    ingest(spec, settings, now=NOW)
    facts = read(settings, spec)
    assert (facts.rows, facts.batches_refused, facts.rows_refused) == (79, 1, {"number": 1})
    assert facts.data_end == good["at"].max().tz_localize("UTC").to_pydatetime()


def test_the_worst_column_and_the_newest_run_of_each_flow(settings: Settings, make_spec: Callable[..., Any]) -> None:
    """Of the newest report, by multiples of the thresholds."""
    ledger, runs = Decisions(settings.lake_uri, "toy"), Runs(settings.lake_uri, "toy")
    ledger.record(Decision("d", "drift", NOW, "FAIL", 1, 3, "digest", "why", detail_of("drift")))
    frame = pd.DataFrame(
        {
            "decision_id": ["d", "d", "d", "other"],
            "at": pd.Timestamp(NOW),
            "champion": 1,
            "column": ["x", "kind", "flat", "x"],
            "kind": "number",
            "verdict": "FAIL",
            "score": [0.2, 0.9, None, 5.0],
            "threshold": [0.1, 0.3, 0.1, 0.1],
            "method": "psi",
            "missing": 0.0,
            "unseen": 0.0,
            "weight": 1.0,
            "reason": "",
        }
    )
    ledger.scores.append(frame, "scores")
    run = Run("monitor", "run-1", NOW, 4.0, 200, 1.5, "drift FAIL", 2.5)
    for each in (run, replace(run, flow_run="run-2", at=NOW.replace(hour=3)), replace(run, flow="score", flow_run="s")):
        runs.record(each)
    facts = read(settings, make_spec())
    assert facts.worst == ("kind", pytest.approx(3.0))
    assert {flow: each.flow_run for flow, each in facts.runs.items()} == {"monitor": "run-2", "score": "s"}


def test_what_changes_while_it_is_read_is_read_again(
    settings: Settings, make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions are read before the log of promotions: a promotion in between is seen with its decision."""
    spec, ledger = make_spec(), Decisions(settings.lake_uri, "toy")
    log = Promotions(settings.lake_uri, "toy")
    ledger.record(Decision("r1", "retrain", NOW, "rejected", None, 1, "digest", "why", detail_of("retrain")))
    look_at_ledger, calls = loop_facts.look_at_ledger, []

    def promote_meanwhile(*words: Any) -> Any:
        found = look_at_ledger(*words)
        if not calls:
            calls.append(1)
            ledger.record(Decision("d", "drift", NOW, "PASS", 1, 3, "digest", "why", detail_of("drift")))
            log.write(Move("m", NOW, "promote", "done", None, 1, "", "d", "retrain"))
        return found

    monkeypatch.setattr(loop_facts, "look_at_ledger", promote_meanwhile)
    facts = read(settings, spec)
    assert facts.ledger.champion == 1
    assert facts.newest["drift"].outcome == "PASS"


def test_any_write_changes_the_state(settings: Settings, make_spec: Callable[..., Any]) -> None:
    """So that what was read is kept as long as nothing was written."""
    before = stored_state(settings, "toy")
    assert stored_state(settings, "toy") == before
    Runs(settings.lake_uri, "toy").record(Run("monitor", "run-1", NOW, 4.0, 200, 1.5, ""))
    assert stored_state(settings, "toy") != before
    assert stored_state(settings, "toy", ("decisions",)) == stored_state(settings, "other", ("decisions",))


def test_a_torn_table_is_a_problem_of_its_model(settings: Settings, make_spec: Callable[..., Any]) -> None:
    """One sentence that names the table, and nothing else is told."""
    ledger = Decisions(settings.lake_uri, "toy")
    ledger.record(Decision("d", "drift", NOW, "PASS", 1, 3, "digest", "why", detail_of("drift")))
    for path in (Path(ledger.table.uri) / "_delta_log").glob("*.json"):
        path.write_text("{ torn")
    facts = read(settings, make_spec())
    assert "decisions" in facts.problem
    assert facts.spec is None
