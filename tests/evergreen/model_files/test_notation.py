"""What `evergreen new` finds out about the texts of a file."""

from __future__ import annotations

import pandas as pd
import pytest

from evergreen.model_files.notation import find_notation, recognise
from evergreen.spec.data import Notation

N = range(60)


def texts(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype="str")


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([f"{n},5" for n in N], Notation(decimal=",")),
        ([f"{n}.{n % 10}00,5" for n in range(1, 60)], Notation(decimal=",", thousands=".")),
        ([f"{n},{n % 10}00" for n in range(1, 60)], Notation(thousands=",")),
        ([f"{n} {n % 10}00" for n in range(1, 60)], Notation(thousands=" ")),
        ([f"{n},{n % 10}00.50 $" for n in range(1, 60)], Notation(thousands=",", remove=("$",))),
        (
            [f"(${n},{n % 10}00.50)" if n % 3 else f"${n}.50" for n in range(1, 60)],
            Notation(thousands=",", remove=("$",)),
        ),
        ([f"-{n}.5%" for n in N], Notation(remove=("%",))),
        ([f"{n},50 €" for n in N], Notation(decimal=",", remove=("€",))),
        # Fractions with three digits are told by their zero.
        ([f"0,{n}00" for n in range(1, 9)], Notation(decimal=",")),
        # Codes, versions, times and words are no numbers.
        ([f"A{n}" for n in N], None),
        ([f"0{n:04}" for n in N], None),
        ([f"{n}.2.3" for n in N], None),
        ([f"{n % 24}:30" for n in N], None),
        ([f"2026-01-{n % 28 + 1:02}" for n in N], None),
        ([f"{n % 28 + 1:02}.01.2026" for n in N], None),
        ([str(1904455120067318273 + n) for n in N], None),
        (["low", "high"], None),
    ],
)
def test_the_notation_of_a_column(values: list[str], wanted: Notation | None) -> None:
    """It is found where nearly every text fits, and told with three values."""
    notes: list[str] = []
    assert find_notation(pd.Series(values, dtype="str"), "v", notes) == wanted
    assert len(notes) == (wanted is not None)


def test_a_comma_that_may_be_either_is_told() -> None:
    """5,676 is taken for thousands, and the doubt is said."""
    notes: list[str] = []
    find_notation(pd.Series([f"{n},676" for n in range(1, 60)], dtype="str"), "v", notes)
    assert "it could be a decimal comma as well" in notes[0]


def test_units_and_totals_are_no_rows() -> None:
    """What stands above and below the rows is shown, and nothing is inferred from it."""
    frame = texts(
        day=["", *(f"d{n % 7}" for n in N), "Total"],
        load=["MW", *(f"{n},5" for n in N), "1.770,0"],
        state=["", *(["on", "off"][n % 2] for n in N), ""],
    )
    found = recognise(frame)
    assert len(found.rows) == 60
    assert found.rows["load"].tolist() == [n + 0.5 for n in N]
    assert ["units" in note or "total" in note for note in found.notes[:2]] == [True, True]


def test_the_last_row_is_a_row_where_nothing_says_otherwise() -> None:
    """A category called Total that others have as well, and empty cells that others have as well, sum up nothing."""
    frame = texts(name=[*(["Total", "Part"][n % 2] for n in N), "Total"], x=[*("" if n % 5 else str(n) for n in N), ""])
    assert len(recognise(frame).rows) == 61


def test_a_typed_column_stays_as_it_is() -> None:
    """What Parquet and SQL say of a type is taken."""
    frame = pd.DataFrame({"a": [1, 2], "b": [1.5, None]})
    found = recognise(frame)
    pd.testing.assert_frame_equal(found.rows, frame)
    assert found.reading.missing == ()


@pytest.mark.parametrize(("mark", "doubted"), [(",", True), (" ", False), ("'", False)])
def test_a_doubt_is_told_where_there_is_one(mark: str, doubted: bool) -> None:
    """1,234 may be a fraction; 1 234 is none in any notation."""
    notes: list[str] = []
    find_notation(texts(x=[f"{n}{mark}234" for n in range(1, 60)])["x"], "x", notes)
    assert [("it could be a decimal comma as well" in note) for note in notes] == [doubted]
