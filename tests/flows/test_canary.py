"""A challenger meets live traffic through the real flows: it becomes champion, is refused, or is taken in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from typer.testing import CliRunner

import models
from deployments.cli.main import app
from deployments.cli.status_view import read_status, show_status
from deployments.cli.why_view import show_entries
from evergreen.canary.report import CanaryReport
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.ledger.timeline import read_timeline
from evergreen.pages.gather import gather
from evergreen.pages.links import PageLinks
from evergreen.pages.render import render
from evergreen.registry.client import Registry
from evergreen.settings import Settings, load_settings
from evergreen.spec.model import ModelSpec
from flows.canary import canary
from flows.retrain import retrain
from flows.rollback import rollback
from tests.live_traffic import answer_by_both

pytestmark = pytest.mark.usefixtures("in_process")
PROJECT = Path(__file__).resolve().parents[2]
MODEL = "toy"
FIELDS = """
    drift=DriftThresholds(min_rows=50),
    training=Training(last=timedelta(hours=199)),
    approval=Approval(mode='canary'),
    serve=Serve(
        canary=Canary(
            hold=timedelta(milliseconds=1), block=timedelta(milliseconds=20), max_failures=0.05, min_rows=20
        )
    ),
"""


@dataclass
class Live:
    """Land rows, and let both versions answer them as servers would; the labels come at once."""

    settings: Settings
    make_rows: Callable[..., Any]
    landed: int = 0

    @property
    def spec(self) -> ModelSpec:
        return models.load(MODEL, self.settings.models).spec

    @property
    def ledger(self) -> Decisions:
        return Decisions(self.settings.lake_uri, MODEL)

    @property
    def registry(self) -> Registry:
        return Registry(self.settings)

    def land(self, rows: int, **law: Any) -> pd.DataFrame:
        folder = self.settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        frame: pd.DataFrame = self.make_rows(rows, start=self.landed, **law)
        frame.to_csv(folder / f"{self.landed:06}.csv", index=False)
        self.landed += rows
        return frame

    def answer(self, rows: pd.DataFrame, blocks: int = 30) -> None:
        spec, registry = self.spec, self.registry
        pipelines = {number: registry.load(registry.get(MODEL, number), spec) for number in (1, 2)}
        answer_by_both(self.settings.lake_uri, spec, rows, pipelines, blocks=blocks)

    def walk(self, **law: Any) -> CanaryReport:
        """From the second step on, a look and traffic in each; the report of the last look."""
        for _ in range(2):
            report = self.look()
            assert report.stands == "open", report.reason
            self.answer(self.make_rows(30, start=10_000 + 100 * report.step, **law), blocks=2)
        return self.look()

    def look(self) -> CanaryReport:
        (report,) = canary(MODEL)
        return report


@pytest.fixture
def live(tmp_path: Path, settings: Settings, make_rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Live:
    """A toy whose candidates meet live traffic; version 1 is the champion."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))
    text = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
    text = text.replace("import DriftThresholds,", "import Approval, Canary, DriftThresholds, Serve, Training,")
    text = text.replace("from typing", "from datetime import timedelta\nfrom typing", 1)
    (folder / f"{MODEL}.py").write_text(text.replace("    drift=DriftThresholds(min_rows=50),\n", FIELDS))
    live = Live(load_settings(), make_rows)
    live.land(200)
    made = retrain(MODEL)
    assert made is not None
    assert (made.outcome, made.champion) == ("promoted", 1)
    return live


@pytest.fixture
def challenged(live: Live) -> Live:
    """The law has changed, and version 2 has learned it."""
    live.land(200, slope=4.0)
    made = retrain(MODEL, reason="schedule")
    assert made is not None
    assert (made.outcome, made.version, made.champion) == ("in-canary", 2, 1)
    return live


def test_a_better_challenger_becomes_champion_by_steps(
    challenged: Live, events: list[tuple[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each look tells what was decided; nothing is passed before there are labels; the end is one promotion."""
    first = challenged.look()
    assert (first.stands, first.share, first.step) == ("open", 5, 0)
    assert "Its outcome is not known" in first.reason
    assert challenged.registry.get(MODEL, 2).tags.canary == 5
    rows = challenged.land(300, slope=4.0)
    challenged.answer(rows)
    assert challenged.look().stands == "open"
    from flows.monitor import monitor

    monitor(MODEL)
    events.clear()
    assert challenged.look().share == 25
    status = read_status(challenged.settings, MODEL, challenged.spec)
    assert [each["share"] for each in status["canaries"]] == [25]
    show_status(status)
    challenged.answer(challenged.make_rows(30, start=9_000, slope=4.0), blocks=2)
    last = challenged.walk(slope=4.0)
    assert (last.stands, last.outcome, last.share) == ("passed", "promoted", 0)
    assert [name for name, _ in events] == ["evergreen.canary.stepped"] * 3 + [
        "evergreen.canary.ended",
        "evergreen.model.promoted",
    ]
    champion = challenged.registry.champion(MODEL)
    assert champion is not None
    assert champion.number == 2
    assert Promotions(challenged.settings.lake_uri, MODEL).done()[-1].by == "canary"
    show_entries(read_timeline(challenged.settings, MODEL, spec=challenged.spec), challenged.settings.report_place)
    told = " ".join(capsys.readouterr().out.split())
    for words in (
        "Is the challenger as good on live traffic?",
        "Version 2 answers 25 % of the requests, version 1 the others.",
        "The champion is to be version 2.",
        "Did the candidate pass its canary?",
        "version 2 was promoted in place of version 1, by canary",
    ):
        assert words in told
    page = gather(challenged.settings, challenged.spec, PageLinks(), now=datetime.now(UTC))
    assert page.canary is not None
    shown = " ".join(render(page, PageLinks()).split())
    assert "Version 2 on live traffic, beside champion 1:" in shown
    assert "canary-plot" in shown
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["canary-toy"])))
    assert any(f"# Canary of {MODEL} version 2: passed" in str(artifact.data) for artifact in found)
    assert canary(MODEL) == []


def test_a_worse_one_is_refused_and_its_like_does_not_come_again(
    challenged: Live, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """The old law comes back on live traffic: the champion stays, and the same data brings nothing."""
    challenged.look()
    challenged.answer(challenged.land(300, slope=3.0))
    from flows.monitor import monitor

    monitor(MODEL)
    events.clear()
    report = challenged.look()
    assert (report.stands, report.outcome) == ("refused", "rejected")
    assert [name for name, _ in events] == ["evergreen.canary.ended", "evergreen.model.rejected"]
    version = challenged.registry.get(MODEL, 2)
    assert (version.status, version.tags.canary) == ("FAILED", None)
    assert challenged.registry.by_alias(MODEL, "challenger") is None
    champion = challenged.registry.champion(MODEL)
    assert champion is not None
    assert champion.number == 1
    status = read_status(challenged.settings, MODEL, challenged.spec)
    assert status["canaries"] == []
    assert status["last_retrain"]["outcome"] == "rejected"


def test_no_other_candidate_is_trained_while_one_is_in_its_canary(challenged: Live) -> None:
    """A schedule would else replace each challenger before it came to its end; force does."""
    challenged.look()
    challenged.land(100, slope=4.0)
    made = retrain(MODEL, reason="schedule")
    assert made is not None
    assert made.outcome == "unchanged"
    assert made.explanation.startswith("version 2 meets live traffic, until ")
    forced = retrain(MODEL, reason="schedule", force=True)
    assert forced is not None
    assert (forced.outcome, forced.version) == ("in-canary", 3)
    reports = canary(MODEL)
    assert [(report.version, report.stands) for report in reports] == [(2, "overtaken"), (3, "open")]


def test_a_rollback_in_the_middle_ends_it(challenged: Live) -> None:
    """Of the second champion, whose challenger was held against it."""
    challenged.look()
    challenged.answer(challenged.land(300, slope=4.0))
    from flows.monitor import monitor

    monitor(MODEL)
    challenged.look()
    challenged.answer(challenged.make_rows(30, start=9_000, slope=4.0), blocks=2)
    assert challenged.walk(slope=4.0).outcome == "promoted"
    challenged.land(200, slope=5.0)
    made = retrain(MODEL, reason="schedule")
    assert made is not None
    assert (made.outcome, made.version) == ("in-canary", 3)
    assert challenged.look().stands == "open"
    rollback(MODEL, "it was wrong")
    report = challenged.look()
    assert (report.stands, report.outcome) == ("overtaken", "inconclusive")
    assert report.reason == "It was held against champion 2, and the champion is version 1 now."
    assert challenged.registry.get(MODEL, 3).tags.canary is None


def test_a_person_takes_it_in_hand_on_the_command_line(challenged: Live) -> None:
    """Pause, resume and abort need a reason; what is shown has the figures and what comes next."""
    runner = CliRunner()

    def run(*words: str) -> str:
        return " ".join(runner.invoke(app, ["canary", MODEL, *words]).output.split())

    shown = run()
    assert f"{MODEL} version 2: open." in shown
    assert "It answers 5 % of the requests, champion 1 the others: step [5 %] > 25 % > 50 % > 100 %." in shown
    assert "Next, when all three are proven: 25 % of the requests." in shown
    assert "--pause takes a reason, which is kept in the log." in run("--pause")
    assert "Only one of --pause, --resume and --abort" in run("--pause", "--abort", "--reason", "x")
    paused = run("--pause", "--reason", "lunch", "--by", "Ada")
    assert "version 2: paused." in paused
    assert challenged.registry.get(MODEL, 2).tags.canary == 0
    assert "is paused already" in run("--pause", "--reason", "again")
    assert "version 2: open." in run("--resume", "--reason", "back")
    assert "The canary of toy is over, and its version is rejected." in run(
        "--abort", "--reason", "angry calls", "--by", "Ada"
    )
    assert challenged.registry.get(MODEL, 2).tags.declined == "rejected by Ada: angry calls"
    assert "toy has no open canary." in run("--pause", "--reason", "late")


def test_a_model_that_fails_does_not_stop_the_others(challenged: Live) -> None:
    """The flow without a name looks at every model, and fails at the end with what it could not look at."""
    file = challenged.settings.models / f"{MODEL}.py"
    (challenged.settings.models / "broken.py").write_text(file.read_text().replace('"toy"', '"broken"'))
    assert [report.version for report in canary()] == [2]
    log = Path(challenged.settings.lake_uri) / "broken" / "decisions" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("no log")
    looks = len(challenged.ledger.all("canary"))
    challenged.registry.drop_alias(MODEL, "challenger")
    with pytest.raises(EvergreenError, match="Not every canary could be looked at: broken: "):
        canary()
    assert len(challenged.ledger.all("canary")) == looks + 1
    with pytest.raises(EvergreenError, match="To pause a canary takes the name of its model"):
        canary(action="pause", reason="x")
