"""docs/environments.md: its profiles load, its example runs, and its commands read another environment."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.manifest.apply import read_document
from deployments.manifest.environment import of_environment
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION
from evergreen.settings import PROJECT, Settings, load_settings

PAGE = (PROJECT / "docs" / "environments.md").read_text()
MODELS = PROJECT / "tests" / "faults" / "models"
NAMES = ("dev", "staging", "prod")


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_loads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is the environment that it says, on the servers of all, and production sees none."""
    text = (PROJECT / f".env.{name}.example").read_text()
    (tmp_path / ".env").write_text(text)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    settings = load_settings()
    assert settings.environment == name
    assert settings.seen == (() if name == "prod" else ("prod",))
    assert settings.lake_uri == f"s3://bucket/lake/environment-{name}"
    assert f"`.env.{name}.example`" in PAGE
    known = {f"EVERGREEN_{field.upper()}" for field in Settings.model_fields}
    assert set(re.findall(r"^(\w+)=", text, flags=re.MULTILINE)) <= known


def test_the_schedules_of_the_page_apply() -> None:
    """What the page writes under `environments` fits prefect.yaml."""
    (shown,) = re.findall(r"```yaml\n(environments:.*?)```", PAGE, flags=re.DOTALL)
    document = read_document() | yaml.safe_load(shown)
    cron = {
        name: {
            schedule["cron"]
            for entry in of_environment(name, document)["deployments"]
            if entry["name"].endswith("monitor-bike-demand")
            for schedule in entry["schedules"]
        }
        for name in NAMES
    }
    assert cron == {"dev": set(), "staging": {"15 5 * * *"}, "prod": {"15 * * * *"}}


@pytest.fixture
def shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_rows: Callable[..., Any], make_version: Callable[..., Any]
) -> Settings:
    """Dev, which sees prod; each has a champion of the toy model and rows, in one home."""
    import models

    for name, value in {"HOME": tmp_path, "MODELS": MODELS, "ENVIRONMENT": "dev", "SEES": "prod"}.items():
        monkeypatch.setenv(f"EVERGREEN_{name}", str(value))
    spec = models.load_spec("toy", MODELS)
    for seed, name in enumerate(("dev", "prod")):
        settings = Settings(environment=name)
        rows = make_rows(200, seed=seed)
        rows["at"] = rows["at"].dt.tz_localize("UTC")
        version = make_version(spec, rows, home=settings)
        Registry(settings).set_alias("toy", CHAMPION, version.number)
    return load_settings()


def test_the_example_runs(shared: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Both champions answer the same rows; nothing is written to the other's folder."""
    before = {file: file.stat().st_mtime_ns for file in shared.see("prod").root.rglob("*") if file.is_file()}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(code.replace('"bike_demand"', '"toy"'), found)  # noqa: S102 - the page's own example
    assert "Comparison(" in capsys.readouterr().out
    assert (len(found["rows"]), found["decided"], len(found["predicted"])) == (200, None, 0)
    after = {file: file.stat().st_mtime_ns for file in shared.see("prod").root.rglob("*") if file.is_file()}
    changed = {file.name for file in before.keys() | after.keys() if before.get(file) != after.get(file)}
    assert changed <= {"mlflow.db"}


def test_status_is_that_of_the_environment(shared: Settings) -> None:
    """Each sees its own champion; production's only where it asks for it, and not at all without leave."""
    from deployments.cli.status_view import read_status

    registry = Registry(shared)
    registry.drop_alias("toy", CHAMPION)
    assert read_status(shared, "toy")["champion"] is None
    assert read_status(shared.see("prod"), "toy")["champion"] == 1


def test_the_commands_of_the_page_read_another_environment(shared: Settings) -> None:
    """Status, history, why and page; one that is not to be seen is refused by the setting."""
    commands = re.findall(r"^\.venv/bin/evergreen (\w+.*) --environment prod$", PAGE, flags=re.MULTILINE)
    assert [line.split()[0] for line in commands] == ["status", "history", "why", "page"]
    run = partial(CliRunner().invoke, app)
    for line in commands:
        done = run([*line.replace("bike_demand", "toy").split(), "--environment", "prod", "--json"])
        assert done.exit_code == 0, done.output
    page = Path(json.loads(done.stdout)["path"])
    assert page == shared.page_files / "prod-toy.html"
    assert "<h1>toy in prod</h1>" in page.read_text()
    refused = run(["status", "toy", "--environment", "staging", "--json"])
    assert refused.exit_code == 2
    assert "EVERGREEN_SEES does not name the environment 'staging'; it names prod." in refused.stdout
