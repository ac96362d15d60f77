"""SQL queries as a source, on SQLite and, where one answers, PostgreSQL: every row once, whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable
from sqlalchemy import Engine, create_engine, text

from evergreen.data.observations import Observations
from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ingest.read_position import ReadPosition
from evergreen.settings import Settings
from evergreen.sources.base import Batch
from evergreen.sources.sql import SqlSource
from evergreen.sources.sql_watermark import MAX_HASHES, Offset, RecentRows
from evergreen.spec.data import Labels
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
SECRET = "hunter2-s3cret"
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


@dataclass(frozen=True)
class Database:
    """A database with a table `rows` that tests write; the column `changed` is its watermark."""

    url: str
    engine: Engine
    table: str

    @property
    def query(self) -> str:
        return f"SELECT * FROM {self.table};"  # noqa: S608

    def source(self, **changes: Any) -> SqlSource:
        return SqlSource(**{"url": self.url, "query": self.query, "watermark": "changed"} | changes)

    def put(self, rows: pd.DataFrame) -> None:
        schema, _, name = self.table.rpartition(".")
        rows.to_sql(name, self.engine, schema=schema or None, index=False, if_exists="append")

    def run(self, words: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(words.format(table=self.table)))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An SQLite file, or a schema of its own in the PostgreSQL server of this machine."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'shop.db'}"
        engine = create_engine(url)
        yield Database(url, engine, "rows")
        engine.dispose()
        return
    psycopg = pytest.importorskip("psycopg")
    schema, words = f"evergreen_{uuid4().hex[:12]}", "host=127.0.0.1 user=postgres dbname=postgres connect_timeout=3"
    try:
        connection = psycopg.connect(words, autocommit=True)
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL answers at 127.0.0.1:5432 to the user postgres")
    with connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        engine = create_engine(SERVER)
        yield Database(SERVER, engine, f"{schema}.rows")
        engine.dispose()
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """An SQLite file, where the database does not matter."""
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    yield Database(str(engine.url), engine, "rows")
    engine.dispose()


def changed(rows: pd.DataFrame, first: int = 0, step: int = 1) -> pd.DataFrame:
    """Rows with a watermark, a number that grows by one every `step` rows."""
    return rows.assign(changed=first + np.arange(len(rows)) // step)


def rows_held(spec: ModelSpec, settings: Settings) -> pd.DataFrame:
    observations = Observations(settings.lake_uri, spec)
    snapshot = observations.snapshot()
    assert observations.measure(snapshot.version) == snapshot.digest
    return observations.frame(snapshot.version).sort_values("id", ignore_index=True)


def state(spec: ModelSpec, settings: Settings) -> Any:
    """What has to be the same whatever was interrupted: the content, and which rows are in quarantine, and why."""
    kept = quarantine_table(settings.lake_uri, spec.name).read()
    refused = sorted(zip(kept["payload"].str.extract(r'"id":(\d+)')[0].fillna("-"), kept["reason"], strict=True))
    return Observations(settings.lake_uri, spec).snapshot().digest, refused


def tell(landing: Landing) -> list[tuple[int, int, int]]:
    return [(report.added, report.replaced, report.repeated) for report in landing.batches]


def test_rows_land_in_batches_and_reading_goes_on_behind_them(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """Bounded batches; then nothing, then what is newer alone: a changed row in the place of its earlier self."""
    database.put(changed(make_rows(50)).assign(changed=lambda rows: pd.Timestamp("2025-02-01") + rows["id"] * HOUR))
    spec = make_spec(source=database.source(batch_rows=20))
    assert tell(ingest(spec, settings, now=NOW)) == [(20, 0, 0), (20, 0, 0), (10, 0, 0)]
    version = Observations(settings.lake_uri, spec).snapshot().version
    assert ingest(spec, settings, now=NOW) == Landing()
    assert Observations(settings.lake_uri, spec).snapshot().version == version

    database.run("UPDATE {table} SET y = 77, changed = '2025-03-05 12:00:00.000000' WHERE id = 3")
    database.put(make_rows(5, start=50).assign(changed=pd.Timestamp("2025-03-06")))
    again = make_spec(source=database.source(batch_rows=20))
    assert tell(ingest(again, Settings(home=settings.home), now=NOW)) == [(5, 1, 0)]
    held = rows_held(spec, settings)
    assert held["id"].tolist() == list(range(55))
    assert held["y"][3] == 77


HOUR = pd.Timedelta(hours=1)


def test_rows_with_one_watermark_are_all_read_once(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """Ties across the batches' borders, some refused, and one that arrives later with a watermark that was read."""
    frame = changed(make_rows(60), step=25)
    frame.loc[[3, 24, 59], "x"] = 1e9
    database.put(frame)
    spec = make_spec(source=database.source(batch_rows=20), max_rejected=0.2)
    assert sum(report.rejected for report in ingest(spec, settings, now=NOW).batches) == 3
    late = make_rows(1, start=60).assign(changed=2)
    database.put(late)
    assert tell(ingest(spec, settings, now=NOW)) == [(1, 0, 0)]
    assert rows_held(spec, settings)["id"].tolist() == [one for one in range(61) if one not in (3, 24, 59)]
    assert [row for row, _ in state(spec, settings)[1]] == ["24", "3", "59"]
    assert ingest(spec, settings, now=NOW) == Landing()


def test_more_rows_with_one_watermark_than_hashes_are_kept_of(
    make_spec: Make, make_rows: Rows, settings: Settings, sqlite: Database
) -> None:
    """They are read again with the next change, and the keys tell that they are no news."""
    count = MAX_HASHES + 20
    sqlite.put(make_rows(count).assign(changed=7))
    spec = make_spec(source=sqlite.source(batch_rows=100))
    ingest(spec, settings, now=NOW)
    sqlite.put(make_rows(1, start=count).assign(changed=7))
    again = ingest(spec, settings, now=NOW)
    assert (again.added, sum(report.repeated for report in again.batches)) == (1, count)
    assert len(rows_held(spec, settings)) == count + 1


def test_rows_that_became_visible_late_are_read_within_the_overlap(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """A row with an older watermark than one that was read lands where the overlap reaches, and nothing comes twice."""
    frame = changed(make_rows(40))
    database.put(frame.drop(index=[5, 36]))
    spec = make_spec(source=database.source(overlap=10))
    before = spec.source.fingerprint(settings.landing)
    ingest(spec, settings, now=NOW)
    database.put(frame.loc[[5, 36]])
    assert spec.source.fingerprint(settings.landing) != before
    assert tell(ingest(spec, settings, now=NOW)) == [(1, 0, 0)]
    assert 36 in rows_held(spec, settings)["id"].tolist()
    assert ingest(spec, settings, now=NOW) == Landing()


def test_a_refused_batch_is_passed_by_until_the_contract_changes(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """It is not read again, whatever comes behind it, until the contract is another one; then it lands, once."""
    frame = changed(make_rows(60))
    frame.loc[20:39, "x"] = 1e6
    database.put(frame)

    def wide() -> Any:
        return make_spec().contract().update_column("x", checks=[])

    source = database.source(batch_rows=20)
    strict, other = make_spec(source=source), make_spec(source=source, max_rejected=0.06)
    assert [bool(report.problem) for report in ingest(strict, settings, now=NOW).batches] == [False, True, False]
    assert ingest(strict, settings, now=NOW) == Landing()
    database.put(changed(make_rows(5, start=60), first=60))
    assert tell(ingest(strict, settings, now=NOW)) == [(5, 0, 0)]
    assert ingest(other, settings, now=NOW).quarantined
    assert ingest(other, settings, now=NOW) == Landing()
    landing = ingest(make_spec(source=source, contract=wide), settings, now=NOW)
    assert (landing.added, landing.quarantined) == (20, ())
    assert rows_held(strict, settings)["id"].tolist() == list(range(65))
    assert ingest(make_spec(source=source, contract=wide), settings, now=NOW) == Landing()


def test_a_refused_batch_at_the_end_is_passed_by_too(
    make_spec: Make, make_rows: Rows, settings: Settings, sqlite: Database
) -> None:
    """No row landed, and yet nothing is read twice."""
    sqlite.put(changed(make_rows(30)).assign(x=1e9))
    spec = make_spec(source=sqlite.source())
    assert ingest(spec, settings, now=NOW).quarantined
    snapshot = Observations(settings.lake_uri, spec).snapshot()
    assert (snapshot.rows, ReadPosition.parse(snapshot.rows_position).retry_from) == (0, "")
    assert ingest(spec, settings, now=NOW) == Landing()


class CrashError(BaseException):
    """The process ends here."""


def test_a_crash_at_any_commit_loses_and_doubles_nothing(
    make_spec: Make, make_rows: Rows, tmp_path: Path, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before any of its commits and run again, reading ends where an uninterrupted one does."""
    frame = changed(make_rows(80), step=3)
    # Two that replace others, a batch that is refused, one with a refused row, and a refused one at the end.
    frame.loc[[7, 70, *range(56, 66), *range(76, 80)], "x"] = 1e9

    def spec() -> ModelSpec:
        return make_spec(source=sqlite.source(batch_rows=10), max_rejected=0.2)

    folders = [Settings(home=tmp_path / str(number)) for number in range(20)]
    sqlite.put(frame.head(50))
    ingest(spec(), folders[0], now=NOW)
    for settings in folders[1:]:
        shutil.copytree(folders[0].root, settings.root)
    sqlite.put(frame.tail(30))
    sqlite.run("UPDATE {table} SET y = 5, changed = 18 WHERE id IN (1, 2)")
    real, calls, at = Table._open_for_commit, 0, 0

    def cut(table: Table, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise CrashError
        return real(table, *arguments)

    monkeypatch.setattr(Table, "_open_for_commit", cut)
    ingest(spec(), folders[0], now=NOW)
    commits = calls
    assert commits == 7
    for place, settings in enumerate(folders[1 : commits + 1], start=1):
        at, calls = place, 0
        with pytest.raises(CrashError):
            ingest(spec(), settings, now=NOW)
        at = 0
        ingest(spec(), settings, now=NOW)
        assert state(spec(), settings) == state(spec(), folders[0])
        assert ingest(spec(), settings, now=NOW) == Landing()


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import pandera.pandas as pa
from evergreen.ingest.ingest import ingest
from evergreen.settings import Settings
from evergreen.spec import Features, Metric, ModelSpec
from evergreen.sources.sql import SqlSource

home, url, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
columns = {"id": pa.Column(int), "x": pa.Column(float), "y": pa.Column(float)}
spec = ModelSpec(
    name="toy", task="regression", source=SqlSource(url, "SELECT * FROM rows", "changed", batch_rows=500),
    contract=lambda: pa.DataFrameSchema(columns), keys=("id",), target="y", features=Features(numeric=("x",)),
    pipeline=lambda seed: None, metric=Metric(name="mae"),
)
seen = []
def step(origin):
    seen.append(origin)
    if len(seen) > limit:
        os.kill(os.getpid(), signal.SIGKILL)
print(ingest(spec, Settings(home=Path(home)), now=datetime(2026, 1, 1, tzinfo=UTC), step=step).added)
"""


def test_a_killed_process_is_gone_on_from(make_spec: Make, make_rows: Rows, tmp_path: Path, sqlite: Database) -> None:
    """Killed between two batches, a process started anew reads what is left, and nothing twice."""
    sqlite.put(changed(make_rows(2_000), step=3))
    project = Path(__file__).resolve().parents[3]

    def run(limit: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-W", "error", "-c", KILLED, str(tmp_path / "home"), sqlite.url, str(limit)]
        surroundings = os.environ | {"PYTHONPATH": str(project)}
        return subprocess.run(words, env=surroundings, capture_output=True, text=True, timeout=60, check=False)

    assert run(2).returncode == -signal.SIGKILL
    again = run(99)
    assert (again.returncode, again.stdout.split()) == (0, ["1000"]), again.stderr
    table = DeltaTable(str(tmp_path / "home" / "lake" / "toy" / "observations"))
    assert sorted(table.to_pandas(columns=["id"])["id"]) == list(range(2_000))


def test_a_mark_is_true_of_the_rows_that_are_there(
    make_spec: Make, make_rows: Rows, settings: Settings, sqlite: Database
) -> None:
    """Another program's upkeep leaves it; put back to an earlier version, the table gets again what it lost."""
    sqlite.put(changed(make_rows(60)))
    spec = make_spec(source=sqlite.source(batch_rows=20))
    ingest(spec, settings, now=NOW)
    observations = Observations(settings.lake_uri, spec)
    DeltaTable(observations.table.uri).optimize.compact()
    assert ingest(spec, settings, now=NOW) == Landing()
    (second,) = [v for v in range(observations.snapshot().version) if observations.snapshot(v).rows == 40]
    DeltaTable(observations.table.uri).restore(second)
    assert rows_held(spec, settings)["id"].tolist() == list(range(40))
    assert ingest(spec, settings, now=NOW).added == 20
    assert rows_held(spec, settings)["id"].tolist() == list(range(60))


def test_another_query_is_read_from_its_beginning(
    make_spec: Make, make_rows: Rows, settings: Settings, sqlite: Database
) -> None:
    """The offset belongs to one query: what another gives is read whole, and what is there already is no news."""
    sqlite.put(changed(make_rows(40)))
    half = make_spec(source=sqlite.source(query="SELECT * FROM rows WHERE id % 2 = 0"))
    assert ingest(half, settings, now=NOW).added == 20
    whole = ingest(make_spec(source=sqlite.source()), settings, now=NOW)
    assert tell(whole) == [(20, 0, 20)]


def test_labels_have_a_mark_of_their_own(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """Rows and labels of two queries of one table go on independently, each once."""
    frame = changed(make_rows(30)).assign(known=pd.Timestamp("2025-06-01"))
    database.put(frame)
    rows = database.source(query=f"SELECT id, at, x, kind, changed FROM {database.table}")  # noqa: S608
    told = database.source(query=f"SELECT id, y, known, changed FROM {database.table} WHERE id < 25", batch_rows=10)  # noqa: S608
    spec = make_spec(source=rows, labels=Labels(source=told, time="known"))
    first = ingest(spec, settings, now=NOW)
    assert (first.added, first.labelled) == (30, 25)
    assert ingest(spec, settings, now=NOW) == Landing()
    database.run("UPDATE {table} SET y = 9, known = '2025-07-01 00:00:00.000000', changed = 99 WHERE id = 4")
    database.put(changed(make_rows(1, start=30), first=100).assign(known=pd.Timestamp("2025-06-01")))
    second = ingest(spec, settings, now=NOW)
    assert (second.added, second.labelled) == (1, 1)
    assert rows_held(spec, settings)["y"][4] == 9
    assert ingest(spec, settings, now=NOW) == Landing()


def test_rows_without_a_watermark_wait_for_one(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """They are told of, and land when they have one."""
    database.put(changed(make_rows(10)).astype({"changed": "Int64"}))
    database.run("UPDATE {table} SET changed = NULL WHERE id < 3")
    spec = make_spec(source=database.source())
    landing = ingest(spec, settings, now=NOW)
    assert (landing.added, [item.reason for item in landing.waiting]) == (7, ["3 rows have no 'changed'"])
    database.run("UPDATE {table} SET changed = 12 WHERE id < 3")
    assert ingest(spec, settings, now=NOW).added == 3


def test_the_fingerprint_changes_with_what_is_new(make_rows: Rows, tmp_path: Path, database: Database) -> None:
    """A newer row, another row with the newest watermark, another value in it; an empty table has one too."""
    source = database.source()
    database.put(changed(make_rows(3)).head(0))
    told = [source.fingerprint(tmp_path)]
    for change in (
        lambda: database.put(changed(make_rows(30), step=3)),
        lambda: database.put(changed(make_rows(1, start=30), first=9)),
        lambda: database.run("UPDATE {table} SET y = 1 WHERE id = 30"),
    ):
        change()
        told.append(source.fingerprint(tmp_path))
        assert source.fingerprint(tmp_path) == told[-1]
    assert len(set(told)) == 4
    assert database.source(watermark=None).fingerprint(tmp_path) != database.source(watermark=None).fingerprint(
        tmp_path
    )


def test_without_a_watermark_the_query_is_read_whole(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """As one batch, which without keys takes the place of the earlier one; unchanged, it is no batch."""
    database.put(make_rows(30))
    spec = make_spec(source=database.source(watermark=None), keys=())
    assert tell(ingest(spec, settings, now=NOW)) == [(30, 0, 0)]
    assert ingest(spec, settings, now=NOW) == Landing()
    database.run("DELETE FROM {table} WHERE id < 10")
    changed_query = database.source(watermark=None, query=f"SELECT * FROM {database.table} WHERE id < 25")  # noqa: S608
    ingest(make_spec(source=changed_query, keys=()), settings, now=NOW)
    assert rows_held(spec, settings)["id"].tolist() == list(range(10, 25))


def test_a_watermark_needs_keys(make_spec: Make, sqlite: Database, settings: Settings, make_rows: Rows) -> None:
    """A model without keys is refused in one line, and nothing is read."""
    sqlite.put(changed(make_rows(3)))
    with pytest.raises(ModelFileError, match=r"models/toy.py: keys: SqlSource may give a row again"):
        ingest(make_spec(source=sqlite.source(), keys=()), settings, now=NOW)


def test_what_a_database_gives_reaches_the_contract(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database
) -> None:
    """Exact decimals, times with a zone, percent signs, colons, quotes and a comment at the end of the query."""
    database.put(changed(make_rows(20)))
    if database.engine.name == "postgresql":
        database.run(
            "ALTER TABLE {table} ALTER x TYPE numeric(12, 6), ALTER at TYPE timestamptz USING at AT TIME ZONE 'UTC'"
        )
    query = f"SELECT *, ':x' AS more FROM {database.table} WHERE 'a:b' LIKE 'a%' -- every: one"  # noqa: S608
    spec = make_spec(source=database.source(query=query))
    assert ingest(spec, settings, now=NOW).added == 20
    held = rows_held(spec, settings)
    np.testing.assert_allclose(held["x"], make_rows(20)["x"], atol=1e-6)
    assert held["at"][0] == pd.Timestamp("2025-01-01", tz="UTC")


MARKS = [3, 2.5, Decimal("1.20"), "2025-01-01", datetime(2025, 1, 1, 2, 3, 4, 5), datetime(2025, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("at", [*MARKS, datetime(2025, 1, 1).date()], ids=str)
def test_a_mark_is_the_same_when_it_is_read_back(at: Any) -> None:
    """Of every type that a driver may give."""
    offset = Offset(at, ("ab", "cd"))
    back = Offset.parse(offset.text)
    assert (back, type(back.watermark)) == (offset, type(at))


def test_a_window_holds_the_rows_that_are_read_again() -> None:
    """Those with the newest watermark, or within the overlap; too many of them are not kept."""
    ties, wide = RecentRows(None), RecentRows(2)

    def offset(window: RecentRows, *rows: tuple[int, str]) -> Offset:
        for row in rows:
            window.add(*row)
        return window.offset

    assert offset(ties, (1, "a"), (2, "b"), (2, "c")) == Offset(2, ("b", "c"))
    assert offset(ties, (2, "d"), (3, "e")) == Offset(3, ("e",))
    assert offset(wide, (1, "a"), (3, "b"), (4, "c")) == Offset(4, ("b", "c"))
    assert offset(wide, (5, "d")) == Offset(5, ("b", "c", "d"))
    assert offset(ties, *[(4, "f")] * (MAX_HASHES + 1)) == Offset(4)
    assert offset(ties, (5, "g")) == Offset(5, ("g",))


@pytest.mark.parametrize(
    ("offset", "overlap", "said"),
    [
        (Offset("2025-01-01"), timedelta(days=1), "the overlap is a timedelta, and the watermark a str"),
        (Offset(3), timedelta(days=1), "the overlap is a timedelta, and the watermark a int"),
    ],
)
def test_an_overlap_of_another_kind_is_refused(offset: Offset, overlap: timedelta, said: str) -> None:
    """In one line that names both."""
    with pytest.raises(DataError, match=said):
        offset.start(overlap)


@pytest.mark.parametrize("at", [b"bytes", None, float("nan"), [1]])
def test_a_watermark_without_an_order_is_refused(at: Any) -> None:
    """A type that cannot be gone on from, or no number."""
    with pytest.raises(DataError, match="the watermark holds"):
        Offset(at).text  # noqa: B018 - asking for it is what fails


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no file": ({"url": "sqlite:////nowhere/at/all.db"}, "there is no file /nowhere/at/all.db"),
    "no database": ({"url": "sqlite:///{file}"}, "it is not an SQLite file"),
    "no URL": ({"url": "env:NONSENSE"}, "not a URL that SQLAlchemy can read"),
    "no variable": ({"url": "env:EVERGREEN_ABSENT"}, "'EVERGREEN_ABSENT', which the source .* is not set"),
    "no driver": ({"url": "postgresql+nodriver://host/name"}, "driver is installed"),
    "nobody answers": ({"url": "env:CLOSED"}, r"postgresql\+psycopg://127.0.0.1:1/name cannot be reached"),
    "no table": ({"query": "SELECT * FROM {table}x"}, "the query names '[a-z0-9_.]*rowsx'"),
    "no column": ({"query": "SELECT secret FROM {table}"}, "the query names 'secret'"),
    "no query": ({"query": "SELECT * FORM {table}"}, "does not understand the query"),
    "two of one name": ({"query": "SELECT 1 AS a, 2 AS a FROM {table}"}, "two columns .* 'a'"),
    "no watermark": ({"watermark": "updated"}, "gives no column 'updated', .* It gives 'id', 'at'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_one_line_without_a_secret(
    case: str, make_rows: Rows, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading and asking for the fingerprint say it alike; neither password nor user nor a row is in it."""
    monkeypatch.setenv("CLOSED", f"postgresql+psycopg://someone:{SECRET}@127.0.0.1:1/name")
    monkeypatch.setenv("NONSENSE", f"{SECRET} is no URL")
    (tmp_path / "text.txt").write_text("no database at all, but long enough to be looked at" * 20)
    database.put(changed(make_rows(3)).drop(columns="y"))
    changes, said = BAD[case]
    changes = {key: value.format(table=database.table, file=tmp_path / "text.txt") for key, value in changes.items()}
    if case == "two of one name" and database.engine.name == "sqlite":
        pytest.skip("SQLite renames the second one")
    source = database.source(**changes)
    for ask in (lambda: source.fingerprint(tmp_path), lambda: list(source.read(tmp_path, lambda _batch: True))):
        with pytest.raises(EvergreenError, match=said) as caught:
            ask()
        line = f"{caught.value} {source!r} {caught.value.__context__ if case == 'no URL' else ''}"
        assert "\n" not in str(caught.value)
        assert caught.value.fix
        assert SECRET not in line.replace(f"{SECRET} is no URL", "") and "someone" not in line


def test_a_wrong_user_and_password_is_one_line_without_either(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server that refuses says less than it is told; what it is asked with a value shows no value."""
    if database.engine.name != "postgresql":
        pytest.skip("a file asks for no password")
    monkeypatch.setenv("WRONG", SERVER.replace("postgres@", f"nobody_here:{SECRET}@"))
    with pytest.raises(DataError, match="no such database or user") as caught:
        SqlSource("env:WRONG", "SELECT 1").fingerprint(tmp_path) and list(
            SqlSource("env:WRONG", "SELECT 1").read(tmp_path, bool)
        )
    assert SECRET not in str(caught.value) and "nobody" not in str(caught.value)
    with pytest.raises(DataError, match="InvalidTextRepresentation") as caught:
        list(database.source(query=f"SELECT '{SECRET}'::int", watermark=None).read(tmp_path, bool))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": f"postgresql+psycopg://me:{SECRET}@host/name"}, "the URL holds a password"),
        ({"url": f"postgresql+psycopg://host/name?password={SECRET}"}, "the URL holds a password"),
        ({"query": " ; "}, "the query is empty"),
        ({"watermark": None, "overlap": 3}, "overlap needs a watermark, and there is none"),
        ({"batch_rows": 0}, "at least 1"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused_as_it_is_made(changes: dict[str, Any], said: str) -> None:
    """One line, without the password; in neither its representation nor its identity is there one."""
    with pytest.raises(ModelFileError, match=said) as caught:
        SqlSource(**{"url": "sqlite:///x.db", "query": "SELECT 1", "watermark": "id"} | changes)
    assert SECRET not in str(caught.value)


def test_a_password_is_in_nothing_that_is_kept(
    make_spec: Make, make_rows: Rows, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one in the URL the rows land, and no file of the state folder holds it; another password is no news."""
    if database.engine.name != "postgresql":
        pytest.skip("a file asks for no password")
    database.put(changed(make_rows(30)))
    told = []
    for secret in (SECRET, "another"):
        monkeypatch.setenv("SHOP", SERVER.replace("postgres@", f"postgres:{secret}@"))
        spec = make_spec(source=database.source(url="env:SHOP"))
        told.append((spec.source.fingerprint(settings.landing), ingest(spec, settings, now=NOW).added))
    assert told[0][0] == told[1][0] and [added for _, added in told] == [30, 0]
    assert SECRET not in repr(spec)
    held = [file for file in settings.root.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert held == []


def test_a_batch_is_known_by_its_rows_in_any_order(make_rows: Rows, tmp_path: Path, sqlite: Database) -> None:
    """Rows with one watermark come as the database pleases; the batch is the same."""
    sqlite.put(make_rows(20).assign(changed=1))
    ids = []
    for order in ("ASC", "DESC"):
        source = sqlite.source(query=f"SELECT * FROM rows ORDER BY id {order} LIMIT 99")  # noqa: S608
        (batch,) = list(source.read(tmp_path, lambda _batch: True))
        assert isinstance(batch, Batch)
        ids.append(batch.id)
    assert ids[0] == ids[1]
