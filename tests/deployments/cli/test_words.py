"""No word is broken and no sentence cut in a terminal of 80 or of 120 columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments import demo
from deployments.automations.run_follower import Chain, Link
from deployments.cli import console
from deployments.cli.main import PANELS, app
from deployments.demo import Demo, Scene
from evergreen.decision import Decision
from evergreen.details.decision import DriftResult
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.settings import Settings
from evergreen.verdicts import Check, Verdict
from tests.details import detail_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WIDTHS = (80, 120)
WIDE = 4000
RUN = "8fd79864-8b0e-4b80-8adf-9801649cf275"
LONG = (
    "mae is 30.03 (22.02 to 37.36) on 168 rows since its training, not proven on either side of 30.4; 23.38 at "
    "promotion; 1 of 2 windows have their labels; the newest mature one ends 2011-05-19 00:00 UTC"
)
COMMANDS = tuple(command.__name__.replace("_", "-") for commands in PANELS.values() for command in commands)
Render = Callable[[int], str]


@pytest.fixture
def render(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Render a command in a terminal of some width: render(80, "why", "iris")."""

    def invoke(width: int, *words: str) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(console, "out", Console(highlight=False, width=width))
        return CliRunner().invoke(app, list(words)).stdout

    return invoke


def require_whole_words(draw: Render) -> None:
    """At each width no line is longer, but one that is a path or a URL, and every word is one of the wide rendering."""
    words = _words(draw(WIDE))
    for width in WIDTHS:
        text = draw(width)
        assert [line for line in text.splitlines() if len(line) > width and not _is_link(line)] == []
        assert _words(text) == words, f"at {width} columns"


def _words(text: str) -> Counter[str]:
    """The words, without the lines of boxes."""
    return Counter(word for word in text.split() if not re.fullmatch(r"[─│╭╮╰╯]+", word.strip()))


def _is_link(line: str) -> bool:
    return any("/" in word and len(word) > 30 for word in line.split())


@pytest.mark.parametrize("command", ["", *COMMANDS, "deployments", "automations"])
def test_help_has_whole_words(render: Callable[..., str], command: str) -> None:
    """The help of every command, and the list of commands, whose one line each is not cut."""
    require_whole_words(lambda width: render(width, *command.split(), "--help"))
    # Behind a bracket it means that a word may come several times.
    assert "..." not in render(80, *command.split(), "--help").replace("]...", "")


def test_the_commands_begin_with_the_first_steps(render: Callable[..., str]) -> None:
    """`new` and `retrain` come before `status` and `why`, and these before `up` and `down`."""
    listed = re.findall(r"^│ ([a-z][a-z-]+) ", render(80, "--help"), flags=re.MULTILINE)
    assert listed[:3] == ["new", "explain-file", "retrain"]
    assert listed.index("status") < listed.index("promote") < listed.index("up") < listed.index("doctor")


@pytest.fixture
def stored(settings: Settings) -> None:
    """Two promotions, a drift report with long reasons, a shadow report and what came of them."""
    promotions, decisions = Promotions(settings.lake_uri, "iris"), Decisions(settings.lake_uri, "iris")
    promotions.write(Move("m1", NOW, "promote", "done", None, 1, "manual", "d0", "retrain"))
    promotions.write(Move("m2", NOW + timedelta(hours=3), "promote", "done", 1, 2, "manual", "d1", "retrain"))
    promotions.write(Move("m3", NOW + timedelta(hours=5), "rollback", "done", 2, 1, LONG, "d0", "person: Ada Lovelace"))
    report = "/home/somebody/projects/evergreen/.evergreen/reports/iris/8aa04d295e76e4bd/report-of-the-whole-week.html"
    checks = tuple(
        Check(name, Verdict.INCONCLUSIVE, -6.264, 0.0, LONG) for name in ("champion", "slice weathersit=2", "holdout")
    )
    shadow = detail_of("shadow", champion=2, former=1, promotion="m2", of=3)
    for hour, kind, outcome, champion, detail in (
        (1, "drift", "FAIL", 1, detail_of("drift", report=report)),
        (2, "performance", "INCONCLUSIVE", 1, detail_of("performance")),
        (3, "retrain", "promoted", 1, detail_of("retrain", reason="manual", checks=checks, event_id=RUN, version=2)),
        (4, "shadow", "INCONCLUSIVE", 2, shadow),
    ):
        at = NOW + timedelta(hours=hour)
        decisions.record(Decision("d1", kind, at, outcome, champion, 3, "digest", LONG, detail, RUN))  # type: ignore[arg-type]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("command", ["why", "history"])
def test_what_happened_has_whole_words(render: Callable[..., str], command: str) -> None:
    """Long reasons, flow runs and reports: the sentences wrap at words, a path stays in one piece."""
    require_whole_words(lambda width: render(width, command, "iris"))


@pytest.mark.parametrize("model", ["iris", "bike_demand"])
def test_a_model_file_is_explained_in_whole_words(render: Callable[..., str], model: str) -> None:
    """The table of columns and every sentence."""
    require_whole_words(lambda width: render(width, "explain-file", model))


@pytest.mark.usefixtures("stored")
def test_an_automatic_promotion_has_the_reason_of_its_candidate(render: Callable[..., str]) -> None:
    """`manual` is what started the retraining: its gates say why; a shadow report names both versions."""
    history = " ".join(render(80, "history", "iris").split())
    assert f"version 2, in place of version 1 by retrain, started by hand reason {LONG} comes from event" in history
    assert "version 1, the first champion" in history
    assert f"version 1, in place of version 2 by Ada Lovelace, a person reason {LONG}" in history
    why = " ".join(render(80, "why", "iris").split())
    assert "reason The candidate passed its gates; its retraining was started by hand." in why
    assert "question Did the promotion of version 2 in place of version 1 help?" in why
    assert "decision Version 2 becomes the champion, in place of version 1." in why
    assert "decision Version 1 becomes the champion again, in place of version 2." in why


def test_results_have_whole_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The gates of a retraining with their long reasons; the columns that drifted are named once."""
    drifted = "2 of 4 columns drifted, 50% of the weight; the report fails at 50%: temperature, windspeed."
    names = ("champion", "slice weathersit=2", "holdout")
    result = detail_of(
        "retrain",
        checks=tuple(Check(name, Verdict.INCONCLUSIVE, -6.264, 1234.5, LONG) for name in names),
        drift=DriftResult("FAIL", 0.5, ("temperature", "windspeed"), drifted),
        explanation=LONG,
    )

    def outcome(width: int) -> str:
        monkeypatch.setattr(console, "out", Console(highlight=False, width=width))
        console.show_retrain(result)
        return capsys.readouterr().out

    require_whole_words(outcome)
    assert outcome(80).count("windspeed") == 1


def test_the_timeline_of_the_demo_has_whole_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each scene is a block of lines, not a row of nine columns."""
    url = (
        f"http://127.0.0.1:4200/runs/flow-run/{RUN}?tab=Logs&and=more&so=that&it=is&longer=than&a=line&of=the&terminal"
    )
    scene = Scene(
        "Three hot, windy weeks arrive: drift, and its event starts a retrain", "FAIL", "promoted", "v2",
        46.42, 19.33, LONG, 21.3,
    )  # fmt: skip
    played = Demo(settings, [scene, Scene("Somebody rolls back", outcome="rolled back", note=LONG)], "/report.html")
    played.chain = Chain("d1", "e1", RUN, (Link("the drift report failed", 0.0, url), Link("promoted", 12.5)))

    def timeline(width: int) -> str:
        monkeypatch.setattr(console, "out", Console(highlight=False, width=width))
        demo.show_demo(played, None, keep=False)  # type: ignore[arg-type]
        return capsys.readouterr().out

    require_whole_words(timeline)
    assert "MAE the candidate's 19.33; the champion's 46.42" in " ".join(timeline(80).split())
