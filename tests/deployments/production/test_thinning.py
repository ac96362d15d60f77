"""What images leave out of packages is nothing that a run needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evergreen.settings import PROJECT

pytestmark = pytest.mark.slow
THINNED = """
import sys
from fnmatch import fnmatch
from pathlib import Path


class Thinned:
    def find_spec(self, name, path, target=None):
        folder = Path(*list(path or ())[:1], "tests")
        if name.endswith(".tests") and folder.is_dir() and not fnmatch(str(folder), sys.argv[1]):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Thinned())
import mlflow.sklearn
import pandas as pd
from evergreen.drift.evidently_report import draw

side = pd.Series(["a", "b"] * 50, dtype="str")
drawn = draw({"x": (side, side)}, method="psi", threshold=0.1, missing={"x": 0.1}, folder=Path(sys.argv[2]))
assert drawn.html.stat().st_size
"""


def _report_without_tests(kept: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Make a drift report where no folder called tests is there but those that a pattern keeps."""
    words = [sys.executable, "-c", THINNED, kept, str(folder)]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("name", ["Dockerfile", "serving.Dockerfile"])
def test_a_drift_report_is_made_without_what_is_left_out(name: str, tmp_path: Path) -> None:
    """Evidently has parts of its reports in folders called tests, which are left out of other packages."""
    text = (PROJECT / "deployments" / "production" / name).read_text()
    (kept,) = re.findall(r"find /venv -type d -name tests -not -path '(\S+)' -prune", text)
    done = _report_without_tests(kept, tmp_path)
    assert done.returncode == 0, done.stderr


def test_without_those_of_evidently_there_is_none(tmp_path: Path) -> None:
    """So it was in the first images."""
    done = _report_without_tests("nothing", tmp_path)
    assert "Evidently, which is not whole here: No module named 'evidently.legacy.tests'" in done.stderr
