"""The split: a share or blocks judge, equal rows and rows of one time stay together, a gap is on neither side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evergreen.data.split import cut_between_times, number_copies, split_rows
from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Holdout


def spec_of(holdout: Holdout, time: str | None = "at") -> ModelSpec:
    return ModelSpec(
        name="toy",
        task="regression",
        source=Nothing(),
        contract=lambda: None,
        time=time,
        target="y",
        features=Features(numeric=("x",)),
        pipeline=lambda seed: None,
        metric=Metric(name="mae"),
        holdout=holdout,
    )


class Nothing:
    def fingerprint(self, root: Path) -> str:
        return ""

    def read(self, root: Path, new: Callable[[str], bool]) -> Any:
        return iter(())


def frame_of(hours: Any) -> pd.DataFrame:
    start = pd.Timestamp("2025-01-01", tz="UTC").as_unit("us")
    return pd.DataFrame({"at": start + pd.to_timedelta(sorted(hours), unit="h"), "x": 1.0})


@settings(max_examples=60)
@given(
    hours=st.sets(st.integers(0, 3000), min_size=2, max_size=80),
    share=st.floats(0.01, 0.99),
    strategy=st.sampled_from(["latest", "random"]),
)
def test_a_share_is_held_out(hours: set[int], share: float, strategy: Any) -> None:
    """At least one row is held out and at least one is left, the newest ones for `latest`, the same ones every time."""
    frame = frame_of(hours)
    spec = spec_of(Holdout(strategy=strategy, share=share))
    mask = split_rows(spec, frame).holdout
    assert 1 <= mask.sum() < len(frame)
    assert abs(mask.sum() - share * len(frame)) <= 1.5
    assert (mask == split_rows(spec, frame).holdout).all()
    if strategy == "latest":
        assert (np.diff(mask.astype(int)) >= 0).all()


def test_random_is_the_split_that_everybody_knows() -> None:
    """`random` with seed 42 holds out what scikit-learn's train_test_split does."""
    from sklearn.model_selection import train_test_split

    frame = frame_of(range(150))
    mask = split_rows(spec_of(Holdout(strategy="random", share=0.2, seed=42), time=None), frame).holdout
    assert np.flatnonzero(mask).tolist() == sorted(train_test_split(np.arange(150), test_size=0.2, random_state=42)[1])


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_to_divide(rows: int) -> None:
    """Nothing is held out of no row or one."""
    assert split_rows(spec_of(Holdout()), frame_of(range(rows))).holdout.sum() == 0


@settings(max_examples=60)
@given(
    hours=st.sets(st.integers(0, 3000), min_size=2, max_size=80),
    data=st.data(),
    every=st.integers(2, 7),
    block=st.integers(1, 100),
)
def test_blocks_are_anchored(hours: set[int], data: st.DataObject, every: int, block: int) -> None:
    """The same instant is held out whatever else is in the window, so that no version trains on another's holdout."""
    spec = spec_of(Holdout(strategy="blocked", every=every, block=timedelta(hours=block)))
    frame = frame_of(hours)
    held = dict(zip(frame["at"], split_rows(spec, frame).holdout, strict=True))
    part = frame_of(data.draw(st.sets(st.sampled_from(sorted(hours)), min_size=2)) | {4000})
    again = dict(zip(part["at"], split_rows(spec, part).holdout, strict=True))
    assert all(held[at] == again[at] for at in set(held) & set(again))


@settings(max_examples=60)
@given(
    hours=st.sets(st.integers(0, 3000), min_size=2, max_size=80),
    later=st.sets(st.integers(0, 6000), min_size=1, max_size=80),
    recent=st.integers(24, 2000),
)
def test_a_champion_never_saw_the_next_holdout(hours: set[int], later: set[int], recent: int) -> None:
    """With `recent`, whatever judges a later version was out of the training of every earlier one."""
    spec = spec_of(Holdout(strategy="blocked", recent=timedelta(hours=recent)))
    first, second = frame_of(hours), frame_of(hours | later)
    trained = set(first["at"][~split_rows(spec, first).holdout])
    judged = set(second["at"][split_rows(spec, second).holdout])
    assert not {at for at in judged & trained if at <= first["at"].max()}


def times_of(counts: list[int], hours: int = 24) -> pd.DataFrame:
    """Rows of as many times, so many hours apart, with so many rows each."""
    return frame_of(list(np.repeat(np.arange(len(counts)) * hours, counts)))


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    share=st.floats(0.01, 0.99),
)
def test_the_newest_share_is_cut_between_times(counts: list[int], share: float) -> None:
    """Rows of one time are on one side, the cut is the nearest to the share, and one time alone is never cut."""
    frame = times_of(counts)
    split = split_rows(spec_of(Holdout(share=share)), frame)
    assert (split.train ^ split.holdout).all()
    assert not set(frame["at"][split.train]) & set(frame["at"][split.holdout])
    if len(counts) == 1:
        assert split.train.all()
        return
    asked = len(frame) - min(max(1, round(len(frame) * share)), len(frame) - 1)
    assert abs(int(split.train.sum()) - asked) == np.abs(np.cumsum(counts)[:-1] - asked).min()


def test_a_month_end_is_on_one_side() -> None:
    """Of 24 month ends with 150 rows each the newest fifth is five of them, not four and four fifths."""
    split = split_rows(spec_of(Holdout()), times_of([150] * 24, hours=720))
    assert split.holdout.sum() == 5 * 150


@settings(max_examples=100)
@given(
    ids=st.lists(st.integers(0, 25), min_size=2, max_size=60),
    share=st.floats(0.05, 0.95),
    strategy=st.sampled_from(["latest", "random"]),
)
def test_equal_rows_are_on_one_side(ids: list[int], share: float, strategy: Any) -> None:
    """Copies of a row are where it comes first, and the distinct rows are split as a table of them alone is."""
    hashes, spec = np.array(ids, dtype=np.uint64), spec_of(Holdout(strategy=strategy, share=share), time=None)
    frame = pd.DataFrame({"x": ids})
    split = split_rows(spec, frame, hashes)
    assert (split.train ^ split.holdout).all()
    assert not set(hashes[split.train]) & set(hashes[split.holdout])
    _, first = number_copies(hashes)
    alone = split_rows(spec, frame.iloc[first])
    assert (alone.holdout == split.holdout[first]).all()


def test_of_a_full_export_every_day_the_new_rows_judge() -> None:
    """Three exports of 100 rows, 20 of them new each day: `latest` holds out what appeared last, with its copies."""
    exports = [np.arange(20 * day, 20 * day + 100) for day in range(3)]
    hashes = np.concatenate(exports).astype(np.uint64)
    spec = spec_of(Holdout(strategy="latest", share=0.2), time=None)
    split = split_rows(spec, pd.DataFrame({"x": hashes}), hashes)
    assert sorted(set(hashes[split.holdout])) == list(range(112, 140))
    assert split.holdout.sum() == 28 + 8
    assert not np.isin(hashes[split.holdout], hashes[split.train]).any()


def test_first_occurrences_are_numbered_in_order() -> None:
    """The number of a row is that of its first occurrence."""
    copies, first = number_copies(np.array([7, 3, 7, 9, 3], dtype=np.uint64))
    assert (copies.tolist(), first.tolist()) == ([0, 1, 0, 2, 1], [0, 1, 3])


@settings(max_examples=100)
@given(
    hours=st.sets(st.integers(0, 1000), min_size=2, max_size=80),
    gap=st.integers(1, 47),
    strategy=st.sampled_from(["latest", "blocked"]),
)
def test_a_gap_is_neither_learned_nor_judged(hours: set[int], gap: int, strategy: Any) -> None:
    """With a gap the same rows judge, no learned row is closer to one of them, and only rows that are were left out."""
    frame = frame_of(hours)
    rule = Holdout(strategy=strategy, every=5, block=timedelta(days=1))
    without, split = (
        split_rows(spec_of(one), frame) for one in (rule, rule.model_copy(update={"gap": timedelta(hours=gap)}))
    )
    assert (split.holdout == without.holdout).all()
    assert not (split.train & split.holdout).any()
    at = np.sort(list(hours))
    if split.holdout.any():
        nearest = np.abs(at[:, None] - at[split.holdout][None]).min(axis=1)
        assert (split.train == (nearest >= gap)).all()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"strategy": "random", "gap": timedelta(days=1)}, "a random holdout knows no time"),
        ({"strategy": "blocked", "every": 3, "gap": timedelta(days=1)}, "leaves no row to learn from"),
        ({"gap": timedelta(0)}, "longer than zero"),
    ],
)
def test_a_gap_that_cannot_be(rule: dict[str, Any], message: str) -> None:
    """A gap needs time, and leaves something to learn from."""
    with pytest.raises(ValidationError, match=message):
        Holdout(**rule)


def test_a_gap_without_time() -> None:
    """A model without a time column has no gap in time."""
    with pytest.raises(ValidationError, match=r"holdout\.gap: it counts in time"):
        spec_of(Holdout(gap=timedelta(days=1)), time=None)


def test_a_cut_lies_between_times() -> None:
    """The nearest change of the time, and none where there is one time."""
    time = times_of([3, 4, 2])["at"]
    assert [cut_between_times(time, row) for row in (1, 4, 6, 8)] == [3, 3, 7, 7]
    assert cut_between_times(time.head(3), 2) == 0
