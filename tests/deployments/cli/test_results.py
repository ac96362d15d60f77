"""With --json stdout is one object, whatever a model file and its libraries print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from deployments.cli.results import print_result_text, stdout_for_results
from evergreen.settings import PROJECT

PRINTS = """
import os
import subprocess
import sys

print("by Python")
os.write(1, b"by a library\\n")
subprocess.run([sys.executable, "-c", "print('by a process')"], check=True)
"""
LOUD = ("by Python", "by a library", "by a process")


@pytest.fixture
def loud(tmp_path: Path) -> dict[str, str]:
    """The environment of a folder of models whose only model prints in three ways when it is loaded."""
    text = (PROJECT / "models" / "iris.py").read_text().replace('name="iris"', 'name="loud"')
    future = "from __future__ import annotations\n"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "loud.py").write_text(text.replace(future, future + PRINTS, 1))
    folders = {"EVERGREEN_MODELS": str(tmp_path / "models"), "EVERGREEN_HOME": str(tmp_path / "home")}
    return {**os.environ, **folders}


def _run(loud: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.cli", *words]
    return subprocess.run(command, cwd=PROJECT, env=loud, capture_output=True, text=True, timeout=120, check=False)


def test_what_a_model_file_prints_is_not_on_stdout(loud: dict[str, str]) -> None:
    """Nor what a library writes from C, or a process that it starts; all of it is on stderr."""
    done = _run(loud, "explain-file", "loud", "--json")
    assert (done.returncode, json.loads(done.stdout)["model"]) == (0, "loud")
    assert [text for text in LOUD if text not in done.stderr] == []


def test_an_error_is_one_object_too(loud: dict[str, str]) -> None:
    """The model file was loaded and has printed before the mistake is found."""
    done = _run(loud, "retrain", "loud", "--at", "yesterday", "--json")
    assert (done.returncode, list(json.loads(done.stdout))) == (2, ["error", "fix"])
    assert "by a process" in done.stderr


def test_without_json_nothing_is_moved(loud: dict[str, str]) -> None:
    """A person sees what the model file prints where it is printed."""
    done = _run(loud, "explain-file", "loud")
    assert [text for text in LOUD if text not in done.stdout] == []


def test_stdout_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    """After the command, and after an error in it, both Python and C write to stdout again."""
    with suppress(ValueError), stdout_for_results():
        print("told")
        print_result_text("a result")
        raise ValueError("planted")
    print("after", flush=True)
    os.write(1, b"from C\n")
    out, err = capfd.readouterr()
    assert (out.split(), err.split()) == (["a", "result", "after", "from", "C"], ["told"])


def test_a_reader_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `evergreen status --json | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        with stdout_for_results():
            print_result_text("nobody")
        monkeypatch.undo()
