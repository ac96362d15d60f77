"""Settings are read once, and what cannot be used is said before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from evergreen.errors import EvergreenError, ForeignError
from evergreen.naming import ForeignPlace
from evergreen.settings import PROJECT, Settings, load_settings


def test_everything_lives_under_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tables, registry, artifacts, reports and landing folders follow EVERGREEN_HOME."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    settings = load_settings()
    places = [settings.lake_uri, settings.landing, settings.artifact_folder, settings.report_place]
    assert all(str(place).startswith(str(tmp_path / "home")) for place in places)
    assert settings.tracking == f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"


def test_a_relative_folder_counts_from_the_project() -> None:
    """The default is the same wherever a command is called from."""
    assert Settings(home=Path(".evergreen")).root == PROJECT / ".evergreen"


@pytest.mark.parametrize("letter", ["#", "?", "%"])
def test_letters_that_mean_something_in_a_url_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, letter: str
) -> None:
    """Delta and MLflow would keep their files in another folder than the one that was named."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / f"a{letter}20b"))
    with pytest.raises(EvergreenError, match=r"EVERGREEN_HOME: .* has a"):
        load_settings()


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracking URI is a secret in every printed form of the settings."""
    monkeypatch.setenv("EVERGREEN_TRACKING_URI", "postgresql+psycopg://u:hunter2@127.0.0.1/mlflow")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert "hunter2" in settings.tracking


@pytest.mark.parametrize(
    ("name", "value"), [("RUNNER", "ray"), ("WORKERS", "-1"), ("WORKERS", "many"), ("LOGS", "xml")]
)
def test_a_value_that_cannot_be_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The variable is named, and nothing runs."""
    monkeypatch.setenv(f"EVERGREEN_{name}", value)
    with pytest.raises(EvergreenError, match=f"EVERGREEN_{name}: ") as error:
        load_settings()
    assert "\n" not in str(error.value)


def test_where_the_files_of_versions_are() -> None:
    """In the home beside its own database, where the setting says, or where a tracking server says."""
    home = Path("/srv/evergreen")
    server = SecretStr("https://mlflow.example.org")
    assert Settings(home=home).artifact_uri == "file:///srv/evergreen/artifacts"
    assert Settings(home=home, tracking_uri=server).artifact_uri is None
    assert Settings(home=home, tracking_uri=server, artifacts="s3://shop/files/").artifact_uri == "s3://shop/files"
    assert Settings(home=home, artifacts="/mnt/files").artifact_uri == "file:///mnt/files"


def test_lineage_goes_to_a_file_or_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another protocol is refused without the secret of its URL, which is shown in no form of the settings either."""
    for place in ("", "lineage.jsonl", "http://u:hunter2@collector", "https://hunter2@collector:5000"):
        monkeypatch.setenv("EVERGREEN_OPENLINEAGE", place)
        assert "hunter2" not in repr(load_settings())
    monkeypatch.setenv("EVERGREEN_OPENLINEAGE", "kafka://u:hunter2@broker/topic")
    with pytest.raises(EvergreenError, match=r"EVERGREEN_OPENLINEAGE: .* not to kafka") as error:
        load_settings()
    assert "hunter2" not in str(error.value)


def test_an_environment_has_a_state_folder_and_a_lake_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two environments may be given one home, one lake and one registry: no folder of one is another's."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    alone = load_settings()
    monkeypatch.setenv("EVERGREEN_ENVIRONMENT", "staging")
    named = load_settings()
    assert (alone.root, named.root) == (tmp_path, tmp_path / "environment-staging")
    assert named.lake_uri == str(tmp_path / "environment-staging" / "lake")
    assert named.locks != alone.locks
    monkeypatch.setenv("EVERGREEN_LAKE", "s3://bucket/lake/")
    assert load_settings().lake_uri == "s3://bucket/lake/environment-staging"


@pytest.mark.parametrize("name", ["Prod", "prod-eu", "1st", "retrain", "*"])
@pytest.mark.parametrize("variable", ["ENVIRONMENT", "SEES"])
def test_what_is_no_name_of_an_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    """The variable and the name are told, and what a name is."""
    monkeypatch.setenv(f"EVERGREEN_{variable}", name)
    with pytest.raises(EvergreenError, match=rf"EVERGREEN_{variable}: .* is no name of an environment\.") as error:
        load_settings()
    assert "lower-case letter" in error.value.fix


def test_only_what_is_to_be_seen_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The settings of another environment are a copy that is only read, of those that EVERGREEN_SEES names."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_ENVIRONMENT", "dev")
    monkeypatch.setenv("EVERGREEN_SEES", "staging, prod")
    settings = load_settings()
    assert settings.see("dev") is settings
    seen = settings.see("prod")
    assert (seen.environment, seen.read_only, settings.read_only) == ("prod", True, False)
    assert seen.lake_uri == str(tmp_path / "environment-prod" / "lake")
    monkeypatch.setenv("EVERGREEN_SEES", "nameless")
    assert load_settings().see("nameless").lake_uri == str(tmp_path / "lake")
    monkeypatch.delenv("EVERGREEN_ENVIRONMENT")
    assert not load_settings().see("nameless").read_only
    for other in ("test", ""):
        with pytest.raises(EvergreenError, match="it names staging, prod"):
            settings.see(other)


def test_where_reports_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the state folder; else where the setting says, each environment below it in a place of its own."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    assert load_settings().report_place == str(tmp_path)
    monkeypatch.setenv("EVERGREEN_REPORTS", "shared")
    assert load_settings().report_place == str(PROJECT / "shared")
    monkeypatch.setenv("EVERGREEN_REPORTS", "s3://shop/reports/")
    assert load_settings().report_place == "s3://shop/reports"
    monkeypatch.setenv("EVERGREEN_ENVIRONMENT", "dev")
    monkeypatch.setenv("EVERGREEN_SEES", "prod")
    assert load_settings().report_place == "s3://shop/reports/environment-dev"
    seen = load_settings().see("prod").report_place
    assert (seen, type(seen)) == ("s3://shop/reports/environment-prod", ForeignPlace)


WRITTEN = ["locks", "stack", "prefect_home", "page_files", "dossiers", "images"]
WRITTEN_BY_MODEL = ["scratch", "serving", "backtest", "backtest_page"]


@pytest.mark.parametrize("name", WRITTEN + WRITTEN_BY_MODEL)
def test_no_folder_of_another_environment_is_written(tmp_path: Path, name: str) -> None:
    """The folders that a command writes to are refused by name, environment and setting; none is made."""
    seen = Settings(home=tmp_path, environment="dev", sees="prod").see("prod")
    with pytest.raises(ForeignError, match=r"environment-prod/\w+.* the environment prod, which EVERGREEN_SEES"):
        getattr(seen, name)("toy") if name in WRITTEN_BY_MODEL else getattr(seen, name)
    assert not list(tmp_path.iterdir())
