"""docs/first-day.md: its commands, in their order, do what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import models
from evergreen.data.observations import Observations
from evergreen.settings import Settings
from tests.examples import EXAMPLES, load_table, with_example, write

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "first-day.md").read_text()


@pytest.mark.slow
def test_the_first_day(
    evergreen: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, settings: Settings
) -> None:
    """From the first file to a candidate of the second one, with a worked example put into the model file."""
    table, data = load_table(days=70), tmp_path / "data"
    write(table.iloc[: 48 * 56], data / "load_2026-01.csv")
    day, said = PAGE.split("\n## 7.")[0], {}
    for line in re.findall(r"^(?:\.venv/bin/evergreen|cp) .+$", day, flags=re.MULTILINE):
        program, *words = shlex.split(line)
        if program == "cp":
            write(table.iloc[48 * 56 :], data / Path(words[0]).name)
            file = tmp_path / "models" / "load.py"
            file.write_text(with_example(file.read_text(), EXAMPLES["Slices"].code))
            continue
        words = [str(tmp_path / word) if word.startswith("data/") else word for word in words]
        done = evergreen(*words, EVERGREEN_MODELS=str(tmp_path / "models"))
        assert done.returncode == 0, (line, done.stderr)
        said[words[0], len(said)] = re.sub(r"\s+", " ", done.stdout + done.stderr)
    steps = [step for step, _ in said]
    assert steps == ["new", "retrain", "status", "why", "page", "monitor", "retrain"]
    new, first, _, _, _, monitored, second = said.values()
    for note in re.findall(r"^  - ((?:.+\n)(?:    .+\n)*)", day, flags=re.MULTILINE):
        assert re.sub(r"\s+", " ", note).strip() in new
    assert "promoted" in first
    assert "Drift: " in monitored and "Performance: " in monitored
    assert "slice site=north" in second
    spec = models.load("load", tmp_path / "models").spec
    assert Observations(settings.lake_uri, spec).snapshot().rows == len(table)
