"""What follows from what is known of a challenger: three values, and more proof for more traffic."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.canary.judge import Evidence, LossBlocks, Position, judge_canary, judge_outcome
from evergreen.spec.canary import Canary
from evergreen.verdicts import Verdict

START = datetime(2026, 1, 5, tzinfo=UTC)
LATER = START + timedelta(days=3)
CANARY = Canary()


def blocks(n: int, worse: float, spread: float = 0.02, seed: int = 0) -> LossBlocks:
    """So many hours of 100 rows, in which the challenger loses that much more, as a share."""
    noise = np.random.default_rng(seed).standard_normal(n)
    noise -= noise.mean() if n else 0.0
    return LossBlocks(np.arange(n) * 3600.0, np.full(n, 100), np.full(n, 100.0), 100 * (worse + spread * noise))


def known(**changes: Any) -> Evidence:
    """A challenger as good as the champion, of which enough is known."""
    facts: dict[str, Any] = {
        "rows": 7_200,
        "rows_in_step": 500,
        "failures": 0,
        "timed": 7_200,
        "slower": 1_500,
        "blocks": blocks(72, 0.0),
        "metric": "mae",
    }
    return Evidence(**facts | changes)


def at(step: int, **changes: Any) -> Position:
    return replace(Position(step, START, START), **changes)


def test_an_equal_challenger_goes_step_by_step_and_is_promoted() -> None:
    """Each step asks for the proof of the next one; after the last it is the champion's turn to go."""
    assert [judge_canary(CANARY, known(), at(step), LATER).move for step in range(4)] == ["step"] * 3 + ["promote"]
    ruling = judge_canary(CANARY, known(), at(0), LATER)
    assert ruling.reason == "All three questions are answered; 25 % of the requests are next."
    assert [question.verdict for question in ruling.questions] == [Verdict.PASS] * 3


def test_more_traffic_takes_more_proof() -> None:
    """What is proven to lose at most 15 % may answer a quarter of the requests, and neither a half nor all of them."""
    unsure = known(blocks=blocks(30, 0.0, spread=0.22))
    outcomes = [judge_outcome(CANARY, unsure, share) for share in (25, 50, 100)]
    assert outcomes[0].interval is not None
    assert 0.1 < outcomes[0].interval[1] <= 0.2
    assert [each.verdict for each in outcomes] == [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert [each.bound for each in outcomes] == pytest.approx([0.2, 0.1, 0.05])


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (known(failures=120), "It failed to answer 120 of 7,200 rows that the champion answered; at most 0.5 % are"),
        (known(slower=4_000), "It took over 1.5 times the champion's time on 4,000 of 7,200 rows; less than half"),
        (known(blocks=blocks(72, 0.1)), "By mae it loses 10 % more than the champion on 7,200 labelled rows ("),
    ],
)
def test_one_answer_that_is_disproven_is_enough(evidence: Evidence, words: str) -> None:
    """In every step, also where a person has paused it; the reason has the figures."""
    for step in range(4):
        for paused in (False, True):
            ruling = judge_canary(CANARY, evidence, at(step, paused=paused), LATER)
            assert ruling.move == "refuse"
            assert ruling.reason.startswith(words)
            assert ruling.reason.endswith((": it is proven to be beyond that.", ": it is proven to be worse."))


@pytest.mark.parametrize(
    ("evidence", "position", "words"),
    [
        (known(blocks=LossBlocks.none()), at(0), "Its outcome is not known: 0 blocks have theirs, and 24 are needed."),
        (known(blocks=blocks(23, 0.0)), at(0), "Its outcome is not known: 23 blocks have theirs, and 24 are needed."),
        (known(rows=200), at(0), "It failed to answer 0 of 200 rows that the champion answered; at most 0.5 % are"),
        (known(timed=0, slower=0), at(0), "Both were timed on no row yet."),
        (known(rows=0), at(0), "Both have answered no row yet."),
        (known(), at(0, paused=True), "A person has paused it."),
        (known(), at(1, entered=LATER - timedelta(minutes=30)), "The step lasts until 2026-01-08 00:30 UTC at least."),
        (known(rows_in_step=7), at(3), "The step has compared 7 rows, and 100 are needed."),
        (known(unlabelled=400, disagreement=3.5), at(0), "On 400 rows without a label the versions differ 3.5 times"),
    ],
)
def test_what_is_not_known_waits_and_says_for_what(evidence: Evidence, position: Position, words: str) -> None:
    """Nothing is passed on what nobody has seen, and in the end the champion stays."""
    ruling = judge_canary(CANARY, evidence, position, LATER)
    assert ruling.move == "wait"
    assert words in ruling.reason
    late = judge_canary(CANARY, evidence, position, START + timedelta(days=14))
    if "lasts until" in words:
        # By then it has lasted long enough.
        assert late.move == "step"
    else:
        assert late.move == "give-up"
        assert late.reason.startswith("Nothing is proven, and the 14 days of its budget are over: the champion stays.")


def test_a_budget_of_rows_ends_it_too() -> None:
    """Which is told with what was waited for."""
    ruling = judge_canary(Canary(max_rows=7_000), known(blocks=LossBlocks.none()), at(0), LATER)
    assert ruling.move == "give-up"
    assert "the 7,000 rows of its budget were compared" in ruling.reason


def test_agreement_alone_passes_nothing() -> None:
    """Two versions that never differ, and no label: nothing is proven."""
    ruling = judge_canary(CANARY, known(blocks=LossBlocks.none(), unlabelled=7_200, disagreement=0.0), at(0), LATER)
    assert ruling.move == "wait"


def test_the_shadow_answers_nothing_and_is_promoted_on_the_whole_proof() -> None:
    """One step; what loses up to the margin of all traffic is asked."""
    shadow = Canary(mode="shadow")
    assert judge_canary(shadow, known(), at(0), LATER).move == "promote"
    assert judge_canary(shadow, known(blocks=blocks(30, 0.0, spread=0.2)), at(0), LATER).move == "wait"


def test_a_difference_of_how_floats_are_added_is_none() -> None:
    """A compiled plan and a frame differ in the sixteenth digit, always in the same direction."""
    assert judge_canary(CANARY, known(blocks=blocks(72, 1e-14, spread=0.0)), at(0), LATER).move == "step"


def test_a_champion_without_error_cannot_be_a_measure() -> None:
    """A share of nothing is not known, and that is said."""
    perfect = LossBlocks(np.arange(30) * 3600.0, np.full(30, 100), np.zeros(30), np.zeros(30))
    question = judge_outcome(CANARY, known(blocks=perfect), 100)
    assert question.verdict is Verdict.INCONCLUSIVE
    assert question.reason == "Its outcome cannot be measured by a share: the champion made no error at all."


def test_hours_that_are_alike_count_as_fewer() -> None:
    """A whole day better and a whole day worse, three times, is not 144 observations."""
    days = np.repeat([1.0, -1.0] * 3, 24) * 0.02
    alike = LossBlocks(np.arange(144) * 3600.0, np.full(144, 100), np.full(144, 100.0), 100 * days)
    mixed = LossBlocks(alike.starts, alike.rows, alike.lost, np.random.default_rng(0).permutation(alike.worse))
    ends = [judge_outcome(CANARY, known(blocks=each), 100).interval for each in (alike, mixed)]
    assert all(end is not None for end in ends)
    wide, narrow = (end[1] - end[0] for end in ends if end is not None)
    assert wide > 2 * narrow


@given(
    st.integers(0, 20_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 80),
    st.floats(-0.5, 0.5),
    st.integers(0, 3),
    st.booleans(),
)
def test_no_step_without_three_proofs(
    rows: int, failing: float, slow: float, n: int, worse: float, step: int, paused: bool
) -> None:
    """Whatever is known: a step or a promotion has three PASS, a refusal has a FAIL, and waiting has neither."""
    evidence = known(
        rows=rows, failures=int(failing * rows), timed=rows, slower=int(slow * rows), blocks=blocks(n, worse)
    )
    ruling = judge_canary(CANARY, evidence, at(step, paused=paused), LATER)
    verdicts = {question.verdict for question in ruling.questions}
    assert (ruling.move in ("step", "promote")) <= (verdicts == {Verdict.PASS} and not paused)
    assert (ruling.move == "refuse") == (Verdict.FAIL in verdicts)
    assert ruling.reason
