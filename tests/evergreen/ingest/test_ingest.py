from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from evergreen.data.checked_batch import IN_FUTURE
from evergreen.data.contract import contract_digest
from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.ingest.ingest import ingest
from evergreen.ingest.quarantine import quarantine_table
from evergreen.settings import Settings
from evergreen.sources.base import Batch, Waiting
from evergreen.sources.folder import Folder
from evergreen.sources.simulator import SIMULATED
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

PROJECT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


class Batches:
    """A source of batches that the test hands over, and a record of what was read of it."""

    def __init__(self, *items: Batch | Waiting) -> None:
        self.items = items
        self.read_ids: list[str] = []

    def fingerprint(self, root: Path) -> str:
        return str(len(self.items))

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        for item in self.items:
            if isinstance(item, Waiting):
                yield item
            elif new(item.id):
                self.read_ids.append(item.id)
                yield item


def batch(name: str, frame: pd.DataFrame | None, problem: str = "") -> Batch:
    return Batch(name, f"{name}.csv", frame, problem)


def snapshot(spec: ModelSpec, settings: Settings) -> Snapshot:
    return Observations(settings.lake_uri, spec).snapshot()


def quarantined(spec: ModelSpec, settings: Settings) -> list[tuple[str, int, str]]:
    frame = quarantine_table(settings.lake_uri, spec.name).read()
    return sorted(zip(frame["origin"], frame["row"], frame["reason"], strict=True))


def state(spec: ModelSpec, settings: Settings) -> Any:
    """What has to be the same after a rerun: the content, and what was refused and why."""
    now = snapshot(spec, settings)
    return now.digest, now.rows, now.start, now.end, quarantined(spec, settings)


def test_batches_land_once(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """Every batch lands, what is not complete is reported, and a second call reads nothing."""
    told: list[str] = []
    source = Batches(batch("a", make_rows(5)), Waiting("c.csv", "it is empty"), batch("b", make_rows(5, start=5)))
    spec = make_spec(source=source)
    first = ingest(spec, settings, now=NOW, step=told.append)
    assert [(report.batch, report.added) for report in first.batches] == [("a", 5), ("b", 5)]
    assert (first.added, first.quarantined, told) == (10, (), ["a.csv", "b.csv"])
    assert [item.origin for item in first.waiting] == ["c.csv"]
    before = snapshot(spec, settings)
    second = ingest(spec, settings, now=NOW)
    assert (second.batches, source.read_ids) == ((), ["a", "b"])
    assert snapshot(spec, settings) == before


def test_refused_rows_are_kept_with_their_place(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """A refused row is in quarantine under its file, its row and its column, with its own content."""
    frame = make_rows(60).astype({"x": "object"})
    frame.loc[7, "x"] = 'warm\n, "very"'
    frame.loc[9, "x"] = 1e9
    spec = make_spec(source=Batches(batch("a", frame)))
    (report,) = ingest(spec, settings, now=NOW).batches
    assert (report.added, report.rejected, report.problem) == (58, 2, "")
    assert [(origin, row) for origin, row, _ in quarantined(spec, settings)] == [("a.csv", 8), ("a.csv", 10)]
    kept = quarantine_table(settings.lake_uri, spec.name).read().set_index("row")
    assert kept.loc[8, "reason"] == "x: not a number"
    assert json.loads(kept.loc[8, "payload"])["x"] == frame.loc[7, "x"]
    assert json.loads(kept.loc[10, "payload"])["id"] == 9
    assert kept.loc[8, "at"] == NOW


def test_a_payload_keeps_what_was_there(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """Infinity is in the quarantine as it came, and so is every digit, also after prepare left rows out."""
    frame = make_rows(60)
    frame.loc[[30, 31], "x"] = [np.inf, -np.inf]
    frame.loc[30, "y"] = 0.1234567890123
    spec = make_spec(source=Batches(batch("a", frame)), prepare=lambda rows: rows[rows["id"] >= 10])
    ingest(spec, settings, now=NOW)
    kept = quarantine_table(settings.lake_uri, spec.name).read().set_index("row")
    payload = json.loads(kept.loc[31, "payload"])
    assert (payload["id"], payload["x"], payload["y"]) == (30, "inf", 0.1234567890123)
    assert json.loads(kept.loc[32, "payload"])["x"] == "-inf"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": "warm"}, "40 of 40 rows break the contract (100.0%, at most 5.0%): x: not a number"),
        ({"at": pd.Timestamp("2030-01-01")}, f"at: {IN_FUTURE}"),
    ],
)
def test_a_batch_that_is_mostly_bad(
    make_spec: Make, make_rows: Rows, settings: Settings, change: dict[str, Any], reason: str
) -> None:
    """Too many bad rows refuse the whole batch, which is kept whole with the reason; others land all the same."""
    spec = make_spec(source=Batches(batch("a", make_rows(40).assign(**change)), batch("b", make_rows(5))))
    landing = ingest(spec, settings, now=NOW)
    assert [report.origin for report in landing.quarantined] == ["a.csv"]
    assert landing.added == 5
    ((origin, row, why),) = quarantined(spec, settings)
    assert (origin, row) == ("a.csv", -1)
    assert reason in why
    payload = quarantine_table(settings.lake_uri, spec.name).read()["payload"][0]
    assert len(pd.read_parquet(settings.root / payload)) == 40


def test_a_row_from_the_future_comes_back_as_its_reason_says(
    make_spec: Make, make_rows: Rows, settings: Settings
) -> None:
    """Once its time has come the same batch is not read again, and another one with the row lands it."""
    frame = make_rows(40)
    frame.loc[7, "at"] = pd.Timestamp(NOW).tz_localize(None) + pd.Timedelta(days=3)
    first = make_spec(source=Batches(batch("a", frame)))
    assert ingest(first, settings, now=NOW).added == 39
    assert quarantined(first, settings) == [("a.csv", 8, f"at: {IN_FUTURE}")]
    later = NOW + timedelta(days=4)
    assert ingest(first, settings, now=later).added == 0
    again = make_spec(source=Batches(batch("a", frame), batch("b", frame.loc[[7]])))
    assert ingest(again, settings, now=later).added == 1
    assert snapshot(again, settings).rows == 40


def test_a_missing_column_refuses_the_batch(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """A batch without a column goes to quarantine whole, one with more columns lands without them."""
    bad, wide = make_rows(5).drop(columns="x"), make_rows(5).assign(more=1)
    spec = make_spec(source=Batches(batch("a", bad), batch("b", wide)))
    ingest(spec, settings, now=NOW)
    assert quarantined(spec, settings) == [("a.csv", -1, "column 'x' is missing")]
    assert snapshot(spec, settings).rows == 5


def _typo(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(x=frame["tmp"])


def _needs_more(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(x=frame["more"] * 1.0)


def test_a_prepare_that_fails_refuses_nothing(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """The line of the model file is named and no batch is rejected; corrected, the same batch lands."""
    source = Batches(batch("a", make_rows(5)))
    broken = make_spec(source=source, prepare=_typo)
    for _ in range(2):
        with pytest.raises(ModelFileError) as caught:
            ingest(broken, settings, now=NOW)
        line = _typo.__code__.co_firstlineno + 1
        assert str(caught.value) == (
            f"tests/evergreen/ingest/test_ingest.py, line {line}, in _typo(): KeyError: 'tmp', on a.csv, which has the "
            "columns id, at, x, kind, y. Correct it, or take a.csv away: nothing was rejected, and the next run reads "
            "it again."
        )
    assert not quarantine_table(settings.lake_uri, broken.name).exists()
    assert ingest(make_spec(source=source), settings, now=NOW).added == 5
    with pytest.raises(ModelFileError, match="_typo"):
        ingest(broken.model_copy(update={"source": Batches(batch("b", make_rows(5, start=5)))}), settings, now=NOW)


def _failing_check(values: pd.Series) -> pd.Series:
    return values > values["bound"]


def test_a_check_that_fails_refuses_nothing(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """A check of the contract that is a function of the user's own is told by its line as well."""
    spec = make_spec(source=Batches(batch("a", make_rows(5))))
    schema = spec.contract().update_column("x", checks=[pa.Check(_failing_check)])
    line = _failing_check.__code__.co_firstlineno + 1
    told = rf"^tests/evergreen/ingest/test_ingest\.py, line {line}, in _failing_check: KeyError, on a\.csv, which has"
    with pytest.raises(ModelFileError, match=told):
        ingest(spec.model_copy(update={"contract": lambda: schema}), settings, now=NOW)
    assert not quarantine_table(settings.lake_uri, spec.name).exists()


def test_a_batch_that_a_working_prepare_cannot_take_is_rejected(
    make_spec: Make, make_rows: Rows, settings: Settings
) -> None:
    """Where the same code took another batch, in this run or before, one file keeps no other one out."""
    good, more, bad = make_rows(5).assign(more=1), make_rows(5, start=5).assign(more=2), make_rows(5, start=10)
    first = make_spec(source=Batches(batch("a", good), batch("b", bad)), prepare=_needs_more)
    assert [report.origin for report in ingest(first, settings, now=NOW).quarantined] == ["b.csv"]
    again = make_spec(source=Batches(batch("c", bad), batch("d", more)), prepare=_needs_more)
    landing = ingest(again, settings, now=NOW)
    assert ([report.reason for report in landing.quarantined], landing.added) == (["column 'more' is missing"], 5)


def test_an_unreadable_batch_is_kept_as_it_came(make_spec: Make, settings: Settings) -> None:
    """A file that cannot be read is kept byte for byte, however long its name."""
    folder = settings.landing / "toy"
    folder.mkdir(parents=True)
    name = "n" * 250 + ".csv"
    (folder / name).write_bytes(b"\x00\x01binary")
    # So old that nobody can be writing it still.
    os.utime(folder / name, (1, 1))
    spec = make_spec(source=Folder("toy"))
    (report,) = ingest(spec, settings, now=NOW).batches
    assert report.problem == "it is not text: it holds zero bytes"
    payload = quarantine_table(settings.lake_uri, spec.name).read()["payload"][0]
    assert (settings.root / payload).read_bytes() == b"\x00\x01binary"


def test_a_refused_batch_is_looked_at_again_under_another_contract(
    make_spec: Make, make_rows: Rows, settings: Settings
) -> None:
    """Under the same contract it is not read again; under one that changed in any way it is, and lands if it may."""
    source = Batches(batch("a", make_rows(40).assign(x=500.0)))
    spec = make_spec(source=source)
    assert ingest(spec, settings, now=NOW).quarantined
    assert ingest(spec, settings, now=NOW).batches == ()
    assert source.read_ids == ["a"]
    wider = make_spec(source=source, max_rejected=0.9)
    assert ingest(wider, settings, now=NOW).quarantined

    def contract() -> Any:
        return make_spec().contract().update_column("x", checks=pa.Check.ge(0))

    changed = make_spec(source=source, contract=contract)
    assert ingest(changed, settings, now=NOW).added == 40
    assert source.read_ids == ["a"] * 3


def test_the_contracts_digest_is_steady(make_spec: Make) -> None:
    """The digest is the same for the same contract built again, a check of one's own in it, and for nothing else."""

    def own() -> Any:
        return make_spec().contract().update_column("x", checks=pa.Check(lambda values: values < 100))

    def other() -> Any:
        return make_spec().contract().update_column("x", checks=pa.Check(lambda values: values < 200))

    def prepare(frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    assert contract_digest(make_spec(contract=own)) == contract_digest(make_spec(contract=own))
    changes: list[dict[str, Any]] = [
        {},
        {"contract": own},
        {"contract": other},
        {"keys": ()},
        {"timezone": "Europe/Paris"},
        {"prepare": prepare},
        {"max_rejected": 0.2},
        {"lateness": timedelta(days=1)},
    ]
    digests = {contract_digest(make_spec(**change)) for change in changes}
    assert len(digests) == len(changes)


# Late rows


def test_late_rows_are_refused_where_the_model_file_says_so(
    make_spec: Make, make_rows: Rows, settings: Settings
) -> None:
    """Rows older than the newest known one by more than is allowed go to quarantine, the others land."""
    late = make_rows(60)
    source = Batches(batch("a", make_rows(5, start=60)), batch("b", late))
    spec = make_spec(source=source, lateness=timedelta(hours=60))
    landing = ingest(spec, settings, now=NOW)
    assert [(report.added, report.rejected) for report in landing.batches] == [(5, 0), (56, 4)]
    assert {reason for _, _, reason in quarantined(spec, settings)} == {"at: late by more than 2 days, 12:00:00"}
    assert [row for _, row, _ in quarantined(spec, settings)] == [1, 2, 3, 4]


def test_all_rows_late(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """A batch of nothing but late rows is refused whole; without a limit it lands where its time says."""
    source = Batches(batch("a", make_rows(5, start=100)), batch("b", make_rows(10)))
    spec = make_spec(source=source, lateness=timedelta(hours=1))
    assert ingest(spec, settings, now=NOW).batches[1].problem == "every row is late by more than 1:00:00"
    assert snapshot(spec, settings).rows == 5
    assert ingest(make_spec(source=source), settings, now=NOW).added == 10
    assert snapshot(spec, settings).start == "2025-01-01T00:00:00+00:00"


# Crashes


class CrashError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", range(1, 7))
def test_a_crash_at_any_commit_changes_nothing_in_the_end(
    make_spec: Make, make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Cut before any of its commits and run again, an ingest ends where an uninterrupted one does."""
    bad = make_rows(60)
    bad.loc[3, "x"] = np.inf
    changed = pd.concat([bad.tail(20).assign(y=1.0), make_rows(20, start=60)]).reset_index(drop=True)
    changed.loc[0, "x"] = np.inf
    frames = {"a": bad, "b": make_rows(5).assign(x="?"), "c": changed}

    def spec_of() -> ModelSpec:
        return make_spec(source=Batches(*(batch(name, frame) for name, frame in frames.items())))

    clean, broken = Settings(home=tmp_path / "clean"), Settings(home=tmp_path / "broken")
    ingest(spec_of(), clean, now=NOW)
    real, calls = Table._open_for_commit, iter(range(1, 99))

    def cut(table: Table, *arguments: Any) -> Any:
        if next(calls) == at:
            raise CrashError
        return real(table, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Table, "_open_for_commit", cut)
        with pytest.raises(CrashError):
            ingest(spec_of(), broken, now=NOW)
    ingest(spec_of(), broken, now=NOW)
    assert state(spec_of(), broken) == state(spec_of(), clean)
    observations = Observations(broken.lake_uri, spec_of())
    assert observations.measure(observations.snapshot().version) == observations.snapshot().digest
    assert ingest(spec_of(), broken, now=NOW).batches == ()


FULL = """
import os, resource, sys
from datetime import UTC, datetime
from pathlib import Path
import pandas as pd
import pandera.pandas as pa
from evergreen.errors import EvergreenError
from evergreen.ingest.ingest import ingest
from evergreen.data.observations import Observations
from evergreen.settings import Settings
from evergreen.sources import Folder
from evergreen.spec import Features, Metric, ModelSpec

home = Path(sys.argv[1])
folder = home / "landing" / "toy"
folder.mkdir(parents=True)
now, settings = datetime(2026, 1, 1, tzinfo=UTC), Settings(home=home)
columns = {"id": pa.Column(int), "x": pa.Column(float), "y": pa.Column(float)}
spec = ModelSpec(
    name="toy", task="regression", source=Folder("toy"), contract=lambda: pa.DataFrameSchema(columns), keys=("id",),
    target="y", features=Features(numeric=("x",)), pipeline=lambda seed: None, metric=Metric(name="mae"),
)
def write(name, rows, text):
    frame = pd.DataFrame({"id": range(rows), "x": [n * 0.7919 for n in range(rows)], "y": text})
    frame.to_csv(folder / name, index=False)
    os.utime(folder / name, (1, 1))
write("a.csv", 100, 1.0)
ingest(spec, settings, now=now)
before = Observations(settings.lake_uri, spec).snapshot()
write("b.csv", 20_000, 2.0)
write("c.csv", 20_000, "broken")
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
for _ in range(2):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        ingest(spec, settings, now=now)
    except EvergreenError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Observations(settings.lake_uri, spec).snapshot().rows in (100, 20_000)
    if (folder / "b.csv").exists():
        # Without it the next one to fail is the batch that is refused.
        (folder / "b.csv").rename(folder / "d.csv")
landing = ingest(spec, settings, now=now)
assert Observations(settings.lake_uri, spec).snapshot().rows == 20_000
assert len(list((home / "quarantine" / "toy").iterdir())) == 1
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """No space for rows or for the quarantine: one clear line each, nothing half-done, and it works again then."""
    words = [sys.executable, "-W", "error", "-c", FULL, str(tmp_path)]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    rows, kept = done.stdout.splitlines()
    assert rows.startswith("The disk is full: ")
    assert kept.startswith("c.csv is rejected")
    assert "File too large" in kept


def test_a_failed_write_is_one_line(
    make_spec: Make, make_rows: Rows, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the store shows no row of the data, and the next run lands what was left."""
    import deltalake
    from deltalake.exceptions import DeltaError

    spec = make_spec(source=Batches(batch("a", make_rows(5))))

    def fail(*_args: Any, **_options: Any) -> None:
        raise DeltaError("secret row 42")

    with monkeypatch.context() as patch:
        patch.setattr(deltalake, "write_deltalake", fail)
        with pytest.raises(EvergreenError, match="failed") as caught:
            ingest(spec, settings, now=NOW)
    assert "secret" not in str(caught.value)
    assert ingest(spec, settings, now=NOW).added == 5


def test_simulated_and_real_rows_do_not_mix(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """Rows of the other kind are refused before anything is written, with what to do."""
    simulated = Batch("s", f"{SIMULATED}2011", make_rows(5))
    ingest(make_spec(source=Batches(simulated)), settings, now=NOW)
    before = snapshot(make_spec(), settings)
    with pytest.raises(DataError, match=r"hold simulated rows, and a\.csv is of the other kind"):
        ingest(make_spec(source=Batches(batch("a", make_rows(5)))), settings, now=NOW)
    assert snapshot(make_spec(), settings) == before


# Nothing is lost


CELL = st.one_of(st.floats(-100, 100), st.sampled_from([float("nan"), float("inf"), 1e4]))
ROWS = st.lists(st.tuples(st.integers(0, 15), CELL), min_size=1, max_size=10)


@examples(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(ROWS, min_size=1, max_size=4), most=st.sampled_from([0.3, 1.0]), keyed=st.booleans())
def test_every_row_is_somewhere(make_spec: Make, batches: list[Any], most: float, keyed: bool) -> None:
    """Each row is accepted into one batch, known already, or in quarantine with a reason; again, nothing changes."""
    frames = [
        pd.DataFrame({"id": [key for key, _ in cells], "x": [value for _, value in cells]}).assign(
            at=pd.Timestamp("2025-01-01"), kind="a", y=1.0
        )
        for cells in batches
    ]
    items = [batch(f"b{number}", frame) for number, frame in enumerate(frames)]
    with TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        spec = make_spec(source=Batches(*items), keys=("id",) if keyed else (), max_rejected=most)
        landing = ingest(spec, settings, now=NOW)
        kept = quarantined(spec, settings)
        for frame, report in zip(frames, landing.batches, strict=True):
            mine = [row for origin, row, reason in kept if origin == report.origin and reason]
            if report.problem:
                assert mine == [-1]
            else:
                assert report.added + report.replaced + report.repeated + report.rejected == len(frame)
                assert len(mine) == report.rejected == len(set(mine))
        observations = Observations(settings.lake_uri, spec)
        now = observations.snapshot()
        assert observations.measure(now.version) == now.digest
        assert now.rows == sum(report.added for report in landing.batches)
        assert ingest(spec, settings, now=NOW).batches == ()
        assert (snapshot(spec, settings), quarantined(spec, settings)) == (now, kept)


# Cost

MANY = """
import resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
import pandas as pd
import pandera.pandas as pa
from evergreen.ingest.ingest import ingest
from evergreen.settings import Settings
from evergreen.sources import Batch
from evergreen.spec import Features, Metric, ModelSpec

class One:
    def fingerprint(self, root): return ""
    def read(self, root, new):
        assert new(self.item.id)
        yield self.item

source, settings = One(), Settings(home=Path(sys.argv[1]))
columns = {"id": pa.Column(int), "x": pa.Column(float), "y": pa.Column(float)}
spec = ModelSpec(
    name="toy", task="regression", source=source, contract=lambda: pa.DataFrameSchema(columns), keys=("id",),
    target="y", features=Features(numeric=("x",)), pipeline=lambda seed: None, metric=Metric(name="mae"),
)
def rows(number, size=2_000):
    new = pd.DataFrame({"id": np.arange(number * size, (number + 1) * size), "x": 0.5, "y": float(number)})
    # Every third batch corrects a few rows of the one before.
    return pd.concat([new, new.head(5).assign(id=new["id"] - size)]) if number % 3 == 2 else new
for number in range(int(sys.argv[2])):
    source.item = Batch(f"{number:032}", f"{number}.csv", rows(number))
    begun = time.perf_counter()
    ingest(spec, settings, now=datetime(2026, 1, 1, tzinfo=UTC))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - begun)
"""


@pytest.mark.slow
def test_the_hundredth_batch_costs_what_the_twentieth_did(tmp_path: Path) -> None:
    """Memory and time of an ingest do not grow with the number of batches already there."""
    words = [sys.executable, "-c", MANY, str(tmp_path), "100"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120)
    peaks, seconds = np.array([line.split() for line in done.stdout.splitlines()], dtype=float).T
    assert peaks[-1] - peaks[19] < 40, peaks[[19, 99]]
    # The log of commits is read each time, so that a little is added; the rows that are there are not.
    assert np.median(seconds[-20:]) < 4 * np.median(seconds[10:30]) + 0.05
