"""A promotion is judged by what came after it: proven to have helped, proven to have hurt, or neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.decision import Decision
from evergreen.errors import ArtifactError
from evergreen.evaluation.bootstrap import Comparison, paired_bootstrap
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions, promotion_of
from evergreen.performance.label_coverage import LabelWindow
from evergreen.performance.shadow import check_promotion, compare_with_former, grouped, judge, looks, matured
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import PerformanceThresholds, Shadow
from evergreen.spec.training import Training
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
LATER = datetime(2026, 1, 1, tzinfo=UTC)
FAIL, PASS, OPEN = Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE
NAN = float("nan")
DAILY = PerformanceThresholds(window=timedelta(days=1))
FINITE = st.floats(-1000, 1000)


def move(before: int | None, after: int, action: Any = "promote", line: str = "m1") -> Move:
    return Move(line, LATER, action, "done", before, after, "better", "d1", "test")


@pytest.fixture(scope="module")
def error() -> ModelSpec:
    """A model whose metric is an error."""
    return ModelSpec.model_construct(metric=Metric(name="mae"), time="at", shadow=Shadow())


@given(st.tuples(FINITE, FINITE, FINITE).map(sorted), st.integers(1, 4))
def test_the_whole_interval_decides(error: ModelSpec, ends: list[float], windows: int) -> None:
    """Above nought it helped, below it hurt, and else nothing is proven; harm and the last look are final."""
    low, gain, high = ends
    assume(min(abs(low), abs(high)) > 1e-6)
    found = judge(error, Comparison(10.0, 10 + gain, gain, low, high, 500, 50), move(1, 2), rows=500, windows=windows)
    assert found.verdict is (PASS if low > 0 else FAIL if high < 0 else OPEN), found.reason
    assert (found.gain, found.interval, found.former, found.champion) == (gain, (low, high), 1, 2)
    assert found.final == (found.verdict is FAIL or windows == 4)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Comparison(8.0, 20.0, 12.0, 4.0, 20.0, 300, 9), "the promotion helped: mae 12 better (4 to 20) than"),
        (Comparison(20.0, 8.0, -12.0, -20.0, -4.0, 300, 9), "the promotion hurt: mae 12 worse (4 to 20) than"),
        (Comparison(9.0, 8.0, -1.0, -4.0, 2.0, 300, 9), "not proven to have helped or hurt: mae 1 worse (-2 to 4)"),
        (Comparison(9.0, 9.0, 0.0, 0.0, 0.0, 300, 9), "not proven to have helped or hurt: mae 0 better"),
        (Comparison(9.0, 9.0, 1e-12, 1e-13, 1e-11, 300, 9), "not proven to have helped or hurt"),
        (Comparison(9.0, 8.0, -1.0, NAN, NAN, 300, 3), "too few independent rows"),
        (Comparison(NAN, NAN, NAN, NAN, NAN, 300, 3), "mae is undefined"),
        (Comparison(NAN, NAN, NAN, NAN, NAN, 99, 0), "99 labelled rows are fewer than the minimum of 100"),
    ],
)
def test_every_answer_says_why(error: ModelSpec, found: Comparison, words: str) -> None:
    """The reason has the figures and over how many windows they were taken; what is not known is no harm."""
    report = judge(error, found, move(1, 2), rows=found.rows, windows=3)
    assert words in report.reason
    verdicts = {"the promotion helped": PASS, "the promotion hurt": FAIL}
    assert report.verdict is next((verdicts[key] for key in verdicts if report.reason.startswith(key)), OPEN)
    if report.interval:
        assert report.reason.endswith("version 1's on 300 rows, 3 of 4 windows")


def test_equal_models_are_rarely_called_harmful(error: ModelSpec) -> None:
    """Two models that err alike: over all looks, at most the level calls the promotion harmful (200 promotions)."""
    spec = error.model_copy(update={"shadow": Shadow(windows=4, level=0.05)})
    hurt = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y, hours = np.zeros(4 * 48), np.arange(4 * 48)
        mine, theirs = (rng.normal(size=len(y)) for _ in range(2))
        for windows in range(1, looks(spec) + 1):
            rows = windows * 48
            found = paired_bootstrap(
                *(spec.metric, y[:rows], Predictions(mine[:rows]), Predictions(theirs[:rows])),
                groups=hours[:rows] // 4,
                level=spec.shadow.level / looks(spec),
                seed=seed,
                resamples=400,
            )
            report = judge(spec, found, move(1, 2), rows=rows, windows=windows)
            if report.verdict is FAIL and rows >= spec.shadow.min_rows:
                hurt += 1
                break
    assert hurt <= 10


@pytest.mark.parametrize(
    ("moves", "champion", "found"),
    [
        ((), 1, None),
        ((move(None, 1),), 1, None),
        ((move(None, 1), move(1, 2, line="m2")), 2, "m2"),
        ((move(None, 1), move(1, 2)), 1, None),
        ((move(None, 1), move(1, 2), move(2, 1, "rollback")), 1, None),
        ((move(1, 2), move(2, 1, "rollback"), move(1, 2, "rollback")), 2, None),
        ((move(1, 2), move(2, 1, "rollback"), move(1, 3, line="m4")), 3, "m4"),
    ],
)
def test_only_the_last_promotion_is_judged(moves: tuple[Move, ...], champion: int, found: str | None) -> None:
    """The first champion replaced nobody, and one that a rollback brought back is there on purpose."""
    judged = promotion_of(moves, champion)
    assert (judged.id if judged else None) == found
    assert promotion_of(moves, None) is None


def test_rows_of_a_day_stand_together_from_six_days_on(error: ModelSpec) -> None:
    """Fewer days are cut finer, or there would be no interval; rows without a time stand alone."""
    hours = pd.DataFrame({"at": pd.date_range("2025-01-01", periods=240, freq="h", tz="UTC")})

    def groups(rows: int) -> int:
        found = grouped(error, hours[:rows])
        assert found is not None
        return len(np.unique(found))

    assert (groups(240), groups(144), groups(120) >= 20) == (10, 6, True)
    assert grouped(error.model_copy(update={"time": None}), hours) is None


def test_windows_count_when_they_are_over_and_have_their_labels() -> None:
    """The first ones, at most as many as there are looks; without a time column there is one, which is never over."""
    spec = ModelSpec.model_construct(time="at", shadow=Shadow(windows=2), performance=DAILY)
    days = [LabelWindow(n, f"2025-01-0{n}T00:00:00+00:00", 24, 24 if n != 2 else 3, n != 2) for n in range(1, 6)]
    assert [one.number for one in matured(spec, days, LATER)] == [1, 3]
    assert [one.number for one in matured(spec, days, datetime(2025, 1, 3, 23, tzinfo=UTC))] == [1]
    timeless = ModelSpec.model_construct(time=None, shadow=Shadow(windows=4), performance=DAILY)
    assert (looks(spec), looks(timeless)) == (2, 1)
    assert len(matured(timeless, [LabelWindow(0, None, 24, 24, True)], LATER)) == 1


def assess(spec: Any, settings: Settings, registry: Any, champion: Any, snapshot: Any, now: datetime) -> ShadowReport:
    """As the task `shadow` does."""
    observations = Observations(settings.lake_uri, spec)
    stores = (registry, Promotions(settings.lake_uri, spec.name), Decisions(settings.lake_uri, spec.name))

    def compare(pair: Any, before: int) -> Any:
        return compare_with_former(observations, registry, snapshot, pair, before, now)

    return check_promotion(spec, *stores, champion, compare)


class Watch:
    """Version 1 learned from slope 3 and version 2, which replaced it, from slope 4; and what lands afterwards."""

    def __init__(self, spec: ModelSpec, registry: Registry, make_version: Make, make_rows: Make) -> None:
        self.spec, self.settings, self.make_rows, self.registry = spec, registry.settings, make_rows, registry
        self.observations = Observations(self.settings.lake_uri, spec)
        self.versions = (
            make_version(spec, make_rows(200), "first"),
            make_version(spec, make_rows(200, start=200, slope=4.0), "second"),
        )
        self.promote(None, 1)
        self.promote(1, 2)
        self.landed = 400

    def promote(self, before: int | None, after: int) -> None:
        log = Promotions(self.settings.lake_uri, "toy")
        log.write(move(before, after, line=f"m{len(log.all())}"))

    def land(self, rows: int, **law: Any) -> None:
        """Land the next rows; `y=None` for rows without a label."""
        values = {key: law.pop(key) for key in ("y",) if key in law}
        frame = self.make_rows(rows, start=self.landed, **law).assign(**values)
        checked = check_batch(frame, self.spec, schema_of(self.spec), now=LATER)
        batch = f"b{self.observations.snapshot().version}"
        self.observations.land(checked.rows, batch, batch, now=LATER)
        self.landed += rows

    def look(self, *, now: datetime = LATER, champion: int = 2, **policy: Any) -> ShadowReport:
        """The report on what is there."""
        spec = self.spec.model_copy(update={"shadow": Shadow(**{"min_rows": 40} | policy)})
        found = self.versions[champion - 1]
        return assess(spec, self.settings, self.registry, found, self.observations.snapshot(), now)

    def store(self, report: ShadowReport) -> None:
        """As a monitor run does."""
        assert report.decision_id is not None
        detail, verdict = report.detail, str(report.verdict)
        entry = Decision(report.decision_id, "shadow", LATER, verdict, 2, 1, "digest", report.reason, detail)
        Decisions(self.settings.lake_uri, "toy").record(entry)


@pytest.fixture
def watch(make_spec: Make, make_rows: Make, make_version: Make, registry: Registry) -> Watch:
    """Two champions, one after the other; windows of a day; labels with their rows."""
    return Watch(
        make_spec(training=Training(last=timedelta(hours=199), min_rows=20), performance=DAILY),
        registry,
        make_version,
        make_rows,
    )


def test_a_promotion_that_helped_and_one_that_hurt(watch: Watch) -> None:
    """Where the new law stays the new champion is better; where the old one comes back it is worse."""
    assert watch.look().reason == "waits for labels: 0 of 4 windows have theirs, 0 rows (at least 40 are needed)"
    watch.land(20, slope=4.0)
    early = watch.look()
    assert (early.decision_id, early.champion, early.former) == (None, 2, 1)
    watch.land(52, slope=4.0)
    good = watch.look()
    # The rest of a day, two whole ones, and the hours of one more that have come by now.
    assert (good.verdict, good.rows, good.windows, good.of, good.final) == (PASS, 72, 4, 4, True)
    assert good.gain is not None
    assert good.gain > 0.5
    assert ShadowReport.of_decision(_stored(watch, good)) == good
    watch.land(200, slope=3.0)
    assert watch.look() == good


def _stored(watch: Watch, report: ShadowReport) -> Decision:
    watch.store(report)
    found = Decisions(watch.settings.lake_uri, "toy").find("shadow", str(report.decision_id))
    assert found is not None
    return found


def test_harm_is_final(watch: Watch) -> None:
    """Once it is proven, nothing more is asked: neither by other rows nor with files that are gone."""
    watch.land(60, slope=3.0)
    bad = watch.look(windows=9)
    assert (bad.verdict, bad.windows, bad.final, bad.rollback) == (FAIL, 4, True, True)
    assert bad.interval is not None
    assert bad.interval[1] < 0
    assert watch.look(windows=9, rollback=False).decision_id == bad.decision_id
    assert watch.look(windows=9, level=0.1).decision_id != bad.decision_id
    watch.store(bad)
    watch.land(300, slope=4.0)
    for path in watch.settings.artifact_folder.rglob("*.skops"):
        path.write_bytes(b"damaged")
    assert watch.look(windows=9) == bad


def test_one_look_a_window(watch: Watch) -> None:
    """Rows that come late to windows that were looked at are no second look; another window is."""
    watch.land(56, slope=3.5)
    policy = {"windows": 9, "level": 0.001, "min_rows": 30}
    first = watch.look(now=datetime(2025, 1, 19, tzinfo=UTC), **policy)
    assert (first.verdict, first.windows, first.rows, first.final) == (OPEN, 2, 32, False)
    watch.store(first)
    watch.landed -= 56
    watch.land(56, slope=3.0)
    assert watch.look(now=datetime(2025, 1, 19, 23, tzinfo=UTC), **policy) == first
    second = watch.look(**policy)
    assert (second.verdict, second.windows, second.final) == (FAIL, 3, True)


def test_windows_without_labels_and_rows_of_the_future_do_not_count(watch: Watch) -> None:
    """What is not known, or has not happened by the run's logical time, judges nobody."""
    watch.land(100, slope=3.0, y=None)
    assert watch.look().decision_id is None
    watch.land(100, slope=3.0)
    assert watch.look(now=datetime(2025, 1, 20, tzinfo=UTC)).decision_id is None
    found = watch.look()
    assert (found.verdict, found.windows) == (FAIL, 4)


def test_rows_that_either_learned_from_do_not_judge(watch: Watch) -> None:
    """Of two versions, the one that saw more decides where the rows begin, whichever replaced the other."""
    watch.promote(2, 1)
    watch.land(100, slope=3.0)
    found = watch.look(champion=1, windows=20)
    assert (found.verdict, found.rows, found.former) == (PASS, 100, 2)


def test_a_model_without_a_time_column_is_looked_at_once(
    make_spec: Make, make_rows: Make, make_version: Make, registry: Registry
) -> None:
    """It has one window: the look is taken when there are enough rows, and is final."""
    from evergreen.spec.training import Holdout

    spec = make_spec(time=None, holdout=Holdout(strategy="random", min_rows=10))
    watch = Watch(spec, registry, make_version, make_rows)
    watch.land(39, slope=4.0)
    assert watch.look().decision_id is None
    watch.land(1, slope=4.0)
    found = watch.look()
    assert (found.verdict, found.rows, found.windows, found.of, found.final) == (PASS, 40, 1, 1, True)


def test_without_the_former_champion_nothing_is_said(watch: Watch) -> None:
    """Its files damaged or its version deleted: INCONCLUSIVE with the reason; the champion's own are a fault."""
    watch.land(100, slope=3.0)
    files = sorted(watch.settings.artifact_folder.rglob("*.skops"), key=lambda path: path.stat().st_mtime)
    kept = files[0].read_bytes()
    files[0].write_bytes(b"damaged")
    found = watch.look()
    assert (found.verdict, found.decision_id) == (OPEN, None)
    assert "the former champion cannot be asked: toy version 1" in found.reason
    files[0].write_bytes(kept)
    assert watch.look().verdict is FAIL
    files[1].write_bytes(b"damaged")
    with pytest.raises(ArtifactError):
        watch.look()
    watch.registry.client.delete_model_version("toy", "1")
    assert watch.look().reason == "version 1, the former champion, is gone"


def test_where_it_is_switched_off_nothing_is_read(watch: Watch) -> None:
    """`windows=0` says so, and before a champion there is no promotion."""
    assert watch.look(windows=0).reason == "switched off: shadow.windows is 0"
    spec, snapshot = watch.spec, watch.observations.snapshot()
    found = assess(spec, watch.settings, watch.registry, None, snapshot, LATER)
    assert (found.reason, found.decision_id) == ("no promotion to judge", None)
    first = replace(watch.versions[0], number=7)
    assert assess(spec, watch.settings, watch.registry, first, snapshot, LATER).decision_id is None


def test_days_that_depend_on_each_other_prove_no_harm(watch: Watch) -> None:
    """The old law comes and goes with the weeks: by days it is called harm, by blocks nothing is proven yet."""
    for week in range(4):
        watch.land(7 * 24, slope=3.0 if week % 2 else 3.6)
    policy = {"windows": 28}
    assert watch.look(**policy).interval is not None
    by_day = watch.look(**policy)
    watch.spec = watch.spec.model_copy(update={"gates": Gates(blocks="measured")})
    found = watch.look(**policy)
    assert (found.verdict, found.interval) == (OPEN, None), found
    assert "which leaves" in found.reason
    assert "independent blocks of rows; at least 10 are needed" in found.reason
    assert found.decision_id != by_day.decision_id


def test_measured_blocks_still_find_harm(watch: Watch) -> None:
    """Where the days are independent, harm is harm."""
    watch.spec = watch.spec.model_copy(update={"gates": Gates(blocks="measured")})
    watch.land(60, slope=3.0)
    assert watch.look(windows=9).verdict is FAIL
