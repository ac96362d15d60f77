"""The champion moves once, to what passed its gates, and every move is in the log before and after."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evergreen.errors import ArtifactError, BusyError, EvergreenError, LostError, RefusedError, RegistryError
from evergreen.ledger.promotions import Move, Promotions, champion_at, taken_back
from evergreen.registry.client import Registry
from evergreen.registry.promotion import accept_loss, promote, promote_if_passed, require_consistent, roll_back, settle
from evergreen.registry.version import CHALLENGER, CHAMPION, PREVIOUS
from evergreen.settings import Settings
from evergreen.storage.locks import open_locks
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Model:
    """One model in a registry in memory, with the real log."""

    def __init__(self, settings: Settings, registry: Any, spec: Any) -> None:
        self.settings, self.registry, self.spec = settings, registry, spec
        self.log = Promotions(settings.lake_uri, spec.name)

    def promote(self, version: Any, at: datetime = NOW, reason: str = "better") -> Move | None:
        return promote(
            self.spec,
            self.registry,
            Promotions(self.settings.lake_uri, self.spec.name),
            version,
            reason=reason,
            by="test",
            now=at,
            lock=nullcontext(),
        )

    def rollback(self, to: int | None = None, at: datetime = NOW, reason: str = "worse") -> Move:
        return roll_back(
            self.spec,
            self.registry,
            Promotions(self.settings.lake_uri, self.spec.name),
            to,
            reason=reason,
            by="test",
            now=at,
            lock=nullcontext(),
        )

    def accept_loss(self, at: datetime = NOW, reason: str = "deleted by mistake") -> Move:
        stores = self.registry, self.registry.files, Promotions(self.settings.lake_uri, self.spec.name)
        return accept_loss(self.spec, *stores, reason=reason, by="test", now=at, lock=nullcontext())

    def promoted(self, count: int) -> None:
        """Champions one after the other."""
        for _ in range(count):
            self.promote(self.registry.add())

    @property
    def aliases(self) -> dict[str, int]:
        return dict(self.registry.aliases)

    @property
    def lines(self) -> list[tuple[str, str, int | None, int | None]]:
        return [(line.action, line.phase, line.before, line.after) for line in self.log.all()]


@pytest.fixture
def model(settings: Settings, in_memory: Any, make_spec: Make) -> Model:
    """A model without versions."""
    return Model(settings, in_memory, make_spec())


def test_a_first_champion(model: Model) -> None:
    """The first champion replaces none; the log has an intent and an end; doing it again does nothing."""
    version = model.registry.add()
    model.registry.aliases[CHALLENGER] = 1
    assert model.promote(version) is not None
    assert model.aliases == {CHAMPION: 1}
    assert model.lines == [("promote", "intent", None, 1), ("promote", "done", None, 1)]
    model.registry.aliases[CHALLENGER] = 1
    assert model.promote(version) is None
    assert model.aliases == {CHAMPION: 1}
    assert len(model.lines) == 2


def test_the_replaced_champion_is_previous(model: Model) -> None:
    """The alias `previous` names what was replaced last."""
    model.promoted(3)
    assert model.aliases == {CHAMPION: 3, PREVIOUS: 2}
    assert [move.after for move in model.log.done()] == [1, 2, 3]


@pytest.mark.parametrize("status", ["PENDING", "FAILED", "INCONCLUSIVE"])
def test_what_did_not_pass_is_refused(model: Model, status: str) -> None:
    """A version whose gates did not pass is not promoted, and nothing is written."""
    with pytest.raises(RegistryError, match=f"its gates say {status}"):
        model.promote(model.registry.add(status=status))
    assert (model.aliases, model.lines) == ({}, [])


def test_judged_against_an_older_champion_is_refused(model: Model) -> None:
    """A candidate that was compared with another champion than the present one proves nothing."""
    model.promoted(1)
    late = model.registry.add()
    model.promoted(1)
    with pytest.raises(RegistryError, match="was judged against champion 1, and the champion is 3 now"):
        model.promote(late)
    with pytest.raises(RegistryError, match="judged against champion none"):
        model.promote(model.registry.add(compared_with="none"))
    assert model.aliases[CHAMPION] == 3


def test_a_retraining_that_comes_too_late_leaves_no_challenger(model: Model) -> None:
    """Another one promoted meanwhile: what cannot be promoted is not left as challenger."""
    model.promoted(1)
    late, other = model.registry.add(), model.registry.add()
    model.promote(other)
    words = {"reason": "drift", "now": NOW, "lock": nullcontext()}
    with pytest.raises(RefusedError, match="was judged against champion 1, and the champion is 3 now"):
        promote_if_passed(model.spec, model.registry, model.log, late, Verdict.PASS, **words)
    assert model.aliases == {CHAMPION: 3, PREVIOUS: 1}


def test_a_damaged_candidate_is_refused(model: Model) -> None:
    """What does not load is not promoted."""
    model.promoted(1)
    model.registry.damaged.add(2)
    with pytest.raises(ArtifactError):
        model.promote(model.registry.add())
    assert model.aliases == {CHAMPION: 1}
    assert len(model.lines) == 2


def test_a_rollback_gives_back_the_previous_champion(model: Model) -> None:
    """The previous version is champion again, the other one is marked with the reason and does not come back alone."""
    model.promoted(3)
    assert model.rollback(reason="it is slow").after == 2
    assert model.aliases == {CHAMPION: 2, PREVIOUS: 1}
    assert model.registry.get("toy", 3).tags.raw["rolled_back"] == "it is slow"
    with pytest.raises(RegistryError, match=r"toy version 3 was rolled back: it is slow .*rollback toy --to 3"):
        model.promote(model.registry.get("toy", 3))
    assert model.rollback().after == 1
    assert model.aliases == {CHAMPION: 1}
    with pytest.raises(RegistryError, match="version 1 has no predecessor"):
        model.rollback()


def test_a_rollback_to_a_named_version(model: Model) -> None:
    """Any version that once passed can be named; one that was taken back is free again once a person vouches for it."""
    model.promoted(3)
    assert model.rollback(1).after == 1
    assert model.rollback(3).after == 3
    assert model.registry.get("toy", 3).tags.rolled_back is None
    assert model.aliases == {CHAMPION: 3, PREVIOUS: 2}
    assert [(move.action, move.before, move.after) for move in model.log.done()[3:]] == [
        ("rollback", 3, 1),
        ("rollback", 1, 3),
    ]


def test_a_rollback_that_cannot_be_is_refused(model: Model) -> None:
    """No champion, an unknown version, one that never passed, the champion itself, a damaged one: one line each."""
    with pytest.raises(RegistryError, match="toy has no champion to roll back"):
        model.rollback()
    model.promoted(2)
    model.registry.add(status="FAILED")
    model.registry.damaged.add(1)
    with pytest.raises(RegistryError, match="never passed its gates"):
        model.rollback(3)
    with pytest.raises(RegistryError, match="no version 9"):
        model.rollback(9)
    with pytest.raises(RegistryError, match="is the champion already"):
        model.rollback(2)
    with pytest.raises(ArtifactError):
        model.rollback()
    assert model.aliases == {CHAMPION: 2, PREVIOUS: 1}
    assert len(model.log.done()) == 2


def test_a_rollback_of_one_promotion_leaves_every_other_champion(model: Model) -> None:
    """It is done while that promotion is the last move, and not after whatever a person did since."""
    model.promoted(3)
    second, third = model.log.done()[-2:]

    def undo(move: Move) -> Move:
        to = move.before
        return roll_back(
            *(model.spec, model.registry, model.log, to),
            reason="",
            by="x",
            now=NOW,
            lock=nullcontext(),
            undoes=move.id,
        )

    with pytest.raises(RefusedError, match="the champion was moved since that promotion"):
        undo(second)
    assert (undo(third).after, model.aliases[CHAMPION]) == (2, 2)
    model.rollback(3)
    with pytest.raises(RefusedError, match="the champion was moved since that promotion"):
        undo(third)
    assert model.aliases[CHAMPION] == 3
    model.registry.aliases[CHAMPION] = 1
    with pytest.raises(RefusedError):
        undo(third)


@pytest.mark.parametrize(
    ("moves", "left"),
    [
        ([(None, 1, "promote"), (1, 2, "promote")], set()),
        ([(None, 1, "promote"), (1, 2, "promote"), (2, 1, "rollback"), (1, 3, "promote"), (3, 1, "rollback")], {2, 3}),
        ([(1, 2, "promote"), (2, 1, "rollback"), (1, 2, "rollback")], {1}),
    ],
)
def test_what_was_taken_back_and_stayed_so(moves: list[Any], left: set[int]) -> None:
    """The versions that a rollback took out of production, without those that came back."""
    done = [Move(str(n), NOW, action, "done", b, a, "", "", "test") for n, (b, a, action) in enumerate(moves)]
    assert taken_back(done) == left
    assert taken_back([replace(move, phase="aborted") for move in done]) == set()


def test_a_rollback_does_not_need_the_champion(model: Model) -> None:
    """Away from a champion whose files are damaged, or that somebody deleted."""
    model.promoted(3)
    model.registry.damaged.add(3)
    assert model.rollback().after == 2
    model.registry.delete(2)
    with pytest.raises(LostError, match=r"toy version 2 .*is the champion by the log, and the registry has it no more"):
        require_consistent(model.registry, model.registry.champion("toy"), model.log)
    with pytest.raises(LostError, match="rollback toy --to VERSION"):
        model.promote(model.registry.add())
    assert model.rollback(1).before == 2
    assert model.aliases == {CHAMPION: 1}
    require_consistent(model.registry, model.registry.champion("toy"), model.log)


def test_an_alias_that_was_moved_by_hand_is_noticed(model: Model) -> None:
    """Nothing is promoted over a champion that the log does not know; a rollback by name writes down what stands."""
    model.promoted(2)
    model.registry.set_alias("toy", CHAMPION, 1)
    with pytest.raises(RegistryError, match="is version 2, and the registry has version 1"):
        model.promote(model.registry.add())
    assert model.rollback(1, reason="moved by hand").before == 2
    assert model.log.champion() == 1
    require_consistent(model.registry, model.registry.champion("toy"), model.log)


def test_a_champion_without_a_log_is_noticed(model: Model) -> None:
    """An alias in a registry whose log was lost, or that was set past Evergreen, is not taken for granted."""
    model.registry.add()
    model.registry.set_alias("toy", CHAMPION, 1)
    with pytest.raises(RegistryError, match="is none, and the registry has version 1"):
        require_consistent(model.registry, model.registry.champion("toy"), model.log)
    assert model.rollback(1).before is None
    require_consistent(model.registry, model.registry.champion("toy"), model.log)


def test_a_lost_registry_is_noticed(model: Model, make_in_memory: Any) -> None:
    """A registry that was made anew while the log names a champion is refused."""
    model.promoted(1)
    anew = make_in_memory()
    with pytest.raises(
        LostError, match=r"toy version 1 .*the registry has it no more\. Is EVERGREEN_TRACKING_URI right"
    ):
        require_consistent(anew, anew.champion("toy"), model.log)


def test_a_lost_champion_is_given_up(model: Model) -> None:
    """A person says so: who, when, why and which version are in the log, and a first champion may follow."""
    model.promoted(1)
    model.registry.delete(1)
    with pytest.raises(LostError, match=r"run candidate-decision-1.*evergreen accept-loss toy --reason TEXT"):
        model.promote(model.registry.add(compared_with="none"))
    move = model.accept_loss()
    assert (move.action, move.phase, move.before, move.after, move.by) == ("loss", "done", 1, None, "test")
    assert (move.at, move.reason) == (NOW, "deleted by mistake")
    assert (model.aliases, model.log.champion()) == ({}, None)
    assert model.lines[-2:] == [("loss", "intent", 1, None), ("loss", "done", 1, None)]
    require_consistent(model.registry, None, model.log)
    assert model.promote(model.registry.get("toy", 2)) is not None
    assert model.lines[-1] == ("promote", "done", None, 2)


def test_after_a_loss_an_older_version_is_gone_back_to(model: Model) -> None:
    """The previous champion, without a number, or any that passed, by its number."""
    model.promoted(3)
    model.registry.damaged.add(3)
    assert model.accept_loss().before == 3
    assert model.aliases == {PREVIOUS: 2}
    assert model.rollback().after == 2
    assert (model.aliases[CHAMPION], model.log.champion()) == (2, 2)
    model.registry.delete(2)
    model.accept_loss()
    assert (model.rollback(1).before, model.log.champion()) == (None, 1)


def test_only_a_loss_is_accepted(model: Model) -> None:
    """A champion that is whole, one whose alias was taken away by hand, and none at all: nothing is changed."""
    with pytest.raises(RefusedError, match="toy has no champion to be lost"):
        model.accept_loss()
    model.promoted(1)
    for _ in range(2):
        with pytest.raises(RefusedError, match="toy version 1 is not lost"):
            model.accept_loss()
        model.registry.aliases = {}
    assert len(model.lines) == 2


@pytest.mark.parametrize("moved", [False, True])
def test_a_loss_that_was_begun_is_finished(model: Model, moved: bool) -> None:
    """An intent whose process died is carried out, whether or not the alias was dropped."""
    model.promoted(1)
    model.registry.damaged.add(1)
    _begun(model, "loss", 1, None)
    if moved:
        model.registry.drop_alias("toy", CHAMPION)
    end = settle(model.registry, model.log, lock=nullcontext(), now=NOW)
    assert end is not None
    assert (end.phase, model.aliases, model.log.champion()) == ("done", {}, None)


def _begun(model: Model, action: Any, before: int | None, after: int | None) -> None:
    model.log.write(Move(f"{action}-{after}", NOW, action, "intent", before, after, "why", "", "test"))


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_begun_is_finished(model: Model, moved: bool) -> None:
    """An intent whose process died is carried out, whether or not the alias had moved."""
    model.promoted(1)
    model.registry.add()
    model.registry.aliases[CHALLENGER] = 2
    _begun(model, "promote", 1, 2)
    if moved:
        model.registry.set_alias("toy", CHAMPION, 2)
    require_consistent(model.registry, model.registry.champion("toy"), model.log)
    later = NOW + timedelta(hours=1)
    end = settle(model.registry, Promotions(model.settings.lake_uri, "toy"), lock=nullcontext(), now=later)
    assert end is not None
    assert (end.phase, end.at) == ("done", later)
    assert model.aliases == {CHAMPION: 2, PREVIOUS: 1}
    assert settle(model.registry, Promotions(model.settings.lake_uri, "toy"), lock=nullcontext(), now=later) is None


@pytest.mark.parametrize("reason", ["target deleted", "champion deleted", "alias moved by hand"])
def test_what_can_no_longer_be_done_is_aborted(model: Model, reason: str) -> None:
    """An intent whose ground is gone does not stand in the way for ever."""
    model.promoted(2)
    model.registry.add()
    _begun(model, "promote", 2, 3)
    if reason == "alias moved by hand":
        model.registry.set_alias("toy", CHAMPION, 1)
    else:
        model.registry.delete(3 if reason == "target deleted" else 2)
    end = settle(model.registry, Promotions(model.settings.lake_uri, "toy"), lock=nullcontext(), now=NOW)
    assert end is not None
    assert end.phase == "aborted"
    assert model.log.champion() == 2
    assert model.log.open() is None


def test_a_move_is_finished_without_the_version_it_replaced(model: Model) -> None:
    """The replaced version was deleted after the alias had moved: there is nothing to call previous."""
    model.promoted(1)
    model.registry.add()
    _begun(model, "promote", 1, 2)
    model.registry.set_alias("toy", CHAMPION, 2)
    model.registry.delete(1)
    end = settle(model.registry, Promotions(model.settings.lake_uri, "toy"), lock=nullcontext(), now=NOW)
    assert end is not None
    assert end.phase == "done"
    assert model.aliases == {CHAMPION: 2}


def test_settling_waits_for_a_move_that_is_under_way(model: Model) -> None:
    """An intent may belong to a living process: who settles takes the promotion's lock first."""
    model.registry.add()
    _begun(model, "promote", None, 1)
    waiting = open_locks(model.settings).hold("toy", "promotion", wait=0.1, now=NOW)
    with open_locks(model.settings).hold("toy", "promotion", wait=0, now=NOW), pytest.raises(BusyError):
        settle(model.registry, model.log, lock=waiting, now=NOW)
    assert model.aliases == {}


def test_the_log_keeps_its_order_when_the_clock_does_not(model: Model) -> None:
    """A clock that is set back, or a run that began long ago, does not change what came after what."""
    first, second = model.registry.add(), model.registry.add(compared_with="1")
    model.promote(first, NOW)
    model.promote(second, NOW - timedelta(hours=5))
    model.rollback(at=NOW - timedelta(hours=9))
    assert [move.after for move in model.log.done()] == [1, 2, 1]
    assert model.log.champion() == 1
    assert all(line.at == NOW for line in model.log.all())


def test_what_was_in_production_when(model: Model) -> None:
    """The log alone answers for any moment."""
    for hour in range(3):
        model.promote(model.registry.add(), NOW + timedelta(hours=hour))
    lines = model.log.all()
    found = [champion_at(lines, NOW + timedelta(hours=hour, minutes=30)) for hour in (-1, 0, 1, 5)]
    assert [move.after if move else None for move in found] == [None, 1, 2, 3]


def test_a_reason_is_asked_for() -> None:
    """An empty reason is refused, a padded one trimmed."""
    from evergreen.registry.promotion import require_reason

    assert require_reason("  because ") == "because"
    for empty in ("", "  \n"):
        with pytest.raises(EvergreenError, match="The reason is empty"):
            require_reason(empty)


@pytest.mark.parametrize("rival", ["promote", "rollback", "loss"])
@pytest.mark.parametrize("point", range(1, 14))
def test_a_rival_without_a_lock_does_not_make_two_truths(model: Model, point: int, rival: str) -> None:
    """At any write of a promotion another process moves the champion: one line at a time, and the alias follows.

    So it is on two machines when the one that holds the lock stood still for so long that it was taken for dead.
    """
    model.promoted(2)
    mine, other = model.registry.add(), model.registry.add()
    writes = 0

    def interrupt(what: str) -> None:
        nonlocal writes
        writes += 1
        if writes == point:
            with suppress(BusyError, RefusedError, RegistryError):
                if rival == "loss":
                    model.registry.delete(model.log.champion())
                    model.accept_loss()
                else:
                    model.promote(other) if rival == "promote" else model.rollback()

    model.registry.wrote = interrupt
    write = Promotions.write

    def watched(log: Promotions, move: Move, *, after: int | None = None) -> None:
        interrupt("log:before")
        write(log, move, after=after)
        interrupt("log:after")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Promotions, "write", watched)
        with suppress(BusyError, RefusedError, RegistryError):
            model.promote(mine)
    model.registry.wrote = lambda _what: None
    settle(model.registry, model.log, now=NOW, lock=nullcontext())
    assert writes >= point or point > 8
    lines = model.log.table.read()["line"]
    assert sorted(lines) == list(range(1, len(lines) + 1))
    assert model.aliases.get("champion") == model.log.champion()
    done = model.log.done()
    assert [move.before for move in done[1:]] == [move.after for move in done[:-1]]


def test_a_move_is_not_begun_after_lines_that_it_has_not_seen(model: Model) -> None:
    """Nor is a move ended that another process has ended in another way; a line that is there is not written again."""
    model.promoted(1)
    line = Move("x", NOW, "promote", "intent", 1, 2, "why", "", "test")
    with pytest.raises(BusyError, match="Another process moved the champion of toy at the same time"):
        model.log.write(line, after=1)
    model.log.write(line, after=2)
    model.log.write(line, after=2)
    model.log.write(replace(line, phase="aborted"))
    with pytest.raises(BusyError):
        model.log.write(replace(line, phase="done"))
    assert len(model.log.all()) == 4


RACE = """
import os, sys
from datetime import UTC, datetime
import deltalake, mlflow
from evergreen.errors import EvergreenError
from evergreen.registry.promotion import promote
from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.settings import load_settings
from evergreen.storage.locks import open_locks
import models
settings = load_settings()
spec = models.load("toy", settings.models).spec
ready, go = os.pipe(), os.pipe()
for number in sys.argv[1:]:
    if os.fork():
        continue
    registry = Registry(settings)
    version = registry.get("toy", int(number))
    os.write(ready[1], b"!")
    os.read(go[0], 1)
    try:
        now = datetime.now(UTC)
        lock = open_locks(settings).hold("toy", "promotion", wait=30, now=now)
        log = Promotions(settings.lake_uri, "toy")
        move = promote(spec, registry, log, version, reason="race", by=number, now=now, lock=lock)
        told = "moved" if move else "there already"
    except EvergreenError as error:
        told = f"refused {error.what}"
    os.write(1, f"{number} {told}\\n".encode())
    os._exit(0)
for _ in sys.argv[1:]:
    os.read(ready[0], 1)
os.write(go[1], b"!" * len(sys.argv[1:]))
for _ in sys.argv[1:]:
    os.wait()
"""


def test_four_processes_move_it_once(
    registry: Registry, settings: Settings, make_spec: Make, make_rows: Make, make_version: Make,
    environment: dict[str, str],
) -> None:  # fmt: skip
    """Of four candidates that were judged against the same champion, one is promoted; the others are refused."""
    numbers = [make_version(make_spec(), make_rows(60), batch="first").number for _ in range(4)]
    for number in numbers:
        registry.conclude(registry.get("toy", number), Verdict.PASS, "", {})
    folder = Path(__file__).resolve().parents[2] / "faults" / "models"
    # One process imports, its four children race.
    done = subprocess.run(
        [sys.executable, "-c", RACE, *map(str, numbers)], env=environment | {"EVERGREEN_MODELS": str(folder)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    told = {int(number): how for number, how, *_ in map(str.split, done.stdout.splitlines())}
    assert sorted(told) == numbers, done.stderr
    assert sorted(told.values()) == ["moved", "refused", "refused", "refused"]
    champion = registry.champion("toy")
    moves = Promotions(settings.lake_uri, "toy").done()
    assert champion is not None
    assert [move.after for move in moves] == [champion.number]
    assert told[champion.number] == "moved"
