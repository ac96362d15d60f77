"""What a retraining has to do is decided before anything is fitted, from what is stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data.observations import Observations
from evergreen.decision import Decision
from evergreen.errors import DataError, EvergreenError, LostError, ModelFileError
from evergreen.evaluation.judgement import Judgement
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.registry.promotion import promote, roll_back
from evergreen.settings import Settings
from evergreen.spec.policies import Never, OnDrift
from evergreen.spec.training import Training
from evergreen.training.evaluate import reject_repeat
from evergreen.training.plan import Plan, plan_retraining
from evergreen.training.request import Request
from evergreen.verdicts import Check, Verdict
from tests.details import detail_of

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Model:
    """A model with a real lake and a registry in memory."""

    def __init__(self, settings: Settings, registry: Any, make_spec: Make, make_rows: Make) -> None:
        self.settings, self.registry, self.make_rows = settings, registry, make_rows
        self.spec = make_spec()
        self.spec_hash = "spec"
        self.now = NOW
        self.batches = 0

    def land(self, rows: int = 48) -> None:
        self.batches += 1
        frame: pd.DataFrame = self.make_rows(rows, start=1000 * self.batches)
        frame["at"] = frame["at"].dt.tz_localize("UTC")
        Observations(self.settings.lake_uri, self.spec).land(frame, f"b{self.batches}", "test", now=NOW)

    def plan(self, **asked: Any) -> Plan:
        return plan_retraining(
            Observations(self.settings.lake_uri, self.spec),
            self.spec_hash,
            self.registry,
            Promotions(self.settings.lake_uri, "toy"),
            Decisions(self.settings.lake_uri, "toy"),
            Request(**asked),
            now=self.now,
            lock=nullcontext(),
            refused=quarantine_table(self.settings.lake_uri, "toy"),
        )

    def make(self, plan: Plan, status: str = "PASSED") -> Any:
        """The version that a plan leads to, as fit, register and gate leave it."""
        return self.registry.add(
            status=status,
            decision_id=plan.decision_id,
            reason=plan.request.reason,
            compared_with=str(plan.champion.number) if plan.champion else "none",
            data_digest=plan.snapshot.digest,
            data_version=str(plan.snapshot.version),
            spec_hash=self.spec_hash,
            params="",
        )

    def record(self, plan: Plan, outcome: str) -> None:
        number = plan.champion.number if plan.champion else None
        detail = detail_of("retrain", reason=plan.request.reason, outcome=outcome, version=1)
        snapshot = plan.snapshot
        decisions = Decisions(self.settings.lake_uri, "toy")
        decisions.record(
            Decision(
                plan.decision_id, "retrain", self.now, outcome, number, snapshot.version, snapshot.digest, "why", detail
            )
        )

    def promote(self, version: Any) -> None:
        promote(
            self.spec,
            self.registry,
            Promotions(self.settings.lake_uri, self.spec.name),
            version,
            reason="better",
            by="test",
            now=self.now,
            lock=nullcontext(),
        )

    def trained(self, **asked: Any) -> Plan:
        """A whole retraining that ends in a promotion."""
        made = self.plan(**asked)
        assert made.settled is None
        self.promote(self.make(made))
        self.record(made, "promoted")
        return made


@pytest.fixture
def model(settings: Settings, in_memory: Any, make_spec: Make, make_rows: Make) -> Model:
    """A model with one batch of forty-eight rows."""
    made = Model(settings, in_memory, make_spec, make_rows)
    made.land()
    return made


def test_a_first_retraining(model: Model) -> None:
    """Without a champion everything there is may be learned from, the holdout aside."""
    made = model.plan()
    assert (made.settled, made.champion, made.resume) == (None, None, None)
    assert (made.train_rows, made.holdout_rows) == (38, 10)
    assert model.plan() == made


def test_the_policy_holds_a_schedule_back(model: Model, make_spec: Make) -> None:
    """The schedule's run does nothing and says why; a person's word, or force, counts more; the first is not asked."""
    model.spec = make_spec(policy=Never())
    model.trained(reason="schedule")
    model.land()
    held = model.plan(reason="schedule")
    assert held.settled == "unchanged"
    assert held.explanation == "not wanted by the policy: the policy (never) does not retrain for schedule"
    assert model.plan().settled is None
    assert model.plan(reason="schedule", force=True).settled is None


def test_a_report_that_the_policy_held_back_starts_nothing(model: Model, make_spec: Make) -> None:
    """What was stored with the report counts, whatever the policy would say now."""
    model.spec = make_spec(policy=OnDrift())
    model.trained()
    model.land()
    detail = detail_of("drift", called=False, because="no")
    Decisions(model.settings.lake_uri, "toy").record(
        Decision("d1", "drift", NOW, "FAIL", 1, model.plan().snapshot.version, "digest", "why", detail)
    )
    held = model.plan(reason="drift", decision_id="d1")
    assert (held.settled, held.explanation) == ("unchanged", "not wanted by the policy: no")


def test_no_rows_at_all(settings: Settings, in_memory: Any, make_spec: Make, make_rows: Make) -> None:
    """Nothing ever landed: one line that says where data is awaited."""
    with pytest.raises(DataError, match="there are no rows to train on"):
        Model(settings, in_memory, make_spec, make_rows).plan()


def test_too_few_rows_are_inconclusive(model: Model, make_spec: Make) -> None:
    """With fewer rows than the model file asks for, nothing is fitted."""
    model.spec = make_spec(training=Training(min_rows=39))
    made = model.plan()
    assert made.settled == "inconclusive"
    assert made.explanation == "38 training rows are fewer than the minimum of 39"


def test_rows_whose_labels_have_not_come_teach_nothing(model: Model, make_spec: Make) -> None:
    """Without any label there is one line; labelled rows alone count, and the newest of them is what was learned."""
    model.spec = make_spec(name="late", training=Training(min_rows=20))
    observations = Observations(model.settings.lake_uri, model.spec)
    frame: pd.DataFrame = model.make_rows(60, start=100).assign(y=float("nan"))
    frame["at"] = frame["at"].dt.tz_localize("UTC")
    observations.land(frame, "rows", "test", now=NOW)
    made = model.plan()
    assert (made.settled, made.train_rows, made.learned_end) == ("inconclusive", 0, None)
    assert made.explanation == "none of the 60 rows has a known 'y' by now: there is nothing to learn from"
    columns = {"id": range(100, 140), "y": [1.0] * 40, "_labelled_at": [NOW] * 20 + [NOW + timedelta(hours=1)] * 20}
    types = {name: observations.table.schema.field(name).type for name in columns}
    labels = pa.table({name: pa.array(list(values), types[name]) for name, values in columns.items()})
    observations.set_labels(observations.find(labels.select(["id"])), labels, np.ones(40, dtype=bool), "labels")
    made = model.plan()
    assert (made.settled, made.train_rows + made.holdout_rows) == ("inconclusive", 20)
    model.now = NOW + timedelta(hours=1)
    made = model.plan()
    assert (made.settled, made.train_rows + made.holdout_rows) == (None, 40)
    assert made.learned_end == frame["at"][39].isoformat()
    assert made.snapshot.end == frame["at"][59].isoformat()


@pytest.mark.parametrize("reason", ["manual", "schedule"])
def test_nothing_new_is_unchanged(model: Model, reason: str) -> None:
    """With the champion's very data and model file a routine run has nothing to do."""
    model.trained()
    made = model.plan(reason=reason)
    assert made.settled == "unchanged"
    assert "nothing is new since version 1" in made.explanation


@pytest.mark.parametrize(("status", "held"), [("FAILED", True), ("INCONCLUSIVE", True), ("PENDING", False)])
def test_what_was_held_against_this_champion_is_not_fitted_again(model: Model, status: str, held: bool) -> None:
    """A drift report asked for it and the gates said no: the schedule has nothing new until rows or champion change."""
    model.trained()
    model.land()
    asked = model.plan(reason="drift", decision_id="d1")
    model.make(asked, status)
    made = model.plan(reason="schedule")
    assert (made.settled == "unchanged") is held
    assert ("nothing is new since version 2" in made.explanation) is held
    assert model.plan(reason="schedule", force=True).settled is None
    assert model.plan(params={"model__alpha": 2}).settled is None
    model.land()
    assert model.plan(reason="schedule").settled is None


@pytest.mark.parametrize(
    "asked", [{"force": True}, {"reason": "drift"}, {"decision_id": "abc"}, {"params": {"model__alpha": 2}}]
)
def test_a_ground_of_its_own_is_followed(model: Model, asked: dict[str, Any]) -> None:
    """Force, a reason, a decision to answer, or parameters by hand are each a ground to train on the same data."""
    first = model.trained()
    made = model.plan(**asked)
    assert made.settled is None
    assert made.decision_id != first.decision_id


def test_new_data_or_another_model_file_is_a_ground(model: Model) -> None:
    """New rows, and changed code, are each something new."""
    model.trained()
    model.land()
    assert model.plan().settled is None
    model.trained()
    assert model.plan().settled == "unchanged"
    model.spec_hash = "other"
    assert model.plan().settled is None


@pytest.mark.parametrize(("outcome", "settled"), [("rejected", "rejected"), ("promoted", "unchanged")])
def test_an_answered_decision_is_not_answered_again(model: Model, outcome: str, settled: str) -> None:
    """One retrain for one decision: the answer is given again, with where it came from."""
    model.trained()
    model.land()
    made = model.plan(reason="drift", decision_id="d1")
    model.record(made, outcome)
    again = model.plan(reason="drift", decision_id="d1")
    assert (again.settled, again.answer is not None) == (settled, True)
    assert "decision d1 was answered already: why" in again.explanation
    assert model.plan(reason="drift", decision_id="d1", force=True).settled is None


def test_a_left_version_is_taken_on(model: Model) -> None:
    """A version that a killed run registered is found by its decision; its judgement stands against one champion."""
    made = model.plan()
    left = model.make(made, "INCONCLUSIVE")
    again = model.plan()
    assert (again.resume, again.judged) == (left, True)
    model.spec_hash = "mended"
    assert model.plan().resume is None


def test_a_judgement_against_another_champion_does_not_stand(model: Model) -> None:
    """A named decision whose version was judged before the champion changed is judged again."""
    model.trained()
    model.land()
    left = model.make(model.plan(decision_id="d1"))
    model.trained()
    again = model.plan(decision_id="d1")
    assert (again.resume, again.judged) == (left, False)


def test_forced_attempts_are_counted_by_their_answers(model: Model) -> None:
    """A forced attempt without an answer is taken on; the next one after an answer is another."""
    model.trained()
    first = model.plan(force=True)
    left = model.make(first, "FAILED")
    assert model.plan(force=True).resume == left
    model.record(first, "rejected")
    second = model.plan(force=True)
    assert (second.resume, first.decision_id[:-2]) == (None, second.decision_id[:-2])
    assert (first.decision_id[-2:], second.decision_id[-2:]) == ("-0", "-1")


def test_what_was_rolled_back_does_not_come_back_by_itself(model: Model) -> None:
    """The same data and code are rejected with the reason; new data, or force, are another matter."""
    model.trained()
    model.land()
    model.trained()
    roll_back(
        model.spec,
        model.registry,
        Promotions(model.settings.lake_uri, model.spec.name),
        None,
        reason="too slow",
        by="test",
        now=NOW,
        lock=nullcontext(),
    )
    for asked in ({}, {"reason": "drift"}, {"decision_id": "d1"}):
        made = model.plan(**asked)
        assert made.settled == "rejected"
        assert made.explanation == "version 2 came of this very data and was rolled back: too slow"
    forced = model.plan(force=True)
    assert (forced.settled, forced.resume) == (None, None)
    model.land()
    fresh = model.plan()
    assert (fresh.settled, fresh.champion.number if fresh.champion else 0) == (None, 1)


def test_a_version_that_was_taken_back_before_it_was_told_of_is_not_taken_on(model: Model) -> None:
    """Its run was killed after the promotion; asked again, on more data, its decision is answered: rejected."""
    model.trained()
    model.land()
    made = model.plan(reason="drift", decision_id="d1")
    model.promote(model.make(made))
    roll_back(
        model.spec,
        model.registry,
        Promotions(model.settings.lake_uri, model.spec.name),
        None,
        reason="it hurt",
        by="shadow",
        now=NOW,
        lock=nullcontext(),
    )
    model.land()
    again = model.plan(reason="drift", decision_id="d1")
    assert (again.settled, again.explanation) == (
        "rejected",
        "version 2 came of this decision and was rolled back: it hurt",
    )
    assert model.plan(reason="drift", decision_id="d2").settled is None


def test_the_very_model_that_was_rolled_back_does_not_pass_under_another_number(in_memory: Any) -> None:
    """Other rows may lead to the same training rows, and so to the same model: a failed check says which it is."""
    passed = Judgement((Check("bound", Verdict.PASS, 1.0, None, "well"),), Verdict.PASS, 1.0, 2.0, None, 50)
    old = in_memory.add(state_sha256="a", rolled_back="it hurt")
    same, other = in_memory.add(state_sha256="a"), in_memory.add(state_sha256="b")
    found = reject_repeat(passed, same, in_memory.versions("toy"))
    assert (found.verdict, found.checks[-1].name, found.checks[-1].status) == (Verdict.FAIL, "repeat", Verdict.FAIL)
    assert found.checks[-1].reason == "the very model of version 1, which was rolled back: it hurt"
    assert reject_repeat(passed, other, in_memory.versions("toy")) == passed
    assert reject_repeat(passed, old, in_memory.versions("toy")) == passed
    in_memory.add(rolled_back="made before states were kept")
    assert reject_repeat(passed, in_memory.add(), in_memory.versions("toy")) == passed


def test_an_equal_refit_of_what_was_rolled_back_is_refused(
    settings: Settings, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """In MLflow: other data and another file of the pipeline, but the same state; with more labels another one."""
    spec, registry = make_spec(), Registry(settings)
    about = (spec, registry, Promotions(settings.lake_uri, "toy"))
    champion = None
    for batch, start in (("first", 0), ("second", 50)):
        version = make_version(spec, make_rows(50, start=start), batch, champion)
        registry.conclude(version, Verdict.PASS, "", {})
        champion = registry.get("toy", version.number)
        promote(*about, champion, reason="better", by="test", now=NOW, lock=nullcontext())
    roll_back(*about, None, reason="it hurt", by="test", now=NOW, lock=nullcontext())
    old = registry.get("toy", 2)
    equal = make_version(spec, make_rows(30, start=100).assign(y=None), "unlabelled")
    other = make_version(spec, make_rows(9, start=130), "third")
    for name in ("data_digest", "sha256"):
        assert equal.tags.raw[name] != old.tags.raw[name]
    passed = Judgement((Check("bound", Verdict.PASS, 1.0, None, "well"),), Verdict.PASS, 1.0, 2.0, None, 50)
    found = reject_repeat(passed, equal, registry.versions("toy"))
    assert found.checks[-1].reason == "the very model of version 2, which was rolled back: it hurt"
    assert reject_repeat(passed, other, registry.versions("toy")) == passed


def test_cooling_down_after_drift(model: Model) -> None:
    """A second retraining for drift waits; other reasons do not, and afterwards it goes on."""
    model.trained()
    model.land()
    model.record(model.plan(reason="drift"), "rejected")
    model.land()
    made = model.plan(reason="drift (x)")
    assert made.settled == "unchanged"
    assert "cooling down after the last retraining for drift until 2026-01-01 06:00 UTC" in made.explanation
    assert model.plan().settled is None
    assert model.plan(reason="drift", force=True).settled is None
    model.now += timedelta(hours=7)
    assert model.plan(reason="drift").settled is None


@pytest.mark.parametrize("ground", ["drift", "performance", "data"])
def test_each_ground_cools_down_on_its_own(model: Model, ground: str) -> None:
    """What was retrained for one ground holds back the next one for the same, and no other."""
    model.trained()
    model.land()
    model.record(model.plan(reason=ground), "rejected")
    model.land()
    settled = {reason: model.plan(reason=reason).settled for reason in ("drift", "performance", "data")}
    assert {reason for reason, outcome in settled.items() if outcome == "unchanged"} == {ground}


def test_a_decision_that_a_later_retraining_covers_ends_as_a_duplicate(model: Model) -> None:
    """A late run for an older report does nothing when its data was seen since, or its champion is gone."""
    model.trained()
    model.land()
    decisions = Decisions(model.settings.lake_uri, "toy")
    for number in ("d1", "d2"):
        snapshot = model.plan(reason="drift", decision_id=number).snapshot
        decisions.record(
            Decision(number, "drift", NOW, "FAIL", 1, snapshot.version, snapshot.digest, "drifted", detail_of("drift"))
        )
    assert model.plan(reason="drift", decision_id="d1").settled is None
    model.now += timedelta(minutes=5)
    second = model.plan(reason="drift", decision_id="d2")
    model.record(second, "rejected")
    model.now += timedelta(hours=7)
    late = model.plan(reason="drift", decision_id="d1")
    assert (late.settled, late.answer) == ("unchanged", None)
    assert late.explanation == "decision d1 was answered with the later one d2: why"
    assert model.plan(reason="drift", decision_id="d1", force=True).settled is None

    model.land()
    model.trained()
    decisions.record(Decision("d3", "drift", model.now, "FAIL", 1, 99, "x", "drifted", detail_of("drift")))
    gone = model.plan(reason="drift", decision_id="d3")
    assert gone.settled == "unchanged"
    assert gone.explanation == "decision d3 was about version 1, and the champion is version 2 now"


def test_a_champion_that_was_not_told_of_is_told_first(model: Model) -> None:
    """A run that was killed after the alias moved: the next one tells of it, whatever it was asked for."""
    model.trained()
    model.land()
    killed = model.plan(reason="drift", decision_id="d1")
    model.promote(model.make(killed))
    model.land()
    made = model.plan(reason="manual")
    assert (made.decision_id, made.request.reason, made.judged) == ("d1", "drift", True)
    assert (made.resume, made.champion) == (model.registry.get("toy", 2), model.registry.get("toy", 1))
    assert made.snapshot == killed.snapshot
    model.registry.delete(1)
    assert model.plan().champion is None


def test_a_champion_by_rollback_is_not_told_of_again(model: Model) -> None:
    """A rollback has told of itself; the version's own retraining need not be known."""
    model.trained()
    model.promote(model.registry.add())
    roll_back(
        model.spec,
        model.registry,
        Promotions(model.settings.lake_uri, model.spec.name),
        1,
        reason="worse",
        by="test",
        now=NOW,
        lock=nullcontext(),
    )
    roll_back(
        model.spec,
        model.registry,
        Promotions(model.settings.lake_uri, model.spec.name),
        2,
        reason="better",
        by="test",
        now=NOW,
        lock=nullcontext(),
    )
    assert model.plan().resume is None


def test_a_champion_that_is_gone_stops_everything(model: Model) -> None:
    """Where the log names a champion that the registry does not have, nothing is trained over it."""
    model.trained()
    model.registry.delete(1)
    for asked in ({}, {"force": True}):
        with pytest.raises(LostError, match=r"toy version 1 .* accept-loss toy --reason TEXT"):
            model.plan(**asked)


@pytest.mark.parametrize("given", ["", "a'b", "a b", "x" * 65, "../x", "a\0b"])
def test_what_is_no_decision_is_refused(model: Model, given: str) -> None:
    """A decision's id is a short plain word; anything else is one line."""
    with pytest.raises(EvergreenError, match="is not the id of a decision"):
        model.plan(decision_id=given)


def test_a_champion_that_nobody_trusts_stops_it_before_the_fit(
    settings: Settings, in_memory: Any, make_spec: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gates could not load it: no version is made. What is settled without a fit is not stopped."""
    model = Model(settings, in_memory, make_spec, make_rows)
    model.land()
    first = model.plan()
    model.promote(model.make(first))
    model.record(first, "promoted")

    def untrusted(version: Any, spec: Any) -> None:
        raise ModelFileError(f"{version.label} cannot be loaded.")

    monkeypatch.setattr(in_memory, "require_trusted", untrusted)
    assert model.plan(reason="schedule").settled == "unchanged"
    model.land()
    with pytest.raises(ModelFileError, match="toy version 1 cannot be loaded"):
        model.plan()
    assert len(in_memory.versions("toy")) == 1
