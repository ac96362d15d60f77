"""A promotion that hurt is taken back within one monitor run, told, and does not come again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

import models
from deployments.cli.console import show_monitor
from deployments.cli.status_view import read_history, show_history
from evergreen.errors import ArtifactError, RefusedError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry import promotion
from evergreen.registry.client import Registry
from evergreen.settings import Settings, load_settings
from evergreen.verdicts import Verdict
from flows.monitor import monitor
from flows.promote import promote
from flows.retrain import retrain
from flows.rollback import rollback

pytestmark = pytest.mark.usefixtures("in_process")
PROJECT = Path(__file__).resolve().parents[2]
MODEL = "toy"
FIELDS = """
    drift=DriftThresholds(columns=('x',), min_rows=50, share=1.0),
    training=Training(last=timedelta(hours=199)),
    performance=PerformanceThresholds(window=timedelta(days=1)),
    retrain_on=('drift', 'performance'),
"""
Events = list[tuple[str, dict[str, Any]]]


@dataclass
class Land:
    """Puts the next rows into the landing folder: land(200, slope=4.0)."""

    folder: Path
    make_rows: Callable[..., Any]
    landed: int = 0

    def __call__(self, rows: int, **law: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.make_rows(rows, start=self.landed, **law).to_csv(self.folder / f"{self.landed:06}.csv", index=False)
        self.skip(rows)

    def skip(self, rows: int) -> None:
        """As many rows are there already."""
        self.landed += rows


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The toy's model file, which can be written anew with another shadow policy."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))
    text = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
    text = text.replace("import DriftThresholds,", "import DriftThresholds, PerformanceThresholds, Shadow, Training,")
    text = text.replace("from typing", "from datetime import timedelta\nfrom typing", 1)

    def write(shadow: str) -> None:
        fields = f"{FIELDS}    shadow={shadow},\n"
        (folder / f"{MODEL}.py").write_text(text.replace("    drift=DriftThresholds(min_rows=50),\n", fields))

    write("Shadow(min_rows=50)")
    return write


@pytest.fixture
def land(settings: Settings, make_rows: Callable[..., Any]) -> Land:
    """The landing folder of the test's own home."""
    return Land(settings.landing / MODEL, make_rows)


@pytest.fixture
def planted(land: Land, make_rows: Callable[..., Any], make_version: Callable[..., Any]) -> None:
    """Version 2, which has learned a law that came, has replaced version 1; neither was held to any gate."""
    settings = load_settings()
    spec, registry = models.load(MODEL, settings.models).spec, Registry(settings)
    champion = None
    for start, slope in ((0, 3.0), (200, 4.0)):
        made = make_version(spec, make_rows(200, start=start, slope=slope), f"first-{start}", champion)
        champion = registry.conclude(made, Verdict.PASS, "planted", {})
        promotion.promote(
            spec,
            registry,
            Promotions(settings.lake_uri, spec.name),
            champion,
            reason="planted",
            by="person",
            now=datetime.now(UTC),
            lock=nullcontext(),
        )
    land.skip(400)


def named(events: Events, name: str) -> list[dict[str, Any]]:
    return [payload for event, payload in events if event == f"evergreen.{name}"]


def test_a_promotion_that_hurt_is_rolled_back_and_not_repeated(
    land: Land, settings: Settings, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    """A candidate passed its gates, and the old law comes back: one monitor run stores, tells, rolls back and tells;
    neither a decision nor a promotion by hand brings it again, and a person who insists is left alone."""
    land(200)
    assert retrain(MODEL).outcome == "promoted"
    land(200, slope=4.0)
    made = retrain(MODEL, reason="schedule")
    assert (made.outcome, made.champion) == ("promoted", 2)
    events.clear()
    land(100, slope=3.0)
    seen = monitor(MODEL)
    shadow = seen.shadow
    assert (shadow.verdict, shadow.champion, shadow.former, shadow.windows) == ("FAIL", 2, 1, 4), shadow.reason
    assert (seen.champion, seen.rolled_back) == (1, 2)
    ledger, log = Decisions(settings.lake_uri, MODEL), Promotions(settings.lake_uri, MODEL)
    (stored,) = ledger.all("shadow")
    assert (stored.id, stored.outcome, stored.champion) == (shadow.decision_id, "FAIL", 2)
    last = log.done()[-1]
    assert (last.action, last.before, last.after, last.by) == ("rollback", 2, 1, "shadow")
    assert last.reason == f"{shadow.reason} (decision {stored.id})"
    assert last.reason.startswith("the promotion hurt: mae ")
    (failed,), (undone,) = named(events, "shadow.failed"), named(events, "model.rolled-back")
    assert (failed["decision_id"], failed["champion"], failed["former"]) == (stored.id, 2, 1)
    assert undone == {"version": 1, "before": 2, "reason": last.reason}
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(stored.flow_run)]))
        notes = {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)}
    assert "| mae | **FAIL** |" in notes["shadow-toy"]
    assert "Version 1 is the champion." in notes["rollback-toy"]
    show_monitor(seen)
    show_history(read_history(settings, MODEL, None))
    shown = " ".join(capsys.readouterr().out.split())
    assert "Last promotion: FAIL. the promotion hurt: mae" in shown
    assert "Version 2 was rolled back: version 1 is the champion." in shown

    assert monitor(MODEL).shadow.reason == "no promotion to judge"
    with pytest.raises(RefusedError, match="was rolled back: the promotion hurt"):
        promote(MODEL, "I like it", 2)
    about = next(one for one in ledger.all("performance") if (one.champion, one.outcome) == (2, "FAIL"))
    answer = retrain(MODEL, reason="performance", decision_id=about.id)
    assert (answer.outcome, answer.champion) == ("unchanged", 1)
    assert "was about version 2, and the champion is version 1 now" in answer.explanation
    answer = retrain(MODEL, reason="drift", decision_id=made.decision_id)
    assert (answer.outcome, answer.champion, "answered already" in answer.explanation) == ("unchanged", 1, True)
    rollback(MODEL, "it was right after all", 2)
    land(100, slope=3.0)
    insisted = monitor(MODEL)
    assert (insisted.champion, insisted.rolled_back, insisted.shadow.decision_id) == (2, None, None)
    assert (len(ledger.all("shadow")), len(named(events, "model.rolled-back"))) == (1, 2)


def test_a_promotion_that_helped_stays(planted: None, land: Land, settings: Settings, events: Events) -> None:
    """The new law stays: the gain is told once, and that is that."""
    land(100, slope=4.0)
    seen = monitor(MODEL)
    assert (seen.shadow.verdict, seen.champion, seen.rolled_back) == ("PASS", 2, None)
    assert seen.to_json()["shadow"]["interval"][0] > 0
    assert monitor(MODEL).shadow == seen.shadow
    (told,) = named(events, "shadow.passed")
    assert told["gain"] == seen.shadow.gain
    assert not named(events, "model.rolled-back")


def test_what_a_killed_run_left_is_carried_out(
    planted: None, land: Land, settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between decision and rollback, or with the alias half moved: the next run ends it, and tells of it."""
    land(100, slope=3.0)
    with monkeypatch.context() as patch:
        patch.setattr("flows.monitor.roll_back_if_worse", _killed)
        with pytest.raises(KeyboardInterrupt):
            monitor(MODEL)
    assert (len(Decisions(settings.lake_uri, MODEL).all("shadow")), named(events, "model.rolled-back")) == (1, [])
    damaged = _pipeline_of(settings, 1)
    kept = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="toy version 1"):
        monitor(MODEL)
    champion = Registry(settings).champion(MODEL)
    assert champion is not None
    assert champion.number == 2
    damaged.write_bytes(kept)
    with monkeypatch.context() as patch:
        patch.setattr("evergreen.registry.promotion._end", _killed)
        with pytest.raises(KeyboardInterrupt):
            monitor(MODEL)
    log = Promotions(settings.lake_uri, MODEL)
    assert (log.champion(), log.open() is not None, named(events, "model.rolled-back")) == (2, True, [])
    seen = monitor(MODEL)
    assert (seen.champion, seen.rolled_back, log.champion(), log.open()) == (1, 2, 1, None)
    assert len(named(events, "model.rolled-back")) == 1
    assert len(named(events, "shadow.failed")) == 1


def test_where_the_model_file_says_so_harm_is_only_told(
    planted: None, land: Land, settings: Settings, events: Events, model: Callable[[str], None]
) -> None:
    """With `rollback=False` the champion stays, also when the model file is changed later: that harm was told."""
    model("Shadow(min_rows=50, rollback=False)")
    land(100, slope=3.0)
    seen = monitor(MODEL)
    assert (seen.shadow.verdict, seen.champion, seen.rolled_back) == ("FAIL", 2, None)
    model("Shadow(min_rows=50)")
    assert monitor(MODEL).champion == 2
    assert (len(named(events, "shadow.failed")), named(events, "model.rolled-back")) == (1, [])


def _killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def _pipeline_of(settings: Settings, number: int) -> Path:
    version = Registry(settings).get(MODEL, number)
    (found,) = [path for path in settings.artifact_folder.rglob("*.skops") if version.model_id in str(path)]
    return found
