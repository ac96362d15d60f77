"""A champion's performance fails where it is proven worse than at promotion, and only there."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.decision import Decision
from evergreen.errors import ArtifactError
from evergreen.evaluation.bootstrap import Estimate
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.detail_json import detail_from_json, detail_to_json
from evergreen.performance.check import check_performance, judge
from evergreen.performance.report import PerformanceReport, no_champion
from evergreen.registry.client import Registry
from evergreen.registry.version import Version, VersionTags
from evergreen.settings import Settings
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds
from evergreen.storage.kept_files import KeptFiles
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
LATER = datetime(2026, 1, 1, tzinfo=UTC)
FAIL, PASS, OPEN = Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE
NAN = float("nan")
FINITE = st.floats(0.001, 1000)


@pytest.fixture(scope="module")
def error() -> ModelSpec:
    """A model whose metric is an error: less is better."""
    return _spec("mae")


@pytest.fixture(scope="module")
def score() -> ModelSpec:
    """A model whose metric is a score: more is better."""
    return _spec("r2")


DAY = timedelta(days=1)


def _spec(metric: str) -> ModelSpec:
    return ModelSpec.model_construct(metric=Metric(name=metric), performance=PerformanceThresholds())


def _with(spec: ModelSpec, **policy: Any) -> ModelSpec:
    return spec.model_copy(update={"performance": PerformanceThresholds(**{"window": DAY} | policy)})


@given(st.tuples(FINITE, FINITE, FINITE).map(sorted), FINITE, st.floats(0.01, 2))
def test_an_error_fails_where_all_of_its_interval_is_beyond(
    error: ModelSpec, ends: list[float], before: float, tolerance: float
) -> None:
    """FAIL and PASS are proven by the whole interval; what it straddles is INCONCLUSIVE."""
    low, value, high = ends
    bound = before * (1 + tolerance)
    assume(min(abs(low - bound), abs(high - bound)) > 1e-6 * bound)
    spec = _with(error, tolerance=tolerance)
    found = judge(spec, Estimate(value, low, high), at_promotion=before, rows=100)
    assert found.verdict is found.own is (FAIL if low > bound else PASS if high < bound else OPEN), found.reason
    assert found.bound == pytest.approx(bound)
    assert found.interval == (low, high)


@given(st.tuples(FINITE, FINITE, FINITE).map(sorted), FINITE, st.floats(0.01, 2))
def test_a_score_is_judged_by_what_it_lacks_to_one(
    error: ModelSpec, score: ModelSpec, ends: list[float], before: float, tolerance: float
) -> None:
    """r2 is one less a relative error, and judged as that error is."""
    low, value, high = ends
    assume(min(abs(end - before * (1 + tolerance)) for end in ends) > 1e-6 * max(before, high))
    as_error = judge(_with(error, tolerance=tolerance), Estimate(value, low, high), at_promotion=before, rows=100)
    mirrored = Estimate(1 - value, 1 - high, 1 - low)
    as_score = judge(_with(score, tolerance=tolerance), mirrored, at_promotion=1 - before, rows=100)
    assert as_score.verdict is as_error.verdict
    assert 1 - (as_score.bound or 0) == pytest.approx(as_error.bound)


@given(st.tuples(FINITE, FINITE, FINITE).map(sorted), FINITE, st.floats(0.01, 1), st.floats(0, 1))
def test_a_wider_tolerance_never_fails_what_a_narrower_accepts(
    error: ModelSpec, ends: list[float], before: float, tolerance: float, more: float
) -> None:
    """With more tolerance a PASS stays a PASS, and nothing that did not fail fails."""
    low, value, high = ends
    order = [FAIL, OPEN, PASS]
    estimate = Estimate(value, low, high)
    narrow, wide = (
        judge(_with(error, tolerance=share), estimate, at_promotion=before, rows=100).verdict
        for share in (tolerance, tolerance + more)
    )
    assert order.index(wide) >= order.index(narrow)


@pytest.mark.parametrize(
    ("estimate", "before", "rows", "words", "bound"),
    [
        (Estimate(9.0, 8.0, 10.0), 1.0, 99, "fewer than the minimum of 100", 1.5),
        (Estimate(NAN, NAN, NAN), 1.0, 100, "undefined", 1.5),
        (Estimate(9.0, NAN, NAN), 1.0, 100, "too few independent rows", 1.5),
        (Estimate(9.0, 8.0, 10.0), None, 100, "no mae of its promotion", None),
        (Estimate(9.0, 8.0, 10.0), 0.0, 100, "set performance.absolute", None),
    ],
)
def test_what_cannot_be_judged_is_inconclusive_and_says_why(
    error: ModelSpec, estimate: Estimate, before: float | None, rows: int, words: str, bound: float | None
) -> None:
    """Too few rows, no figure, no interval, nothing to compare with: never FAIL."""
    found = judge(error, estimate, at_promotion=before, rows=rows)
    assert (found.verdict, found.own, found.bound) == (OPEN, OPEN, bound)
    assert words in found.reason


def test_an_absolute_tolerance_counts_where_the_metric_was_perfect(error: ModelSpec, score: ModelSpec) -> None:
    """Where there was no error at promotion, the tolerance in the metric's own unit decides."""
    spec = _with(error, absolute=0.5)
    assert judge(spec, Estimate(0.3, 0.2, 0.4), at_promotion=0.0, rows=100).verdict is PASS
    assert judge(spec, Estimate(0.7, 0.6, 0.8), at_promotion=0.0, rows=100).verdict is FAIL
    perfect = judge(score, Estimate(0.7, 0.6, 0.8), at_promotion=1.0, rows=100)
    assert (perfect.verdict, "perfect" in perfect.reason) == (OPEN, True)
    assert judge(_with(score, absolute=0.1), Estimate(0.7, 0.6, 0.8), at_promotion=1.0, rows=100).verdict is FAIL


def test_a_score_of_ones_own_is_judged_by_itself(error: ModelSpec) -> None:
    """What is best is not known of one's own score: the share is of the score at promotion."""
    own = error.model_copy(update={"metric": Metric(name="gain", function=lambda y, p: 0.0, greater_is_better=True)})
    assert judge(own, Estimate(60.0, 50.1, 70.0), at_promotion=100.0, rows=100).verdict is PASS
    assert judge(own, Estimate(40.0, 30.0, 49.9), at_promotion=100.0, rows=100).verdict is FAIL


def test_before_a_champion(error: ModelSpec) -> None:
    """Without a champion nothing is measured, and nothing decided."""
    found = no_champion(error)
    assert (found.verdict, found.decision_id) == (OPEN, None)


class Watch:
    """A champion of toy rows that was promoted with a mean absolute error of 0.08, and what lands after it."""

    def __init__(self, spec: ModelSpec, settings: Settings, made: Version, make_rows: Make) -> None:
        self.spec, self.settings, self.make_rows = spec, settings, make_rows
        self.champion = replace(made, tags=VersionTags.read({**made.tags.raw, "holdout_mae": "0.08"}))
        self.observations = Observations(settings.lake_uri, spec)
        self.registry = Registry(settings)

    def land(self, batch: str, rows: Any) -> None:
        """Land rows."""
        checked = check_batch(rows, self.spec, schema_of(self.spec), now=LATER)
        self.observations.land(checked.rows, batch, batch, now=LATER)

    def label(self, rows: Any, at: datetime) -> None:
        """Let the labels of rows that are there become known."""
        import pyarrow as pa

        held = self.observations.find(pa.table({"id": rows["id"]}))
        instant = self.observations.table.schema.field("_labelled_at").type
        known = pa.array([at] * len(rows), instant)
        labels = pa.table({"id": rows["id"], "y": rows["y"], "_labelled_at": known})
        self.observations.set_labels(held, labels, np.ones(len(rows), dtype=bool), f"labels:{rows['id'].min()}:{at}")

    def elsewhere(self, place: Path) -> Watch:
        """The same champion and the rows it came from, in another lake."""
        other = copy.copy(self)
        other.settings = Settings(home=self.settings.home, lake=str(place))
        other.observations = Observations(other.settings.lake_uri, self.spec)
        other.land("first", self.make_rows(300))
        return other

    def look(self, *, now: datetime = LATER, spec: ModelSpec | None = None, **policy: Any) -> PerformanceReport:
        """The report on what is there."""
        spec = _with(spec or self.spec, **policy)
        snapshot = self.observations.snapshot()
        stores = (Decisions(self.settings.lake_uri, spec.name), PredictionLog(self.settings.lake_uri, spec))
        observations = Observations(self.settings.lake_uri, spec)
        return check_performance(observations, self.registry, *stores, self.champion, snapshot, now=now)


@pytest.fixture
def watch(make_spec: Make, make_rows: Make, make_version: Make, registry: Registry) -> Watch:
    """A champion of 300 rows."""
    spec = make_spec()
    return Watch(spec, registry.settings, make_version(spec, make_rows(300)), make_rows)


def test_more_of_the_same_passes_and_a_new_law_fails(watch: Watch) -> None:
    """Rows of the law that was learned pass; features alike with another slope fail, which no drift report sees."""
    nothing = watch.look()
    assert (nothing.verdict, nothing.rows, nothing.value) == (OPEN, 0, None)
    watch.land("same", watch.make_rows(200, start=300))
    same = watch.look()
    assert (same.verdict, same.rows, same.at_promotion) == (PASS, 200, 0.08), same
    watch.land("other", watch.make_rows(200, start=500, slope=4.0))
    other = watch.look()
    assert (other.verdict, other.rows) == (FAIL, 400), other
    assert other.interval is not None
    assert other.interval[0] > 0.08 * 1.5
    assert watch.look() == other
    assert len({nothing.decision_id, same.decision_id, other.decision_id}) == 3


def test_rows_without_a_label_and_rows_of_the_future_do_not_count(watch: Watch) -> None:
    """What is not known yet, or has not happened yet, is no performance; more of it is the same question."""
    rows = watch.make_rows(204, start=300)
    watch.land("known", rows)
    before = watch.look()
    watch.land("unlabelled", watch.make_rows(96, start=504).assign(y=None))
    more = watch.look()
    assert (more.decision_id, more.value, more.windows) == (before.decision_id, before.value, before.windows)
    assert more.reason.endswith("; 9 of 13 windows have their labels; the newest mature one ends 2025-01-22 00:00 UTC")
    now = rows["at"].max().to_pydatetime().replace(tzinfo=UTC)
    watch.land("future", watch.make_rows(100, start=600, slope=9.0))
    assert watch.look(now=now) == before
    assert watch.look(now=now + timedelta(minutes=5)) == before
    assert watch.look(now=now - timedelta(hours=50)).rows == 154
    assert watch.look().verdict is FAIL


def test_only_the_last_rows_where_the_policy_says_so(watch: Watch) -> None:
    """`last` counts back from the newest row, and another policy is another question."""
    watch.land("other", watch.make_rows(150, start=300, slope=4.0))
    watch.land("same", watch.make_rows(150, start=450))
    recent = watch.look(last=timedelta(hours=149))
    assert (recent.verdict, recent.rows) == (PASS, 150)
    whole = watch.look()
    assert (whole.verdict, whole.rows) == (FAIL, 300)
    assert recent.decision_id != whole.decision_id


def test_rows_that_were_judged_are_not_judged_again(watch: Watch) -> None:
    """Where the same rows were judged, the stored report is the answer: the champion is not even loaded."""
    watch.land("same", watch.make_rows(200, start=300))
    found = watch.look()
    assert found.decision_id is not None
    ledger = Decisions(watch.settings.lake_uri, "toy")
    reason, detail = found.reason, found.detail
    # With what the policy answered: that is the decision's, and no part of the report.
    detail = replace(detail, called=False, because="a budget is spent")
    ledger.record(Decision(found.decision_id, "performance", LATER, str(found.verdict), 1, 1, "digest", reason, detail))
    for path in watch.settings.artifact_folder.rglob("*.skops"):
        path.write_bytes(b"damaged")
    assert watch.look() == found
    with pytest.raises(ArtifactError):
        watch.look(tolerance=0.3)


DAY = timedelta(days=1)


def _at(hours: int) -> datetime:
    return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hours)


@pytest.mark.parametrize("way", ["a week late", "a month late", "shuffled", "in two orders of rows"])
def test_matured_windows_have_the_same_figures_however_their_labels_came(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With the rows, a week or a month later, in any order: same rows, same metric in each window, same decision."""
    rows = watch.make_rows(204, start=300)
    watch.land("together", rows)
    monkeypatch.setattr("evergreen.performance.labelled_rows.ROWS", 150)
    wanted = watch.look()
    assert (wanted.rows, len(wanted.windows), sum(one.rows for one in wanted.windows)) == (150, 9, 150)
    other = watch.elsewhere(tmp_path / "other")
    if way == "in two orders of rows":
        monkeypatch.setattr("evergreen.performance.labelled_rows.ROWS", 70)
        other.land("a", rows.iloc[100:])
        other.land("b", rows.iloc[:100])
        assert (other.look().decision_id, other.look()) == (watch.look().decision_id, watch.look())
        return
    other.land("rows", rows.assign(y=None))
    days = [day for _, day in rows.groupby(rows["at"].dt.date)]
    delay = (30 if way == "a month late" else 7) * DAY
    for place in np.random.default_rng(1).permutation(len(days)) if way == "shuffled" else range(len(days)):
        other.label(days[place], days[place]["at"].max().to_pydatetime().replace(tzinfo=UTC) + delay)
    assert other.look() == wanted


def test_a_window_that_lacks_labels_judges_nothing(watch: Watch) -> None:
    """Early labels of a stretch, however bad, are no sample of it; what became known later does not count yet."""
    rows = watch.make_rows(204, start=300)
    watch.land("rows", rows.assign(y=None))
    nothing = watch.look(min_rows=50)
    assert (nothing.verdict, nothing.rows, nothing.immature) == (OPEN, 0, 9)
    assert nothing.reason == "no labels yet; its predictions are watched by the drift report"
    watch.label(rows.iloc[60:72].assign(y=99.0), _at(400))
    early = watch.look(min_rows=50)
    assert (early.verdict, early.rows, early.decision_id) == (OPEN, 0, nothing.decision_id)
    assert early.reason.startswith("0 of 9 windows have their labels; labels of 90% of a window's rows are needed")
    assert watch.look(min_rows=10, coverage=0.5).verdict is FAIL
    watch.label(rows.iloc[:60], _at(450))
    some = watch.look(min_rows=50, now=_at(600))
    assert (some.verdict, some.rows, some.immature, len(some.windows)) == (PASS, 60, 6, 3)
    assert some.reason.endswith("; 3 of 9 windows have their labels; the newest mature one ends 2025-01-16 00:00 UTC")
    assert watch.look(min_rows=50, now=_at(449)).rows == 0
    recent = watch.look(min_rows=20, last=DAY)
    assert (recent.rows, recent.immature, len(recent.windows)) == (24, 6, 1), "counted back from the newest labels"


def test_drift_of_the_predictions_is_seen_before_there_are_labels(watch: Watch) -> None:
    """Rows without a single label whose predictions moved: the drift report names them, the other has to wait."""
    from evergreen.drift.check import check_drift

    watch.land("rows", watch.make_rows(200, start=300, shift=3.0).assign(y=None))
    spec = watch.spec.model_copy(update={"drift": DriftThresholds(columns=("kind",))})
    seen = check_drift(
        Observations(watch.settings.lake_uri, spec),
        watch.registry,
        watch.champion,
        watch.observations.snapshot(),
        reports=KeptFiles(watch.settings.report_place),
    )
    assert (seen.verdict, seen.drifted) == (FAIL, ("prediction",))
    assert "drift report" in watch.look().reason


def test_what_lies_behind_the_figure(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices beside what they were at promotion, the bias of the residuals, windows; and it comes back from JSON."""
    kept = Judgement((), PASS, 0.1, None, None, 60, {"kind=a": 0.07})
    watch.champion = replace(
        watch.champion, tags=VersionTags.read({**watch.champion.tags.raw, "judgement": kept.to_text()})
    )
    rows = watch.make_rows(204, start=300)
    rows["y"] += (rows["kind"] == "b") * 2.0
    watch.land("rows", rows)
    monkeypatch.setattr("evergreen.performance.breakdown.WINDOWS", 5)
    found = watch.look(spec=watch.spec.model_copy(update={"slices": ("kind",)}))
    one, two = found.slices
    assert (one.name, one.at_promotion, two.name, two.at_promotion) == ("kind=a", 0.07, "kind=b", None)
    assert one.rows + two.rows == 204
    assert one.value is not None
    assert two.interval is not None
    assert (one.value < 0.2, two.interval[0] > 1.5) == (True, True)
    assert found.residuals is not None
    assert found.residuals.interval is not None
    assert found.residuals.interval[0] < found.residuals.bias < found.residuals.interval[1]
    assert found.residuals.bias == pytest.approx(2 * two.rows / 204, abs=0.05)
    assert list(found.residuals.quantiles) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    assert [(each.start, each.rows) for each in found.windows][-1] == ("2025-01-21T00:00:00+00:00", 24)
    assert (len(found.windows), all(each.interval for each in found.windows)) == (5, True)
    stored = json.loads(json.dumps(detail_to_json(found.detail)))
    detail = detail_from_json("performance", "d1", stored)
    decision = Decision(str(found.decision_id), "performance", LATER, "FAIL", 1, 1, "digest", found.reason, detail)
    assert PerformanceReport.of_decision(decision) == found
    older = detail_from_json("performance", "d1", {name: stored[name] for name in stored.keys() - {"bound", "own"}})
    assert PerformanceReport.of_decision(replace(decision, detail=older)) == replace(found, bound=None, own=None)


def _broken(_truth: Any, _given: Any) -> float:
    raise KeyError("no such thing")


def test_metrics_beside_the_main_one(watch: Watch) -> None:
    """One proven beyond its bound fails the report; one that is open, or whose function fails, takes nothing away."""
    watch.land("rows", watch.make_rows(204, start=300))
    most = Metric(name="most", function=lambda y, p: float(np.abs(y - p).max()), greater_is_better=False)
    broken = Metric(name="mine", function=_broken, greater_is_better=True, bound=1.0)
    value = watch.look(also=(Metric(name="rmse"),)).also[0].value
    assert value is not None
    calm = watch.look(also=(most, broken, Metric(name="rmse", bound=value)))
    assert (calm.verdict, [one.verdict for one in calm.also]) == (PASS, [None, OPEN, OPEN])
    assert calm.also[0].value is not None
    assert "in _broken(): KeyError: 'no such thing', called for the metric 'mine'" in calm.reason
    failed = watch.look(also=(broken, Metric(name="rmse", bound=0.01), Metric(name="r2", bound=0.5)))
    assert (failed.verdict, [one.verdict for one in failed.also]) == (FAIL, [OPEN, FAIL, PASS])
    assert (failed.own, failed.bound) == (PASS, pytest.approx(0.12))
    assert failed.reason.startswith("rmse is 0.1")
    assert "proven beyond its bound of 0.01; mae is" in failed.reason
    with pytest.raises(ValueError, match="two metrics have one name"):
        PerformanceThresholds(also=(most, most))


def test_what_was_predicted_at_the_time_counts(watch: Watch) -> None:
    """A kept prediction of the champion is what was acted upon; another version's, or an older row's, is not."""
    rows = watch.make_rows(204, start=300)
    watch.land("rows", rows)
    plain = watch.look()
    log = PredictionLog(watch.settings.lake_uri, watch.spec)
    ids = watch.observations.ids(rows)
    log.append(_kept(log, rows.iloc[:150], ids[:150], watch.champion.number, off=5.0), Progress("a", 1))
    log.append(_kept(log, rows.iloc[150:], ids[150:], watch.champion.number + 1, off=9.0), Progress("b", 1))
    found = watch.look()
    assert (plain.logged, found.logged, plain.verdict, found.verdict) == (0, 150, PASS, FAIL)
    assert found.decision_id == plain.decision_id
    assert found.value == pytest.approx((5.0 * 150 + plain.value * 54) / 204, rel=0.05)
    log.append(_kept(log, rows.iloc[150:], ids[150:], watch.champion.number, off=5.0), Progress("c", 1))
    every = watch.look()
    assert (every.logged, every.value) == (204, pytest.approx(5.0))


def _kept(log: PredictionLog, rows: Any, ids: Any, version: int, *, off: float) -> Any:
    import pyarrow as pa

    count = len(rows)
    return pa.Table.from_pydict(
        {
            "batch": ["batch"] * count,
            "chunk": [0] * count,
            "version": [version] * count,
            "at": list(rows["at"].dt.tz_localize("UTC")),
            "key": ids.view(np.int64),
            "row": list(range(count)),
            "scored_at": [LATER] * count,
            "id": [str(key) for key in rows["id"]],
            "prediction": rows["y"].to_numpy() + off,
            "probability": [None] * count,
            "run_id": ["run"] * count,
        },
        schema=log.table.schema,
    )


def _measured(spec: ModelSpec) -> ModelSpec:
    return spec.model_copy(update={"gates": Gates(blocks="measured")})


def test_measured_blocks_do_not_hold_a_change_back(watch: Watch) -> None:
    """Rows of the old law and then as many of another one: days on each side are alike, and it fails all the same."""
    watch.land("same", watch.make_rows(20 * 24, start=300))
    watch.land("other", watch.make_rows(20 * 24, start=300 + 20 * 24, slope=4.0))
    by_day, found = watch.look(), watch.look(spec=_measured(watch.spec))
    assert (by_day.verdict, found.verdict) == (FAIL, FAIL), found.reason
    assert found.decision_id != by_day.decision_id


def test_days_that_depend_on_each_other_prove_nothing(watch: Watch) -> None:
    """Errors that come and go over two weeks: by days there is an interval, and of blocks too few are left."""
    rows = watch.make_rows(28 * 24, start=300)
    drift = np.sin(2 * np.pi * np.arange(len(rows)) / (14 * 24))
    watch.land("slow", rows.assign(y=rows["y"] + drift))
    assert watch.look().interval is not None
    found = watch.look(spec=_measured(watch.spec))
    assert (found.verdict, found.interval) == (OPEN, None)
    assert "too few independent rows" in found.reason
