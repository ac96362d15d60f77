"""Files whose shape other tools misread: the separator, lines before the header, broken quotes, what lies beside."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from evergreen.data.contract import encoding_of
from evergreen.errors import DataError, ModelFileError
from evergreen.scoring.staging import stage_csv
from evergreen.sources.folder import Folder
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


WESTERN = "Straße;Größe;y\n" + "".join(f"Müller-Allee {n % 5};{n % 7},5;{n % 7 * 2}\n" for n in range(100))


def test_text_of_windows(place: Place, tmp_path: Path) -> None:
    """`new` writes its encoding into the model file and shows three values; a file in UTF-8 stays what it is."""
    notes = place.new(place.drop("first.csv", WESTERN.encode("cp1252")), "y")
    said = "its text is not UTF-8 and is read as cp1252, such as 'Straße', 'Größe', 'Müller-Allee 0'"
    assert any(note.startswith(said) for note in notes)
    place.drop("next.csv", WESTERN.encode("utf-8").replace(b"Allee", b"Allee-Ost"))
    place.drop("packed.csv.gz", gzip.compress(WESTERN.replace("Allee", "Weg").encode("cp1252")))
    assert place.ingest().added == 300
    streets = {f"Müller-{kind} {n}" for kind in ("Allee", "Allee-Ost", "Weg") for n in range(5)}
    assert set(place.rows()["Straße"]) == streets
    assert set(place.rows()["Größe"]) == {n + 0.5 for n in range(7)}
    file = tmp_path / "score.csv"
    file.write_bytes(WESTERN.encode("cp1252"))
    (table,) = stage_csv(file, tmp_path / "staged", encoding=encoding_of(place.spec))
    assert table.column("Straße")[0].as_py() == "Müller-Allee 0"


def test_text_of_no_known_encoding_is_refused(place: Place) -> None:
    """With the line and what to do; it is read again once the model file names the encoding."""
    place.new(place.drop("first.csv", WESTERN), "y")
    place.ingest()
    place.drop("next.csv", WESTERN.replace("Allee", "Weg").encode("cp1252"))
    (batch,) = place.ingest().batches
    assert batch.problem == (
        "its text is not UTF-8, first in line 1; save it as UTF-8, or name its encoding: Folder(..., encoding='cp1252')"
    )
    file = place.settings.models / "case.py"
    file.write_text(file.read_text().replace('pattern="*",', 'pattern="*", encoding="cp1252",'))
    assert place.ingest().added == 100


def test_an_encoding_that_is_none() -> None:
    """It is named when the model file is loaded."""
    for name in ("utf-16", "klingon"):
        with pytest.raises(ModelFileError, match=f"'{name}' is no encoding that has ASCII within it"):
            Folder("in", encoding=name)


def test_a_row_that_is_longer_than_a_piece(place: Place, tmp_path: Path) -> None:
    """A letter of two megabytes in one cell lands, and is scored, as the others are."""
    letter = "x" * (2 << 20)
    text = "id,note,x,y\n" + "".join(f"{n},{letter if n == 50 else 'short'},{n % 7},{n % 2}\n" for n in range(100))
    place.new(place.drop("first.csv", text), "y", keys=("id",))
    assert place.ingest().added == 100
    tables = list(stage_csv(place.root / "in" / "first.csv", tmp_path / "staged"))
    cells = [cell for table in tables for cell in table.column("note").to_pylist()]
    assert (len(cells), len(cells[50]), cells[51]) == (100, 2 << 20, "short")
