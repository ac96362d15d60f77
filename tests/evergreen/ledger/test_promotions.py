"""Whatever is killed and run again: one champion, the one that the log says, and a log that tells the whole history."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evergreen.errors import EvergreenError
from evergreen.ledger import promotions
from evergreen.ledger.promotions import Promotions, champion_at
from evergreen.registry import promotion
from evergreen.registry.promotion import require_consistent
from evergreen.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@dataclass
class Rows:
    """A table in memory whose version is the number of its lines; `wrote` may raise in place of a write."""

    wrote: Callable[[str], None]
    lines: list[pd.DataFrame] = field(default_factory=list)

    def open(self) -> Rows:
        return self

    def open_existing(self) -> Rows | None:
        return self if self.lines else None

    def read_all(self) -> list[dict[str, Any]]:
        """The lines as an Arrow table gives them, the newest first."""
        rows = [row for frame in self.lines[::-1] for row in frame.to_dict("records")]
        return [{key: None if pd.isna(value) else value for key, value in row.items()} for row in rows]

    def append_in_turn(self, frame: pd.DataFrame, opened: Rows) -> None:
        assert opened is self
        self.wrote("log:before")
        self.lines.append(frame)
        self.wrote("log:after")


class Production:
    """A registry and a log in memory, and a fuse that kills at the n-th write."""

    def __init__(self, home: Path, make_in_memory: Callable[[], Any], make_spec: Callable[..., Any]) -> None:
        self.settings, self.spec = Settings(home=home), make_spec()
        self.registry = make_in_memory()
        self.registry.wrote = self.wrote
        self.rows = Rows(self.wrote)
        self.fuse = 0
        self.champion_deleted = False

    def wrote(self, _what: str) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            raise Killed

    @property
    def log(self) -> Promotions:
        return Promotions(self.settings.lake_uri, "toy")

    def do(self, action: str, number: int | None, now: datetime, fuse: int) -> None:
        """Carry out one action of a person, of a retraining or of fate."""
        known = sorted(self.registry.stored)
        chosen = known[number % len(known)] if number is not None and known else None
        facts = {"reason": action, "by": "test", "now": now}
        if action == "train":
            self.registry.add(status="FAILED" if number == 7 else "PASSED")
        elif action == "delete" and chosen is not None:
            self.champion_deleted |= chosen == self.registry.aliases.get("champion")
            self.registry.delete(chosen)
        elif action == "damage" and chosen is not None:
            self.registry.damaged ^= {chosen}
        elif action in ("promote", "rollback", "accept"):
            self.fuse = fuse
            try:
                if action == "promote" and chosen is not None:
                    version = self.registry.get("toy", chosen)
                    promotion.promote(
                        self.spec,
                        self.registry,
                        Promotions(self.settings.lake_uri, self.spec.name),
                        version,
                        **facts,
                        lock=nullcontext(),
                    )
                elif action == "accept":
                    log = Promotions(self.settings.lake_uri, "toy")
                    stores = self.registry, self.registry.files, log
                    promotion.accept_loss(self.spec, *stores, **facts, lock=nullcontext())
                elif action == "rollback":
                    promotion.roll_back(
                        self.spec,
                        self.registry,
                        Promotions(self.settings.lake_uri, self.spec.name),
                        chosen,
                        **facts,
                        lock=nullcontext(),
                    )
            except (EvergreenError, Killed):
                pass
            finally:
                self.fuse = 0

    def check(self) -> None:
        """What holds at every moment: once there was a champion there is one unless its loss was accepted."""
        champion = self.registry.champion("toy")
        if champion is None:
            begun = self.log.open()
            assert self.log.champion() is None or self.lost or (begun is not None and begun.action == "loss")
        else:
            self.champion_deleted = False
            assert champion.status == "PASSED"

    def check_settled(self, now: datetime) -> None:
        """What holds once everything that was begun is finished."""
        promotion.settle(self.registry, Promotions(self.settings.lake_uri, "toy"), lock=nullcontext(), now=now)
        done, champion = self.log.done(), self.registry.champion("toy")
        assert self.log.open() is None
        assert (champion is None) == (self.log.champion() is None) or self.lost
        if champion is None:
            return
        assert champion.number == done[-1].after
        assert champion.status == "PASSED"
        assert champion.tags.rolled_back is None
        require_consistent(self.registry, champion, self.log)
        assert self.registry.aliases.get("previous") != champion.number
        assert self.registry.aliases.get("challenger") != champion.number

    def check_history(self) -> None:
        """The log alone tells what was in production at any time, without a gap."""
        lines, done = self.log.all(), self.log.done()
        assert [line.at for line in lines] == sorted(line.at for line in lines)
        assert len({(line.id, line.phase) for line in lines}) == len(lines)
        intents = {line.id for line in lines if line.phase == "intent"}
        assert {line.id for line in lines if line.phase != "intent"} == intents
        assert [move.before for move in done] == [None, *(move.after for move in done[:-1])][: len(done)]
        if done:
            assert champion_at(lines, max(move.at for move in done)) == done[-1]

    @property
    def lost(self) -> bool:
        """Whether a person deleted the champion; only a rollback or the acceptance of the loss repairs that.

        Where a move was killed between the alias and its end, that is not the champion of the log.
        """
        return self.champion_deleted or self.log.champion() not in {None, *self.registry.stored}


ACTIONS = st.tuples(
    st.sampled_from(
        ["train", "train", "promote", "promote", "promote", "rollback", "rollback", "delete", "damage", "accept"]
    ),
    st.none() | st.integers(0, 9),
    st.integers(-3, 5),
    st.integers(0, 22),
    st.booleans(),
)


PROMOTED_TWICE = [
    *(("train", None, 0, 0, False), ("train", None, 0, 0, False)),
    *(("promote", None, 0, 0, False), ("promote", 1, 0, 0, False)),
    *(("train", None, 0, 0, False), ("promote", 3, 0, 0, False)),
]
"""Version 2 is champion, then version 4; 2 is the one to go back to."""


@pytest.mark.parametrize("deletes", [False, True])
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(actions=[*PROMOTED_TWICE, ("rollback", None, 0, 4, False), ("delete", 1, 0, 0, False)])
@example(
    actions=[*PROMOTED_TWICE, *(("rollback", None, 0, fuse, False) for fuse in (2, 4)), ("delete", 1, 0, 0, False)]
)
@given(actions=st.lists(ACTIONS, min_size=3, max_size=16))
def test_one_champion_that_the_log_names(
    actions: list[tuple[str, int | None, int, int, bool]],
    deletes: bool,
    make_in_memory: Callable[[], Any],
    make_spec: Callable[..., Any],
) -> None:
    """After any mixture of promotions, rollbacks, kills, damage, deletion and clocks that go back, all agrees."""
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        production = Production(Path(home), make_in_memory, make_spec)
        patch.setattr(promotions, "Table", lambda _uri, _schema: production.rows)
        patch.setattr(promotions, "read_all_rows", lambda _table, opened: opened.read_all())
        now = START
        production.registry.add()
        for action, number, hours, fuse, settled in actions:
            now += timedelta(hours=hours)
            if action != "delete" or deletes:
                production.do(action, number, now, fuse)
                production.check()
            if settled:
                production.check_settled(now)
        production.check_settled(now)
        production.check_history()
