"""`evergreen status` without a name, and the first page: thirty models, of which two are broken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli import console
from deployments.cli.main import app
from deployments.stack.page_server import PageCache
from evergreen.ledger.decisions import Decisions
from evergreen.pages.links import PageLinks
from evergreen.settings import Settings
from tests.deployments.cli.test_words import require_whole_words
from tests.fleet import LONG, store_fleet

NOW = datetime.now(UTC)


class StandingStill(datetime):
    """Time does not pass between one rendering and the next: "1 hour" would become "1.01 hours" after 18 seconds."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return NOW.astimezone(tz)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty models; the table of one is damaged, and the file of another."""
    folder = tmp_path_factory.mktemp("fleet")
    settings = Settings(home=folder / "home", models=folder / "models")
    store_fleet(settings, NOW)
    for path in (Path(Decisions(settings.lake_uri, "model_4").table.uri) / "_delta_log").glob("*.json"):
        path.write_text("{ torn")
    (settings.models / "model_8.py").write_text("MODEL = 1 +")
    return folder


@pytest.fixture
def run(stored: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command on them in a terminal of some width: run(80, "status")."""
    monkeypatch.setenv("EVERGREEN_HOME", str(stored / "home"))
    monkeypatch.setenv("EVERGREEN_MODELS", str(stored / "models"))
    for module in ("deployments.cli.status", "deployments.stack.page_server"):
        monkeypatch.setattr(f"{module}.datetime", StandingStill)

    def invoke(width: int, *words: str) -> str:
        monkeypatch.setattr(console, "out", Console(highlight=False, width=width))
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.stdout

    return invoke


def order(lines: list[str]) -> list[str]:
    """The names of models at the beginning of lines."""
    return [line.split()[0] for line in lines if re.match(rf"model_\d|{LONG}", line)]


def test_the_table_has_whole_words(run: Callable[..., str]) -> None:
    """At 80 and at 120 columns; a name that leaves no room for the figures stands on a line of its own."""
    require_whole_words(lambda width: run(width, "status"))
    narrow = run(80, "status").splitlines()
    assert narrow[0] == "30 models, 20 with worries, the most worrying first."
    assert narrow[1].split() == ["model", "champion", "drift", "performance", "open", "protected"]
    assert LONG in narrow
    assert narrow[narrow.index(LONG) + 1].split() == ["v1,", "20", "days", "FAIL", "FAIL", "2", "1", "1", "of", "5"]


def test_the_worst_is_first_and_json_has_the_same_order(run: Callable[..., str]) -> None:
    """Two that cannot be read, then those with open decisions, those that failed, and the calm ones at the end."""
    told = json.loads(run(80, "status", "--json"))["models"]
    names = [each["model"] for each in told]
    assert names[:3] == ["model_4", "model_8", LONG]
    assert [bool(each["problem"]) for each in told] == [True] * 2 + [False] * 28
    assert [each["weight"] for each in told] == sorted((each["weight"] for each in told), reverse=True)
    assert order(run(120, "status").splitlines()) == names
    known = {each["model"]: each for each in told}
    assert known["model_7"]["worries"] == ["The champion is 400 days old."]
    assert known["model_29"]["worries"] == ["Nothing is in production."]
    assert known["model_4"]["protection"]["off"] == ["gates", "slices", "performance", "approval"]
    assert known["model_8"]["protection"] is None


def test_the_first_page_has_the_same_lines(run: Callable[..., str], stored: Path) -> None:
    """In the same order, with the same sentences; a table that cannot be read hides no other model."""
    told = json.loads(run(80, "status", "--json"))["models"]
    pages = PageCache(Settings(home=stored / "home", models=stored / "models"), PageLinks())
    for _ in range(2):
        html = unescape(pages.index())
        assert re.findall(r'<a href="/(\w+)"', html) == [each["model"] for each in told]
        assert "30 models, the most worrying first" in html
        for each in told:
            assert all(sentence in html for sentence in each["worries"] if not each["problem"])
        assert html.count("<strong>Problem:</strong>") == 2


def test_one_model_is_told_as_before(run: Callable[..., str]) -> None:
    """With a name nothing of the table is shown."""
    assert set(json.loads(run(80, "status", "model_2", "--json"))) >= {"model", "champion", "last_drift", "last_run"}


def test_without_a_model_file_the_next_command_is_named(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence for a person, an empty list for a program."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path))
    assert run(200, "status") == (
        "There is no model yet. Write a model file: evergreen new NAME --csv FILE --target COLUMN\n"
    )
    assert json.loads(run(80, "status", "--json"))["models"] == []
