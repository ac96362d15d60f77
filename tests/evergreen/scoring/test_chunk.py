"""Scoring without an orchestrator: every accepted row once, in order, whatever the chunks and wherever it stopped."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deltalake import write_deltalake
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of, scoring_schema
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.errors import DataError, EvergreenError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.scoring import staging
from evergreen.scoring.chunk import LoadedVersion, RunStamp, require_columns, score_chunk
from evergreen.scoring.commit import commit_chunk, reject_input, require_rows, require_scored
from evergreen.scoring.input import InputError, require_readable, resolve, write_chunks
from evergreen.settings import Settings
from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Rows = Callable[..., pd.DataFrame]
Spec = Callable[..., ModelSpec]


@dataclass
class Scorer:
    """Scores with one version in the test's own process."""

    spec: ModelSpec
    settings: Settings
    pipeline: Any
    version: int = 1

    @property
    def log(self) -> PredictionLog:
        return PredictionLog(self.settings.lake_uri, self.spec)

    def __call__(self, source: str | Path | None, rows: int = 20, stop_after: int | None = None) -> Progress:
        """Score an input; with `stop_after` as if it were killed after so many chunks."""
        observations = Observations(self.settings.lake_uri, self.spec)
        quarantine = quarantine_table(self.settings.lake_uri, self.spec.name)
        found = resolve(observations, self.log, source if source is None else str(source), self.version, NOW)
        progress = self.log.progress(found.batch)
        if progress.closed:
            require_scored(found, progress)
            return progress
        stamp = RunStamp(found.batch, found.name, self.version, "run", NOW + timedelta(minutes=self.version))
        schema = scoring_schema(self.spec)
        try:
            require_readable(found)
            folder = self.settings.root / "scratch"
            for number, chunk in enumerate(write_chunks(found, observations, folder, rows, progress.chunks)):
                if number == stop_after:
                    return progress
                if not number:
                    require_columns(found, chunk, self.spec, NOW)
                done = score_chunk(
                    chunk, LoadedVersion(self.spec, schema, self.pipeline), stamp, self.settings.lake_uri
                )
                progress = commit_chunk(self.log, quarantine, progress, done, self.version)
            if found.kind != "observations":
                require_rows(found, progress)
        except InputError as error:
            reject_input(quarantine, found, error.what, self.spec, NOW)
            raise
        progress = self.log.close(progress) if progress.chunks else progress
        if found.kind != "observations":
            require_scored(found, progress)
        return progress

    def said(self, batch: str) -> pd.DataFrame:
        """What the log holds of a batch, in order."""
        return pd.concat([chunk.to_pandas() for chunk in self.log.read_chunks(batch)], ignore_index=True)

    @property
    def quarantine(self) -> pd.DataFrame:
        return quarantine_table(self.settings.lake_uri, self.spec.name).read().sort_values("row", ignore_index=True)


@pytest.fixture
def scorer(make_spec: Spec, make_rows: Rows, settings: Settings) -> Callable[..., Scorer]:
    """Fit a spec on rows: scorer(), or scorer(contract=...)."""

    def make(**changes: Any) -> Scorer:
        spec = make_spec(**changes)
        rows = check_batch(make_rows(60), make_spec(), schema_of(make_spec()), now=NOW).rows
        pipeline = spec.pipeline(0).fit(rows[list(spec.features.all)], rows["y"])
        return Scorer(spec, settings, pipeline)

    return make


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write a frame, or bytes, to a file that is old enough to be whole."""

    def write(name: str, content: pd.DataFrame | bytes, **options: Any) -> Path:
        file = tmp_path / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif name.endswith(".parquet"):
            content.to_parquet(file, index=False, **options)
        else:
            content.to_csv(file, index=False, **options)
        os.utime(file, (1_700_000_000, 1_700_000_000))
        return file

    return write


Make = Callable[..., Scorer]
Put = Callable[..., Path]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.csv.gz"])
def test_every_row_has_one_prediction_in_order(scorer: Make, put: Put, make_rows: Rows, name: str) -> None:
    """A file without the target: as many predictions as rows, the pipeline's own, with key, time and version."""
    toy, rows = scorer(), make_rows(50, start=100)
    done = toy(put(name, rows.drop(columns="y")))
    said = toy.said(done.batch)
    assert (done.rows_in, done.rows_scored, done.rows_rejected, done.chunks, done.closed) == (50, 50, 0, 3, True)
    assert said["row"].tolist() == list(range(50))
    assert said["id"].tolist() == [str(number) for number in rows["id"]]
    assert (said["at"].dt.tz_localize(None) == rows["at"]).all()
    np.testing.assert_allclose(said["prediction"], predict(toy.pipeline, toy.spec, rows).values, rtol=1e-12)
    typed = check_batch(rows, toy.spec, schema_of(toy.spec), now=NOW).rows
    ids = Observations(toy.settings.lake_uri, toy.spec).ids(typed)
    assert (said["key"].to_numpy().view(np.uint64) == ids).all()
    assert set(said["version"]) == {1} and set(said["run_id"]) == {"run"}
    assert said["probability"].isna().all()
    assert not list((toy.settings.root / "scratch").glob("*.arrow"))


def test_a_delta_table_is_scored(scorer: Make, make_rows: Rows, tmp_path: Path) -> None:
    """At the version that it has; a later version is another batch."""
    toy, table = scorer(), tmp_path / "table"
    write_deltalake(table, make_rows(30))
    first = toy(table)
    assert (toy.said(first.batch)["row"].tolist(), toy(table)) == (list(range(30)), first)
    write_deltalake(table, make_rows(5, start=30), mode="append")
    second = toy(table)
    assert (second.batch != first.batch, second.rows_scored) == (True, 35)


def test_the_same_input_is_scored_once(scorer: Make, put: Put, make_rows: Rows) -> None:
    """The same bytes under another name are there already; another version scores them anew."""
    toy, rows = scorer(), make_rows(30)
    first = toy(put("a.csv", rows))
    assert toy(put("b.csv", rows), rows=7) == first
    toy.version = 2
    second = toy(put("a.csv", rows))
    assert (second.batch != first.batch, second.scored) == (True, {2: 30})


def test_a_killed_run_goes_on_where_it_stopped(scorer: Make, put: Put, make_rows: Rows) -> None:
    """With chunks of another size, too: no row lost, none twice, refused rows neither."""
    toy, rows = scorer(), make_rows(60)
    rows.loc[[3, 19, 41, 59], "x"] = 1e9
    file = put("a.parquet", rows)
    toy(file, rows=20, stop_after=1)
    toy(file, rows=9, stop_after=2)
    done = toy(file, rows=50)
    assert (done.rows_in, done.rows_scored, done.rows_rejected) == (60, 56, 4)
    assert toy.said(done.batch)["row"].tolist() == [row for row in range(60) if row not in (3, 19, 41, 59)]
    assert toy.quarantine["row"].tolist() == [4, 20, 42, 60]


@pytest.mark.parametrize("rows", [7, 20, 40])
def test_a_kill_between_quarantine_and_log(
    scorer: Make, put: Put, make_rows: Rows, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Refused rows are kept first; the rerun keeps none of them twice and forgets none, in whatever chunks it comes."""
    toy, bad = scorer(), [1, 9, 18, 33]
    frame = make_rows(40)
    frame.loc[bad, "x"] = 1e9
    file = put("a.csv", frame)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PredictionLog, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            toy(file, rows=20)
    assert len(toy.quarantine) == 3
    assert toy(file, rows=rows).rows_rejected == 4
    assert toy.quarantine["row"].tolist() == [row + 1 for row in bad]


def test_a_refused_row_is_kept_with_its_reason(scorer: Make, put: Put, make_rows: Rows) -> None:
    """Text in a number, a value out of range, no key, no time: each is counted, and leaves a gap."""
    toy, rows = scorer(), make_rows(10).astype({"x": "object", "id": "object", "at": "str"})
    rows.loc[1, "x"], rows.loc[3, "x"] = "warm", 1e9
    rows.loc[5, "id"], rows.loc[7, "at"] = None, None
    done = toy(put("a.csv", rows), rows=4)
    assert toy.said(done.batch)["row"].tolist() == [0, 2, 4, 6, 8, 9]
    kept = toy.quarantine
    assert kept["row"].tolist() == [2, 4, 6, 8]
    assert kept["reason"].tolist() == [
        *("x: not a number", "x: in_range(-100, 100)", "id: a key is missing", "at: no time")
    ]
    assert (kept["batch"] == done.batch).all() and (kept["origin"] == "a.csv").all()
    assert json.loads(kept["payload"][0])["x"] == "warm"
    assert done.rejected == dict.fromkeys(kept["reason"], 1)


def test_the_target_is_not_looked_at(scorer: Make, put: Put, make_rows: Rows) -> None:
    """Missing, partly missing or nonsense: the predictions are the same, and nothing is refused."""
    toy, rows = scorer(), make_rows(20)
    rows["y"] = ["unknown", None] * 10
    done = toy(put("a.csv", rows))
    bare = toy(put("b.csv", rows.drop(columns="y").assign(extra=1)))
    assert (done.rows_scored, bare.rows_scored) == (20, 20)
    assert toy.said(done.batch)["prediction"].tolist() == toy.said(bare.batch)["prediction"].tolist()


def test_rows_stand_for_themselves(scorer: Make, put: Put, make_rows: Rows) -> None:
    """A row that comes twice, one key with two contents, a row about next year: each has its prediction."""
    toy, rows = scorer(), make_rows(6)
    twice = pd.concat([rows, rows.head(2), rows.assign(x=0.0).tail(1)], ignore_index=True)
    twice.loc[0, "at"] = pd.Timestamp("2027-01-01")
    done = toy(put("a.parquet", twice), rows=4)
    assert (done.rows_scored, toy.said(done.batch)["id"].tolist()) == (9, list("012345015"))


def test_many_bad_rows_do_not_spoil_the_good_ones(scorer: Make, put: Put, make_rows: Rows) -> None:
    """The share that a batch may have at ingest guards what is learned from; a prediction is no worse for it."""
    toy, rows = scorer(), make_rows(40)
    rows.loc[:29, "x"] = 1e9
    assert toy(put("a.csv", rows)).rows_scored == 10


def test_none_can_be_scored(scorer: Make, put: Put, make_rows: Rows) -> None:
    """Text in numbers all over: one line with the reason, and every row in quarantine; a rerun says it again."""
    toy, rows = scorer(), make_rows(30).assign(x="warm")
    for _ in range(2):
        with pytest.raises(DataError, match=r"a\.csv: none of its 30 rows .* x: not a number \(30 rows\)"):
            toy(put("a.csv", rows))
    assert len(toy.quarantine) == 30


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"", "it is empty"),
        ("a.csv", b"id,at,x,kind\n", "it has a header and no rows"),
        ("a.csv", b"q,w\n1,2\n3,4\n", "column 'id', 'at', 'x', 'kind' is missing"),
        ("a.csv", b"id,at,kind\n1,2025-01-01,a\n", "column 'x' is missing"),
        ("a.csv", b"id,at,x,x\n1,2025-01-01,1,2\n", "columns 3 and 4 have the same name"),
        ("a.csv", b"id,at,x,kind\n1,2025-01-01,1,a,9,9\n1,2025-01-01,1,a\n", "row 1 has 6 fields"),
        ("a.csv", b"id,at,x,kind\n1,2025-01-01,1,a\n1,2025-01-01,1,a,9\n", "row 2 has 5 fields"),
        ("a.csv.gz", gzip.compress(b"id,at,x,kind\n" + bytes(range(97, 123)) * 40, mtime=0)[:-9], "cut short"),
        ("a.parquet", b"PAR1 and then nothing PAR1", "it is damaged: it cannot be read as parquet"),
        ("a.parquet", b"id,at\n1,2", "its content is something else"),
        ("a.xlsx", b"PK", "it is not a CSV or Parquet file"),
    ],
    ids=["empty", "header", "unknown", "missing", "same", "shifted", "long", "cut", "damaged", "renamed", "excel"],
)  # fmt: skip
def test_an_input_is_refused_as_a_whole(scorer: Make, put: Put, name: str, content: bytes, why: str) -> None:
    """One line with the file and the reason, one note in quarantine that says where it is, and nothing scored."""
    toy = scorer()
    file = put(name, content)
    for _ in range(2):
        with pytest.raises(InputError, match="^" + name.replace(".", r"\.")) as refused:
            toy(file)
        assert why in refused.value.what
    (note,) = toy.quarantine.to_dict("records")
    assert (note["row"], note["origin"], note["payload"]) == (-1, name, str(file))
    assert why in note["reason"]
    assert not list(toy.log.table.scan(["row"]))


def test_what_is_not_there_is_one_line(scorer: Make, tmp_path: Path, put: Put) -> None:
    """No such file, a folder that is no table, a file that is being written."""
    toy = scorer()
    with pytest.raises(DataError, match="is not there"):
        toy(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="is not there"):
        toy("nowhere://bucket/table")
    with pytest.raises(DataError, match="is a folder, and no Delta table"):
        toy(tmp_path)
    file = put("a.parquet", b"PAR1 half of a file")
    os.utime(file, (NOW.timestamp(), NOW.timestamp()))
    with pytest.raises(DataError, match="is not complete: it has no Parquet footer yet"):
        toy(file)


def test_new_observations_are_scored_once(scorer: Make, make_rows: Rows, settings: Settings) -> None:
    """What landed since the last run, by landing; nothing new is nothing to do.

    A correction is scored again. What was said first was acted upon, so that counts when the champion is judged.
    """
    toy = scorer()
    observations = Observations(settings.lake_uri, toy.spec)

    def land(name: str, rows: pd.DataFrame) -> None:
        checked = check_batch(rows, toy.spec, schema_of(toy.spec), now=NOW)
        observations.land(checked.rows, name, name, now=NOW)

    land("a", make_rows(30))
    first = toy(None, rows=8)
    said = toy.said(first.batch)
    assert (said["row"].tolist(), said["id"].tolist()) == (list(range(30)), [str(number) for number in range(30)])
    frame = observations.frame(observations.snapshot().version)
    assert (said["key"].to_numpy().view(np.uint64) == observations.ids(frame)).all()
    assert toy(None).chunks == 0
    land("b", pd.concat([make_rows(30).assign(x=0.5).head(2), make_rows(10, start=30)]))
    second = toy(None, rows=5)
    assert (second.batch != first.batch, second.rows_scored) == (True, 12)
    assert sorted(toy.said(second.batch)["id"].astype(int)) == [0, 1, *range(30, 40)]
    assert toy.log.find(1, observations.ids(frame.head(1)), None)[1].values[0] == said["prediction"][0]


def test_a_killed_run_over_observations_goes_on(scorer: Make, make_rows: Rows, settings: Settings) -> None:
    """Rows that landed meanwhile belong to the same batch, so that what is written out afterwards is whole."""
    toy = scorer()
    observations = Observations(settings.lake_uri, toy.spec)
    for name, start in (("a", 0), ("b", 30)):
        checked = check_batch(make_rows(30, start=start), toy.spec, schema_of(toy.spec), now=NOW)
        observations.land(checked.rows, name, name, now=NOW)
        toy(None, rows=10, stop_after=2)
    toy.version = 2
    done = toy(None, rows=7)
    assert (done.closed, done.scored, done.rows_in) == (True, {1: 40, 2: 20}, 60)
    assert toy.said(done.batch)["row"].tolist() == list(range(60))


def test_a_row_that_breaks_prepare_is_found(scorer: Make, put: Put, make_rows: Rows) -> None:
    """It alone is refused, and not the chunk that it is in; what `prepare` leaves out is neither scored nor refused."""

    def prepare(frame: pd.DataFrame) -> pd.DataFrame:
        kept = frame[frame["kind"] != "b"]
        return kept.assign(x=[float(str(value).removesuffix("C")) for value in kept["x"]])

    toy, rows = scorer(prepare=prepare), make_rows(50).assign(kind="a")
    rows["x"] = rows["x"].map("{}C".format)
    rows.loc[[7, 30], "x"] = "cold"
    rows.loc[11, "kind"] = "b"
    done = toy(put("a.csv", rows), rows=25)
    ((reason, count),) = done.rejected.items()
    assert count == 2
    assert re.fullmatch(
        r"prepare\(\) failed: tests/evergreen/scoring/test_chunk\.py, line \d+, in prepare\(\): ValueError", reason
    )
    assert toy.quarantine["row"].tolist() == [8, 31]
    assert toy.said(done.batch)["row"].tolist() == [row for row in range(50) if row not in (7, 11, 30)]


def test_a_pipeline_that_fails_is_one_line(scorer: Make, put: Put, make_rows: Rows) -> None:
    """The rows' values are not told; what was committed before stays."""
    toy = scorer()
    toy.pipeline = object()
    with pytest.raises(EvergreenError, match=r"toy version 1: its pipeline fails on rows of a\.csv .*AttributeError"):
        toy(put("a.csv", make_rows(5)))


def test_labels_have_the_probability_of_each_class(
    make_spec: Spec, settings: Settings, put: Put, make_rows: Rows
) -> None:
    """A classification without keys: labels as text, the position as id, an element for each class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    def contract() -> Any:
        import pandera.pandas as pa

        return pa.DataFrameSchema({"x": pa.Column(float), "y": pa.Column(int)})

    spec = make_spec(
        task="classification", metric=Metric(name="accuracy"), keys=(), time=None, contract=contract,
        features=Features(numeric=("x",)), pipeline=lambda _: Pipeline([("model", LogisticRegression())]),
    )  # fmt: skip
    rows = make_rows(40)[["x"]]
    pipeline = spec.pipeline(0).fit(rows, (rows["x"] > 0).astype(int))
    toy = Scorer(spec, settings, pipeline)
    done = toy(put("a.csv", rows), rows=15)
    said = toy.said(done.batch)
    assert toy.log.classes(done.batch) == ("0", "1")
    assert said["prediction"].tolist() == [str(label) for label in pipeline.predict(rows)]
    np.testing.assert_allclose(np.stack(said["probability"]), pipeline.predict_proba(rows), rtol=1e-12)
    assert said["id"].tolist() == [str(row) for row in range(40)]
    assert said["at"].isna().all()


def test_several_keys_are_a_json_array(scorer: Make, put: Put, make_rows: Rows) -> None:
    """Texts are quoted as JSON has it, times are ISO 8601, numbers are plain."""
    toy, rows = scorer(keys=("kind", "id", "at")), make_rows(3)
    rows["kind"] = ['say "a"', "b", "ü"]
    done = toy(put("a.parquet", rows))
    ids = [json.loads(each) for each in toy.said(done.batch)["id"]]
    assert [each[:2] for each in ids] == [['say "a"', 0], ["b", 1], ["ü", 2]]
    assert all(datetime.fromisoformat(each[2]).tzinfo is not None for each in ids)


def test_types_are_those_of_the_whole_file(
    scorer: Make, put: Put, make_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code that looks like a number at first is a text from its first row on, as if parsed in one piece."""
    monkeypatch.setattr(staging, "PIECE_ROWS", 5)
    toy, rows = scorer(), make_rows(20)
    rows["kind"] = ["007"] * 12 + ["a"] * 8
    rows["x"] = [1] * 5 + [None] * 5 + [0.5] * 10
    rows["y"] = [None] * 5 + [True] * 15
    seen: list[Any] = []
    spec = toy.spec.model_copy(update={"prepare": lambda frame: (seen.append(frame), frame)[1]})
    done = Scorer(spec, toy.settings, _Line())(put("a.csv", rows), rows=7)
    assert done.rows_scored == 20
    assert {text for frame in seen for text in frame["kind"]} == {"007", "a"}
    assert {str(frame["x"].dtype) for frame in seen} == {"float64"}


@pytest.fixture(scope="module")
def messy() -> pd.DataFrame:
    """Rows of which some are bad in some way, some repeat others, and types change on the way."""
    random = np.random.default_rng(1)
    rows = pd.DataFrame({"id": range(90), "x": random.normal(size=90).round(3), "kind": random.choice(["1", "2"], 90)})
    rows["at"] = pd.date_range("2025-01-01", periods=90, freq="h").astype("str")
    rows = rows.astype("object")
    rows.loc[random.choice(90, 9, replace=False), "x"] = "?"
    rows.loc[random.choice(90, 9, replace=False), "x"] = -500.0
    rows.loc[random.choice(90, 5, replace=False), "kind"] = None
    rows.loc[80:, "kind"] = "x"
    rows.loc[[20, 60], "id"] = rows.loc[[21, 5], "id"].to_list()
    return rows


@hypothesis(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk=st.integers(1, 100), piece=st.integers(1, 100), stop=st.integers(0, 4), kind=st.sampled_from(["csv", "gz"])
)
def test_chunks_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    make_spec: Spec,
    messy: pd.DataFrame,
    chunk: int,
    piece: int,
    stop: int,
    kind: str,
) -> None:
    """Whatever the size of chunks and pieces, and wherever a run stopped: the same predictions, the same quarantine."""
    answers = []
    for rows, pieces, stopped in ((100, 100, None), (max(chunk, 6), max(piece, 3), stop)):
        place = tmp_path_factory.mktemp("chunks")
        file = place / ("a.csv" if kind == "csv" else "a.csv.gz")
        written = messy.to_csv(index=False).encode()
        # Not by pandas: a packed file would hold the second in which it was written, and be another one in the next.
        file.write_bytes(written if kind == "csv" else gzip.compress(written, mtime=0))
        os.utime(file, (1_700_000_000, 1_700_000_000))
        toy = Scorer(make_spec(), Settings(home=place), _Line())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(staging, "PIECE_ROWS", pieces)
            if stopped is not None:
                toy(file, rows, stop_after=stopped)
            done = toy(file, rows)
        said = toy.said(done.batch).drop(columns=["chunk"])
        answers.append((said, toy.quarantine, done.rejected))
    pd.testing.assert_frame_equal(answers[0][0], answers[1][0])
    pd.testing.assert_frame_equal(answers[0][1], answers[1][1])
    assert sorted(answers[0][2].items()) == sorted(answers[1][2].items())


class _Line:
    """A pipeline that needs no fitting."""

    def predict(self, x: pd.DataFrame) -> Any:
        return x["x"].to_numpy() * 3
