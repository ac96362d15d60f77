"""k of n: one drift report that fails is a suspicion, enough of them call for a retraining."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.decision import Decision
from evergreen.ledger.confirmation import Confirmation, confirm
from evergreen.spec.monitoring import DriftThresholds
from evergreen.verdicts import Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAIL, PASS, OPEN = Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE
VERDICTS = st.lists(st.sampled_from(Verdict), max_size=12)
POLICIES = st.tuples(st.integers(1, 5), st.integers(1, 5)).map(
    lambda pair: DriftThresholds(confirm=min(pair), of=max(pair))
)


def reports(verdicts: Sequence[Verdict], champion: int = 1, first: int = 0) -> list[Decision]:
    """A ledger: one report an hour, each on data of its own."""
    return [
        Decision(f"id{at}", "drift", NOW + timedelta(hours=at), str(verdict), champion, at, f"data{at}", "why", {})
        for at, verdict in enumerate(verdicts, start=first)
    ]


def ask(policy: DriftThresholds, earlier: Sequence[Decision], verdict: Verdict = FAIL, **changes: Any) -> Confirmation:
    """The confirmation of a new report on champion 1."""
    return confirm(policy, earlier, **{"champion": 1, "digest": "new", "verdict": verdict} | changes)


@given(POLICIES, VERDICTS, st.sampled_from(Verdict))
def test_enough_of_the_last_reports_have_to_fail(
    policy: DriftThresholds, past: list[Verdict], verdict: Verdict
) -> None:
    """A report is confirmed where it failed and so did `confirm` of the last `of`, itself among them."""
    found = ask(policy, reports(past), verdict)
    failures = [*past, verdict][-policy.of :].count(FAIL)
    assert found == Confirmation(verdict is FAIL and failures >= policy.confirm, failures, policy.confirm, policy.of)


@given(POLICIES, VERDICTS, VERDICTS, st.randoms(use_true_random=False))
def test_only_reports_on_this_champion_count(
    policy: DriftThresholds, mine: list[Verdict], others: list[Verdict], chance: random.Random
) -> None:
    """Another champion's reports change nothing, nor does the order in which the ledger is read."""
    mixed = [*reports(mine), *reports(others, champion=2, first=3)]
    chance.shuffle(mixed)
    assert ask(policy, mixed) == ask(policy, reports(mine))


@given(POLICIES, VERDICTS, st.data())
def test_reports_on_the_same_data_count_once(policy: DriftThresholds, past: list[Verdict], data: st.DataObject) -> None:
    """Asking the newest question again, under another policy, adds nothing to what the others said."""
    ledger = reports(past)
    again = [
        Decision(f"again{hour}", "drift", NOW + timedelta(days=9, hours=hour), str(verdict), 1, 9, "new", "why", {})
        for hour, verdict in enumerate(data.draw(VERDICTS))
    ]
    assert ask(policy, [*ledger, *again]) == ask(policy, ledger)


def test_the_default_acts_on_the_first_failure() -> None:
    """1 of 1: nothing has to be known of earlier reports."""
    assert ask(DriftThresholds(), []).confirmed
    assert not ask(DriftThresholds(), [], PASS).confirmed


@pytest.mark.parametrize(
    ("past", "doubt"),
    [
        ([], "2 of 3 needed, 1 so far"),
        ([FAIL, PASS, PASS], "2 of 3 needed, 1 so far"),
        ([OPEN, OPEN], "2 of 3 needed, 1 so far"),
        ([FAIL, PASS], ""),
    ],
)
def test_doubt_says_what_is_missing(past: list[Verdict], doubt: str) -> None:
    """A person reads how many failures are needed and how many there were."""
    assert ask(DriftThresholds(confirm=2, of=3), reports(past)).doubt == doubt


def test_the_report_of_a_retraining_calls_for_no_other_one() -> None:
    """A retraining that saw the data is the answer to its own report; later reports still count it."""
    found = ask(DriftThresholds(), [], answered_by="abc")
    assert (found.confirmed, found.failed) == (False, 1)
    assert found.doubt == "retraining abc saw this data already"


def test_what_was_kept_comes_back() -> None:
    """What a decision keeps is what was found, with the share as [k, n]."""
    found = ask(DriftThresholds(confirm=2, of=3), reports([FAIL]))
    detail = found.to_detail()
    assert (detail["confirmed"], detail["failed"]) == (True, [2, 3])
    assert Confirmation.of_detail(detail) == found
