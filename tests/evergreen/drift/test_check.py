"""Drift is judged against the champion's own reference, with its predictions among the columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.label_rules import rows_schema
from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision
from evergreen.drift.check import check_drift, drift_question, no_champion_report
from evergreen.drift.report import DriftReport
from evergreen.registry.client import Registry
from evergreen.registry.version import Version, VersionTags
from evergreen.runs.recorder import data_question
from evergreen.settings import Settings
from evergreen.spec.data import Labels
from evergreen.spec.monitoring import DriftThresholds
from evergreen.storage.kept_files import KeptFiles
from evergreen.verdicts import Verdict
from tests.details import detail_of

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def watch(settings: Settings) -> Callable[..., DriftReport]:
    """Land rows after a champion was made, and report."""

    def run(spec: Any, champion: Any, rows: Any) -> DriftReport:
        observations = Observations(settings.lake_uri, spec)
        if rows is not None:
            observations.land(check_batch(rows, spec, schema_of(spec), now=NOW).rows, "later", "later", now=NOW)
        snapshot = observations.snapshot()
        return check_drift(
            Observations(settings.lake_uri, spec),
            Registry(settings),
            champion,
            snapshot,
            reports=KeptFiles(settings.report_place),
        )

    return run


@pytest.fixture
def spec(make_spec: Make) -> Any:
    """A spec that watches one number and one category."""
    return make_spec(drift=DriftThresholds(share=0.5, min_rows=100))


def test_more_of_the_same_passes(
    spec: Any, make_rows: Make, make_version: Make, watch: Make, settings: Settings
) -> None:
    """Rows of the same law do not drift; the prediction is one of the columns."""
    champion = make_version(spec, make_rows(600))
    report = watch(spec, champion, make_rows(200, start=600))
    assert report.verdict is Verdict.PASS, report
    assert [column.name for column in report.columns] == ["x", "prediction", "kind"]
    assert report.page == f"reports/{spec.name}/{report.decision_id}/report.html"
    assert (settings.root / report.page).is_file()


def test_a_shift_fails_and_the_prediction_moves_with_it(
    spec: Any, make_rows: Make, make_version: Make, watch: Make
) -> None:
    """A shifted feature and what the champion makes of it drift; the report names both."""
    champion = make_version(spec, make_rows(600))
    report = watch(spec, champion, make_rows(200, start=600, shift=3.0))
    assert report.verdict is Verdict.FAIL
    assert set(report.drifted) == {"x", "prediction"}


def test_nothing_new_is_inconclusive(spec: Any, make_rows: Make, make_version: Make, watch: Make) -> None:
    """The champion's own rows are not compared with themselves."""
    report = watch(spec, make_version(spec, make_rows(300)), None)
    assert (report.verdict, report.current_rows) == (Verdict.INCONCLUSIVE, 0)


def test_before_a_champion(spec: Any) -> None:
    """Without a champion the report is INCONCLUSIVE and says why."""
    report = no_champion_report(spec)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "no champion" in report.reason


def test_the_question_has_one_id(spec: Any, make_rows: Make, make_version: Make, settings: Settings) -> None:
    """The same champion, data and policy are the same decision; another policy or more data is another."""
    champion = make_version(spec, make_rows(300))
    observations = Observations(settings.lake_uri, spec)
    before = observations.snapshot()
    one, _ = drift_question(spec, champion, before)
    assert one == drift_question(spec, champion, before)[0]
    other = spec.model_copy(update={"drift": DriftThresholds(share=0.9)})
    assert one != drift_question(other, champion, before)[0]
    patient = spec.model_copy(update={"drift": spec.drift.model_copy(update={"silence": timedelta(days=9)})})
    assert one == drift_question(patient, champion, before)[0]
    observations.land(check_batch(make_rows(5, start=300), spec, schema_of(spec), now=NOW).rows, "b", "b", now=NOW)
    assert one != drift_question(spec, champion, observations.snapshot())[0]


def test_the_question_is_about_rows_that_the_champion_never_saw(spec: Any) -> None:
    """It begins after the newest label that the champion knew; its id does not change with the time it is asked at."""
    snapshot = Snapshot("table", 1, 9, None, "2025-03-01T00:00:00+00:00", 9, "digest")
    tags = {"data_end": "2025-02-10T00:00:00+00:00", "learned_end": "2025-02-03T00:00:00+00:00", "next_row": "5"}
    champion = Version("toy", 1, "run", "model", VersionTags.read(tags), "")
    one, window = drift_question(spec, champion, snapshot, NOW)
    assert (window.after, window.as_of) == (tags["learned_end"], NOW.isoformat())
    assert one == drift_question(spec, champion, snapshot, NOW + timedelta(days=3))[0]
    assert one == drift_question(spec, champion, snapshot)[0]


def test_a_label_that_has_not_come_is_no_drift(
    spec: Any, make_rows: Make, make_version: Make, settings: Settings
) -> None:
    """A watched target is compared where it is known at the logical time, and no row is missing it by fault."""
    policy = DriftThresholds(columns=("x", "y"), share=0.5, min_rows=50)
    spec = spec.model_copy(update={"drift": policy, "labels": Labels(source=spec.source)})
    champion = make_version(spec, make_rows(400))
    observations = Observations(settings.lake_uri, spec)
    rows = make_rows(400, start=400).assign(y=lambda frame: frame["y"].where(frame["id"] < 560))
    observations.land(
        check_batch(rows, spec, rows_schema(spec, schema_of(spec)), now=NOW).rows, "later", "later", now=NOW
    )
    report = check_drift(
        Observations(settings.lake_uri, spec),
        Registry(settings),
        champion,
        observations.snapshot(),
        reports=KeptFiles(settings.report_place),
        now=NOW,
    )
    assert report.verdict is Verdict.PASS, report
    watched = {column.name: column for column in report.columns}
    assert watched["y"].missing_current == pytest.approx(0.6)
    assert watched["y"].verdict is Verdict.PASS


def test_data_is_news_until_it_was_decided_on_or_learned_from(spec: Any) -> None:
    """News is what differs from the champion's data and from the last decisions, however it came to be there."""

    def snapshot(digest: str, rows: int) -> Snapshot:
        return Snapshot("table", 1, rows, None, None, rows, digest)

    def decided(digest: str) -> Decision:
        return Decision("id", "data", NOW, "LANDED", 1, 1, digest, "why", detail_of("data"))

    champion = Version("toy", 1, "run", "model", VersionTags.read({"data_digest": "old", "next_row": "100"}), "")
    assert data_question(spec, champion, snapshot("old", 100), (None, None)) is None
    assert data_question(spec, None, snapshot("none", 0), (None, None)) is None
    found = data_question(spec, champion, snapshot("new", 130), (None, decided("old")))
    assert found is not None
    assert found[1] == 30
    assert data_question(spec, champion, snapshot("new", 130), (decided("new"), None)) is None
    assert data_question(spec, champion, snapshot("new", 130), (None, decided("new"))) is None
    newer = data_question(spec, champion, snapshot("newer", 140), (decided("new"), None))
    first = data_question(spec, None, snapshot("new", 130), (None, None))
    assert first is not None
    assert newer is not None
    assert first[1] == 130
    assert len({found[0], newer[0], first[0]}) == 3
