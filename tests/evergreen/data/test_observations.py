from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.data import observations as module
from evergreen.data.observations import Observations
from evergreen.errors import BusyError, EvergreenError
from evergreen.spec.data import Features
from evergreen.spec.model import ModelSpec
from evergreen.storage import row_lookup

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUILDERS = [HealthCheck.function_scoped_fixture]
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


@pytest.fixture
def observations(tmp_path: Path, make_spec: Make) -> Observations:
    return Observations(str(tmp_path / "lake"), make_spec())


def utc(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(at=frame["at"].dt.tz_localize("UTC"))


def land(observations: Observations, batch: str, frame: pd.DataFrame, origin: str = "") -> tuple[int, int, int]:
    done = observations.land(utc(frame), batch, origin or f"{batch}.csv", now=NOW)
    return done.added, done.replaced, done.repeated


def sound(observations: Observations) -> None:
    """The digest and row number that commits carried forward are those of a recount."""
    snapshot = observations.snapshot()
    digest, next_row = observations._commits.measure(snapshot.version)
    assert (digest.hex, digest.rows) == (snapshot.digest, snapshot.rows)
    assert next_row <= snapshot.next_row
    assert observations.measure(snapshot.version) == snapshot.digest


def test_an_empty_table(observations: Observations) -> None:
    """Before anything landed there is a snapshot of nothing."""
    snapshot = observations.snapshot()
    assert (snapshot.rows, snapshot.start, snapshot.end, snapshot.next_row) == (0, None, None, 0)
    assert snapshot.digest == "0" * 32
    assert observations.any_origin() is None
    assert observations.identity() == observations.identity()


def test_the_same_batch_twice(observations: Observations, make_rows: Rows) -> None:
    """Landing a batch again changes nothing at all, not even the version."""
    assert land(observations, "one", make_rows(10)) == (10, 0, 0)
    before = observations.snapshot()
    assert land(observations, "one", make_rows(10)) == (0, 0, 10)
    assert observations.snapshot() == before


def test_the_same_rows_in_another_batch(observations: Observations, make_rows: Rows) -> None:
    """Rows that are there already change neither the content nor the row numbers."""
    land(observations, "one", make_rows(10))
    before = observations.snapshot()
    assert land(observations, "two", make_rows(10)) == (0, 0, 10)
    after = observations.snapshot()
    assert (after.digest, after.rows, after.next_row) == (before.digest, 10, before.next_row)
    sound(observations)


def test_a_batch_that_is_half_new(observations: Observations, make_rows: Rows) -> None:
    """Only what is new is added, and one changed cell replaces its row."""
    land(observations, "one", make_rows(10))
    second = pd.concat([make_rows(10).tail(5), make_rows(5, start=10)], ignore_index=True)
    second.loc[0, "y"] = 99.0
    assert land(observations, "two", second) == (5, 1, 4)
    frame = observations.frame(observations.snapshot().version)
    assert frame["id"].tolist() == list(range(15))
    assert frame.set_index("id").loc[5, "y"] == 99.0
    sound(observations)


def test_corrections_leave_other_files_alone(observations: Observations, make_rows: Rows) -> None:
    """A correction rewrites the file that holds the row and no other, and files do not grow together."""
    for number in range(4):
        rows = make_rows(10, start=10 * number)
        if number:
            rows = pd.concat([rows, make_rows(10, start=10 * (number - 1)).head(1).assign(y=float(number))])
        land(observations, f"b{number}", rows)
    files = observations.table.file_ranges(observations.table.open(), "id")
    assert files is not None and len(files) >= 4
    assert max(high - low for low, high in files) < 10
    sound(observations)


@pytest.mark.parametrize("limits", [(500, 200_000), (3, 200_000), (3, 8)], ids=["listed", "range", "pieces"])
def test_scattered_corrections(
    observations: Observations, make_rows: Rows, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]
) -> None:
    """Many corrections here and there cost a few ranges, and change the same rows as when each is named."""
    monkeypatch.setattr(row_lookup, "MAX_LISTED", limits[0])
    monkeypatch.setattr(row_lookup, "MAX_SPAN", limits[1])
    for number in range(3):
        land(observations, f"b{number}", make_rows(10, start=10 * number))
    picked = [28, 3, 4, 9, 11, 15, 17, 22]
    rows = pd.concat([make_rows(10, start=10 * number) for number in range(3)]).iloc[picked].assign(y=7.0)
    before = observations.snapshot()
    assert land(observations, "fix", pd.concat([rows, make_rows(2, start=30)])) == (2, 8, 0)
    held = observations.table.read().set_index("id")
    assert sorted(held.index[held["y"] == 7.0]) == sorted(picked)
    assert len(held) == 32 and held["_row"].is_unique
    assert set(held.index[held["_batch"] == "fix"]) == {*picked, 30, 31}
    assert held.loc[picked, "_row"].min() >= before.next_row
    sound(observations)


def test_late_rows_land_where_their_time_says(observations: Observations, make_rows: Rows) -> None:
    """Frames are in time order whatever the order of landing, and the range covers them."""
    land(observations, "new", make_rows(10, start=100))
    land(observations, "old", make_rows(10))
    snapshot = observations.snapshot()
    assert observations.frame(snapshot.version)["at"].is_monotonic_increasing
    assert (snapshot.start, snapshot.end) == ("2025-01-01T00:00:00+00:00", "2025-01-05T13:00:00+00:00")


def test_the_order_of_batches_does_not_matter(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """The digest is of the content, whatever the order in which it came and the origins that it came from."""
    batches = {"a": make_rows(5), "b": make_rows(5, start=3), "c": make_rows(9, start=20)}
    batches["b"] = pd.concat([batches["a"].tail(2), batches["c"].head(3)])
    digests = set()
    for number, order in enumerate(permutations(batches)):
        observations = Observations(str(tmp_path / str(number)), make_spec())
        for batch in order:
            land(observations, batch, batches[batch], origin=f"{number}{batch}")
        digests.add(observations.snapshot().digest)
    assert len(digests) == 1


@settings(max_examples=15, suppress_health_check=BUILDERS)
@given(
    batches=st.lists(
        st.dictionaries(st.integers(0, 12), st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=8), max_size=5
    ),
    keyed=st.booleans(),
)
def test_the_table_is_what_a_dictionary_would_be(
    make_spec: Make, batches: list[dict[int, float | None]], keyed: bool
) -> None:
    """With keys the newest content of each key stands, without them each origin's newest rows; the digest agrees."""
    with TemporaryDirectory() as folder:
        spec = make_spec() if keyed else make_spec(keys=())
        observations = Observations(folder, spec)
        wanted: dict[Any, float | None] = {}
        for number, cells in enumerate(batches):
            origin = f"it's {number % 2}.csv"
            frame = pd.DataFrame(
                {"id": list(cells), "at": pd.Timestamp("2025-01-01"), "x": 0.5, "kind": "é'", "y": list(cells.values())}
            ).astype({"id": "int64", "y": "float64", "at": "datetime64[us]"})
            frame["at"] += pd.to_timedelta(frame["id"], unit="h")
            done = land(observations, f"batch {number}", frame, origin)
            assert sum(done) == len(cells)
            if not keyed:
                wanted = {key: value for key, value in wanted.items() if key[0] != origin}
            wanted |= {(origin if not keyed else "", key): value for key, value in cells.items()}
            sound(observations)
        snapshot = observations.snapshot()
        found = observations.frame(snapshot.version)
        expected = [(key[1], None if value is None else value + 0.0) for key, value in wanted.items()]
        cells = ((key, None if pd.isna(y) else y) for key, y in zip(found["id"], found["y"], strict=True))
        assert sorted(cells, key=repr) == sorted(expected, key=repr)
        assert found["_row"].is_unique


def test_without_keys_an_origin_is_replaced_whole(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """A changed file takes the place of its own earlier rows, whatever is in its name; other files stay."""
    observations = Observations(str(tmp_path), make_spec(keys=()))
    name = "o'brien's \"data\"; --.csv"
    land(observations, "one", make_rows(10), name)
    land(observations, "two", make_rows(3, start=50), "other.csv")
    assert land(observations, "three", make_rows(10).assign(y=[9.0, *make_rows(10)["y"][1:]]), name) == (0, 1, 9)
    assert observations.snapshot().rows == 13
    assert land(observations, "four", make_rows(10).head(4), name) == (0, 1, 3)
    assert observations.snapshot().rows == 7
    sound(observations)


def test_every_row_is_in_one_batch(observations: Observations, make_rows: Rows) -> None:
    """A row says which batch and origin it came from; a replaced one names the batch that replaced it."""
    land(observations, "one", make_rows(4))
    land(observations, "two", make_rows(2).assign(y=5.0))
    rows = observations.table.read(["id", "_batch", "_origin", "_landed_at"]).sort_values("id")
    assert rows["_batch"].tolist() == ["two", "two", "one", "one"]
    assert rows["_origin"].tolist() == ["two.csv", "two.csv", "one.csv", "one.csv"]
    assert (rows["_landed_at"] == NOW).all()


# What others do to the table


def test_maintenance_changes_no_content(observations: Observations, make_rows: Rows) -> None:
    """Compaction and clearing away old files keep the digest, the row numbers, and what lands next."""
    for number in range(3):
        land(observations, f"b{number}", make_rows(5, start=5 * number))
    before = observations.snapshot()
    DeltaTable(observations.table.uri).optimize.compact()
    DeltaTable(observations.table.uri).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    after = observations.snapshot()
    assert (after.digest, after.rows, after.next_row) == (before.digest, before.rows, before.next_row)
    next_rows = pd.concat([make_rows(5, start=10).tail(2), make_rows(5, start=15)])
    assert land(observations, "next", next_rows) == (5, 0, 2)
    sound(observations)


def test_rows_deleted_by_another_program(observations: Observations, make_rows: Rows) -> None:
    """A deletion is seen, the digest is that of what is left, and no row number is given twice."""
    land(observations, "one", make_rows(10))
    whole = observations.snapshot()
    DeltaTable(observations.table.uri).delete("id >= 5")
    after = observations.snapshot()
    assert (after.rows, after.next_row) == (5, 10)
    assert after.digest != whole.digest
    assert observations.snapshot(whole.version) == whole
    land(observations, "two", make_rows(3, start=20))
    assert observations.table.read(["id", "_row"]).set_index("id").loc[20, "_row"] == 10
    sound(observations)


def test_a_tampered_table_is_found(observations: Observations, make_rows: Rows) -> None:
    """Rows that are not those of the commit are found by reading them."""
    land(observations, "one", make_rows(10))
    version = observations.snapshot().version
    assert observations.measure(version) == observations.snapshot(version).digest
    (file,) = Path(observations.table.uri).glob("*.parquet")
    frame, size = pd.read_parquet(file), file.stat().st_size
    frame.loc[3, "y"] += 1e-9
    frame.to_parquet(file)
    log = Path(observations.table.uri) / "_delta_log" / f"{version:020}.json"
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{file.stat().st_size}'))
    assert observations.measure(version) != observations.snapshot(version).digest


def test_an_emptied_commit_is_found(observations: Observations, make_rows: Rows) -> None:
    """A log entry that was cut to nothing loses rows silently for Delta, and not for the digest."""
    land(observations, "one", make_rows(10))
    land(observations, "two", make_rows(10, start=10))
    log = Path(observations.table.uri) / "_delta_log" / "00000000000000000001.json"
    log.write_text("")
    assert observations.measure(2) != observations.snapshot(2).digest


def test_a_writer_without_statistics(observations: Observations, make_rows: Rows) -> None:
    """Where files lack statistics the values themselves are looked at."""
    land(observations, "one", make_rows(10))
    uri = observations.table.uri
    DeltaTable(uri).alter.set_table_properties({"delta.dataSkippingStatsColumns": "x"})
    write_deltalake(DeltaTable(uri), observations.table.to_arrow(observations.table.read()), mode="overwrite")
    assert observations.table.file_ranges(observations.table.open(), "at") is None
    snapshot = observations.snapshot()
    assert (snapshot.start, snapshot.end) == ("2025-01-01T00:00:00+00:00", "2025-01-01T09:00:00+00:00")
    assert observations.any_origin() == "one.csv"
    assert land(observations, "two", make_rows(10)) == (0, 0, 10)


def test_two_writers_at_once(observations: Observations, make_rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was worked out from a version that has passed is refused, so that a digest is never wrong."""
    land(observations, "one", make_rows(5))
    real, other = module.find_by_key, Observations(observations.table.uri.rsplit("/", 2)[0], observations.spec)
    calls = iter(range(9))

    def meanwhile(*args: Any) -> Any:
        found = real(*args)
        if next(calls) == 0:
            land(other, "two", make_rows(5, start=5))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(module, "find_by_key", meanwhile)
        with pytest.raises(BusyError):
            land(observations, "three", make_rows(5, start=10))
    assert land(observations, "three", make_rows(5, start=10)) == (5, 0, 0)
    sound(observations)


def test_a_crash_between_two_commits(
    observations: Observations, make_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch with corrections and new rows that was cut between its two commits ends as if it had not been."""
    land(observations, "one", make_rows(5))
    second = pd.concat([make_rows(2).assign(y=7.0), make_rows(3, start=5)])

    def crash(*_args: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(observations.table), "append", crash)
        with pytest.raises(KeyboardInterrupt):
            land(observations, "two", second)
    sound(observations)
    assert not observations.table.has_commit("two")
    assert land(observations, "two", second) == (3, 0, 2)
    assert observations.snapshot().rows == 8
    sound(observations)


# Versions, contracts, samples


def test_time_travel(observations: Observations, make_rows: Rows) -> None:
    """A snapshot of an earlier version names what was there, and its frame holds it."""
    land(observations, "one", make_rows(5))
    first = observations.snapshot()
    land(observations, "two", make_rows(5).assign(y=1.0))
    assert observations.snapshot(first.version) == first
    assert observations.frame(first.version)["y"].tolist() == make_rows(5)["y"].tolist()
    with pytest.raises(EvergreenError, match="cannot be read"):
        observations.snapshot(99)


def test_a_contract_that_gains_and_loses_a_column(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Earlier rows hold nulls in a new column; after every change the digest is that of a recount."""

    def wider() -> Any:
        return make_spec().contract().add_columns({"extra": pa.Column(float, nullable=True)})

    narrow = Observations(str(tmp_path), make_spec())
    land(narrow, "one", make_rows(5))
    wide = Observations(str(tmp_path), make_spec(contract=wider))
    sound(wide)
    assert wide.snapshot().digest != narrow.snapshot(1).digest
    assert wide.frame(wide.snapshot().version)["extra"].isna().all()
    assert land(wide, "two", make_rows(7).assign(extra=[1.0] * 7)) == (2, 5, 0)
    sound(wide)
    assert len(wide.frame(1)) == 5
    sound(narrow)
    assert narrow.snapshot().rows == 7


def test_a_wide_table_knows_its_range(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Delta keeps statistics of 32 columns only; time, keys and origin are always among them."""

    def wide() -> Any:
        columns = {f"c{number}": pa.Column(float, nullable=True) for number in range(40)}
        return pa.DataFrameSchema(columns).add_columns(make_spec().contract().columns)

    observations = Observations(str(tmp_path), make_spec(contract=wide))
    land(observations, "one", make_rows(5).assign(**{f"c{number}": 1.0 for number in range(40)}))
    for column in ("at", "id", "_origin", "_row"):
        assert observations.table.file_ranges(observations.table.open(), column) is not None
    assert observations.snapshot().end == "2025-01-01T04:00:00+00:00"


def test_long_texts_as_keys(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Keys that differ only behind what Delta's statistics keep of a text are told apart, and found again."""
    spec = make_spec(keys=("kind",), features=Features(numeric=("x",)))
    observations = Observations(str(tmp_path), spec)
    rows = make_rows(3).assign(kind=["é" * 60 + end for end in "abc"])
    assert land(observations, "one", rows) == (3, 0, 0)
    assert land(observations, "two", rows.tail(1)) == (0, 0, 1)
    assert land(observations, "three", rows.tail(2).assign(y=4.0)) == (0, 2, 0)
    sound(observations)


def test_a_sample_of_a_small_table_is_the_table(observations: Observations, make_rows: Rows) -> None:
    """With no more rows than asked for, the sample is the frame."""
    land(observations, "one", make_rows(20))
    version = observations.snapshot().version
    sample, total = observations.sample(version, None, 20, seed=1)
    assert total == 20
    pd.testing.assert_frame_equal(sample, observations.frame(version))


@settings(max_examples=25, suppress_health_check=BUILDERS)
@given(rows=st.integers(1, 119), seed=st.integers(0, 2**32))
def test_a_sample_is_bounded_seeded_and_spread(sampled: Observations, rows: int, seed: int) -> None:
    """As many different rows as asked for, the same for the same seed, with one from every stretch of the table."""
    version = sampled.snapshot().version
    sample, total = sampled.sample(version, None, rows, seed=seed)
    assert total == 120
    assert len(sample) == rows
    assert sample["id"].is_unique
    pd.testing.assert_frame_equal(sample, sampled.sample(version, None, rows, seed=seed)[0])
    assert sample["kind"].dtype == "str"
    # The table is scanned file by file; within a file the stretches are as wide as rows were asked for.
    apart = sample["_row"].groupby(sample["_row"] // 40).apply(lambda rows: rows.diff().max())
    assert not (apart > 2 * 120 / rows + 2).any()


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Observations:
    """A table of 120 rows in three files, one of them without any text."""
    spec = ModelSpec(
        name="toy",
        task="regression",
        source=Nothing(),
        contract=lambda: pa.DataFrameSchema(
            {"id": pa.Column(int), "kind": pa.Column(str, nullable=True), "y": pa.Column(int, nullable=True)}
        ),
        keys=("id",),
        target="y",
        features=Features(categorical=("kind",)),
        pipeline=lambda seed: None,
        metric={"name": "mae"},
    )
    observations = Observations(str(tmp_path_factory.mktemp("sampled")), spec)
    for number, kind in enumerate(["a", None, "b"]):
        rows = pd.DataFrame({"id": range(40 * number, 40 * number + 40), "kind": kind})
        rows = rows.assign(kind=rows["kind"].astype("str") if kind else pd.Series([None] * 40, dtype="str"))
        observations.land(rows.assign(y=pd.array([number or None] * 40, dtype="Int64")), kind or "-", "o", now=NOW)
    return observations


class Nothing:
    def fingerprint(self, root: Path) -> str:
        return ""

    def read(self, root: Path, new: Callable[[str], bool]) -> Any:
        return iter(())


def test_identities(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """A row is known by its keys, or by its whole content where the model has none; also in another frame and order."""
    keyed, keyless = (Observations(str(tmp_path), make_spec(keys=keys)) for keys in (("id",), ()))
    rows = utc(make_rows(10))
    other = rows.assign(y=0.0).iloc[::-1]
    assert set(keyed.ids(rows)) == set(keyed.ids(other))
    assert not set(keyless.ids(rows)) & set(keyless.ids(other))
    assert (keyless.ids(rows) == keyless.ids(rows.copy())).all()
    assert len(set(keyless.ids(rows))) == 10


def test_equal_values_have_equal_digests(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Minus zero is zero, and every kind of missing value is the same."""
    digests = set()
    for number, (zero, missing) in enumerate([(0.0, None), (-0.0, float("nan"))]):
        observations = Observations(str(tmp_path / str(number)), make_spec())
        land(observations, "one", make_rows(2).assign(x=zero, y=missing).astype({"y": "float64"}))
        digests.add(observations.snapshot().digest)
    assert len(digests) == 1


def test_a_range_moves_with_its_rows(observations: Observations, make_rows: Rows) -> None:
    """A correction that moves the newest row back in time moves the range's end."""
    land(observations, "one", make_rows(5))
    moved = make_rows(5).tail(1)
    land(observations, "two", moved.assign(at=moved["at"] - timedelta(hours=3, minutes=30)))
    assert observations.snapshot().end == "2025-01-01T03:00:00+00:00"
