"""What is done for a canary, and that a process killed between any two writes changes nothing of how it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest

from evergreen.backtest.in_memory import InMemoryLedger, InMemoryPromotions, InMemoryRegistry
from evergreen.canary.canary_ledger import CanaryState, open_canaries, read_canaries
from evergreen.canary.evidence import Pair
from evergreen.canary.judge import Evidence, LossBlocks, Position
from evergreen.canary.moves import Look, Stores, abort, hold, look_at_canary, preview_canary
from evergreen.decision import Decision
from evergreen.details.canary import CanaryDetail
from evergreen.details.decision import Ingested, MetricResult, RetrainDetail, SnapshotFacts
from evergreen.errors import RefusedError
from evergreen.registry import promotion
from evergreen.registry.approval import recorded_approval
from evergreen.registry.model_registry import StoredVersions
from evergreen.registry.version import CHALLENGER, CHAMPION, STATUS
from evergreen.runs.results import NO_DRIFT
from evergreen.spec.canary import Canary
from evergreen.spec.model import ModelSpec
from evergreen.spec.retraining import Approval
from evergreen.spec.serving import Serve

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
GOOD = {"worse": 0.0}
BAD = {"worse": 0.2}
NOTHING = {"hours": 0}


class Files(StoredVersions):
    """Files that are what was registered."""

    def load(self, version: Any, spec: Any) -> Any:
        raise AssertionError("No pipeline is opened.")

    load_judged = load

    def files(self, version: Any) -> Any:
        return None


class KilledError(Exception):
    """The process ends here."""


@dataclass
class World:
    """Champion 1, challenger 2 after its gates, and what is stored of them; `writes_left` are done before a kill."""

    spec: ModelSpec
    registry: InMemoryRegistry
    promotions: InMemoryPromotions
    ledger: InMemoryLedger
    now: datetime = START
    writes_left: int | None = None

    @property
    def stores(self) -> Stores:
        return Stores(self.spec, self.registry, self.promotions, self.ledger)

    @property
    def state(self) -> CanaryState:
        (state,) = read_canaries(self.ledger)
        return state

    def read(self, truth: dict[str, Any]) -> Callable[[Canary, Pair, Position], Evidence]:
        def evidence(canary: Canary, pair: Pair, position: Position) -> Evidence:
            assert (pair.champion, pair.challenger) == (1, 2)
            n = truth.get("hours", int((self.now - position.started) / HOUR))
            noise = np.random.default_rng(0).standard_normal(n)
            blocks = LossBlocks(
                np.arange(n) * 3600.0,
                np.full(n, 100),
                np.full(n, 100.0),
                100 * (truth.get("worse", 0) + 0.02 * noise),
            )
            rows = 100 * int((self.now - position.started) / HOUR)
            in_step = 100 * int((self.now - position.entered) / HOUR)
            return Evidence(rows, in_step, 0, rows, rows // 5, blocks, "mae")

        return evidence

    def look(self, truth: dict[str, Any]) -> Look | None:
        """The flow's look at the open canary; None where none is."""
        states = open_canaries(self.ledger)
        if not states:
            return None
        return look_at_canary(self.stores, states[0], self.read(truth), now=self.now, lock=nullcontext())

    def run(self, truth: dict[str, Any], hours: int = 400) -> None:
        """A look each hour until it is over; after a kill the next look is taken by another process."""
        for _ in range(hours):
            try:
                look = self.look(truth)
            except KilledError:
                self.writes_left = None
                continue
            if look is None:
                return
            self.now += HOUR
        raise AssertionError("It does not end.")


def count_writes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write to a store is counted, and the one after the last that is left is not done."""
    for store, names in (
        (world.registry, ("tag", "untag", "conclude", "set_alias", "drop_alias")),
        (world.ledger, ("record",)),
        (world.promotions, ("write",)),
    ):
        for name in names:
            real = getattr(store, name)

            def write(*args: Any, _real: Any = real, **kwargs: Any) -> Any:
                if world.writes_left == 0:
                    raise KilledError
                if world.writes_left is not None:
                    world.writes_left -= 1
                return _real(*args, **kwargs)

            monkeypatch.setattr(store, name, write)


def make_world(make_spec: Callable[..., ModelSpec], **canary: Any) -> World:
    spec = make_spec(approval=Approval(mode="canary"), serve=Serve(canary=Canary(**canary)))
    registry = InMemoryRegistry(cast(Any, Files()))
    promotions, ledger = InMemoryPromotions("toy"), InMemoryLedger()
    for number, rival in ((1, "none"), (2, "1")):
        tags = {STATUS: "PASSED", "decision_id": f"d{number}", "compared_with": rival}
        version = registry.add("toy", str(number), tags)
        if number == 1:
            promotion.promote(
                spec, registry, promotions, version, reason="first", by="retrain", now=START, lock=nullcontext()
            )
    registry.set_alias("toy", CHALLENGER, 2)
    detail = RetrainDetail(
        model="toy",
        outcome="in-canary",
        version=2,
        champion=1,
        reason="schedule",
        explanation="It passed.",
        metric=MetricResult("mae", 1.0),
        drift=NO_DRIFT,
        snapshot=SnapshotFacts(1, 100, "digest", None, None),
        decision_id="d2",
        ingest=Ingested(True, 0),
    )
    ledger.record(Decision("d2", "retrain", START, "in-canary", 1, 1, "digest", "It passed.", detail))
    return World(spec, registry, promotions, ledger)


@pytest.fixture
def world(make_spec: Callable[..., ModelSpec]) -> World:
    return make_world(make_spec)


def outcomes(world: World) -> list[str]:
    return [entry.outcome for entry in world.ledger.all("canary")]


def test_a_good_challenger_goes_by_steps_to_the_champion(world: World) -> None:
    """Servers see the share of each step as a tag; the promotion is the one way in, by `canary`."""
    shares = []
    while (look := world.look(GOOD)) is not None:
        shares.append(world.registry.get("toy", 2).tags.canary)
        assert world.state.is_over or shares[-1] == world.state.detail.share
        world.now += HOUR
        last = look
    assert [share for at, share in enumerate(shares) if at == 0 or share != shares[at - 1]] == [5, 25, 50, 100, None]
    assert outcomes(world) == ["started", "step", "step", "step", "passed"]
    assert last.outcome == "promoted"
    assert world.registry.aliases == {CHAMPION: 2, "previous": 1}
    (_, _, _, done) = world.promotions.all()
    assert (done.action, done.by, done.phase) == ("promote", "canary", "done")
    approval = recorded_approval(world.ledger, "d2")
    assert approval is not None
    assert approval.outcome == "promoted"


def test_a_bad_one_is_refused_and_does_not_come_again(world: World) -> None:
    """The status says FAILED, the tag says why, the alias is gone, and nobody can promote it."""
    world.run(BAD)
    version = world.registry.get("toy", 2)
    assert outcomes(world)[-1] == "refused"
    assert (version.status, version.tags.canary) == ("FAILED", None)
    assert version.tags.refused is not None
    assert "it is proven to be worse" in version.tags.refused
    assert world.registry.aliases == {CHAMPION: 1}
    with pytest.raises(RefusedError, match="was refused by its canary"):
        promotion.promote(
            world.spec, world.registry, world.promotions, version, reason="x", by="p", now=START, lock=nullcontext()
        )


def test_nothing_known_leaves_the_champion_and_tells(world: World) -> None:
    """After its budget it is over; the challenger stays one, so that a person may still promote it."""
    world.run(NOTHING)
    assert outcomes(world) == ["started", "unproven"]
    assert world.now == START + timedelta(days=14) + HOUR
    assert world.registry.aliases == {CHAMPION: 1, CHALLENGER: 2}
    assert world.registry.get("toy", 2).tags.canary is None
    approval = recorded_approval(world.ledger, "d2")
    assert approval is not None
    assert approval.outcome == "inconclusive"


def test_a_first_look_gives_the_first_share_and_looks_change_nothing_by_themselves(world: World) -> None:
    """Ten looks at one moment are one entry, and what is shown to anybody writes nothing."""
    shown = preview_canary(world.stores, world.state, world.read(GOOD), now=world.now)
    assert shown.state.detail.share == 5
    assert outcomes(world) == []
    for _ in range(10):
        world.look(GOOD)
    assert outcomes(world) == ["started"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rollback", "It was held against champion 1, and the champion is version 3 now."),
        ("challenger", "The challenger is version 3 now."),
        ("none", "The challenger is none now."),
        ("file", "The model file asks for no canary any more: approval is 'auto'."),
    ],
)
def test_what_comes_in_the_middle_ends_it_with_its_reason(world: World, change: str, words: str) -> None:
    """The champion stays whatever it is by then."""
    world.look(GOOD)
    world.registry.add("toy", "3", {STATUS: "PASSED", "decision_id": "d3", "compared_with": "1"})
    if change == "rollback":
        world.registry.set_alias("toy", CHAMPION, 3)
    elif change == "challenger":
        world.registry.set_alias("toy", CHALLENGER, 3)
    elif change == "none":
        world.registry.drop_alias("toy", CHALLENGER)
    else:
        world.spec = world.spec.model_copy(update={"approval": Approval(), "serve": None})
    before = world.registry.aliases[CHAMPION]
    look = world.look(GOOD)
    assert look is not None
    assert look.state.end is not None
    assert (look.state.end.outcome, look.state.end.reason) == ("overtaken", words)
    assert world.registry.aliases[CHAMPION] == before
    assert world.registry.get("toy", 2).tags.canary is None
    assert open_canaries(world.ledger) == ()


def test_a_promotion_by_hand_in_the_middle_settles_it(world: World) -> None:
    """A person's word counts; the canary is over and moves nothing."""
    world.look(GOOD)
    version = world.registry.get("toy", 2)
    promotion.promote(
        world.spec, world.registry, world.promotions, version, reason="now", by="person", now=START, lock=nullcontext()
    )
    world.look(GOOD)
    assert outcomes(world) == ["started", "settled"]
    assert world.registry.aliases[CHAMPION] == 2
    assert open_canaries(world.ledger) == ()


def test_a_challenger_that_is_deleted_ends_it(world: World) -> None:
    """Once, and not each minute for ever."""
    world.look(GOOD)
    del world.registry.stored[2]
    look = world.look(GOOD)
    assert look is not None
    assert look.outcome == "inconclusive"
    approval = recorded_approval(world.ledger, "d2")
    assert approval is not None
    assert approval.explanation == "The challenger is none now. The version is deleted."
    assert world.look(GOOD) is None


def test_a_person_pauses_resumes_and_aborts(world: World) -> None:
    """While it is paused the champion answers everything and no step is taken; the abort rejects the challenger."""
    world.look(GOOD)
    hold(world.stores, world.state, "lunch", by="person: Ada", now=world.now, paused=True)
    assert world.registry.get("toy", 2).tags.canary == 0
    with pytest.raises(RefusedError, match="is paused already"):
        hold(world.stores, world.state, "again", by="person", now=world.now, paused=True)
    for _ in range(48):
        world.now += HOUR
        look = world.look(GOOD)
        assert look is not None
        assert look.ruling is not None
        assert look.ruling.move == "wait"
    hold(world.stores, world.state, "back", by="person: Ada", now=world.now, paused=False)
    assert world.registry.get("toy", 2).tags.canary == 5
    hold(world.stores, world.state, "again", by="person: Ada", now=world.now, paused=True)
    hold(world.stores, world.state, "again", by="person: Ada", now=world.now, paused=False)
    world.now += HOUR
    assert outcomes(world) == ["started", "paused", "resumed", "paused", "resumed"]
    ended = abort(world.stores, world.state, "angry calls", by="person: Ada", now=world.now, lock=nullcontext())
    assert ended.outcome == "rejected"
    version = world.registry.get("toy", 2)
    assert (version.tags.declined, version.tags.declined_by) == ("rejected by Ada: angry calls", "person: Ada")
    assert (version.status, version.tags.refused) == ("PASSED", None)
    assert world.registry.aliases == {CHAMPION: 1}
    with pytest.raises(RefusedError, match="is over: rejected by Ada: angry calls"):
        abort(world.stores, world.state, "again", by="person", now=world.now, lock=nullcontext())


def test_the_shadow_gets_no_share_and_is_promoted(make_spec: Callable[..., ModelSpec]) -> None:
    """The tag says that both are compared, and nobody but the champion answers."""
    world = make_world(make_spec, mode="shadow")
    world.look(GOOD)
    assert world.registry.get("toy", 2).tags.canary == 0
    world.run(GOOD)
    assert outcomes(world) == ["started", "passed"]
    assert world.registry.aliases[CHAMPION] == 2


@pytest.mark.parametrize("truth", [GOOD, BAD, NOTHING], ids=["good", "bad", "nothing known"])
def test_a_kill_between_any_two_writes_changes_nothing(
    make_spec: Callable[..., ModelSpec], truth: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each write of a whole canary: killed before it, the next process ends where an unbroken run does."""
    whole = make_world(make_spec)
    whole.run(truth)
    kills = 0
    for writes in range(60):
        world = make_world(make_spec)
        with monkeypatch.context() as patched:
            count_writes(world, patched)
            world.writes_left = writes
            world.run(truth)
            if world.writes_left is not None:
                break
        kills += 1
        assert outcomes(world) == outcomes(whole)
        steps = [entry.detail_as(CanaryDetail).step for entry in world.ledger.all("canary") if entry.outcome == "step"]
        assert steps == sorted(set(steps))
        assert world.registry.aliases == whole.registry.aliases
        assert world.registry.get("toy", 2).tags.raw == whole.registry.get("toy", 2).tags.raw
        assert [move.after for move in world.promotions.done()] == [move.after for move in whole.promotions.done()]
        assert recorded_approval(world.ledger, "d2") == recorded_approval(whole.ledger, "d2")
    assert kills >= (12 if truth is GOOD else 6 if truth is BAD else 3)


def test_what_passed_and_was_overtaken_before_it_was_promoted_is_told(world: World) -> None:
    """The judge had spoken, and then a person rolled back: nothing is moved, and the answer says why."""
    while world.state.end is None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("evergreen.canary.moves.carry_out", lambda *args, **kwargs: None)
            world.look(GOOD)
        world.now += HOUR
    assert world.state.end.outcome == "passed"
    world.registry.add("toy", "3", {STATUS: "PASSED", "decision_id": "d3", "compared_with": "1"})
    promotion.promote(
        world.spec,
        world.registry,
        world.promotions,
        world.registry.get("toy", 3),
        reason="now",
        by="person",
        now=START,
        lock=nullcontext(),
    )
    look = world.look(GOOD)
    assert look is not None
    assert look.outcome == "inconclusive"
    approval = recorded_approval(world.ledger, "d2")
    assert approval is not None
    assert "But toy version 2 was judged against champion 1, and the champion is 3 now." in approval.explanation
    assert world.registry.aliases[CHAMPION] == 3
    assert replace(look.state, answered=True).is_over
