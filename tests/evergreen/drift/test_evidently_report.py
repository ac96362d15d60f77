"""Evidently behind its one door: scores, files, isolation, escaping."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.drift import evidently_report
from evergreen.drift.evidently_report import Cells, Drawn, draw
from evergreen.settings import PROJECT


def cells(old: Sequence[str | float | None], new: Sequence[str | float | None]) -> tuple[pd.Series, pd.Series]:
    return pd.Series(list(old), dtype="str"), pd.Series(list(new), dtype="str")


SAME = cells(["a", "b"] * 50, ["a", "b"] * 50)


def drawn(columns: Cells, folder: Path | None = None, method: str = "psi") -> Drawn:
    return draw(columns, method=method, threshold=0.25, missing=dict.fromkeys(columns, 0.05), folder=folder)


def test_scores_are_those_of_the_formula_whatever_the_order_of_the_columns() -> None:
    """A score belongs to its column by name, and is the textbook's index."""
    shifted = cells(["a", "b"] * 50, ["a"] * 75 + ["b"] * 25)
    psi = 0.25 * math.log(0.75 / 0.5) - 0.25 * math.log(0.25 / 0.5)
    for columns in ({"x": SAME, "y": shifted}, {"y": shifted, "x": SAME}):
        assert drawn(columns).scores == {"x": pytest.approx(0.0), "y": pytest.approx(psi)}


@pytest.mark.parametrize("method", ["psi", "jensenshannon", "hellinger", "kl_div"])
def test_scores_do_not_depend_on_whether_a_page_is_drawn(method: str, tmp_path: Path) -> None:
    """With files or without, every method gives the same figure, nulls, one-sided cells and odd names included."""
    columns = {
        "x": cells(["a", "b"] * 50, ["a"] * 75 + ["b"] * 25),
        "<b>": cells(["a", None, "<i>"] * 40, ["<i>", "new"] * 30),
        "n": cells(["01: up to 1", "02: over 1"] * 500, ["02: over 1"] * 100),
    }
    with_page, without = drawn(columns, tmp_path, method=method), drawn(columns, method=method)
    assert with_page.html is not None and without.html is None
    assert with_page.scores == without.scores and set(without.scores) == set(columns)


def test_without_a_page_a_column_that_fails_is_named_too() -> None:
    """An empty side is that column's own failure."""
    result = drawn({"good": SAME, "bad": cells([None] * 100, ["a"] * 100)})
    assert (set(result.failed), set(result.scores)) == ({"bad"}, {"good"})


@pytest.mark.parametrize("method", ["psi", "jensenshannon", "hellinger", "kl_div"])
def test_equal_sides_score_nothing_with_every_method(method: str) -> None:
    """No method answers NaN, or more than rounding, for rows that are the same."""
    assert drawn({"x": SAME}, method=method).scores["x"] == pytest.approx(0.0, abs=1e-6)


def test_missing_values_are_tested_against_their_bound(tmp_path: Path) -> None:
    """The page shows a rise of missing values as a failed test, though the score ignores them."""
    result = drawn({"x": cells(["a", "b"] * 50, ["a", "b"] * 25 + [math.nan] * 50)}, tmp_path)
    assert result.scores["x"] == pytest.approx(0.0)
    assert result.json is not None
    tests = json.loads(result.json.read_text())["tests"]
    assert [test["status"] for test in tests if "MissingValueCount" in test["metric_config"]["params"]["type"]] == [
        "FAIL"
    ]


def test_files_are_whole_and_alone_in_the_folder(tmp_path: Path) -> None:
    """Both files appear under their names in a folder made for them, and a second report replaces the first."""
    folder = tmp_path / "made" / "here"
    for _ in range(2):
        result = drawn({"x": SAME}, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    assert (result.html, result.json) == (folder / "report.html", folder / "report.json")
    assert result.html is not None
    assert result.html.read_text().lstrip().startswith("<")


def test_a_write_that_fails_leaves_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of a report leaves the old one whole and no part of the new one."""
    from evidently.core.report import Snapshot

    path = tmp_path / "report.html"
    path.write_text("earlier")

    def fails(_snapshot: Snapshot, part: str) -> None:
        Path(part).write_text("hal")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "save_html", fails)
    with pytest.raises(OSError, match="No space"):
        drawn({"x": SAME}, tmp_path)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_names_from_the_data_never_reach_the_page_as_markup(tmp_path: Path) -> None:
    """A category or a column that is named like a script is shown as text."""
    evil = "</script><script>alert(1)</script>"
    result = drawn({evil: cells([evil, "b"] * 50, [evil, "b"] * 50)}, tmp_path)
    assert result.html is not None
    page = result.html.read_text()
    assert evil not in page and "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert result.scores == {evil: pytest.approx(0.0)}


def test_one_column_that_fails_is_named_and_the_others_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidently stops at the first column it cannot take; here the rest of the report survives."""
    real = evidently_report._snapshot

    def picky(columns: Cells, method: str, threshold: float, missing: Mapping[str, float]) -> Any:
        if "bad" in columns:
            raise ValueError("row 7 holds a secret")
        return real(columns, method, threshold, missing)

    monkeypatch.setattr(evidently_report, "_snapshot", picky)
    result = drawn({"good": SAME, "bad": SAME}, tmp_path)
    assert result.failed == {"bad": "ValueError"}
    assert result.scores == {"good": pytest.approx(0.0)}
    assert result.html is not None
    alone = drawn({"bad": SAME}, tmp_path / "alone")
    assert (alone.scores, alone.failed, alone.html) == ({}, {"bad": "ValueError"}, None)


@pytest.mark.parametrize("folder", ["None", "Path(sys.argv[1])"])
def test_a_package_that_is_missing_is_no_fault_of_a_column(folder: str, tmp_path: Path) -> None:
    """As in an image whose packages were thinned out: a report that says INCONCLUSIVE for ever would be believed."""
    code = f"""
import sys
from pathlib import Path
import pandas as pd
from evergreen.drift.evidently_report import draw
from evergreen.errors import EvergreenError
sys.modules["evidently.legacy.tests"] = None
side = pd.Series(["a", "b"] * 50, dtype="str")
try:
    print(draw({{"x": (side, side)}}, method="psi", threshold=0.1, missing={{"x": 0.1}}, folder={folder}))
except EvergreenError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("The drift report needs Evidently, which is not whole here: ")
    assert "evidently.legacy.tests" in done.stdout


def test_columns_that_only_fail_together_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the whole report is nobody's in particular, and every column says so."""

    def together(columns: Cells, *_: Any) -> Any:
        if len(columns) > 1:
            raise RuntimeError
        return object()

    monkeypatch.setattr(evidently_report, "_snapshot", together)
    assert set(drawn({"x": SAME, "y": SAME}, tmp_path).failed) == {"x", "y"}


def test_without_columns_evidently_is_not_even_imported() -> None:
    """Two seconds of imports are only paid for a report."""
    code = (
        "import sys\nfrom evergreen.drift.evidently_report import draw\n"
        "draw({}, method='psi', threshold=0.25, missing={}, folder=None)\n"
        "assert not {'evidently', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
