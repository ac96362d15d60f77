"""Rows without a time in the order of landing: split, windows, clusters and weights count rows; what is re-sent stays.

Each rule is a function that says what is wrong with a split, and each has a planted one that it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.data.observations import Observations
from evergreen.data.row_commits import renumber
from evergreen.data.snapshot import Snapshot
from evergreen.data.split import Split, split_rows
from evergreen.data.windows import (
    MIN_CLUSTERS,
    block_numbers,
    cluster_ids,
    current_window,
    judged_window,
    row_weights,
    time_clusters,
    training_window,
)
from evergreen.spec.fields import Rows
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds
from evergreen.spec.training import Holdout, Training
from tests.evergreen.data.test_split import Nothing, spec_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., Any]
WATCHED = PerformanceThresholds(window=Rows(10))
ROW_NUMBERS = st.sets(st.integers(0, 400), min_size=2, max_size=80)


def ordered(holdout: Holdout, **changes: Any) -> ModelSpec:
    """The toy of the split, its rows in the order of landing."""
    fields = {name: getattr(spec_of(Holdout()), name) for name in ("name", "task", "target", "features", "pipeline")}
    given = {"source": Nothing(), "contract": lambda: None, "metric": Metric(name="mae"), "performance": WATCHED}
    return ModelSpec(**fields | given | {"order": "rows", "holdout": holdout} | changes)


def frame_of(numbers: Any) -> pd.DataFrame:
    return pd.DataFrame({"_row": np.array(sorted(numbers), dtype=np.int64), "x": 1.0})


def latest_faults(split: Split) -> list[str]:
    """What is wrong with a split whose last rows are to judge."""
    faults = [] if (split.train ^ split.holdout).all() else ["a row is on both sides, or on neither"]
    return faults + ([] if (np.diff(split.holdout.astype(int)) >= 0).all() else ["an older row judges a newer one"])


def block_faults(split: Split, numbers: npt.NDArray[np.int64], rule: Holdout, recent: int | None) -> list[str]:
    """What is wrong with a split by blocks of rows, counted from row 0."""
    assert isinstance(rule.block, Rows)
    held = numbers // rule.block.count % rule.every == 0
    held &= numbers > numbers.max() - recent if recent else True
    return [] if (split.holdout == held).all() else ["another block judges"]


def gap_faults(split: Split, numbers: npt.NDArray[np.int64], gap: int) -> list[str]:
    """What is wrong with the rows beside those that judge."""
    if not split.holdout.any():
        return []
    nearest = np.abs(numbers[:, None] - numbers[split.holdout][None]).min(axis=1)
    return [] if (split.train == (nearest >= gap)).all() else ["a row within the gap is learned, or one beyond it not"]


def copy_faults(split: Split, ids: npt.NDArray[np.uint64]) -> list[str]:
    """What is wrong with the copies of a row."""
    return ["a row judges that was learned"] if set(ids[split.train]) & set(ids[split.holdout]) else []


@settings(max_examples=60)
@given(numbers=ROW_NUMBERS, share=st.floats(0.01, 0.99))
def test_the_last_rows_judge(numbers: set[int], share: float) -> None:
    """Of `latest`, the share that landed last, cut where it is due: each row has a place of its own."""
    split = split_rows(ordered(Holdout(share=share)), frame_of(numbers))
    assert latest_faults(split) == []
    asked = min(max(1, round(len(numbers) * share)), len(numbers) - 1)
    assert split.holdout.sum() == asked


@settings(max_examples=60)
@given(
    numbers=ROW_NUMBERS,
    block=st.integers(1, 50),
    every=st.integers(2, 6),
    recent=st.none() | st.integers(10, 300),
    later=st.sets(st.integers(401, 800), max_size=30),
)
def test_blocks_of_rows_are_the_same_in_every_version(
    numbers: set[int], block: int, every: int, recent: int | None, later: set[int]
) -> None:
    """Counted from row 0, so that what judges does not become another one when rows land, or numbers are gone."""
    rule = Holdout(strategy="blocked", block=Rows(block), every=every, recent=Rows(recent) if recent else None)
    frame, more = frame_of(numbers), frame_of(numbers | later)
    split, after = split_rows(ordered(rule), frame), split_rows(ordered(rule), more)
    assert block_faults(split, frame["_row"].to_numpy(), rule, recent) == []
    judged = set(more["_row"][after.holdout])
    assert not judged & set(frame["_row"][split.train]) or recent
    if recent:
        learned = set(frame["_row"][split.train & (frame["_row"] > frame["_row"].max() - recent)])
        assert not judged & learned


@settings(max_examples=60)
@given(numbers=ROW_NUMBERS, gap=st.integers(1, 30), strategy=st.sampled_from(["latest", "blocked"]))
def test_a_gap_of_rows(numbers: set[int], gap: int, strategy: Any) -> None:
    """Rows that are fewer than so many numbers away from one that judges are neither learned nor judged."""
    frame = frame_of(numbers)
    rule = Holdout(strategy=strategy, block=Rows(20), every=5, gap=Rows(gap))
    split = split_rows(ordered(rule), frame)
    assert (split.holdout == split_rows(ordered(rule.model_copy(update={"gap": None})), frame).holdout).all()
    assert gap_faults(split, frame["_row"].to_numpy(), gap) == []


@settings(max_examples=60)
@given(
    ids=st.lists(st.integers(0, 25), min_size=2, max_size=60),
    strategy=st.sampled_from(["latest", "blocked", "random"]),
)
def test_equal_rows_are_where_the_first_of_them_is(ids: list[int], strategy: Any) -> None:
    """However often a dump is landed again, a row never stands on both sides."""
    hashes = np.array(ids, dtype=np.uint64)
    split = split_rows(ordered(Holdout(strategy=strategy, block=Rows(5))), frame_of(range(len(ids))), hashes)
    assert copy_faults(split, hashes) == []


def test_planted_splits_are_refused() -> None:
    """A random share, blocks that move with the newest row, a gap that is one too short, and a copy on both sides."""
    frame, numbers = frame_of(range(100)), np.arange(100)
    assert latest_faults(split_rows(ordered(Holdout(strategy="random")), frame))
    rule = Holdout(strategy="blocked", block=Rows(10), every=5)
    moved = (99 - numbers) // 10 % 5 == 0
    assert block_faults(Split(~moved, moved), numbers, rule, None)
    gapped = split_rows(ordered(rule.model_copy(update={"gap": Rows(3)})), frame)
    assert gap_faults(gapped, numbers, 3) == [] != gap_faults(gapped, numbers, 4)
    ids = np.array([0, 1, 2, 3, 0], dtype=np.uint64)
    assert copy_faults(split_rows(ordered(Holdout(share=0.4)), frame_of(range(5))), ids)


@settings(max_examples=60)
@given(numbers=st.sets(st.integers(0, 3000), min_size=1, max_size=900))
def test_clusters_are_stretches_of_equally_many_rows(numbers: set[int]) -> None:
    """In order, each with as many rows but the last, at least `MIN_CLUSTERS` of them where there are as many rows."""
    frame = frame_of(numbers)
    found = time_clusters(ordered(Holdout()), frame)
    assert found is not None and isinstance(found.length, Rows)
    assert (np.diff(found.numbers) >= 0).all()
    sizes = np.bincount(found.numbers)
    assert set(sizes[:-1]) <= {found.length.count} and 1 <= sizes[-1] <= found.length.count
    assert len(sizes) >= min(MIN_CLUSTERS, len(numbers))
    assert found.length.count <= max(1, len(numbers) ** 0.5)
    shuffled = frame.sample(frac=1, random_state=1)
    again = cluster_ids(ordered(Holdout()), shuffled)
    assert again is not None and (pd.Series(again, shuffled.index).sort_index().to_numpy() == found.numbers).all()


def test_blocks_and_weights_count_rows() -> None:
    """Blocks from row 0 on; a row that is a half-life of rows older weighs half."""
    assert block_numbers(pd.Series([0, 9, 10, 25]), Rows(10)).tolist() == [0, 0, 1, 2]
    spec = ordered(Holdout(), training=Training(half_life=Rows(10)))
    found = row_weights(spec, frame_of([0, 10, 20]))
    assert found is not None and found.tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert time_clusters(ordered(Holdout()), frame_of([])) is None


@settings(max_examples=40)
@given(landed=st.integers(0, 500), champion=st.integers(0, 500), last=st.none() | st.integers(1, 300))
def test_windows_count_rows_back_from_the_newest(landed: int, champion: int, last: int | None) -> None:
    """Training the last so many numbers; current rows those after the champion's, as far back as drift looks."""
    length, snapshot = Rows(last) if last else None, Snapshot("", 0, landed, None, None, landed, "")
    spec = ordered(Holdout(), training=Training(last=length), drift=DriftThresholds(last=length))
    begin = max(0, landed - last) if last else 0
    assert training_window(spec, snapshot).from_row == begin
    assert current_window(spec, snapshot, None, champion).from_row == max(champion, begin)
    assert judged_window(spec, snapshot, None, champion, NOW).from_row == champion


@settings(max_examples=100)
@given(
    old=st.lists(st.integers(0, 6), max_size=20),
    new=st.lists(st.integers(0, 6), max_size=20),
    data=st.data(),
)
def test_what_is_re_sent_keeps_its_number(old: list[int], new: list[int], data: st.DataObject) -> None:
    """As a dictionary of waiting numbers would have it: the first of equal rows has the first number, the rest new."""
    numbers = data.draw(st.permutations(range(len(old))))
    waiting: dict[int, list[int]] = {}
    for number, value in sorted(zip(numbers, old, strict=True)):
        waiting.setdefault(value, []).append(number)
    expected, next_row = [], 100
    for value in new:
        if waiting.get(value):
            expected.append(waiting[value].pop(0))
        else:
            expected.append(next_row)
            next_row += 1
    hashes = (np.array(values, dtype=np.uint64) for values in (new, old))
    assert renumber(*hashes, np.array(numbers, dtype=np.int64), 100).tolist() == expected


def landed_rows(observations: Observations) -> dict[int, float]:
    """The number of each row, with its x."""
    frame = observations.frame(observations.snapshot().version)
    return dict(zip(frame["_row"].tolist(), frame["x"].tolist(), strict=True))


def test_a_file_that_is_sent_again_keeps_the_place_of_its_rows(
    tmp_path: Path, make_spec: Make, make_rows: Make
) -> None:
    """A file that grew: its new rows are the newest, behind those of another file; a corrected row is a new one."""
    spec = make_spec(keys=(), time=None, order="rows", performance=WATCHED)
    observations = Observations(str(tmp_path), spec)
    rows = make_rows(6).assign(at=lambda frame: frame["at"].dt.tz_localize("UTC"), x=np.arange(6.0))

    def land(batch: str, origin: str, frame: pd.DataFrame) -> None:
        observations.land(frame, batch, origin, now=NOW)

    land("1", "a.csv", rows.head(3))
    land("2", "b.csv", rows.iloc[[4]])
    land("3", "a.csv", rows.head(4))
    assert landed_rows(observations) == {0: 0.0, 1: 1.0, 2: 2.0, 3: 4.0, 4: 3.0}
    assert observations.snapshot().next_row == 5
    land("4", "a.csv", rows.head(4).assign(x=[0.0, 9.0, 2.0, 3.0]))
    assert landed_rows(observations) == {0: 0.0, 2: 2.0, 3: 4.0, 4: 3.0, 5: 9.0}
    # A number is never given twice, also when its row is gone.
    land("5", "a.csv", rows.iloc[[2]])
    land("6", "c.csv", rows.iloc[[5]])
    assert landed_rows(observations) == {2: 2.0, 3: 4.0, 6: 5.0}
    assert observations.measure(observations.snapshot().version) == observations.snapshot().digest


def test_a_row_with_a_known_key_keeps_its_place(tmp_path: Path, make_spec: Make, make_rows: Make) -> None:
    """A correction is no news of today; without the order the changed row is numbered anew, as before."""
    rows = make_rows(5).assign(at=lambda frame: frame["at"].dt.tz_localize("UTC"), x=np.arange(5.0))
    corrected = rows.iloc[[1, 4]].assign(x=[9.0, 4.0])
    for order, expected in (
        ("rows", {0: 0.0, 1: 9.0, 2: 2.0, 3: 3.0, 4: 4.0}),
        (None, {0: 0.0, 2: 2.0, 3: 3.0, 4: 9.0, 5: 4.0}),
    ):
        changes = {"order": "rows", "performance": WATCHED} if order else {"holdout": Holdout(strategy="random")}
        observations = Observations(str(tmp_path / str(order)), make_spec(time=None, **changes))
        observations.land(rows.head(4), "1", "a", now=NOW)
        observations.land(corrected, "2", "b", now=NOW)
        assert landed_rows(observations) == expected
        assert observations.snapshot().next_row == max(expected) + 1
        assert observations.measure(observations.snapshot().version) == observations.snapshot().digest
