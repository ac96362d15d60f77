"""`evergreen backtest`: what it prints, leaves and writes, and what is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from evergreen.settings import PROJECT, Settings

pytestmark = pytest.mark.usefixtures("in_process")

Run = Callable[..., Result]
KEYS = "name window error interval regret retrains rejected train_seconds".split()
ASKED = ("--policies", "every 14 days", "--policies", "OnDrift(confirm=2, of=3)")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Invoke the command line with the toy's model file in a folder of its own, all work in this process."""
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(PROJECT / "tests" / "faults" / "models" / "toy.py", models)
    monkeypatch.setenv("EVERGREEN_MODELS", str(models))
    monkeypatch.setenv("EVERGREEN_WORKERS", "1")
    return lambda *words: CliRunner().invoke(app, ["backtest", "toy", *words], env={"COLUMNS": "80"})


@pytest.fixture
def half_a_year(settings: Settings, make_rows: Callable[..., pd.DataFrame]) -> None:
    """A file with half a year of hours in which nothing changes."""
    (settings.landing / "toy").mkdir(parents=True)
    make_rows(190 * 24).to_csv(settings.landing / "toy" / "history.csv", index=False)


def told(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.usefixtures("half_a_year")
def test_what_is_recommended_is_shown_and_written(run: Run, tmp_path: Path) -> None:
    """JSON, table, page and artifacts tell the same; `--apply` shows what it changes, and has nothing to do again."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    page, file = tmp_path / "when.html", tmp_path / "models" / "toy.py"
    before = file.read_text()
    found = told(run(*ASKED, "--json", "--html", str(page)))
    assert list(found["policies"][0])[: len(KEYS)] == KEYS
    assert [one["name"] for one in found["policies"]] == ["every 14 days", "on drift (2 of 3 reports)"]
    assert found["recommended"] == "every 14 days"
    assert "every 14 days" in page.read_text()
    assert file.read_text() == before
    shown = run(*ASKED, "--apply")
    assert shown.exit_code == 0, shown.output
    line = "retraining=Retraining(policy=Every(days=14)),"
    assert f"+    {line}" in shown.stdout
    assert shown.stdout.index("every 14 days: ") < shown.stdout.index(line)
    assert max(map(len, shown.stdout.partition("Without a model")[0].splitlines())) <= 80
    assert line in file.read_text()
    assert "toy.py already has this policy." in run(*ASKED, "--apply").stdout
    burdens = run(*ASKED, "--routine-margins", "0.2", "--html", str(page))
    assert burdens.exit_code == 0, burdens.output
    assert "harm-" in burdens.stdout and "stale" in burdens.stdout
    assert "stale steps" in page.read_text()
    margins = {one["routine_margin"] for one in told(run(*ASKED, "--routine-margins", "0.2", "--json"))["policies"]}
    assert margins == {None, 0.2}
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=["backtest-toy", "backtest-report-toy", "backtest-page-toy"])
        )
        assert len({one.key for one in client.read_artifacts(artifact_filter=wanted)}) == 3


def test_what_cannot_be_replayed_is_one_line(run: Run, settings: Settings, make_rows: Callable[..., Any]) -> None:
    """A policy that is none, half a price, no rows at all, too few: status 2, and what to do next."""
    for words, expected in (
        (("--policies", "sometimes"), "'sometimes' is not a policy"),
        (("--price-error", "1"), "--price-retrain is missing"),
        (("--routine-margins", "0.1,2"), "'2' is not a margin for routine candidates"),
        (("--since", "tomorrow"), "--since 'tomorrow' is not a time"),
        ((), "no rows"),
    ):
        refused = run(*words, "--json")
        assert refused.exit_code == 2, refused.output
        assert expected in json.loads(refused.stdout)["error"]
    (settings.landing / "toy").mkdir(parents=True)
    make_rows(100).to_csv(settings.landing / "toy" / "history.csv", index=False)
    short = run("--json")
    assert short.exit_code == 2, short.output
    assert "too" in json.loads(short.stdout)["error"]
