"""A scored batch in a file, a SQL table and Redis: there once, whole, and never with a password beside it."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import pickle
import resource
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.errors import BusyError, EvergreenError
from evergreen.scoring import file_destination, redis_destination, sql_destination
from evergreen.scoring.export import export_batch, require_destination
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec

SECRET = "hunter2"
POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
REDIS = "redis://127.0.0.1:6379/0"
AT = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = {3: ["no", "yes"]}

Log = Callable[..., PredictionLog]


def told_as(log: PredictionLog, chunks: Callable[[str], Iterator[pa.Table]]) -> PredictionLog:
    """A log whose chunks the test hands over."""
    other = copy.copy(log)
    other.read_chunks = chunks  # type: ignore[method-assign]
    return other


def broken(log: PredictionLog) -> PredictionLog:
    """A log that ends in a fault behind its first chunk."""

    def chunks(batch: str) -> Iterator[pa.Table]:
        yield next(log.read_chunks(batch))
        raise EvergreenError("The table is gone.")

    return told_as(log, chunks)


@pytest.fixture
def regression(make_spec: Callable[..., ModelSpec]) -> ModelSpec:
    """A regression with a time."""
    return make_spec()


@pytest.fixture
def classification(make_spec: Callable[..., ModelSpec]) -> ModelSpec:
    """A classification without a time."""
    return make_spec(task="classification", time=None, metric=Metric(name="accuracy"))


@pytest.fixture
def scored(tmp_path: Path) -> Log:
    """Fill the log: scored(spec, "batch", rows=6, chunk=4, version=3)."""

    def fill(spec: ModelSpec, batch: str, *, rows: int = 6, chunk: int = 4, version: int = 3) -> PredictionLog:
        log = PredictionLog(str(tmp_path / "lake"), spec)
        label = spec.task == "classification"
        for number, first in enumerate(range(0, rows, chunk)):
            numbers = range(first, min(first + chunk, rows))
            values = {
                "batch": [batch for _ in numbers],
                "chunk": [number for _ in numbers],
                "version": [version for _ in numbers],
                "at": [AT + timedelta(hours=n) if spec.time else None for n in numbers],
                "key": list(numbers),
                "row": list(numbers),
                "scored_at": [AT for _ in numbers],
                "id": [f'{n}, "ü' for n in numbers],
                "prediction": [("no", "yes")[n % 2] if label else n / 7 for n in numbers],
                "probability": [[1 - n / 10, n / 10] if label else None for n in numbers],
                "run_id": ["run" for _ in numbers],
            }
            classes = ("no", "yes") if label else ()
            progress = Progress(batch, number + 1, scored={version: rows}, classes=classes)
            log.append(pa.table(values, schema=log.table.schema), progress)
        return log

    return fill


def rows_of(database: str, table: str = "predictions") -> pd.DataFrame:
    """A SQL table, in the order of the input."""
    from sqlalchemy import create_engine, text

    engine = create_engine(database)
    try:
        with engine.connect() as connection:
            return pd.read_sql(text(f"SELECT * FROM {table} ORDER BY batch, row"), connection)  # noqa: S608
    finally:
        engine.dispose()


def _csv(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, parse_dates=["at", "scored_at"], float_precision="round_trip")


def names(folder: Path) -> list[str]:
    """What there is in a folder but the tables."""
    return sorted(one.name for one in folder.iterdir() if one.name not in ("lake", "home"))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_file_holds_the_batch_in_order(ending: str, tmp_path: Path, scored: Log, regression: ModelSpec) -> None:
    """Every row, in the order of the input, text and times as they are; nothing is left beside the file."""
    file = tmp_path / f"out.{ending}"
    assert export_batch("", scored(regression, "a"), "a", str(file), regression) == str(file)
    found = pd.read_parquet(file) if ending == "parquet" else _csv(file)
    assert list(found) == ["row", "id", "at", "prediction", "version", "run_id", "scored_at"]
    assert found["row"].tolist() == list(range(6))
    assert found["id"].tolist() == [f'{n}, "ü' for n in range(6)]
    assert found["prediction"].tolist() == [n / 7 for n in range(6)]
    assert found["at"].tolist() == [pd.Timestamp(AT) + pd.Timedelta(hours=n) for n in range(6)]
    assert set(found["version"]) == {3}
    assert names(tmp_path) == [file.name]


def test_each_class_has_a_column(tmp_path: Path, scored: Log, classification: ModelSpec) -> None:
    """`probability_<class>` in the version's order; a class that only another version knows is null."""
    file = tmp_path / "out.parquet"
    log = scored(classification, "a")
    export_batch("", log, "a", str(file), classification)
    found = pd.read_parquet(file)
    assert list(found) == [
        *("row", "id", "prediction", "probability_no", "probability_yes", "version", "run_id", "scored_at")
    ]
    assert found["prediction"].tolist() == ["no", "yes"] * 3
    assert found["probability_yes"].tolist() == [n / 10 for n in range(6)]
    export_batch("", log, "a", str(file), classification, {2: ["maybe", "yes"], 3: ["no", "yes"]})
    found = pd.read_parquet(file)
    assert found["probability_maybe"].isna().all()
    assert found["probability_no"].tolist() == [1 - n / 10 for n in range(6)]


def test_a_batch_of_which_nothing_was_accepted_is_an_empty_file(
    tmp_path: Path, scored: Log, regression: ModelSpec
) -> None:
    """The columns are there all the same."""
    log = scored(regression, "a")
    log.close(Progress("none", rows_in=3, rejected={"x": 3}))
    for ending in ("csv", "parquet"):
        file = tmp_path / f"out.{ending}"
        export_batch("", log, "none", str(file), regression)
        found = pd.read_parquet(file) if ending == "parquet" else pd.read_csv(file)
        assert (len(found), next(iter(found))) == (0, "row")


def test_another_batch_takes_the_files_place(tmp_path: Path, scored: Log, regression: ModelSpec) -> None:
    """A daily file is replaced in one step, whatever a killed run left beside it; link and mode stay."""
    place, link = tmp_path / "real.csv", tmp_path / "out.csv"
    place.write_text("yesterday")
    place.chmod(0o640)
    link.symlink_to(place)
    (tmp_path / ".real.csv.part").write_text("half of what a killed run wrote" * 1000)
    export_batch("", scored(regression, "a"), "a", str(link), regression)
    assert len(pd.read_csv(place)) == 6
    assert (link.is_symlink(), place.stat().st_mode & 0o777) == (True, 0o640)
    once = place.read_bytes()
    export_batch("", scored(regression, "b", rows=2), "b", str(link), regression)
    assert len(pd.read_csv(place)) == 2
    export_batch("", scored(regression, "a"), "a", str(link), regression)
    assert place.read_bytes() == once
    assert names(tmp_path) == ["out.csv", "real.csv"]


def test_what_fails_in_the_middle_leaves_the_old_file(tmp_path: Path, scored: Log, regression: ModelSpec) -> None:
    """The chunks stop halfway: the file is the former one, and nothing is beside it."""
    file = tmp_path / "out.csv"
    file.write_text("yesterday")
    log = scored(regression, "a")

    with pytest.raises(EvergreenError, match="The table is gone"):
        export_batch("", broken(log), "a", str(file), regression)
    assert (file.read_text(), names(tmp_path)) == ("yesterday", ["out.csv"])


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path, scored: Log, regression: ModelSpec) -> None:
    """Two runs for one file: the second one says so, and takes nothing from the first."""
    half = tmp_path / ".out.csv.part"
    with half.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"Another run is writing .*out\.csv\."):
            export_batch("", scored(regression, "a"), "a", str(tmp_path / "out.csv"), regression)
    assert half.exists()


@pytest.mark.parametrize(
    ("destination", "told"),
    [
        ("nowhere/out.csv", "There is no folder"),
        ("", "is none of .csv"),
        ("out.json", "out.json is none of .csv, .csv.gz, .parquet"),
        ("folder.csv", "folder.csv is a folder"),
        ("in.csv", "is the input itself"),
        ("link.csv", "is the input itself"),
        ("env:EVERGREEN_TEST_ABSENT", "'EVERGREEN_TEST_ABSENT'"),
    ],
)
def test_a_target_that_cannot_be_a_file_is_one_line(
    destination: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out before anything is scored."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "in.csv").write_text("x")
    (tmp_path / "link.csv").symlink_to("in.csv")
    with pytest.raises(EvergreenError, match=told) as error:
        require_destination("", destination, "in.csv")
    assert "\n" not in str(error.value)
    assert error.value.fix


def test_a_folder_without_the_right_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: Log, regression: ModelSpec
) -> None:
    """Also where the system's answer comes only at the writing."""
    folder = tmp_path / "shut"
    folder.mkdir(0o500)
    if os.geteuid() == 0:
        # Nothing is shut for root: a folder that is not one any more fails at the same place.
        file = tmp_path / "file"
        file.write_text("")
        monkeypatch.setattr(file_destination.FileDestination, "check", lambda _: None)
        destination = file / "out.csv"
    else:
        destination = folder / "out.csv"
    with pytest.raises(EvergreenError, match="cannot be written"):
        export_batch("", scored(regression, "a"), "a", str(destination), regression)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_full_disk_is_one_line(ending: str, tmp_path: Path, scored: Log, regression: ModelSpec) -> None:
    """No byte more than the limit can be written: the old file stays, and no half one."""
    file = tmp_path / f"out.{ending}"
    file.write_text("yesterday")
    log = scored(regression, "a", rows=4000, chunk=4000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(EvergreenError, match="The disk is full"):
            export_batch("", log, "a", str(file), regression)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert (file.read_text(), names(tmp_path)) == ("yesterday", [file.name])


def test_a_batch_is_in_a_sqlite_table_once(
    tmp_path: Path, scored: Log, classification: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is made; a second time the batch's rows are replaced, those of another batch stay."""
    monkeypatch.setattr(sql_destination, "ROWS", 3)
    database = f"sqlite:///{tmp_path}/scores.db"
    destination = f"{database}#predictions"
    log = scored(classification, "a")
    for batch in ("a", "a", "b"):
        scored(classification, "b", rows=2)
        assert export_batch("", log, batch, destination, classification, CLASSES) == destination
    found = rows_of(database)
    assert found["batch"].tolist() == ["a"] * 6 + ["b"] * 2
    assert found["row"].tolist() == [*range(6), 0, 1]
    assert found["probability_yes"].tolist() == [*(n / 10 for n in range(6)), 0.0, 0.1]
    assert found["prediction"].tolist() == ["no", "yes"] * 4


def test_what_fails_in_the_middle_leaves_the_tables_rows(tmp_path: Path, scored: Log, regression: ModelSpec) -> None:
    """One transaction: the batch's former rows are there when the new ones stop halfway."""
    database = f"sqlite:///{tmp_path}/scores.db"
    log = scored(regression, "a")
    export_batch("", log, "a", f"{database}#predictions", regression)

    with pytest.raises(EvergreenError, match="The table is gone"):
        export_batch("", broken(log), "a", f"{database}#predictions", regression)
    assert len(rows_of(database)) == 6


def test_a_batch_is_in_a_postgresql_table_once(
    postgres_schema: str, scored: Log, regression: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a schema of its own, times with their zone; named without the user and what else the URL holds."""
    monkeypatch.setenv("SCORES", f"{POSTGRES.replace('postgres@', f'postgres:{SECRET}@')}?application_name=scores")
    log = scored(regression, "a")
    scored(regression, "b", rows=2)
    for batch in ("a", "b", "a"):
        shown = export_batch("", log, batch, f"env:SCORES#{postgres_schema}.Daily", regression)
    assert shown == f"postgresql+psycopg://127.0.0.1:5432/postgres#{postgres_schema}.Daily"
    found = rows_of(POSTGRES, f'{postgres_schema}."Daily"')
    assert found["batch"].tolist() == ["a"] * 6 + ["b"] * 2
    assert found["at"].tolist()[:6] == [pd.Timestamp(AT) + pd.Timedelta(hours=n) for n in range(6)]
    assert found["prediction"].tolist()[:6] == [n / 7 for n in range(6)]


def test_signs_in_the_names_of_classes(postgres_schema: str, scored: Log, classification: ModelSpec) -> None:
    """Whatever a driver takes for a placeholder is a letter of a name."""
    labels = ["=1+1", "50 % (a:b), 'c'.[d]"]
    export_batch(
        "", scored(classification, "a"), "a", f"{POSTGRES}#{postgres_schema}.predictions", classification, {3: labels}
    )
    found = rows_of(POSTGRES, f"{postgres_schema}.predictions")
    np.testing.assert_allclose(found[f"probability_{labels[1]}"], np.arange(6) / 10)


def test_class_names_that_differ_in_case_only(tmp_path: Path, scored: Log, classification: ModelSpec) -> None:
    """SQLite takes them for one name; a file does not."""
    log, classes = scored(classification, "a"), {3: ["S", "s"]}
    with pytest.raises(EvergreenError, match="'probability_S', 'probability_s' for one name, whatever their case"):
        export_batch("", log, "a", f"sqlite:///{tmp_path}/out.db#predictions", classification, classes)
    export_batch("", log, "a", f"{tmp_path}/out.csv", classification, classes)
    assert list(pd.read_csv(tmp_path / "out.csv").columns[3:5]) == ["probability_S", "probability_s"]


def test_two_writers_of_one_batch_end_with_one(postgres_schema: str, scored: Log, regression: ModelSpec) -> None:
    """What another run committed between this one's delete and its insert stands, and this one says so."""
    psycopg = pytest.importorskip("psycopg")
    log, destination = scored(regression, "a"), f"{POSTGRES}#{postgres_schema}.scores"
    export_batch("", log, "a", destination, regression)

    def rows(batch: str) -> Iterator[pa.Table]:
        with contextlib.closing(psycopg.connect("host=127.0.0.1 user=postgres", autocommit=True)) as other:
            other.execute(f"INSERT INTO {postgres_schema}.scores (batch, row) VALUES ('b', 0)")  # noqa: S608
        for chunk in log.read_chunks("a"):
            yield chunk.set_column(0, "batch", pa.array([batch] * chunk.num_rows))

    with pytest.raises(BusyError, match="another run wrote the same batch"):
        export_batch("", told_as(log, rows), "b", destination, regression)
    assert rows_of(POSTGRES, f"{postgres_schema}.scores")["batch"].tolist() == ["a"] * 6 + ["b"]


def test_a_table_of_another_shape_is_one_line(tmp_path: Path, scored: Log, classification: ModelSpec) -> None:
    """Which column is missing; the table is left as it is."""
    database = f"sqlite:///{tmp_path}/scores.db"
    log = scored(classification, "a")
    export_batch("", log, "a", f"{database}#predictions", classification, {3: ["no"]})
    with pytest.raises(EvergreenError, match="no column 'probability_yes'"):
        export_batch("", log, "a", f"{database}#predictions", classification, CLASSES)
    assert len(rows_of(database)) == 6


def test_a_locked_database_is_one_line(
    tmp_path: Path, scored: Log, regression: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the file: it says so after a bounded wait."""
    monkeypatch.setattr(sql_destination, "_WAIT_SECONDS", 0.1)
    database = f"sqlite:///{tmp_path}/scores.db"
    log = scored(regression, "a")
    export_batch("", log, "a", f"{database}#predictions", regression)
    with contextlib.closing(sqlite3.connect(tmp_path / "scores.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EvergreenError, match="is locked by another program"):
            export_batch("", log, "a", f"{database}#predictions", regression)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///nowhere/at/all.db#t", "cannot be opened"),
        ("sqlite:///scores.db", "does not say which table"),
        ("sqlite:///scores.db#", "does not say which table"),
        ("s3://bucket/out.csv#t", "s3 is not a database whose driver is installed"),
        ("postgresql+nodriver://host/db#t", "driver is installed"),
        ("postgresql+psycopg://127.0.0.1:port/db#t", "not a URL that SQLAlchemy can read"),
        ("redis://127.0.0.1:6379/0", "how the keys begin"),
        ("redis://127.0.0.1:1/0#p", "cannot be reached"),
        ("redis://127.0.0.1:port/0#p", "not a Redis URL"),
        ("rediss://127.0.0.1:1/x?socket_timeout=soon#p", "not a Redis URL"),
        ("://#t", "not a URL"),
    ],
)
def test_a_store_that_cannot_be_written_is_one_line(
    url: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong and what to do, without the driver's own words."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvergreenError, match=told) as error:
        require_destination("", url)
    assert "\n" not in str(error.value)
    assert error.value.fix


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://user:{SECRET}@127.0.0.1:1/db#scores",
        f"postgresql+psycopg://user@127.0.0.1:1/db?password={SECRET}#scores",
        f"redis://:{SECRET}@127.0.0.1:1/0#scores",
        f"rediss://127.0.0.1:1/0?username=u&password={SECRET}#scores",
    ],
)
def test_a_password_is_refused_and_never_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, scored: Log, regression: ModelSpec
) -> None:
    """Written out it would be kept with the run; from a variable it is used, and no error, log or name shows it."""
    with pytest.raises(EvergreenError, match="holds a password") as error:
        require_destination("", url)
    assert SECRET not in str(error.value)
    monkeypatch.setenv("SCORES", url)
    log = scored(regression, "a")
    for work in (
        lambda: require_destination("", "env:SCORES"),
        lambda: export_batch("", log, "a", "env:SCORES", regression),
    ):
        with pytest.raises(EvergreenError, match=r"cannot be reached|driver is installed") as error:
            work()
        assert SECRET not in str(error.value) + repr(error.value) + str(pickle.dumps(error.value))
        assert error.value.__cause__ is None
    for destination in (sql_destination.TableDestination(url), redis_destination.KeyDestination("", url)):
        assert SECRET not in repr(destination)
    assert SECRET not in redis_destination.KeyDestination("", url).name


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix of the test's own in the real Redis."""
    redis = pytest.importorskip("redis")
    name = f"scores-{uuid.uuid4().hex[:12]}"
    client = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        client.ping()
    except redis.exceptions.RedisError:
        pytest.skip("no Redis answers at 127.0.0.1:6379")
    with client:
        yield name
        for key in client.scan_iter(f"{name}:*"):
            client.delete(key)


def test_a_batch_is_in_redis_once(
    prefix: str, scored: Log, classification: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key an id, in bounded batches; writing half of it and then all of it ends as writing it once."""
    import redis

    monkeypatch.setattr(redis_destination, "ROWS", 2)
    destination, log = f"{REDIS}#{prefix}", scored(classification, "a")

    with pytest.raises(EvergreenError, match="The table is gone"):
        export_batch("", broken(log), "a", destination, classification, CLASSES)
    for _ in range(2):
        assert export_batch("", log, "a", destination, classification, CLASSES) == destination
    with redis.Redis.from_url(REDIS) as client:
        keys = list(client.scan_iter(f"{prefix}:*"))
        told = json.loads(client.get(f'{prefix}:1, "ü'))
    assert len(keys) == 6
    assert told == {
        "prediction": "yes",
        "probability": {"no": 0.9, "yes": 0.1},
        "version": 3,
        "scored_at": "2026-01-01T00:00:00+00:00",
    }


def test_environments_share_a_redis(prefix: str, scored: Log, regression: ModelSpec) -> None:
    """The same batch to the same prefix: each has keys of its own, and leaves the other's alone."""
    import redis

    log, destination = scored(regression, "a"), f"{REDIS}#{prefix}"
    with redis.Redis.from_url(REDIS) as client:
        try:
            export_batch("", log, "a", destination, regression)
            before = {key: client.get(key) for key in client.scan_iter(f"{prefix}:*")}
            export_batch("staging", scored(regression, "b", rows=2), "b", destination, regression)
            assert {key: client.get(key) for key in client.scan_iter(f"{prefix}:*")} == before
            assert len(list(client.scan_iter(f"evergreen-staging:{prefix}:*"))) == 2
        finally:
            for key in client.scan_iter(f"evergreen-staging:{prefix}:*"):
                client.delete(key)


def test_the_redis_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, one line says how to have it."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(EvergreenError, match=r"pip install .*redis"):
        require_destination("", f"{REDIS}#p")


def test_no_database_is_imported_for_a_file() -> None:
    """The module loads without SQLAlchemy and Redis."""
    code = "import sys, evergreen.scoring.export; sys.exit(bool({'sqlalchemy', 'redis', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
