"""Files whose shape other tools misread: the separator, lines before the header, broken quotes, what lies beside."""

from __future__ import annotations

import numpy as np
import pytest

from evergreen.errors import DataError
from tests.cases.conftest import Place, rejected

ROWS = [(n, n % 7, n % 2) for n in range(100)]


def table(mark: str, names: tuple[str, ...] = ("id", "x", "y")) -> str:
    return "\n".join([mark.join(names), *(mark.join(map(str, row)) for row in ROWS), ""])


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        pytest.param("sep=;\n" + table(";"), "x", id="sep line"),
        pytest.param("\ufeffsep=;\r\n" + table(";").replace("\n", "\r\n"), "x", id="sep line of Excel"),
        pytest.param(table(";", ("id", '"size, in m"', "y")), "size, in m", id="comma in a quoted name"),
        pytest.param(table(";", ("id", "size, in m", "y")), "size, in m", id="comma in a name"),
        pytest.param(table("|"), "x", id="bars"),
        pytest.param(table("\t"), "x", id="tabs"),
        pytest.param("Station 12\nHeight 330 m\n\n" + table(";"), "x", id="preamble"),
        pytest.param("Report;\n;\n" + table(";"), "x", id="preamble with separators"),
        pytest.param("\n\n" + table(","), "x", id="blank lines"),
    ],
)
def test_the_shape_of_a_file(place: Place, text: str, feature: str) -> None:
    """`new` and ingest read it alike: every row, no other."""
    place.new(place.drop("first.csv", text), "y", keys=("id",))
    landing = place.ingest()
    assert (landing.added, rejected(landing)) == (100, 0)
    rows = place.rows().sort_values("id")
    np.testing.assert_array_equal(rows[feature], [row[1] for row in ROWS])


def test_sidecar_files_are_passed_over(place: Place) -> None:
    """Flags, checksums, half-written and system files are no batches; a file of another kind is named once."""
    file = place.drop("week_01.csv", table(","))
    for name in (
        *("Thumbs.db", "desktop.ini", "week_01.csv.done", "week_01.csv.md5", "week_01.csv~", "week_02.csv.filepart"),
        *("~$weeks.xlsx", ".DS_Store", "week_03.csv.part"),
    ):
        place.drop(name, "x")
    place.drop("weeks.zip", "x")
    place.new(file, "y", keys=("id",))
    landing = place.ingest()
    assert landing.added == 100
    assert [batch.origin for batch in landing.quarantined] == ["weeks.zip"]
    assert not place.ingest().batches


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ('3,"Hose 5"","7.10","2"\n', "text follows a closing quote"),
        ('3,"Hose 5"","7.10","2"\n4,"Hose 6"","7.30","4"\n', "row 3 has 3 fields, and the header has 4 (2 such rows)"),
        ('3,"a"b,7.1,2\n', "row 3: text follows a closing quote"),
        ('3,"abc,1,2\n4,"def",1,2\n', "row 3: text follows a closing quote"),
        ("3,a\n", "row 3 has 2 fields, and the header has 4"),
        ("3,a,1,2,5\n4,a,1,2,5\n", "row 3 has 5 fields, and the header has 4 (2 such rows)"),
    ],
)
def test_shifted_fields_are_refused(place: Place, broken: str, problem: str) -> None:
    """No cell takes the value of another column, and no row goes missing: the file is refused with the row."""
    good = "".join(f"{n},bolt,1.5,{n % 2}\n" for n in range(50))
    head = "sku,name,price,sold\n1,bolt,2.5,1\n2,bolt,2.5,0\n"
    place.new(place.drop("first.csv", head + good), "sold")
    place.drop("next.csv", head + broken + good)
    (refused,) = [batch for batch in place.ingest().batches if batch.problem]
    assert problem in refused.problem
    assert len(place.rows()) == 52


def test_quotes_that_are_sound(place: Place) -> None:
    """Doubled quotes, line breaks and separators within quotes, and a quote amid plain text are values."""
    names = ['say ""hi"", now', "two\nlines", "a,b", "plain"]
    rows = [f'{n},"{names[n % 4]}",{n % 2}\n' for n in range(80)] + [f'{n},5" pipe,1\n' for n in range(80, 90)]
    place.new(place.drop("first.csv", "id,name,y\n" + "".join(rows)), "y", keys=("id",))
    assert place.ingest().added == 90
    assert set(place.rows()["name"]) == {'say "hi", now', "two\nlines", "a,b", "plain", '5" pipe'}


@pytest.mark.parametrize("last", [True, False])
def test_one_inch_mark(place: Place, last: bool) -> None:
    """An odd number of quotes, none of which begins a cell, is no quote that is never closed."""
    rows = [f"{n},pipe,{n % 2}\n" for n in range(40)]
    rows.insert(40 if last else 20, '99,5" pipe,1\n')
    place.new(place.drop("first.csv", "id,name,y\n" + "".join(rows)), "y", keys=("id",))
    assert place.ingest().added == 41


def test_text_that_is_utf_16(place: Place) -> None:
    """It is called by its name."""
    with pytest.raises(DataError, match="its text is UTF-16; save it as UTF-8"):
        place.new(place.drop("a.csv", table(",").encode("utf-16")), "y")
