"""The page about the data: every column, what it is taken for and why, and its values in both halves of the rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from evergreen.errors import EvergreenError
from evergreen.model_files.new import NewModelFile, scaffold
from evergreen.pages.data_page import ColumnFacts, column_facts, describe_gap, write_data_page

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ROWS = 200
N = np.arange(ROWS)


def deliveries(**columns: Any) -> pd.DataFrame:
    """Parcels: when they left, how heavy they were, and how late they came."""
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "left_at": pd.date_range("2026-01-01", periods=ROWS, freq="3h").strftime("%Y-%m-%d %H:%M"),
            "parcel_id": 5_000 + N,
            "weight": rng.gamma(2, 3, ROWS).round(2),
            "sensor": np.where(N < 120, np.nan, rng.normal(size=ROWS).round(3)),
            "depot": rng.choice(["<b>North</b>", "South"], ROWS),
            "note": [f"text {n}" for n in N],
            "late": rng.gamma(1, 20, ROWS).round(1),
        }
        | columns
    )


@pytest.fixture
def made(tmp_path: Path) -> NewModelFile:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "parcels.csv"
    deliveries().to_csv(file, index=False)
    return scaffold("parcels", file, tmp_path / "models", target="late", now=NOW)


def test_every_column_is_there_with_its_use(made: NewModelFile) -> None:
    """The target first, then the time, then features by their score, then what is left out and why."""
    facts = {column.name: column for column in column_facts(made.rows, made.findings)}
    assert list(facts)[:2] == ["late", "left_at"]
    assert set(facts) == set(deliveries())
    uses = {name: column.use for name, column in facts.items()}
    assert uses == {
        "late": "the target", "left_at": "the time", "weight": "a number", "sensor": "a number", "depot": "a category",
        "parcel_id": "left out", "note": "left out",
    }  # fmt: skip
    assert facts["parcel_id"].why.startswith("an identifier")
    assert (facts["sensor"].gap, facts["sensor"].missing) == ("begins in row 121", 0.6)
    assert facts["weight"].score is not None
    assert isinstance(facts["note"], ColumnFacts)
    assert facts["note"].score is None


def test_the_page_holds_no_markup_of_the_data(made: NewModelFile, tmp_path: Path) -> None:
    """Whatever a cell holds is text."""
    path = tmp_path / "page.html"
    write_data_page(made, path, NOW)
    page = path.read_text(encoding="utf-8")
    assert "<b>North" not in page
    assert "begins in row 121" in page
    for note in made.notes:
        assert str(escape(note)) in page
    for choice in made.choices:
        assert str(escape(choice.value)) in page
    assert page.count('class="multiple"') == 4


def test_a_folder_that_is_not_there_is_one_line(made: NewModelFile, tmp_path: Path) -> None:
    """The model file is written by then, and stays."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EvergreenError, match="cannot be written"):
        write_data_page(made, tmp_path / "file" / "page.html", NOW)
    assert made.path.exists()


@pytest.mark.parametrize(
    ("present", "gap"),
    [
        (N >= 0, ""),
        (N < 0, ""),
        (N % 7 > 0, ""),
        (N > 1, ""),
        (N >= 50, "begins in row 51"),
        (N < 150, "ends in row 150"),
        ((N >= 50) & (N < 150), "begins in row 51, ends in row 150"),
    ],
)
def test_where_values_begin_and_cease(present: Any, gap: str) -> None:
    """A column that came later says so; a row here and there says nothing."""
    assert describe_gap(pd.Series(np.where(present, 1.0, np.nan))) == gap
