"""A feature that is served with other values than land later is named; rows that are corrected later accuse nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.frames import model_frame
from evergreen.data.observations import Observations
from evergreen.data.request_log import RequestLog
from evergreen.decision import Decision
from evergreen.ledger.decisions import Decisions
from evergreen.performance import skew as module
from evergreen.performance.skew import check_skew, compare_served_features, least_share
from evergreen.performance.skew_report import SkewReport
from evergreen.registry.version import Version, VersionTags
from evergreen.runs.recorder import DecisionRecorder
from evergreen.settings import Settings
from evergreen.spec import Features, ModelSpec, Serve, Skew
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FEATURES = Features(numeric=("temp", "wind"), categorical=("kind",))
FAIL, PASS, OPEN = Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE


def landed_rows(rows: int, seed: int = 0) -> pd.DataFrame:
    """What the pipeline gets of rows as they landed: a third of the winds is missing."""
    random = np.random.default_rng(seed)
    wind = random.gamma(2.0, 3.0, rows)
    wind[random.random(rows) < 1 / 3] = np.nan
    kinds = pd.Series(random.choice(["a", "b", "c"], rows)).mask(random.random(rows) < 0.1)
    frame = pd.DataFrame({"temp": random.normal(12.0, 8.0, rows), "wind": wind, "kind": kinds})
    return model_frame(frame, FEATURES)


def served(landed: pd.DataFrame, **changed: Any) -> list[dict[str, Any]]:
    """The same rows as the request log has them, with some columns as they were served instead."""
    columns = {str(name): changed.get(str(name), landed[name]) for name in landed}
    lists = {name: [None if value != value else value for value in column] for name, column in columns.items()}  # noqa: PLR0124
    text = json.dumps([dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)])
    return json.loads(text)  # type: ignore[no-any-return]


def look(landed: pd.DataFrame, online: Sequence[Mapping[str, Any]], number: int = 1, **policy: Any) -> SkewReport:
    ids = [str(place) for place in range(len(landed))]
    return compare_served_features(Skew(**policy), FEATURES, online, landed, ids, number)


def test_what_is_equal_passes() -> None:
    """Through JSON and back, of 32 bits, computed in another order, or a flag or a number as a category: no skew."""
    rows = landed_rows(300)
    report = look(rows, served(rows))
    assert (report.verdict, report.columns, report.features, report.rows) == (PASS, (), 3, 300)
    assert report.reason == "what was served is what landed: none of 3 features differs in more than 1% of 300 rows"
    short = served(rows, temp=rows["temp"].astype("float32").astype("float64"), wind=rows["wind"] * 3 / 3)
    assert look(rows, short).columns == ()
    three = rows.assign(kind=pd.Series(["3"] * 300, dtype="str"))
    assert look(three, served(three, kind=pd.Series([3.0] * 300))).columns == ()


FAHRENHEIT = "online is 1.8 times the landed value plus 32"
DEFAULT = "one and the same value online (a default?)"
PLANTED = [
    ("temp", lambda rows: rows["temp"] * 1.8 + 32, FAHRENHEIT),
    ("temp", lambda rows: (rows["temp"] * 1.8 + 32).round(1), FAHRENHEIT.replace("is", "is about")),
    ("temp", lambda rows: rows["temp"] / 100, "online is 0.01 times the landed value"),
    ("temp", lambda rows: rows["temp"] - 273.15, "online is the landed value less 273.15"),
    ("wind", lambda rows: rows["wind"] * 3.6, "online is 3.6 times the landed value"),
    ("wind", lambda rows: rows["wind"].fillna(0.0), f"{DEFAULT} where none landed"),
    ("wind", lambda rows: rows["wind"] * np.nan, "missing online where a value landed"),
    ("temp", lambda rows: rows["temp"] * 0 + 20, DEFAULT),
    ("temp", lambda rows: rows["temp"].to_numpy()[::-1], "another value online"),
    ("kind", lambda rows: rows["kind"].fillna("a"), f"{DEFAULT} where none landed"),
    ("kind", lambda rows: rows["kind"].str.upper(), "online differs by case or by blanks only"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "change", "how"), PLANTED, ids=[how[:40] for *_, how in PLANTED])
def test_planted_skew_is_named_by_its_column(column: str, change: Callable[[Any], Any], how: str) -> None:
    """A unit, a default, a value that never comes, another spelling: the one column fails, and it is said how."""
    rows = landed_rows(300)
    report = look(rows, served(rows, **{column: change(rows)}))
    assert report.verdict is FAIL, report.reason
    (found,) = report.columns
    assert (found.name, found.verdict, found.how) == (column, FAIL, how)
    assert found.least > 0.01
    assert f"{column} in {found.differing} of 300 rows (at least " in report.reason
    assert f"): {how}; up to 1% of the rows are accepted" in report.reason
    assert len(found.examples) == 3


def test_ways_are_told_apart() -> None:
    """A default for some rows and a unit for the others are two ways of one column; the worst column comes first."""
    rows = landed_rows(300)
    wind = (rows["wind"] * 3.6).fillna(0.0)
    report = look(rows, served(rows, wind=wind, kind=rows["kind"].where(rows.index >= 50, "z")))
    assert [column.name for column in report.columns] == ["wind", "kind"]
    assert report.columns[0].how == (
        f"{DEFAULT} where none landed in 96 rows; online is 3.6 times the landed value in 204 rows"
    )


def test_few_differences_are_not_told() -> None:
    """Up to the accepted share they pass, and are listed; above it, unless proven, it is INCONCLUSIVE."""
    rows = landed_rows(200)
    near = look(rows, served(rows, temp=rows["temp"].where(rows.index >= 2, 99.0)))
    assert (near.verdict, near.columns[0].differing, near.columns[0].verdict) == (PASS, 2, PASS)
    above = look(rows, served(rows, temp=rows["temp"].where(rows.index >= 5, 99.0)))
    assert (above.verdict, above.columns[0].examples) == (OPEN, ("0", "1", "2"))
    assert above.reason.startswith("not proven to differ: temp in 5 of 200 rows: another value online; ")
    assert look(rows, served(rows, temp=rows["temp"] * 0), max_share=1.0).verdict is PASS


def test_a_column_that_the_log_lacks_is_not_compared() -> None:
    """An older model file had other features: what only one side has is left out; one of another kind too."""
    rows = landed_rows(200)
    online = [{name: row[name] for name in row if name != "kind"} | {"temp": "warm"} for row in served(rows)]
    report = look(rows, online)
    assert (report.verdict, report.features, report.columns) == (PASS, 1, ())


def test_no_value_of_a_row_is_in_a_report() -> None:
    """Words, counts and keys: a category or a number of a row is nowhere."""
    rows = landed_rows(200).assign(kind=pd.Series([f"secret-{place}" for place in range(200)], dtype="str"))
    online = served(rows, kind=rows["kind"] + "-online", temp=rows["temp"] * 0 + 4711.25)
    report = look(rows, online)
    assert [column.name for column in report.columns] == ["kind", "temp"]
    assert not [word for word in ("secret", "4711", "online-") if word in repr(report)]


@pytest.mark.parametrize(("differing", "rows"), [(1, 1), (3, 40), (40, 40), (17, 20_000)])
@pytest.mark.parametrize("level", [0.05, 1e-8])
def test_the_bound_is_that_of_clopper_and_pearson(differing: int, rows: int, level: float) -> None:
    """Were the true share the bound, so many rows or more would differ with the probability of the level."""
    from scipy.stats import binom

    assert binom.sf(differing - 1, rows, least_share(differing, rows, level)) == pytest.approx(level, rel=1e-6)


def test_the_looks_share_the_level() -> None:
    """However often is looked, the levels of all looks and columns add up to the level of the model file."""
    from scipy.special import betaincinv

    rows = landed_rows(200)
    online = served(rows, temp=rows["temp"].where(rows.index >= 20, 99.0))
    spent = 0.0
    for number in range(1, 2000):
        share = 0.01 / (number * (number + 1))
        spent += share
        if number in (1, 7, 500):
            least = look(rows, online, number).columns[0].least
            assert least == pytest.approx(float(betaincinv(20, 181, share / 3)))
    assert 0.0099 < spent < 0.01


def test_two_hundred_weeks_without_skew() -> None:
    """No report in 200 weeks of rows of which half a percent differ, as corrections do; a unit in week 150 is told."""
    random = np.random.default_rng(5)
    for week in range(1, 201):
        rows = landed_rows(1000, seed=week)
        noisy = {
            name: rows[name].mask(random.random(1000) < 0.005, "z" if name == "kind" else rows[name] + 1)
            for name in FEATURES.all
        }
        if week == 150:
            planted = look(rows, served(rows, **noisy | {"temp": rows["temp"] * 1.8 + 32}), week)
            assert planted.columns[0].how.startswith("online is 1.8 times")
        found = look(rows, served(rows, **noisy), week)
        assert found.verdict is not FAIL, (week, found.reason)


def test_models_at_the_limit_are_reported_less_often_than_the_level() -> None:
    """2,000 models of five features that really differ in 1 % of the rows, looked at for 200 weeks: at most a share of
    `level` is ever reported; were each look held to the level by itself, most would be."""
    from scipy.special import betaincinv

    random, models, weeks, features, rows, level = np.random.default_rng(7), 2_000, 200, 5, 500, 0.05
    looks = np.arange(1, weeks + 1)
    counts = np.arange(rows)

    def least(levels: float) -> int:
        """The least count that is reported."""
        bounds = np.array([betaincinv(max(one, 1), rows - one + 1, levels) if one else 0.0 for one in counts])
        return int(np.argmax(bounds > 0.01))

    shared = np.array([least(level / (each * (each + 1)) / features) for each in looks])
    differing = random.binomial(rows, 0.01, (models, weeks, features)).max(axis=2)
    reported = (differing >= shared).any(axis=1).mean()
    alone = (differing >= least(level)).any(axis=1).mean()
    assert reported <= level < 0.5 < alone, (reported, alone)


class Lake:
    """A served model of two features in its lake: land rows, serve rows, look."""

    def __init__(self, settings: Settings, make_spec: Make, make_rows: Make, **changes: Any) -> None:
        self.spec: ModelSpec = make_spec(**{"serve": Serve(), "skew": Skew(min_rows=50)} | changes)
        self.settings, self.make_rows = settings, make_rows
        self.observations = Observations(settings.lake_uri, self.spec)
        self.log = RequestLog(settings.lake_uri, self.spec)
        self.ledger = Decisions(settings.lake_uri, self.spec.name)
        self.champion = Version("toy", 1, "run", "model", VersionTags(), "")
        self.batches = 0

    def land(self, rows: pd.DataFrame, at: datetime) -> None:
        checked = check_batch(rows, self.spec, schema_of(self.spec), now=at)
        assert not checked.problem
        self.batches += 1
        self.observations.land(checked.rows, f"batch{self.batches}", f"{self.batches}.csv", now=at)

    def serve(self, rows: pd.DataFrame, at: datetime, version: int = 1, **changed: Any) -> None:
        """One request for each row, a second after the other."""
        checked = check_batch(rows, self.spec, schema_of(self.spec), now=at)
        frame = checked.rows.reset_index(drop=True)
        online = model_frame(frame, self.spec.features).assign(**changed)
        self.batches += 1
        columns = {
            "received_at": [at + timedelta(seconds=place) for place in range(len(frame))],
            "version": [version] * len(frame),
            "at": [at] * len(frame),
            "key": self.observations.ids(frame).view(np.int64).tolist(),
            "request": [f"r{self.batches}-{place}" for place in range(len(frame))],
            "row": [0] * len(frame),
            "route": ["champion"] * len(frame),
            "features": [json.dumps(row) for row in served(online)],
            "microseconds": [100] * len(frame),
        }
        schema = self.log.table.schema
        table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema}, schema=schema)
        self.log.append(table, f"online-{self.batches}")

    def look(self, now: datetime) -> SkewReport:
        """A look that is kept, as the monitor keeps it."""
        snapshot = self.observations.snapshot()
        report = check_skew(self.observations, self.log, self.ledger, self.champion, snapshot, now)
        DecisionRecorder(self.spec, self.ledger, now).skew(self.champion, snapshot, report)
        return report

    @property
    def kept(self) -> tuple[Decision, ...]:
        return self.ledger.all("skew")


@pytest.fixture
def lake(settings: Settings, make_spec: Make, make_rows: Make) -> Lake:
    return Lake(settings, make_spec, make_rows)


def test_rows_that_land_later_are_compared_once(lake: Lake, make_rows: Make) -> None:
    """Served at noon, landed at night: the look is kept; the next has only what came since, and too few wait."""
    rows = make_rows(200)
    lake.land(make_rows(100, start=1000), NOW)
    assert lake.look(NOW).reason == "nothing was asked online yet"
    lake.serve(rows[:100], NOW + HOUR)
    assert lake.look(NOW + 2 * HOUR).reason.startswith("waits for rows: 0 rows that were served have landed since")
    lake.land(rows, NOW + 3 * HOUR)
    first = lake.look(NOW + 3 * HOUR)
    assert (first.verdict, first.rows, first.of, first.features, first.look) == (PASS, 100, 100, 2, 1)
    assert lake.look(NOW + 3 * HOUR) == lake.look(NOW + 4 * HOUR) == first
    more = make_rows(60, start=300)
    lake.serve(more, NOW + 5 * HOUR, x=3.0)
    lake.land(more[:40], NOW + 6 * HOUR)
    assert lake.look(NOW + 6 * HOUR) == first, "40 rows wait for more"
    lake.land(more, NOW + 7 * HOUR)
    second = lake.look(NOW + 7 * HOUR)
    assert (second.verdict, second.rows, second.look) == (FAIL, 60, 2)
    assert [(one.name, one.differing) for one in second.columns] == [("x", 60)]
    assert [(one.outcome, one.champion) for one in lake.kept] == [("PASS", 1), ("FAIL", 1)]
    assert SkewReport.of_decision(lake.kept[1]) == second
    assert second.columns[0].examples == tuple(map(str, second_ids(lake, 3)))


def second_ids(lake: Lake, count: int) -> list[int]:
    """The keys of the second look with the least hash."""
    frame = pd.DataFrame({"id": range(300, 360)})
    order = np.argsort(lake.observations.ids(frame.assign(at=NOW)))
    return frame["id"].to_numpy()[order][:count].tolist()  # type: ignore[no-any-return]


def test_a_row_that_was_known_before_its_request_is_not_compared(lake: Lake, make_rows: Make) -> None:
    """What a request brings may be newer than what had landed by then; the first landing after it is what counts."""
    rows = make_rows(80)
    lake.land(rows, NOW)
    lake.serve(rows, NOW + HOUR, x=5.0)
    assert lake.look(NOW + 2 * HOUR).of == 0
    lake.land(rows.assign(x=5.0), NOW + 3 * HOUR)
    assert lake.look(NOW + 3 * HOUR).verdict is PASS
    lake.land(rows.assign(x=7.0), NOW + 4 * HOUR)
    lake.land(rows.assign(x=8.0), NOW + 5 * HOUR)
    assert lake.look(NOW + 6 * HOUR).look == 1, "that was compared already"


def test_a_correction_is_no_skew(lake: Lake, make_rows: Make) -> None:
    """Rows that land, and land again with other values before anybody looks, are compared as they landed first."""
    rows = make_rows(120)
    lake.serve(rows, NOW)
    lake.land(rows[:60], NOW + HOUR)
    lake.land(rows[:90].assign(x=1.0), NOW + 2 * HOUR)
    lake.land(rows.assign(x=rows["x"].where(rows["id"] >= 90, 2.0)), NOW + 3 * HOUR)
    report = lake.look(NOW + 4 * HOUR)
    # Rows 60 to 89 landed with another value from the start.
    assert [(one.name, one.differing) for one in report.columns] == [("x", 30)]
    assert (report.verdict, report.rows, report.unread) == (FAIL, 120, 0)


def test_a_label_is_no_difference(lake: Lake, make_rows: Make) -> None:
    """A target that comes with a second landing of the row changes nothing of what is compared."""
    rows = make_rows(80)
    lake.serve(rows, NOW)
    lake.land(rows.assign(y=None), NOW + HOUR)
    lake.land(rows, NOW + 2 * HOUR)
    report = lake.look(NOW + 3 * HOUR)
    assert (report.verdict, report.rows, report.columns) == (PASS, 80, ())


def test_of_several_requests_the_first_counts(lake: Lake, make_rows: Make) -> None:
    """A client that asks again with other features is held to what was answered first."""
    rows = make_rows(80)
    lake.serve(rows, NOW + HOUR, x=1.0)
    lake.serve(rows, NOW)
    lake.land(rows, NOW + 2 * HOUR)
    assert lake.look(NOW + 3 * HOUR).verdict is PASS


def test_other_versions_and_other_times_do_not_count(lake: Lake, make_rows: Make) -> None:
    """What another version answered is its own; what came after the run's time is for the next run."""
    rows = make_rows(160)
    lake.serve(rows[:80], NOW, version=2, x=1.0)
    lake.serve(rows[80:], NOW)
    lake.land(rows[:80], NOW + HOUR)
    lake.land(rows[80:], NOW + 3 * HOUR)
    assert lake.look(NOW + 2 * HOUR).reason.startswith("waits for rows: 0 rows")
    report = lake.look(NOW + 4 * HOUR)
    assert (report.verdict, report.rows) == (PASS, 80)
    lake.champion = Version("toy", 2, "run", "model", VersionTags(), "")
    other = lake.look(NOW + 5 * HOUR)
    assert (other.verdict, other.rows, other.look) == (FAIL, 80, 2), "looks are counted over all champions"


def test_what_is_not_proven_is_looked_at_again_with_what_comes(lake: Lake, make_rows: Make) -> None:
    """Two rows of fifty are no proof; with the next fifty, of which three differ, they are counted together."""
    rows = make_rows(400)
    odd = rows["x"].where(~rows["id"].isin([0, 10, 60, 70, 80]), 9.0)
    lake.serve(rows, NOW, x=odd)
    lake.land(rows[:50], NOW + HOUR)
    first = lake.look(NOW + HOUR)
    assert (first.verdict, first.rows, first.columns[0].differing) == (OPEN, 50, 2)
    assert lake.look(NOW + 2 * HOUR) == first
    lake.land(rows[50:80], NOW + 3 * HOUR)
    assert lake.look(NOW + 3 * HOUR) == first, "30 more are not enough to look again"
    lake.land(rows[80:100], NOW + 4 * HOUR)
    second = lake.look(NOW + 4 * HOUR)
    assert (second.verdict, second.rows, second.columns[0].differing, second.look) == (OPEN, 100, 5, 2)
    lake.land(rows[100:], NOW + 5 * HOUR)
    third = lake.look(NOW + 5 * HOUR)
    assert (third.verdict, third.rows, third.columns[0].differing) == (OPEN, 400, 5)
    assert third.since == first.since
    assert [one.outcome for one in lake.kept] == ["INCONCLUSIVE"] * 3


def test_of_many_rows_those_with_the_least_hash_are_compared(
    lake: Lake, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample is the same whatever the order of requests and rows."""
    monkeypatch.setattr("evergreen.performance.served_rows.ROWS", 60)
    monkeypatch.setattr(module, "ROWS", 60)
    rows = make_rows(300)
    lake.serve(rows.sample(frac=1.0, random_state=1), NOW)
    lake.land(rows, NOW + HOUR)
    report = lake.look(NOW + HOUR)
    assert (report.verdict, report.rows, report.of) == (PASS, 60, 300)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"serve": None}, "the model is not served"),
        ({"serve": Serve(log=0)}, "no request is kept: Serve(log=0)"),
        ({"keys": ()}, "the model has no keys by which a request and the row that lands later are one"),
    ],
)
def test_without_serving_nothing_is_read(
    settings: Settings, make_spec: Make, make_rows: Make, changes: dict[str, Any], reason: str
) -> None:
    """By the model file alone; no table is opened, and nothing is kept."""
    lake = Lake(settings, make_spec, make_rows, **changes)
    lake.land(make_rows(60), NOW)
    snapshot = lake.observations.snapshot()
    report = check_skew(lake.observations, lake.log, lake.ledger, lake.champion, snapshot, NOW)
    assert (report.verdict, report.reason, report.decision_id) == (OPEN, reason, None)
    assert not lake.log.table.exists()
    assert lake.kept == ()


def test_before_there_is_a_champion(lake: Lake, make_rows: Make) -> None:
    """Nobody was asked."""
    lake.land(make_rows(60), NOW)
    report = check_skew(lake.observations, lake.log, lake.ledger, None, lake.observations.snapshot(), NOW)
    assert report.reason == "there is no champion yet"
