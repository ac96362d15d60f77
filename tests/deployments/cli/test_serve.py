"""evergreen serve: what it refuses, with a line that says what to do, before anything listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.cli.serve import _curl
from evergreen.settings import Settings
from serving.options import Options, is_asked_for, served_models
from tests.serving.conftest import MODEL_FILE


@pytest.fixture
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of model files: one that asks to be served, one that does not, one with a mistake."""
    place = tmp_path / "models"
    place.mkdir()
    (place / "toy.py").write_text(MODEL_FILE)
    quiet = MODEL_FILE.replace('name="toy"', 'name="quiet"').replace("    serve=Serve(),\n", "")
    (place / "quiet.py").write_text(quiet)
    (place / "wrong.py").write_text("MODEL = 3\n")
    monkeypatch.setenv("EVERGREEN_MODELS", str(place))
    return place


def _settings(folder: Path, settings: Settings) -> Settings:
    return Settings(home=settings.home, models=folder)


def test_models_are_served_that_ask_for_it_or_are_named(folder: Path, settings: Settings) -> None:
    """A file with a mistake keeps only itself from it."""
    own = _settings(folder, settings)
    assert served_models([], own) == ("toy",)
    assert served_models(["quiet", "quiet"], own) == ("quiet",)
    assert is_asked_for(own)
    (folder / "toy.py").unlink()
    assert not is_asked_for(own)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["wrong"], "wrong.py"),
        (["never"], "Unknown model 'never'"),
        (["--host", "0.0.0.0"], "there is no API key"),  # noqa: S104
        (["--add-key", "the shop"], "cannot be a key's"),
    ],
    ids=["a file with a mistake", "an unknown name", "other machines", "a name with a blank"],
)
def test_what_cannot_be_served_is_one_line(folder: Path, words: list[str], says: str) -> None:
    """With status 2."""
    done = CliRunner().invoke(app, ["serve", *words])
    assert (done.exit_code, says in done.output) == (2, True), done.output


def test_without_a_model_that_asks_the_line_says_how(folder: Path) -> None:
    """In the model file, or by its name."""
    (folder / "toy.py").unlink()
    done = CliRunner().invoke(app, ["serve"])
    assert done.exit_code == 2
    assert "serve=Serve()" in done.output


def test_a_key_is_shown_once(folder: Path, settings: Settings) -> None:
    """On stdout alone, so that it can be piped; the file has its hash."""
    done = CliRunner().invoke(app, ["serve", "--add-key", "shop"])
    key = done.stdout.strip()
    assert (done.exit_code, len(key)) == (0, 43)
    assert key not in settings.serving_keys_file.read_text()
    assert key not in done.stderr


def test_the_line_for_curl_survives_a_shell() -> None:
    """A value with a quote in it included."""
    line = _curl("toy", {"kind": "d'or"}, Options(("toy",)))
    quoted = line.split("-d ")[1]
    assert json.loads(quoted.strip("'").replace("'\\''", "'")) == {"kind": "d'or"}
