"""evergreen stream: what it refuses, with a line that says what to do, before anything is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from evergreen.settings import Settings
from serving.streams import options
from serving.streams.options import asked_streams, is_asked_for
from tests.serving.conftest import MODEL_FILE

PROJECT = Path(__file__).resolve().parents[3]
STREAMED = MODEL_FILE.replace("Serve()", 'Serve(stream=Stream(source="env:ORDERS", target="env:SCORES"))').replace(
    "Serve\n", "Serve, Stream\n"
)
TO = ["--to", "amqp://127.0.0.1:1/#scores"]


@pytest.fixture
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of model files: one that has a stream, one that has none, one with a mistake."""
    place = tmp_path / "models"
    place.mkdir()
    (place / "toy.py").write_text(STREAMED)
    (place / "quiet.py").write_text(MODEL_FILE.replace('name="toy"', 'name="quiet"'))
    (place / "wrong.py").write_text("MODEL = 3\n")
    monkeypatch.setenv("EVERGREEN_MODELS", str(place))
    return place


def test_streams_are_scored_of_models_that_have_one(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with a mistake keeps only itself from it; without the library nothing is asked for."""
    own = Settings(home=settings.home, models=folder)
    assert list(asked_streams(own)) == ["toy"]
    assert is_asked_for(own)
    with monkeypatch.context() as patch:
        patch.setattr("serving.streams.feed.find_spec", lambda name: None)
        assert not options.is_asked_for(own)
    (folder / "toy.py").unlink()
    assert not is_asked_for(own)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["never", "--from", "amqp://host/#a", *TO], "Unknown model 'never'"),
        (["quiet"], "The file of quiet has no stream."),
        (["toy"], "The environment variable 'ORDERS'"),
        (["toy", "--from", "amqp://host/#a"], "--from and --to go together"),
        (["--from", "amqp://host/#a", *TO], "--from and --to go together"),
        (["toy", "--from", "nats://host#a", *TO], "begins with 'nats'://"),
        (["toy", "--from", "amqp://host/", *TO], "does not say which queue"),
        (["toy", "--from", "amqp://user:geheim@host/#a", *TO], "holds a password"),
        (["toy", "--from", TO[1], *TO], "would be read again"),
    ],
    ids=["unknown", "no stream", "unset", "no target", "no name", "scheme", "no queue", "password", "same"],
)
def test_what_cannot_be_scored_is_one_line(folder: Path, words: list[str], says: str) -> None:
    """With status 2, and without a secret."""
    done = CliRunner().invoke(app, ["stream", *words])
    assert (done.exit_code, says in done.output.replace("\n", " ")) == (2, True), done.output
    assert "geheim" not in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "source", ["amqp://127.0.0.1:1/#orders", "redis://127.0.0.1:1/0#orders", "kafka://127.0.0.1:1#orders"]
)
def test_a_broker_that_does_not_answer_is_one_line(folder: Path, home: Path, source: str) -> None:
    """With status 2; the line names the broker."""
    pytest.importorskip("faststream")
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "stream", "toy", "--from", source, *TO],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if "WARNING" not in line]
    assert done.returncode == 2, done.stderr
    assert f"The broker {source.partition('#')[0]} does not answer as it should" in lines[-1]
    assert "Traceback" not in done.stderr
