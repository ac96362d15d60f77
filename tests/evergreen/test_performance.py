"""A champion's performance fails where it is proven worse than at promotion, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evergreen.contract import check, schema_of
from evergreen.decisions import Decision, Decisions
from evergreen.errors import ArtifactError
from evergreen.metrics import Estimate
from evergreen.observations import Observations
from evergreen.performance import PerformanceReport, assess, judge, no_champion
from evergreen.registry import Registry, Version
from evergreen.settings import Settings
from evergreen.spec import Metric, ModelSpec, PerformancePolicy
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


def _spec(metric: str) -> ModelSpec:
    return ModelSpec.model_construct(metric=Metric(name=metric), performance=PerformancePolicy())


def _with(spec: ModelSpec, **policy: Any) -> ModelSpec:
    return spec.model_copy(update={"performance": PerformancePolicy(**policy)})


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
    assert found.verdict is (FAIL if low > bound else PASS if high < bound else OPEN), found.reason
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
    ("estimate", "before", "rows", "words"),
    [
        (Estimate(9.0, 8.0, 10.0), 1.0, 99, "fewer than the minimum of 100"),
        (Estimate(NAN, NAN, NAN), 1.0, 100, "undefined"),
        (Estimate(9.0, NAN, NAN), 1.0, 100, "too few independent rows"),
        (Estimate(9.0, 8.0, 10.0), None, 100, "no mae of its promotion"),
        (Estimate(9.0, 8.0, 10.0), 0.0, 100, "set performance.absolute"),
    ],
)
def test_what_cannot_be_judged_is_inconclusive_and_says_why(
    error: ModelSpec, estimate: Estimate, before: float | None, rows: int, words: str
) -> None:
    """Too few rows, no figure, no interval, nothing to compare with: never FAIL."""
    found = judge(error, estimate, at_promotion=before, rows=rows)
    assert found.verdict is OPEN
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
        self.champion = replace(made, tags={**made.tags, "holdout_mae": "0.08"})
        self.observations = Observations(settings.lake_uri, spec)
        self.registry = Registry(settings)

    def land(self, batch: str, rows: Any) -> None:
        """Land rows."""
        checked = check(rows, self.spec, schema_of(self.spec), now=LATER)
        self.observations.land(checked.rows, batch, batch, now=LATER)

    def look(self, *, now: datetime = LATER, **policy: Any) -> PerformanceReport:
        """The report on what is there."""
        spec = _with(self.spec, **policy)
        snapshot = self.observations.snapshot()
        return assess(spec, self.settings, self.registry, self.champion, snapshot, now=now)


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
    rows = watch.make_rows(200, start=300)
    watch.land("known", rows)
    before = watch.look()
    watch.land("unlabelled", watch.make_rows(100, start=500).assign(y=None))
    assert watch.look() == before
    now = rows["at"].max().to_pydatetime().replace(tzinfo=UTC)
    watch.land("future", watch.make_rows(100, start=600, slope=9.0))
    assert watch.look(now=now) == before
    assert watch.look(now=now + timedelta(minutes=5)) == before
    assert watch.look(now=now - timedelta(hours=50)).rows == 150
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
    reason, detail = found.reason, found.to_detail()
    ledger.record(Decision(found.decision_id, "performance", LATER, str(found.verdict), 1, 1, "digest", reason, detail))
    for path in watch.settings.artifacts.rglob("*.skops"):
        path.write_bytes(b"damaged")
    assert watch.look() == found
    with pytest.raises(ArtifactError):
        watch.look(tolerance=0.3)
