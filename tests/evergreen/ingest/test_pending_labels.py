"""Labels that come late: in the end every row has the label it would have had, whatever came in which order."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from evergreen.data.checked_batch import IN_FUTURE
from evergreen.data.contract import labels_digest
from evergreen.data.observations import Observations
from evergreen.data.windows import judged_window
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.ingest.pending_labels import PendingLabels
from evergreen.ingest.quarantine import quarantine_table
from evergreen.performance.label_coverage import label_windows
from evergreen.settings import Settings
from evergreen.sources.base import Batch, Waiting
from evergreen.sources.folder import Folder
from evergreen.spec.data import Labels, Reading
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import PerformanceThresholds
from evergreen.storage.delta_table import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = pd.Timestamp("2025-01-01", tz="UTC")
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]
BUILDERS = [HealthCheck.function_scoped_fixture]


class Landings:
    """A source to which a test adds one batch after the other."""

    def __init__(self, **batches: pd.DataFrame) -> None:
        self.batches = batches

    def fingerprint(self, root: Path) -> str:
        return ",".join(self.batches)

    def read(self, root: Path, new: Callable[[str], bool]) -> Any:
        for name, frame in self.batches.items():
            if new(name):
                yield Batch(name, f"{name}.csv", frame)


class World:
    """A model with a source of rows and one of labels, in a folder of its own."""

    def __init__(self, make_spec: Make, home: Path, *, time: str | None = "known", **changes: Any) -> None:
        self.rows, self.labels = Landings(), Landings()
        self.settings = Settings(home=home)
        self.spec = make_spec(source=self.rows, labels=Labels(source=self.labels, time=time), **changes)
        self.observations = Observations(self.settings.lake_uri, self.spec)

    def ingest(self, now: datetime = NOW) -> Landing:
        return ingest(self.spec, self.settings, now=now)

    def land(self, name: str, frame: pd.DataFrame, now: datetime = NOW) -> Landing:
        self.rows.batches[name] = frame
        return self.ingest(now)

    def label(self, name: str, frame: pd.DataFrame, now: datetime = NOW) -> Landing:
        self.labels.batches[name] = frame
        return self.ingest(now)

    @property
    def held(self) -> pd.DataFrame:
        return self.observations.table.read().sort_values("id").set_index("id")

    @property
    def digest(self) -> str:
        snapshot = self.observations.snapshot()
        assert self.observations.measure(snapshot.version) == snapshot.digest
        return snapshot.digest

    @property
    def waiting(self) -> int:
        assert self.spec.labels is not None
        quarantine = quarantine_table(self.settings.lake_uri, self.spec.name)
        contract = labels_digest(self.spec, self.spec.labels)
        return PendingLabels(self.settings.lake_uri, self.observations, quarantine, contract).count()

    @property
    def quarantined(self) -> list[tuple[str, int, str]]:
        frame = quarantine_table(self.settings.lake_uri, self.spec.name).read()
        return sorted(zip(frame["origin"], frame["row"], frame["reason"], strict=True))

    @property
    def payloads(self) -> list[Any]:
        return [json.loads(text) for text in quarantine_table(self.settings.lake_uri, self.spec.name).read()["payload"]]


@pytest.fixture
def world(make_spec: Make, tmp_path: Path) -> Callable[..., World]:
    def make(**changes: Any) -> World:
        return World(make_spec, tmp_path / "home", **changes)

    return make


def told(*labels: tuple[int, float, int]) -> pd.DataFrame:
    """Labels as (id, y, hours after the start at which they became known)."""
    frame = pd.DataFrame(labels, columns=["id", "y", "known"])
    return frame.assign(known=START + pd.to_timedelta(frame["known"], unit="h"))


def bare(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="y")


def hours(frame: pd.DataFrame) -> list[float | None]:
    return [None if pd.isna(at) else (at - START).total_seconds() / 3600 for at in frame["_labelled_at"]]


# A label finds its row


def test_labels_lack_the_columns_whose_notation_the_model_file_has(
    world: Callable[..., World], make_rows: Rows
) -> None:
    """The format of the rows' time says nothing of a label, which has no such column."""
    here = world(reading=Reading(times={"at": "%d.%m.%Y %H:%M"}))
    rows = bare(make_rows(6))
    rows["at"] = rows["at"].dt.strftime("%d.%m.%Y %H:%M")
    assert here.land("rows", rows).added == 6
    (report,) = here.label("labels", told((1, 10.0, 30)), NOW + timedelta(days=1)).labels
    assert (report.added, report.rejected, report.problem) == (1, 0, "")


def test_a_label_is_set_in_its_row(world: Callable[..., World], make_rows: Rows) -> None:
    """The row keeps its number, batch and time of landing; only the target and when it became known are new."""
    here = world()
    assert here.land("rows", bare(make_rows(6))).added == 6
    before = here.held
    assert before["y"].isna().all() and before["_labelled_at"].isna().all()
    landing = here.label("labels", told((1, 10.0, 30), (4, 40.0, 31)), NOW + timedelta(days=1))
    assert [(one.added, one.replaced, one.waiting) for one in landing.labels] == [(2, 0, 0)]
    assert (landing.labelled, landing.added, landing.quarantined, landing.pending_labels) == (2, 0, (), 0)
    after = here.held
    same = ["_row", "_batch", "_origin", "_landed_at", "x", "kind", "at"]
    pd.testing.assert_frame_equal(after[same], before[same])
    assert after["y"].dropna().to_dict() == {1: 10.0, 4: 40.0}
    assert hours(after) == [None, 30.0, None, None, 31.0, None]
    assert here.observations.snapshot().next_row == 6
    assert here.digest


def test_the_content_is_that_of_rows_with_their_targets(
    world: Callable[..., World], make_spec: Make, make_rows: Rows, tmp_path: Path
) -> None:
    """Rows labelled later have the digest of rows that came with their targets: training sees no difference."""
    here, rows = world(), make_rows(20)
    here.land("rows", bare(rows))
    here.label("labels", rows[["id", "y"]].assign(known=START))
    plain = Observations(str(tmp_path / "plain"), make_spec())
    plain.land(rows.assign(at=rows["at"].dt.tz_localize("UTC")), "rows", "rows.csv", now=NOW)
    assert here.digest == plain.snapshot().digest


def test_without_a_time_a_label_is_known_when_it_lands(world: Callable[..., World], make_rows: Rows) -> None:
    """Where the source gives no time it is that of landing, also for one that had to wait for its row."""
    here = world(time=None)
    here.label("early", told((1, 1.0, 0)), NOW)
    here.land("rows", bare(make_rows(3)), NOW + timedelta(hours=5))
    here.label("late", told((2, 2.0, 0)), NOW + timedelta(hours=9))
    found = here.held["_labelled_at"].dropna().to_dict()
    assert found == {1: pd.Timestamp(NOW), 2: pd.Timestamp(NOW + timedelta(hours=9))}


def test_the_same_bytes_twice_change_nothing(world: Callable[..., World], make_rows: Rows) -> None:
    """A batch is landed once; the same labels in another batch are repeated, and rewrite no row."""
    here = world()
    here.land("rows", bare(make_rows(4)))
    here.label("one", told((1, 1.0, 5), (9, 9.0, 5)))
    version, held = here.observations.snapshot(), here.held
    assert here.ingest().labels == ()
    assert here.observations.snapshot() == version
    (report,) = here.label("two", told((1, 1.0, 5), (9, 9.0, 5))).labels
    assert (report.added, report.replaced, report.repeated, report.waiting) == (0, 0, 2, 0)
    pd.testing.assert_frame_equal(here.held, held)
    assert (here.waiting, here.quarantined) == (1, [])


def test_the_time_among_the_keys(world: Callable[..., World], make_rows: Rows) -> None:
    """Labels are joined by every key, a time in the model file's zone among them, to the millisecond."""
    here = world(keys=("kind", "at"), timezone="Europe/Paris")
    rows = make_rows(4).assign(kind="a")
    rows["at"] += pd.Timedelta(microseconds=123456)
    here.land("rows", bare(rows))
    labels = rows[["kind", "at", "y"]].iloc[[1, 3]].assign(known="2025-06-01 12:00")
    (report,) = here.label("labels", labels).labels
    assert report.added == 2
    assert here.held["y"].notna().tolist() == [False, True, False, True]
    assert here.held["_labelled_at"].dropna().unique().tolist() == [pd.Timestamp("2025-06-01 10:00", tz="UTC")]


def test_prepare_turns_what_arrives_into_labels(make_spec: Make, make_rows: Rows, tmp_path: Path) -> None:
    """Labels have a prepare() of their own; what it leaves out is no label."""
    here = World(make_spec, tmp_path)

    def prepare(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["ok"]].rename(columns={"number": "id", "truth": "y"})

    labels = Labels(source=here.labels, prepare=prepare)
    here.spec = here.spec.model_copy(update={"labels": labels})
    here.land("rows", bare(make_rows(3)))
    raw = pd.DataFrame({"number": [0, 1, 2], "truth": [0.0, 1.0, 2.0], "ok": [True, False, True]})
    (report,) = here.label("labels", raw).labels
    assert report.added == 2
    assert here.held["y"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["int", "bool", "str"])
def test_whole_numbers_flags_and_texts_stay_what_they_are(
    world: Callable[..., World], make_rows: Rows, make_spec: Make, kind: str
) -> None:
    """A class that is a number, a flag or a text is the same whether its neighbours have their label or not."""
    from evergreen.training.predict import labelled, target_of

    def contract() -> Any:
        return make_spec().contract().update_column("y", dtype=kind)

    values: dict[str, list[Any]] = {"int": [3, 5], "bool": [True, False], "str": ["a", "b"]}
    here = world(contract=contract, task="classification", metric={"name": "accuracy"})
    here.land("rows", bare(make_rows(4)))
    here.label("labels", pd.DataFrame({"id": [0, 2], "y": values[kind], "known": START}))
    spec, snapshot = here.spec, here.observations.snapshot()
    some = here.observations.frame(snapshot.version)
    here.label("more", pd.DataFrame({"id": [1, 3], "y": values[kind], "known": START}))
    every = here.observations.frame(here.observations.snapshot().version)
    found, whole = target_of(spec, labelled(spec, some)), target_of(spec, labelled(spec, every))
    assert (found.dtype, sorted(found.tolist())) == (whole.dtype, sorted(set(whole.tolist())))


def test_labels_of_rows_here_and_there(
    world: Callable[..., World], make_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scattered over a long table they are set in several commits; killed in between, the rest is set by the next."""
    from evergreen.storage import row_lookup

    monkeypatch.setattr(row_lookup, "MAX_LISTED", 2)
    monkeypatch.setattr(row_lookup, "MAX_SPAN", 6)
    here = world()
    here.land("rows", bare(make_rows(20)))
    real, calls = Table.replace, iter(range(9))

    def cut(*arguments: Any, **options: Any) -> None:
        if next(calls) == 1:
            raise CrashError
        real(*arguments, **options)

    labels = told(*((number, float(number), 9) for number in (19, 0, 2, 4, 7, 8, 11, 14)))
    with monkeypatch.context() as patch:
        patch.setattr(Table, "replace", cut)
        with pytest.raises(CrashError):
            here.label("labels", labels)
    assert 0 < here.held["y"].notna().sum() < 8
    (report,) = here.ingest().labels
    assert report.added + report.repeated == 8
    assert here.held["y"].dropna().to_dict() == {number: float(number) for number in (0, 2, 4, 7, 8, 11, 14, 19)}
    assert here.held["_row"].tolist() == list(range(20))
    assert here.digest


# Early labels


def test_a_label_ahead_of_its_row_waits(world: Callable[..., World], make_rows: Rows) -> None:
    """It is kept and told of, and set by the ingest that lands its row, the other labels wait on."""
    here = world()
    landing = here.label("early", told((1, 1.0, 1), (2, 2.0, 1), (7, 7.0, 1)))
    assert [(one.added, one.waiting) for one in landing.labels] == [(0, 3)]
    assert landing.pending_labels == 3
    assert landing.waiting == (Waiting("labels", "3 wait for a row with their key"),)
    landing = here.land("rows", bare(make_rows(3)))
    assert [(one.origin, one.added) for one in landing.labels] == [("labels that waited", 2)]
    assert (landing.labelled, landing.pending_labels, here.waiting) == (2, 1, 1)
    assert here.held["y"].dropna().to_dict() == {1: 1.0, 2: 2.0}
    assert here.land("more", bare(make_rows(5, start=3))).labelled == 1
    assert (here.waiting, here.quarantined) == (0, [])
    assert here.ingest().waiting == ()


def test_waiting_labels_contradict_each_other(world: Callable[..., World], make_rows: Rows) -> None:
    """Of those that wait for one key the one known last is set; what it beat is in quarantine under its own file."""
    here = world()
    here.label("a", told((1, 1.0, 9)))
    here.label("b", told((1, 2.0, 3)))
    here.label("c", told((1, 3.0, 12)))
    assert here.waiting == 3
    (report,) = here.land("rows", bare(make_rows(2))).labels
    assert (report.added, report.rejected, report.replaced) == (1, 2, 0)
    assert here.held["y"].dropna().to_dict() == {1: 3.0}
    why = "y: a newer label stands"
    assert here.quarantined == [("a.csv", 1, why), ("b.csv", 1, why)]
    assert sorted(payload["y"] for payload in here.payloads) == [1.0, 2.0]


def test_the_last_to_land_stands_where_there_is_no_time(world: Callable[..., World], make_rows: Rows) -> None:
    """Two files without times, landed together or apart, before the row or after it: the later file's label stands."""
    ends = []
    for number, steps in enumerate((("a", "b", "rows"), ("rows", "a", "b"), ("rows", "ab"), ("ab", "rows"))):
        here = world(time=None, name=f"toy{number}")
        for later, step in enumerate(steps):
            if step == "rows":
                here.rows.batches["rows"] = bare(make_rows(2))
            else:
                values = {"a": 9.0, "b": 4.0}
                here.labels.batches |= {name: pd.DataFrame({"id": [1], "y": [values[name]]}) for name in step}
            here.ingest(NOW + timedelta(hours=later))
        ends.append(here.held["y"].dropna().to_dict())
        assert [payload["y"] for payload in here.payloads] == [9.0]
    assert ends == [{1: 4.0}] * 4


# Rows that land again


def test_a_row_that_lands_again_without_a_target_keeps_its_label(world: Callable[..., World], make_rows: Rows) -> None:
    """A correction of features, or the same file again, leaves the label; the row counts as corrected or repeated."""
    here = world()
    here.land("rows", bare(make_rows(3)))
    here.label("labels", told((0, 5.0, 40), (1, 6.0, 41)))
    again = here.land("again", bare(make_rows(3)))
    assert [(one.replaced, one.repeated) for one in again.batches] == [(0, 3)]
    corrected = here.land("corrected", bare(make_rows(3)).assign(x=[1.5, *make_rows(3)["x"][1:]], y=np.nan))
    assert [(one.replaced, one.repeated) for one in corrected.batches] == [(1, 2)]
    held = here.held
    assert (held.loc[0, "x"], held.loc[0, "y"], held.loc[0, "_batch"]) == (1.5, 5.0, "corrected")
    assert hours(held) == [40.0, 41.0, None]
    assert here.digest
    # Also once the model file names no source of labels any more.
    plain = here.spec.model_copy(update={"labels": None})
    here.rows.batches["late"] = bare(make_rows(3)).assign(y=np.nan, x=2.5)
    ingest(plain, here.settings, now=NOW)
    assert here.held["y"].tolist()[:2] == [5.0, 6.0]


@pytest.mark.parametrize("first", ["label", "row", "bare"])
def test_a_target_that_comes_with_its_row_stands(world: Callable[..., World], make_rows: Rows, first: str) -> None:
    """Whatever came first, the row's own target stands, and the label is in quarantine with the reason."""
    here, rows = world(), make_rows(2).assign(y=[1.0, 2.0])
    if first == "bare":
        here.land("bare", bare(rows))
    if first == "row":
        here.land("rows", rows)
    landing = here.label("labels", told((0, 9.0, 5), (1, 2.0, 5)))
    if first == "bare":
        assert landing.labelled == 2
    if first != "row":
        landing = here.land("rows", rows)
    assert here.held["y"].tolist() == [1.0, 2.0]
    assert hours(here.held)[0] is None
    reasons = {"bare": ("rows.csv", "the row came again with a target of its own")}
    origin, why = reasons.get(first, ("labels.csv", "the row came with a target of its own"))
    assert here.quarantined == [(origin, 1, f"y: {why}")]
    assert [(payload["id"], payload["y"]) for payload in here.payloads] == [(0, 9.0)]
    assert len(landing.quarantined) == 1
    assert here.waiting == 0


# Labels that contradict each other


def test_of_two_labels_in_one_batch_the_one_known_last_stands(world: Callable[..., World], make_rows: Rows) -> None:
    """The others are in quarantine under their row of the file; of the same words one counts."""
    here = world()
    here.land("rows", bare(make_rows(3)))
    labels = told((0, 7.0, 9), (0, 8.0, 4), (1, 1.0, 4), (1, 1.0, 4), (2, 5.0, 3), (2, 4.0, 3))
    (report,) = here.label("labels", labels).labels
    assert (report.added, report.repeated, report.rejected) == (3, 1, 2)
    assert here.held["y"].tolist() == [7.0, 1.0, 5.0]
    why = "y: another label of this batch has the same key"
    assert here.quarantined == [("labels.csv", 2, why), ("labels.csv", 6, why)]


def test_across_batches_the_label_known_later_stands(world: Callable[..., World], make_rows: Rows) -> None:
    """The older one goes to quarantine, the one that arrives or the one that stood, and both are counted."""
    here = world()
    here.land("rows", bare(make_rows(2)))
    here.label("a", told((0, 1.0, 10), (1, 1.0, 10)))
    (report,) = here.label("b", told((0, 2.0, 12), (1, 2.0, 8))).labels
    assert (report.replaced, report.rejected, report.superseded) == (1, 1, 1)
    assert report.reason == "1 row was rejected, 1 older label was replaced"
    assert here.held["y"].tolist() == [2.0, 1.0]
    assert hours(here.held) == [12.0, 10.0]
    assert here.quarantined == [
        ("b.csv", 1, "y: a newer label took its place"),
        ("b.csv", 2, "y: a newer label stands"),
    ]
    assert sorted((payload["id"], payload["y"]) for payload in here.payloads) == [(0, 1.0), (1, 2.0)]


# Bad labels


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"y": "much"}, "y: not a number"),
        ({"y": None}, "y: not_nullable"),
        ({"id": None}, "id: not_nullable"),
        ({"id": 1.5}, "id: not a whole number"),
        ({"y": -500.0}, "y: greater_than_or_equal_to(-100)"),
        ({"known": "2026-01-03 00:00Z"}, f"known: {IN_FUTURE}"),
        ({"known": "soon"}, "known: not a time"),
        ({"known": None}, "known: not_nullable"),
    ],
    ids=["text", "no label", "no key", "half a key", "out of range", "future", "no time", "without a time"],
)
def test_a_bad_label_is_refused_alone(
    world: Callable[..., World], make_spec: Make, make_rows: Rows, change: dict[str, Any], why: str
) -> None:
    """It is in quarantine with its row of the file and the reason, the others are set; too many refuse the batch."""
    import pandera.pandas as pa

    def contract() -> Any:
        return make_spec().contract().update_column("y", checks=pa.Check.ge(-100), nullable=False)

    here = world(contract=contract)
    here.land("rows", bare(make_rows(30)))
    labels = told(*((number, 1.0, 30) for number in range(30))).astype("object")
    for name, value in change.items():
        labels.loc[3, name] = value
    (report,) = here.label("labels", labels).labels
    assert (report.added, report.rejected) == (29, 1)
    assert here.quarantined == [("labels.csv", 4, why)]
    assert here.held["y"].isna().sum() == 1
    (report,) = here.label("worse", labels.iloc[:5].reset_index(drop=True)).labels
    assert report.problem.startswith(f"1 of 5 rows break the contract (20.0%, at most 5.0%): {why}")
    assert ("worse.csv", -1, report.problem) in here.quarantined


@pytest.mark.parametrize("column", ["id", "y", "known"])
def test_a_column_is_missing(world: Callable[..., World], make_rows: Rows, column: str) -> None:
    """A batch of another shape is refused whole; under changed rules it is looked at again."""
    here = world()
    here.land("rows", bare(make_rows(3)))
    (report,) = here.label("labels", told((0, 1.0, 1)).drop(columns=column)).labels
    assert report.problem == f"column {column!r} is missing"
    assert here.ingest().labels == ()
    assert here.quarantined == [("labels.csv", -1, report.problem)]
    labels = Labels(source=here.labels, prepare=lambda frame: frame.assign(**{column: 1}))
    here.spec = here.spec.model_copy(update={"labels": labels})
    (report,) = here.ingest().labels
    assert report.problem == ""


def test_an_empty_file_of_labels(make_spec: Make, make_rows: Rows, tmp_path: Path) -> None:
    """A header without labels, or nothing at all, is a line of quarantine; what is being written is left alone."""
    here = World(make_spec, tmp_path)
    folder = here.settings.landing / "labels"
    folder.mkdir(parents=True)
    for name, text in {"a.csv": "id,y,known\n", "b.csv": "", "c.csv": "id,y,known\n1,2.0,2025-02-01T00:00Z\n"}.items():
        (folder / name).write_text(text)
        os.utime(folder / name, (1, 1))
    here.spec = here.spec.model_copy(update={"labels": Labels(source=Folder("labels"), time="known")})
    (folder / "d.csv").write_text("")
    landing = here.land("rows", bare(make_rows(2)))
    assert [(one.origin, one.added, one.problem) for one in landing.labels] == [
        ("a.csv", 0, "it has a header and no rows"),
        ("b.csv", 0, "it is empty"),
        ("c.csv", 1, ""),
    ]
    assert [item.origin for item in landing.waiting] == ["d.csv"]


def test_a_label_for_a_row_in_the_future(world: Callable[..., World], make_rows: Rows) -> None:
    """What has not happened yet has no label, though the table hold its row."""
    here = world()
    here.land("rows", bare(make_rows(3)))
    (report,) = here.label("labels", told((0, 1.0, -99), (2, 2.0, -99)), START - timedelta(hours=23)).labels
    assert (report.added, report.rejected) == (1, 1)
    assert here.quarantined == [("labels.csv", 2, f"y: the row's own time is {IN_FUTURE}")]


# Any order, any delay


@st.composite
def _histories(draw: st.DrawFn) -> tuple[list[Sequence[Any]], int]:
    """Steps of (rows or labels, what of them): any split of both, in any order and interleaving."""
    count = 24
    order = draw(st.permutations(range(count)))
    labels = draw(st.permutations([*range(count), *draw(st.lists(st.integers(0, count - 1), max_size=8))]))
    cuts = draw(st.lists(st.integers(1, count - 1), max_size=2, unique=True).map(sorted))
    other = draw(st.lists(st.integers(1, count - 1), max_size=3, unique=True).map(sorted))
    steps: list[Sequence[Any]] = [("rows", part) for part in np.split(np.array(order), cuts)]
    steps += [("labels", part) for part in np.split(np.array(labels), other)]
    return list(draw(st.permutations(steps))), draw(st.sampled_from([0, 7, 30]))


def _end(world: World, days: int) -> Any:
    """What has to be the same: content, when each label became known, and which windows have theirs, at two times."""
    spec, snapshot = world.spec, world.observations.snapshot()
    times = [START + timedelta(days=days, hours=12), START + timedelta(days=60)]
    windows = [label_windows(world.observations, judged_window(spec, snapshot, None, 0, at)) for at in times]
    return world.digest, hours(world.held), windows


@pytest.fixture(scope="module")
def straight() -> dict[int, Any]:
    """The end of a history in which all rows landed at once and then all labels, by the days that these are late."""
    return {}


@examples(max_examples=12, suppress_health_check=[*BUILDERS, HealthCheck.too_slow])
@given(history=_histories())
def test_the_order_of_arrival_does_not_matter(
    make_spec: Make, make_rows: Rows, straight: dict[int, Any], history: tuple[list[Sequence[Any]], int]
) -> None:
    """Labels late by 0, 7 or 30 days, shuffled, corrected, in any batches before and after their rows: one end."""
    steps, days = history
    rows = make_rows(24)
    policy = PerformanceThresholds(window=timedelta(hours=6), coverage=0.75)
    known = rows["at"].dt.tz_localize("UTC") + pd.Timedelta(days=days)
    truth = rows[["id", "y"]].assign(known=known)
    with TemporaryDirectory() as folder:
        if days not in straight:
            plain = World(make_spec, Path(folder) / "plain", performance=policy)
            plain.land("rows", bare(rows))
            plain.label("labels", truth)
            straight[days] = _end(plain, days)
        crooked = World(make_spec, Path(folder) / "crooked", performance=policy)
        seen: dict[int, int] = {}
        for number, (what, ids) in enumerate(steps):
            if what == "rows":
                crooked.land(f"rows{number}", bare(rows.iloc[ids]))
                continue
            # The second time that a key is told, something older was said; whichever comes first.
            part = truth.iloc[ids].reset_index(drop=True)
            older = [seen.setdefault(one, 0) + list(ids[:place]).count(one) for place, one in enumerate(ids)]
            for one in ids:
                seen[one] += 1
            first = np.array(older) > 0
            part.loc[first, "known"] -= pd.Timedelta(hours=1)
            part.loc[first, "y"] -= 1.0
            crooked.label(f"labels{number}", part)
        assert crooked.waiting == 0
        assert _end(crooked, days) == straight[days]
        lost = sum(count - 1 for count in seen.values())
        reports = len(crooked.quarantined)
        assert reports <= lost and (reports > 0) == (lost > 0)


# Crashes


class CrashError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crash_at_any_commit_changes_nothing_in_the_end(
    make_spec: Make, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    """Cut before any of its commits and run again, with more rows there by then, it ends as an uninterrupted one."""
    start = World(make_spec, tmp_path / "start")
    start.land("first", bare(make_rows(2, start=23)))
    start.label("early", told((1, 1.0, 1), (2, 2.0, 1), (2, 2.5, 2), (23, 3.0, 1), (30, 3.0, 1), (99, 1.0, 1)))
    start.label("rival", told((2, 9.0, 0), (31, 3.0, 1)))

    def begin(name: str) -> World:
        shutil.copytree(tmp_path / "start", tmp_path / name)
        here = World(make_spec, tmp_path / name)
        here.rows.batches |= start.rows.batches | {"a": bare(make_rows(25)), "b": make_rows(3, start=21)}
        bad = told(*((number, 1.0, 5) for number in range(20)), (20, np.nan, 5))
        here.labels.batches |= start.labels.batches | {"c": bad}
        here.labels.batches["d"] = told((3, 3.0, 4), (4, 5.0, 7), (5, 6.0, 9), (22, 6.0, 9), (90, 1.0, 1))
        return here

    def finish(here: World) -> Any:
        here.rows.batches["e"] = bare(make_rows(10, start=25))
        here.ingest()
        return here.digest, hours(here.held), here.quarantined, here.waiting

    wanted = begin("clean")
    wanted.ingest()
    end = finish(wanted)
    assert wanted.ingest().labels == ()
    assert len({reason for _, _, reason in end[2]}) == 6
    real = Table._open_for_commit
    for at in range(1, 30, stride):
        calls, here = iter(range(1, 99)), begin(str(at))

        def cut(table: Table, *arguments: Any, calls: Any = calls, at: int = at) -> Any:
            if next(calls) == at:
                raise CrashError
            return real(table, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Table, "_open_for_commit", cut)
            try:
                here.ingest()
            except CrashError:
                assert finish(here) == end, at
                continue
        break
    assert at > 10
