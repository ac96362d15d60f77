"""The ledger tells every check, what was seen, what was decided and what followed; the alias follows from it alone."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evergreen.data.checked_batch import CheckedBatch
from evergreen.decision import Decision, Kind, decision_id, reconciled, suppressed
from evergreen.details.watch import AlsoFigure, WindowFigure
from evergreen.drift.compare import ColumnDrift
from evergreen.drift.report import DriftReport
from evergreen.errors import EvergreenError
from evergreen.evaluation.bootstrap import Estimate
from evergreen.ingest.quarantine import quarantine_batch, quarantine_rows, quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.detail_json import detail_to_json
from evergreen.ledger.promotions import Move, Promotions, champion_at
from evergreen.ledger.timeline import history, read_timeline
from evergreen.ledger.timeline_entries import Entry
from evergreen.performance.check import judge
from evergreen.registry import promotion
from evergreen.settings import Settings
from evergreen.sources.base import Batch
from evergreen.verdicts import Check, Verdict
from tests.details import detail_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK = "2026-01-01 {}:00 UTC: "


def hours(number: float) -> datetime:
    return NOW + timedelta(hours=number)


def found(kind: Any, id_: str, at: float, outcome: str, reason: str = "so", /, **facts: Any) -> Decision:
    """A decision about champion 1 that saw version 3 of the data."""
    detail = detail_of(kind, **({"report": "/r.html"} if kind == "drift" else {}) | facts)
    return Decision(id_, kind, hours(at), outcome, 1, 3, "digest", reason, detail, f"run of {id_}")


def retrained(id_: str, at: float, outcome: str, reason: str = "proven", /, **facts: Any) -> Decision:
    return found("retrain", id_, at, outcome, reason, **facts)


@pytest.fixture
def keep(settings: Settings) -> Callable[..., None]:
    """Store decisions and moves of `toy`: keep(decision, move, ...)."""

    def write(*stored: Decision | Move) -> None:
        for one in stored:
            if isinstance(one, Move):
                Promotions(settings.lake_uri, "toy").write(one)
            else:
                Decisions(settings.lake_uri, "toy").record(one)

    return write


def moved(
    id_: str,
    at: float,
    before: int | None,
    after: int | None,
    *,
    action: Any = "promote",
    phase: Any = "done",
    **more: str,
) -> Move:
    facts = {"reason": "better", "decision_id": "d1", "by": "retrain"} | more
    return Move(id_, hours(at), action, phase, before, after, **facts)


def told(entries: Iterable[Entry], kind: str) -> Entry:
    """The one entry of a kind."""
    (entry,) = [entry for entry in entries if entry.kind == kind]
    return entry


def test_an_empty_ledger(settings: Settings) -> None:
    """Nothing was ever decided: no entries, and no table is made by looking."""
    assert read_timeline(settings, "toy") == ()
    assert history(()) == ()
    assert not settings.root.exists()


def test_a_retraining_that_drift_fired(settings: Settings, keep: Callable[..., None]) -> None:
    """The finding, its retraining, the promotion, whether it helped and the rollback hang together, in their order."""
    harm = {"gain": -0.5, "interval": (-0.7, -0.3), "promotion": "m2", "rollback": True, "final": True}
    keep(
        moved("m1", -5, None, 1, decision_id="d0"),
        found("drift", "d1", 1, "FAIL"),
        retrained("d1", 2, "promoted"),
        moved("m2", 3, 1, 2),
        replace(found("shadow", "s1", 4, "FAIL", "it hurt", **harm), champion=2),
        moved("m3", 5, 2, 1, action="rollback", reason="it hurt (decision s1)", decision_id="d0", by="shadow"),
    )
    entries = read_timeline(settings, "toy")
    assert [entry.kind for entry in entries] == ["promote", "drift", "retrain", "promote", "shadow", "rollback"]
    back = CLOCK.format("05:00") + "version 1 is champion again in place of version 2, by shadow: it hurt (decision s1)"
    reign = (
        CLOCK.format("03:00")
        + "version 2 was promoted in place of version 1, by retrain: its retraining was started for: better",
        CLOCK.format("04:00") + "the check of the promotion says FAIL: it hurt",
        back,
    )
    drift, shadow = told(entries, "drift"), told(entries, "shadow")
    assert drift.decided == "A retraining is called for."
    assert drift.consequences == (CLOCK.format("02:00") + "a retraining made version 2 the champion: proven", *reign)
    assert told(entries, "retrain").consequences == reign
    assert entries[3].consequences == reign[1:]
    assert (shadow.decided, shadow.consequences) == ("Version 1 is to be the champion again.", (back,))
    (gain,) = shadow.measurements
    assert (gain.name, gain.value, gain.bound, gain.interval) == ("gain in mae", -0.5, 0.0, (-0.7, -0.3))
    assert drift.links == {"report": "/r.html", "flow_run": "run of d1"}
    assert [(reign.version, reign.until) for reign in history(entries)] == [(1, hours(3)), (2, hours(5)), (1, None)]


def test_skew_is_told_by_column_and_calls_for_nothing(settings: Settings, keep: Callable[..., None]) -> None:
    """The share of rows in which a column differs against what is accepted; no retraining follows."""
    calm: dict[str, Any] = {"columns": ()}
    keep(found("skew", "k1", 1, "FAIL"), found("skew", "k2", 2, "PASS", **calm), found("skew", "k3", 3, "INCONCLUSIVE"))
    failed, passed, awaited = read_timeline(settings, "toy")
    (seen,) = failed.measurements
    assert (seen.name, seen.value, seen.bound, seen.verdict, seen.reason) == ("x", 0.25, 0.01, "FAIL", "missing online")
    assert failed.decided.startswith("A person is told. No retraining helps")
    assert (failed.consequences, passed.measurements) == ((), ())
    assert (passed.decided, awaited.decided) == ("Nothing is to be done.", "More rows are awaited.")


def test_as_it_stood_at_a_time(settings: Settings, keep: Callable[..., None]) -> None:
    """What came later is neither told nor joined; the last ones are told with what came before them known."""
    keep(found("drift", "d1", 1, "FAIL"), retrained("d1", 2, "promoted"), moved("m1", 3, 1, 2))
    (drift,) = read_timeline(settings, "toy", at=hours(1.5))
    assert drift.consequences == ("nothing yet: no retraining has answered it",)
    assert [entry.kind for entry in read_timeline(settings, "toy", at=hours(2))] == ["drift", "retrain"]
    assert read_timeline(settings, "toy", last=2) == read_timeline(settings, "toy")[1:]
    assert read_timeline(settings, "toy", last=9) == read_timeline(settings, "toy")


def test_at_one_instant_the_cause_comes_first(settings: Settings, keep: Callable[..., None]) -> None:
    """A whole day's work under one logical time is told in the order in which one thing led to another."""
    keep(moved("m1", 1, 1, 2), moved("m2", 1, 2, 1, action="rollback"), moved("m3", 1, 1, 3))
    kinds = [
        "data",
        "drift",
        "performance",
        "skew",
        "shadow",
        "reconciled",
        "suppressed",
        "retrain",
        "approval",
        "escalation",
    ]
    for kind in reversed(kinds):
        keep(found(kind, f"a {kind}", 1, "PASS"))
    quarantine_rows(*_bad_rows(settings))
    entries = read_timeline(settings, "toy")
    assert [entry.kind for entry in entries] == ["quarantine", *kinds, "promote", "rollback", "promote"]
    assert [reign.version for reign in history(entries)] == [2, 1, 3]


def test_why_nothing_followed(settings: Settings, keep: Callable[..., None], make_spec: Callable[..., Any]) -> None:
    """A suspicion, what the model file does not ask for, what another retraining covered, another champion's time."""
    doubt = {"confirmed": False, "failed": (1, 3), "needed": 2}
    keep(
        moved("m1", -9, None, 1),
        found("drift", "suspicion", 1, "FAIL", **doubt),
        found("performance", "errors", 2, "FAIL"),
        found("drift", "early", 3, "FAIL"),
        retrained("other", 4, "rejected", "not better", reason="schedule"),
        found("drift", "late", 5, "FAIL"),
    )
    entries = {entry.id: entry for entry in read_timeline(settings, "toy", spec=make_spec())}
    assert entries["suspicion"].decided == "No retraining: 2 of 3 needed, 1 so far."
    assert entries["errors"].decided == "No retraining: the model file's retraining.triggers do not name performance."
    covered = "nothing of its own: decision early was answered with the later one other: not better"
    assert entries["early"].consequences == (covered,)
    assert entries["late"].consequences == ("nothing yet: no retraining has answered it",)
    keep(moved("m2", 6, 1, 2))
    late = read_timeline(settings, "toy")[-2]
    assert late.consequences == ("nothing: decision late was about version 1, and the champion is version 2 now",)
    (suspicion,) = read_timeline(settings, "toy", at=hours(1), last=1)
    assert suspicion.consequences == ("nothing: 2 of 3 needed, 1 so far",)


def test_a_drift_report_that_is_part_of_a_retraining(settings: Settings, keep: Callable[..., None]) -> None:
    """Its retraining is what followed, though it was asked for before the report was made."""
    keep(found("drift", "d1", 1, "FAIL", confirmed=False, answered_by="r1"), retrained("r1", 1, "rejected", "worse"))
    entry = told(read_timeline(settings, "toy"), "drift")
    assert entry.decided == "No retraining: retraining r1 saw this data already."
    assert entry.consequences == (CLOCK.format("01:00") + "a retraining made version 2, which was rejected: worse",)


def test_what_was_held_back_and_what_was_reconciled(settings: Settings, keep: Callable[..., None]) -> None:
    """A cooldown and a lost event are entries of their own, kept once, and told with the decision and its answer."""
    asked = found("drift", "d1", 1, "FAIL")
    cooled = suppressed("toy", asked, why="cooling down until noon", at=hours(2), flow_run="r")
    keep(asked, cooled, suppressed("toy", asked, why="cooling down until noon", at=hours(3), flow_run="s"))
    keep(reconciled("toy", asked, why="no run came of its event; started r", at=hours(4), flow_run="", run="r"))
    entries = read_timeline(settings, "toy")
    notes = (
        CLOCK.format("02:00") + "it was held back: cooling down until noon",
        CLOCK.format("04:00") + "it was taken up again: no run came of its event; started r",
    )
    assert entries[0].consequences == (*notes, "nothing yet: no retraining has answered it")
    assert [entry.decided for entry in entries[1:]] == ["No retraining.", "A run is started."]
    assert entries[2].consequences == ("nothing yet: the run has not answered it",)
    keep(retrained("d1-0", 5, "rejected", "worse"))
    entries = read_timeline(settings, "toy")
    answer = CLOCK.format("05:00") + "a retraining made version 2, which was rejected: worse"
    assert entries[0].consequences == (*notes, answer)
    assert entries[1].consequences == entries[2].consequences == (answer,)


def test_a_person_is_asked_and_answers(settings: Settings, keep: Callable[..., None]) -> None:
    """Until then the command is told; afterwards the answer, the promotion, and later that a person was told."""
    keep(retrained("r1", 1, "awaiting-approval"))
    (asked,) = read_timeline(settings, "toy")
    assert asked.decided == "Version 2 waits for a person's approval."
    assert asked.consequences[0].startswith("nothing yet: it waits for a person; evergreen promote toy 2 --reason TEXT")
    keep(
        found("approval", "r1", 2, "promoted", "approved by Ann: fine", version=2),
        moved("m1", 2, 1, 2, decision_id="r1", by="person: Ann", reason="fine"),
        found("escalation", "e1", 3, "ESCALATED", "3 in a row", retrains=3, last_decision="r1"),
    )
    entries = read_timeline(settings, "toy")
    promoted = CLOCK.format("02:00") + "version 2 was promoted in place of version 1, by Ann, a person: fine"
    assert entries[0].consequences == (
        CLOCK.format("02:00") + "approved by Ann: fine",
        promoted,
        CLOCK.format("03:00") + "a person was told: 3 in a row",
    )
    assert told(entries, "approval").consequences == (promoted,)
    assert told(entries, "escalation").measurements[0].value == 3


def test_moves_that_did_not_come_to_an_end(settings: Settings, keep: Callable[..., None]) -> None:
    """A move of a killed run is unfinished, and aborted once the next run has given it up; the alias is not its."""
    keep(
        moved("m1", 0, None, 1, decision_id="d0"), retrained("d1", 1, "promoted"), moved("m2", 1, 1, 2, phase="intent")
    )
    entries = read_timeline(settings, "toy")
    assert (entries[-1].outcome, entries[-1].decided[:18]) == ("unfinished", "The move was begun")
    assert told(entries, "retrain").consequences[0].endswith("the promotion of version 2 was begun and not finished")
    keep(moved("m2", 2, 1, 2, phase="aborted"))
    entries = read_timeline(settings, "toy")
    assert [(entry.kind, entry.outcome) for entry in entries][-1] == ("promote", "aborted")
    assert [reign.version for reign in history(entries)] == [1]
    assert read_timeline(settings, "toy", at=hours(1))[-1].outcome == "unfinished"


def test_a_loss_and_what_followed(settings: Settings, keep: Callable[..., None]) -> None:
    """Who gave up which version and why; in production is nothing until the next move."""
    keep(moved("m1", 0, None, 1), moved("m2", 2, 1, None, action="loss", by="person: kim"), moved("m3", 5, None, 2))
    entries = read_timeline(settings, "toy")
    (lost,) = [entry for entry in entries if entry.kind == "loss"]
    assert (lost.outcome, lost.champion, lost.version, lost.by) == ("done", 1, None, "person: kim")
    assert lost.decided == "There is no champion: version 1 is given up."
    assert "version 2 was promoted" in lost.consequences[0]
    assert "version 1 was given up as lost, by kim, a person: " in entries[0].consequences[0]
    assert [(each.version, each.until) for each in history(entries)] == [(1, hours(2)), (2, None)]


def test_what_a_drift_report_saw(settings: Settings, keep: Callable[..., None]) -> None:
    """Every column with score, threshold and weight, failed ones first, the farthest beyond the threshold before."""
    columns = tuple(
        ColumnDrift(name, "numeric", Verdict(verdict), score, "psi", bound, 0.0, 0.0, 0.0, f"{name}.", 0.25)
        for name, verdict, score, bound in (
            ("a", "PASS", 0.1, 0.25),
            ("b", "FAIL", 0.5, 0.25),
            ("c", "INCONCLUSIVE", None, None),
            ("d", "FAIL", 9.0, 0.25),
        )
    )
    report = DriftReport(Verdict.FAIL, 0.5, 0.3, columns, 9, 9, "so")
    decisions = Decisions(settings.lake_uri, "toy")
    for number in (1, 2):
        decisions.record_scores(f"d{number}", hours(number), 1, report.columns)
        keep(found("drift", f"d{number}", number, "FAIL"))
    seen = read_timeline(settings, "toy", last=1)[0].measurements
    assert [one.name for one in seen] == ["share of drifted columns", "d", "b", "c", "a"]
    assert (seen[1].value, seen[1].bound, seen[1].weight, seen[1].reason) == (9.0, 0.25, 0.25, "d.")
    assert (seen[0].value, seen[0].bound, seen[3].value) == (0.5, 0.3, None)


@pytest.mark.parametrize(("value", "verdict"), [(2.0, "FAIL"), (0.5, "PASS"), (0.76, "INCONCLUSIVE")])
def test_what_a_performance_report_saw(
    settings: Settings, keep: Callable[..., None], make_spec: Callable[..., Any], value: float, verdict: str
) -> None:
    """The metric with its interval against the very bound that the report held it to, half as much again by default."""
    report = judge(make_spec(), Estimate(value, value - 0.1, value + 0.1), at_promotion=0.5, rows=200)
    assert report.verdict == verdict
    keep(replace(found("performance", "p1", 1, verdict, report.reason), detail=report.detail))
    (seen,) = read_timeline(settings, "toy")[0].measurements
    assert (seen.name, seen.value, seen.bound, seen.verdict) == ("mae", value, 0.75, verdict)
    assert seen.interval == pytest.approx((value - 0.1, value + 0.1))


@pytest.mark.parametrize(
    ("held", "order"),
    [
        ({"bound": 0.75, "own": Verdict.PASS}, [("bias", "FAIL", 1.0), ("mae", "PASS", 0.75)]),
        ({"bound": 0.3, "own": Verdict.FAIL}, [("mae", "FAIL", 0.3), ("bias", "FAIL", 1.0)]),
        ({}, [("bias", "FAIL", 1.0), ("mae", "INCONCLUSIVE", None)]),
    ],
)
def test_another_metric_that_failed(
    settings: Settings, keep: Callable[..., None], held: Mapping[str, Any], order: list[Any]
) -> None:
    """A metric beside the model file's own fails the report; each has its own verdict, where that was stored."""
    also = (
        AlsoFigure("bias", Verdict.FAIL, 4.0, (3.0, 5.0), 1.0),
        AlsoFigure("shown", None, 1.0, None, None),
    )
    figures = {"value": 0.4, "interval": (0.3, 0.5), "at_promotion": 0.5, "also": also, **held}
    keep(found("performance", "p1", 1, "FAIL", "bias is 4, proven beyond its bound of 1", **figures))
    seen = read_timeline(settings, "toy")[0].measurements
    assert [(one.name, one.verdict, one.bound) for one in seen] == order


def test_what_the_gates_saw(settings: Settings, keep: Callable[..., None]) -> None:
    """A candidate that a slice rejected: that gate is the first, with value, bound and reason."""
    checks = (
        Check("integrity", Verdict.PASS, None, None, "repeats its predictions"),
        Check("champion", Verdict.PASS, 0.2, 0.0, "better"),
        Check("slice kind=b", Verdict.FAIL, -7.0, -0.04, "worse by 7"),
        Check("latency", Verdict.PASS, float("nan"), 200.0, "fast"),
    )
    keep(retrained("r1", 1, "rejected", "slice kind=b: worse by 7", checks=checks))
    entry = read_timeline(settings, "toy")[0]
    assert [one.name for one in entry.measurements] == ["slice kind=b", "champion", "latency", "integrity"]
    assert (entry.measurements[0].value, entry.measurements[0].bound, entry.measurements[0].reason) == (
        -7.0,
        -0.04,
        "worse by 7",
    )
    assert entry.measurements[2].value is None
    assert entry.decided == "Version 2 is not promoted. The champion stays version 1."


def _bad_rows(settings: Settings) -> tuple[Any, ...]:
    frame = pd.DataFrame({"x": [1, 2, 3, 4], "card": ["4111", "4112", "4113", "4114"]})
    reasons = pd.Series(["x: too large", "x: too large", "x: missing"], index=[0, 1, 3])
    table = quarantine_table(settings.lake_uri, "toy")
    return table, Batch("b1", "june.csv", frame), CheckedBatch(frame.iloc[[2]], reasons), "contract", hours(1)


def test_refused_batches(settings: Settings, make_spec: Callable[..., Any], keep: Callable[..., None]) -> None:
    """Rows of a batch are one entry with a count a reason, a whole batch one with its reason; no row is told."""
    quarantine_rows(*_bad_rows(settings))
    table, batch, *_ = _bad_rows(settings)
    quarantine_batch(
        table, settings, make_spec(), replace(batch, id="b2", origin="july.csv"), "no column x", "c", hours(2)
    )
    keep(found("data", "n1", 1, "LANDED", "1 row landed", rows=1))
    rows, landed, whole = read_timeline(settings, "toy")
    assert (rows.id, rows.outcome, rows.decided) == ("b1", "rows", "These rows are not used.")
    assert rows.reason == "june.csv: 3 rows refused: x: too large (1 more reason)"
    assert [(one.value, one.reason) for one in rows.measurements] == [(2, "x: too large"), (1, "x: missing")]
    assert (whole.outcome, whole.at, whole.decided) == ("whole", hours(2), "Nothing of the batch is used.")
    assert whole.reason == "july.csv: the whole batch refused: no column x"
    assert {one.name: one.value for one in landed.measurements} == {"rows refused": 3, "rows landed": 1}
    assert "411" not in repr((rows, landed, whole))
    assert [entry.id for entry in read_timeline(settings, "toy", at=hours(1))] == ["b1", "n1"]


def test_small_files_are_joined(settings: Settings, keep: Callable[..., None]) -> None:
    """After some fifty decisions their files are one, each is still there, and none is kept a second time."""
    many = [found("data", f"n{number}", number, "LANDED", rows=1) for number in range(55)]
    keep(*many)
    decisions = Decisions(settings.lake_uri, "toy")
    files = len(decisions.table.open().file_uris())
    assert files <= 10
    keep(many[3], many[54])
    assert [entry.id for entry in decisions.all("data")] == [entry.id for entry in many]
    assert decisions.find("data", "n7") == many[7]


def count_calls(work: Callable[[], object]) -> int:
    """How many functions are called: a measure of work that no other load changes."""
    number = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


def test_a_thousand_windows_are_gathered_at_once(settings: Settings, keep: Callable[..., None]) -> None:
    """A thousand windows, three checks each, ten columns a report: an entry costs the same as among a few of them."""
    keep(moved("m1", -9, None, 1), found("drift", "d0", -1, "PASS"))
    decisions = Decisions(settings.lake_uri, "toy")
    windows = (WindowFigure("2025-01-21T00:00:00+00:00", 24, 1.0, 0.5, (0.4, 0.6)),) * 50
    facts: Mapping[Kind, Mapping[str, Any]] = {"drift": {}, "performance": {"windows": windows}, "data": {}}
    checks = [(kind, detail_to_json(detail_of(kind, **told))) for kind, told in facts.items()]
    outcomes = {"drift": "FAIL", "performance": "PASS", "data": "LANDED"}
    decisions.table.append(
        pd.DataFrame(
            {
                **{"id": f"{kind}{n}", "kind": kind, "at": hours(n), "outcome": outcomes[kind], "champion": 1},
                **{"snapshot": n, "digest": f"{n}", "reason": "so", "detail": json.dumps(detail), "flow_run": ""},
            }
            for n in range(1000)
            for kind, detail in checks
        ),
        "bulk",
    )
    column = {"champion": 1, "kind": "numeric", "verdict": "PASS", "score": 0.1, "threshold": 0.25, "method": "psi"}
    column |= {"missing": 0.0, "unseen": 0.0, "weight": 0.1, "reason": ""}
    decisions.scores.append(
        pd.DataFrame(
            column | {"decision_id": f"drift{n}", "at": hours(n), "column": f"c{c}"}
            for n in range(1000)
            for c in range(10)
        ),
        "bulk",
    )
    entries: list[Entry] = []
    calls = count_calls(lambda: entries.extend(read_timeline(settings, "toy")))
    assert (len(entries), len(entries[-3].measurements)) == (3002, 1), entries[-3]
    assert calls < 300 * len(entries)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class Production:
    """The real functions that move the alias, the real log in Delta, and a registry in memory that can be killed."""

    def __init__(self, home: Path, make_in_memory: Callable[[], Any], make_spec: Callable[..., Any]) -> None:
        self.settings, self.spec = Settings(home=home), make_spec()
        self.registry = make_in_memory()
        self.log = Promotions(self.settings.lake_uri, "toy")
        self.registry.wrote = self._wrote
        self.fuse = 0

    def _wrote(self, _what: str) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            raise Killed

    def do(self, action: str, number: int, now: datetime) -> None:
        """One action of a retraining, a person, the shadow watch or fate; what is refused changes nothing."""
        known = sorted(self.registry.stored)
        if action == "delete":
            # What a killed run was moving the alias to is gone: the next run gives that up.
            left = self.log.open()
            if (
                left is not None
                and left.after in self.registry.stored
                and left.after != self.registry.aliases.get("champion")
            ):
                self.registry.delete(left.after)
            return
        self.fuse = number if action.startswith("killed") else 0
        facts: dict[str, Any] = {"reason": action, "by": "test", "now": now}
        try:
            if action in ("promote", "killed promote"):
                promotion.promote(
                    self.spec,
                    self.registry,
                    Promotions(self.settings.lake_uri, self.spec.name),
                    self.registry.add(),
                    **facts,
                    lock=nullcontext(),
                )
            elif action == "again" and known:
                chosen = self.registry.get("toy", known[number % len(known)])
                promotion.promote(
                    self.spec,
                    self.registry,
                    Promotions(self.settings.lake_uri, self.spec.name),
                    chosen,
                    **facts,
                    lock=nullcontext(),
                )
            elif action in ("rollback", "killed rollback"):
                promotion.roll_back(
                    self.spec,
                    self.registry,
                    Promotions(self.settings.lake_uri, self.spec.name),
                    None,
                    **facts,
                    lock=nullcontext(),
                )
            elif action == "undo" and self.log.done():
                undoes = self.log.done()[-(number % 2) - 1 :][0].id
                promotion.roll_back(
                    self.spec,
                    self.registry,
                    Promotions(self.settings.lake_uri, self.spec.name),
                    None,
                    undoes=undoes,
                    **facts,
                    lock=nullcontext(),
                )
        except (EvergreenError, Killed):
            pass
        finally:
            self.fuse = 0

    def check(self, now: datetime) -> None:
        """The ledger alone names the champion, now and at each time before."""
        moves = self.log.all()
        reigns = history(read_timeline(self.settings, "toy"))
        assert [reign.version for reign in reigns] == [move.after for move in moves if move.phase == "done"]
        for moment in [now, *(move.at for move in moves)]:
            past = [reign for reign in reigns if reign.since <= moment]
            champion = champion_at(moves, moment)
            assert (past[-1].version if past else None) == (champion.after if champion else None)
        if self.log.open() is None:
            present = self.registry.aliases.get("champion")
            assert present == (reigns[-1].version if reigns else None)


ACTIONS = ["promote", "promote", "rollback", "undo", "again", "killed promote", "killed rollback", "delete"]


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(1, 6), st.integers(-1, 2)), max_size=7))
@example(
    actions=[
        *(("killed promote", 2, 1), ("delete", 1, 0), ("promote", 1, -1), ("undo", 2, 1), ("again", 1, 1)),
        *(("killed rollback", 5, 0), ("rollback", 1, 1), ("promote", 1, 1)),
    ]
)
def test_the_ledger_alone_tells_what_was_in_production(
    make_in_memory: Callable[[], Any], make_spec: Callable[..., Any], actions: list[tuple[str, int, int]]
) -> None:
    """Whatever was promoted, repeated, undone, rolled back, killed and given up, by a clock that may be set back."""
    with tempfile.TemporaryDirectory() as folder:
        production, now = Production(Path(folder), make_in_memory, make_spec), NOW
        for action, number, step in [("promote", 1, 1), *actions, ("promote", 1, 1)]:
            now += timedelta(hours=step)
            production.do(action, number, now)
            if production.log.open() is None:
                production.check(now)
        middle = NOW + (now - NOW) / 2
        champion = champion_at(production.log.all(), middle)
        then = history(read_timeline(production.settings, "toy", at=middle))
        assert (then[-1].version if then else None) == (champion.after if champion else None)
        production.check(now)


def test_ids_of_notes_follow_from_what_they_say() -> None:
    """Another reason is another entry; the same one is not."""
    asked = found("drift", "d1", 1, "FAIL")
    ids = {suppressed("toy", asked, why=why, at=hours(at), flow_run="").id for why in ("a", "b") for at in (1, 2)}
    assert len(ids) == 2
    assert decision_id("toy", 1, "suppressed", "d1", "a") in ids
