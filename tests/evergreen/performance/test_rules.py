"""A champion beside the rules of one line: where it does worse is told, and no rule knows a label before its time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.details.watch import PerformanceDetail
from evergreen.ledger.detail_json import detail_from_json, detail_to_json
from evergreen.registry.client import Registry
from evergreen.spec.gates import Gates
from tests.evergreen.performance.test_check import Watch

Make = Callable[..., Any]
ROWS, NEW = 300, 192
DAYS = NEW // 24


@pytest.fixture
def wandering(make_rows: Make) -> pd.DataFrame:
    """Hours whose label wanders and follows no feature: the label of an hour ago is hard to beat."""
    rows: pd.DataFrame = make_rows(ROWS + NEW)
    steps = np.random.default_rng(5).normal(size=len(rows))
    return rows.assign(y=10 * np.cumsum(steps) / np.sqrt(len(rows)))


def watch_of(make_spec: Make, make_version: Make, make_rows: Make, registry: Registry, rows: Any, how: Any) -> Watch:
    spec = make_spec(gates=Gates(persistence=how))
    return Watch(spec, registry.settings, make_version(spec, rows[:ROWS]), make_rows)


@pytest.mark.parametrize("how", ["tell", "beat"])
def test_a_champion_that_loses_to_the_last_label_is_told(
    make_spec: Make, make_version: Make, make_rows: Make, registry: Registry, wandering: pd.DataFrame, how: str
) -> None:
    """The reason names the rule, the figures are those of its own, and the verdict is the one without it."""
    watch = watch_of(make_spec, make_version, make_rows, registry, wandering, how)
    watch.land("new", wandering[ROWS:])
    found = watch.look()
    last, season = found.rules
    y = wandering["y"].to_numpy()
    assert last.value == pytest.approx(np.abs(np.diff(y))[ROWS - 1 :].mean())
    assert last.gain == pytest.approx((last.value or 0) - (found.value or 0))
    assert last.interval is not None
    assert last.interval[1] < 0
    assert (last.covered, last.worse_in) == (1.0, (9, 9))
    assert last.told.startswith("Repeating the last known label is a rule of one line: mae ")
    assert last.told.endswith(
        "Nothing is decided by this. Give the model lagged labels: docs/model-files.md has an example."
    )
    assert season.name.startswith("the label a ")
    assert "; it does worse than repeating the last known label (" in found.reason
    without = watch.look(spec=watch.spec.model_copy(update={"gates": Gates()}), min_rows=NEW - 1)
    assert (without.verdict, without.own, without.interval) == (found.verdict, found.own, found.interval)
    assert without.rules == ()


def test_a_champion_that_knows_more_is_told_so(
    make_spec: Make, make_version: Make, make_rows: Make, registry: Registry
) -> None:
    """Where a feature says what the label will be the champion does better, and the reason is silent."""
    rows = make_rows(ROWS + NEW)
    watch = watch_of(make_spec, make_version, make_rows, registry, rows, "tell")
    watch.land("new", rows[ROWS:])
    found = watch.look()
    assert all(rule.gain is not None and rule.gain > 0 for rule in found.rules)
    assert all(rule.told.endswith("Nothing is decided by this.") for rule in found.rules)
    assert "repeating" not in found.reason


def test_no_rule_knows_a_label_before_its_time(
    make_spec: Make, make_version: Make, make_rows: Make, registry: Registry, wandering: pd.DataFrame
) -> None:
    """Labels of a day come two days after it: what is repeated is the newest label of then, row by row."""
    watch = watch_of(make_spec, make_version, make_rows, registry, wandering, "tell")
    new = wandering[ROWS:].reset_index(drop=True)
    watch.land("bare", new.assign(y=None))
    known = pd.Series(new["at"].dt.floor("D") + timedelta(days=3)).dt.tz_localize("UTC")
    for at, rows in new.groupby(known):
        watch.label(rows, at.to_pydatetime())
    last = watch.look().rules[0]
    times = new["at"].dt.tz_localize("UTC")
    before = wandering["y"].iloc[ROWS - 1]
    repeated = [new["y"][known < at].iloc[-1] if (known < at).any() else before for at in times]
    assert last.value == pytest.approx(np.abs(np.array(repeated) - new["y"].to_numpy()).mean())
    peeking = np.abs(np.diff(wandering["y"].to_numpy()))[ROWS - 1 :].mean()
    assert last.value is not None
    assert last.value > 1.5 * peeking


def test_reports_without_rules_are_stored_as_before() -> None:
    """A detail without rules has no such key, and one with them comes back as it was."""
    bare = PerformanceDetail("mae", 2.0, (1.5, 2.5), 1.0, 200)
    assert "rules" not in detail_to_json(bare)
    assert detail_from_json("performance", "d", detail_to_json(bare)) == bare
