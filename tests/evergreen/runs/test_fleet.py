"""All models side by side: what worries most is on top, and a broken model hides no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from evergreen.decision import Decision, Kind
from evergreen.errors import ModelFileError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.ledger.reconciliation import LedgerState
from evergreen.runs.fleet import OLD, WEIGHTS, WORRIES, FleetLine, describe_age, make_line, read_fleet, sort_lines
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.spec.retraining import Retraining
from tests.details import detail_of
from tests.fleet import store_fleet

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SINCE = NOW - 20 * DAY


def decided(kind: Kind, outcome: str, *, days: float = 0.1, champion: int | None = 1, **detail: Any) -> Decision:
    """A decision some days ago."""
    about = f"{kind}-{outcome}-{days}"
    return Decision(about, kind, NOW - days * DAY, outcome, champion, 3, "digest", "why", detail_of(kind, **detail))


def ledger(*entries: Decision, champion: int | None = 1, since: datetime | None = SINCE) -> LedgerState:
    """What is stored of a model with a champion."""
    return LedgerState(entries, champion, since)


def line(spec: ModelSpec, state: LedgerState, *newest: Decision) -> FleetLine:
    """The line of a model whose newest reports are `newest`; a drift report of today is added where there is none."""
    return make_line(spec, state, {each.kind: each for each in (decided("drift", "PASS"), *newest)}, now=NOW)


def test_a_calm_model_has_no_worry(make_spec: Callable[..., Any]) -> None:
    """Its champion with its age, its verdicts with the value, and what the file protects by."""
    found = line(make_spec(), ledger(), decided("performance", "PASS"))
    assert found.worries == ()
    assert (found.champion, found.since, found.drift, found.performance) == (1, SINCE, "PASS", "PASS")
    assert (found.metric, found.value, found.weight) == ("mae", 2.0, 0)
    assert found.protection is not None
    assert found.protection.score == "1 of 5"


def test_each_worry_has_its_sentence(make_spec: Callable[..., Any]) -> None:
    """Everything at once, the worst first."""
    spec = make_spec(retraining=Retraining(triggers=("drift", "performance")))
    drift, performance = decided("drift", "FAIL", days=3), decided("performance", "FAIL", days=1, immature=2)
    # It ended before both reports, so that it answers neither.
    asking = decided("retrain", "awaiting-approval", days=4)
    state = ledger(drift, performance, asking, decided("escalation", "ESCALATED"), since=NOW - OLD - DAY)
    found = line(spec, state, drift, performance, decided("skew", "FAIL"), decided("shadow", "FAIL"))
    assert found.worries == (
        "Retraining does not help; a person was told.",
        "2 decisions have no answer, the oldest for 3 days.",
        "The newest performance report failed: mae 2, 1 at promotion.",
        "The newest drift report failed.",
        "What is asked online differs from what lands.",
        "The last promotion made it worse.",
        "Nobody has looked for drift for 3 days.",
        "2 windows wait for their labels, 0 could be judged.",
        "A version waits for a person's approval.",
        "The champion is 91 days old.",
    )
    assert (found.open, found.open_since) == (2, NOW - 3 * DAY)


def test_no_table_is_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thirty models each opening counts, and most of the files of a ledger are not read at all."""
    import deltalake
    import pyarrow.parquet as pq

    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    names = store_fleet(settings, NOW, 3)
    table = Decisions(settings.lake_uri, names[0])
    for number in range(30):
        at = NOW - timedelta(minutes=30 - number)
        table.record(Decision(f"x{number}", "drift", at, "PASS", 1, 3, "digest", "why", detail_of("drift")))
    opened: list[str] = []
    files: list[object] = []

    class Opened(deltalake.DeltaTable):
        def __init__(self, uri: str, *words: Any, **options: Any) -> None:
            opened.append(uri)
            super().__init__(uri, *words, **options)

    class Read(pq.ParquetFile):
        def __init__(self, source: Any, *words: Any, **options: Any) -> None:
            files.append(source)
            super().__init__(source, *words, **options)

    monkeypatch.setattr(deltalake, "DeltaTable", Opened)
    monkeypatch.setattr(pq, "ParquetFile", Read)
    (line,) = read_fleet(settings, names[:1], partial(models.load_spec, folder=settings.models), now=NOW)
    assert (line.drift, line.champion) == ("PASS", 1)
    assert sorted(set(opened)) == sorted(opened)
    assert len(files) <= 4


def test_a_report_on_a_former_champion_does_not_count(make_spec: Callable[..., Any]) -> None:
    """Its failure was answered by another champion; nothing is known of the new one yet."""
    found = line(make_spec(), ledger(champion=2), decided("performance", "FAIL"), decided("drift", "FAIL"))
    assert (found.drift, found.performance, found.value) == ("", "", None)
    assert found.worries == ("Nobody has looked for drift for 20 days.",)


def test_a_monitor_that_found_nothing_new_has_looked(make_spec: Callable[..., Any]) -> None:
    """The report that there was is days old, and nobody has to worry."""
    newest: dict[Kind, Decision] = {"drift": decided("drift", "PASS", days=3)}
    assert make_line(make_spec(), ledger(), newest, now=NOW).worries == ("Nobody has looked for drift for 3 days.",)
    assert make_line(make_spec(), ledger(), newest, now=NOW, monitored=NOW - DAY / 2).worries == ()


def test_a_canary_is_shown_and_worries_when_it_is_paused(make_spec: Callable[..., Any]) -> None:
    """One that runs is nothing to worry about."""
    state = ledger(decided("retrain", "in-canary", version=2))
    running = line(make_spec(), state, decided("canary", "step"))
    assert (running.canary, running.retrain, running.worries) == (2, "in-canary", ())
    assert running.rest == "last retrain in-canary; version 2 in canary; off: gates, slices, performance, approval"
    assert line(make_spec(), state, decided("canary", "paused")).worries == ("Its canary is paused.",)


@given(
    st.lists(st.tuples(st.sets(st.sampled_from(WORRIES)), st.sets(st.sampled_from(WORRIES)))),
    st.lists(st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(2020, 1, 1)), min_size=2),
)
def test_more_worry_is_never_below(pairs: list[tuple[set[str], set[str]]], opened: list[datetime | None]) -> None:
    """A model that has all the worries of another one and one more stands above it, however long that one has been."""

    def make(model: str, worries: set[str], since: datetime | None) -> FleetLine:
        ranked = sorted(worries, key=WORRIES.index)
        weight = sum(WEIGHTS[name] for name in ranked)
        return FleetLine(model, worries=tuple(ranked), weight=weight, open_since=since)

    for number, (few, others) in enumerate(pairs):
        some = make(f"a{number}", few, opened[number % len(opened)])
        more = make(f"b{number}", few | others, opened[(number + 1) % len(opened)])
        order = [each.model for each in sort_lines([some, more])]
        if others - few:
            assert order == [more.model, some.model]
    by_worst = sorted(WORRIES, key=lambda name: -WEIGHTS[name])
    assert tuple(by_worst) == WORRIES
    for place, name in enumerate(WORRIES):
        assert WEIGHTS[name] > sum(WEIGHTS[lower] for lower in WORRIES[place + 1 :])


def test_with_equal_worries_the_longest_open_is_first() -> None:
    """Then the name decides, so that the order is the same each time."""
    lines = [
        FleetLine("c", weight=4),
        FleetLine("b", weight=4),
        FleetLine("late", weight=4, open_since=NOW),
        FleetLine("early", weight=4, open_since=NOW - DAY),
    ]
    assert [each.model for each in sort_lines(lines)] == ["early", "late", "b", "c"]


@pytest.mark.parametrize(
    ("since", "told"),
    [
        (None, ""),
        (NOW, "0 seconds"),
        (NOW + DAY, "0 seconds"),
        (NOW - DAY / 2, "12 hours"),
        (NOW - 2.5 * DAY, "2.5 days"),
        (NOW - 41.7 * DAY, "41 days"),
    ],
)
def test_an_age_is_short(since: datetime | None, told: str) -> None:
    """In whole days from ten on; a clock that was set back makes nothing negative."""
    assert describe_age(since, NOW) == told


def store(settings: Settings, model: str, *entries: Decision) -> None:
    """A champion and some decisions."""
    Promotions(settings.lake_uri, model).write(Move("m", SINCE, "promote", "done", None, 1, "first", "d", "retrain"))
    for entry in entries:
        Decisions(settings.lake_uri, model).record(entry)


def test_the_newest_of_each_kind_is_found(settings: Settings) -> None:
    """Whatever the order in which they were stored; the same id may be of two kinds."""
    table = Decisions(settings.lake_uri, "toy")
    assert table.newest(("drift",)) == {}
    old, new = decided("drift", "PASS", days=2), decided("drift", "FAIL", days=1)
    same = replace(decided("performance", "PASS", days=5), id=old.id)
    for entry in (new, old, same):
        table.record(entry)
    assert table.newest(("drift", "performance", "skew")) == {"drift": new, "performance": same}
    assert table.newest(("skew",)) == {}


@pytest.mark.parametrize("damage", ["log", "file"])
def test_a_broken_table_and_a_broken_file_hide_nothing(
    settings: Settings, make_spec: Callable[..., Any], damage: str
) -> None:
    """They stand on top with their problem; what a readable file protects by is still known."""
    mistake = ModelFileError("models/wrong.py, line 1: invalid syntax.", "Correct that line.")

    def load(model: str) -> ModelSpec:
        if model == "wrong":
            raise mistake
        found: ModelSpec = make_spec(name=model)
        return found

    for model in ("calm", "torn", "drifting", "wrong"):
        store(settings, model, decided("drift", "FAIL" if model == "drifting" else "PASS"))
    folder = Path(Decisions(settings.lake_uri, "torn").table.uri)
    if damage == "log":
        for path in (folder / "_delta_log").glob("*.json"):
            path.write_text("{ torn")
    else:
        next(folder.glob("*.parquet")).unlink()

    lines = read_fleet(settings, ("calm", "drifting", "torn", "wrong"), load, now=NOW)

    assert [each.model for each in lines] == ["torn", "wrong", "drifting", "calm"]
    torn, wrong, drifting, calm = lines
    assert "cannot be read" in torn.problem
    assert torn.protection is not None
    assert (wrong.problem, wrong.protection) == (str(mistake), None)
    assert drifting.worries[0] == "1 decision has no answer, for 2.4 hours."
    assert calm.worries == ()
    told = drifting.to_json()
    assert (told["since"], told["open"], told["protection"]["score"]) == (SINCE.isoformat(), 1, "1 of 5")
