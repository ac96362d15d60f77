"""The benchmarks still run. Nothing is said here about time: a busy machine fails no test."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def measure_tiny(*parts: str) -> str:
    """What parts print at their smallest sizes, all in one run: each would start a server of its own."""
    words = [sys.executable, "-m", "benchmarks", "--tiny", *parts]
    # Wide enough that no heading of a table is broken.
    wide = {**os.environ, "COLUMNS": "240"}
    done = subprocess.run(words, cwd=PROJECT, env=wide, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        pytest.param(
            ("ingest",),
            ("Findings", "read_csv + write_deltalake"),
            marks=pytest.mark.slow,
            id="ingest",
        ),
        pytest.param(
            ("retrain", "drift", "fleet", "unchanged", "scale"),
            (
                *("Where the time goes", "beyond the import", "peak memory", "index of 4 models"),
                "one changed cell at the same path",
                *("pays with its start", "Backtest of two policies", "dask, ratio"),
            ),
            marks=pytest.mark.proof(name="benchmarks"),
            id="retrain-drift-fleet-unchanged-scale",
        ),
    ],
)
def test_parts_run_and_print_what_they_found(parts: tuple[str, ...], found: tuple[str, ...]) -> None:
    """Every part ends with its findings.

    A retraining fails by itself where a figure differs from the straight line's; the part of the unchanged rerun where
    the rerun is not `unchanged`, not cached, or the new figure is not in the lake.
    """
    printed = measure_tiny(*parts)
    assert [what for what in found if what not in printed] == []


def test_imports_are_added_up_by_library() -> None:
    """A trace of `-X importtime` becomes one line a library, of the modules' own times."""
    retrain = importlib.import_module("benchmarks.retrain")
    trace = "import time: self [us] | cumulative | imported package\n"
    trace += "import time:    500000 |     500000 |   numpy.core\nimport time:    250000 |     750000 | numpy\n"
    totals = retrain.imports_by_library({"ours": trace, "script": ""})
    assert totals == {"numpy": {"ours": 0.75, "script": 0.0}}


def test_an_unknown_part_is_refused_by_name() -> None:
    """A misspelt part is told before anything is started."""
    words = [sys.executable, "-m", "benchmarks", "retrian"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "unknown part 'retrian'" in done.stderr


def test_a_ratio_is_that_of_pairs() -> None:
    """One slow pair, slow on both sides, leaves the median ratio alone."""
    measure = importlib.import_module("benchmarks.measure")

    def run(wall: float) -> object:
        return measure.Run(wall, wall, 1.0, 0.0, wall, {}, "")

    assert measure.ratio([run(2), run(20), run(2)], [run(1), run(10), run(1)]) == 2


def test_a_process_is_measured_and_its_last_line_read() -> None:
    """Wall time, CPU, memory and the JSON on the last line come back; a failing one is an error with its stderr."""
    measure = importlib.import_module("benchmarks.measure")
    done = measure.fresh([sys.executable, "-c", "print('x'); print('{\"a\": 1}')"])
    assert done.told == {"a": 1}
    assert done.wall > 0 and done.cpu > 0 and done.peak_mb > 0
    with pytest.raises(RuntimeError, match="boom"):
        measure.fresh([sys.executable, "-c", "raise SystemExit('boom')"])
