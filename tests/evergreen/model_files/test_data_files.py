"""Which files land, and what is said of the others: the pattern has to match the next file."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from evergreen.errors import DataError
from evergreen.model_files.data_files import choose_files, folder_expression
from evergreen.model_files.first_rows import DataOptions


def put(folder: Path, *names: str, columns: str = "a,b") -> Path:
    """Files with these columns; the first of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"{columns}\n1,2\n")
    return folder / names[0]


def columns_of(file: Path) -> tuple[str, ...]:
    return tuple(file.read_text().splitlines()[0].split(","))


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("sales_2026-01.csv", "sales_2026-02.csv"),
        ("sales-20260131T0400.csv", "sales-20260201T0415.csv"),
        ("week 7.csv", "week 12.csv"),
        ("export (1).csv.gz", "export (2).csv.gz"),
        ("scada 1.tsv", "scada 2.tsv"),
        ("scada1.TSV.gz", "scada2.TSV.gz"),
        ("part-0001-abc.parquet", "part-0002-abc.parquet"),
        ("1.csv", "2.csv"),
        ("sales[a]1.csv", "sales[a]2.csv"),
        ("customers.csv", "customers_february.csv"),
        ("customers.csv", "anything.csv"),
    ],
)
def test_the_pattern_matches_the_next_file(tmp_path: Path, name: str, later: str) -> None:
    """Digits count on; where a file without any is alone in its folder, every later one belongs to it."""
    files = choose_files(put(tmp_path, name), columns_of)
    assert fnmatchcase(name, files.pattern)
    assert fnmatchcase(later, files.pattern)
    assert files.notes == ()


def test_a_file_of_other_columns_beside_it_narrows_the_pattern(tmp_path: Path) -> None:
    """A table of shops beside the sales does not land with them."""
    sales = put(tmp_path, "sales.csv")
    put(tmp_path, "shops.csv", columns="shop,town")
    files = choose_files(sales, columns_of)
    assert (files.pattern, files.notes) == ("sales*.csv", ())


def test_what_is_beside_the_file_is_told(tmp_path: Path) -> None:
    """What lands with it, what would be refused, and what is not taken though it looks alike."""
    first = put(tmp_path, "sales_1.csv", "sales_2.csv", "sold.csv")
    put(tmp_path, "sales_0.csv", columns="a,c")
    notes = choose_files(first, columns_of).notes
    assert notes == (
        "'sales_2.csv' in the same folder will land, too: the pattern 'sales_*.csv' matches",
        "'sales_0.csv' in the same folder matches the pattern 'sales_*.csv', and the columns differ: they will go to "
        "quarantine, unless you narrow the pattern in the file",
        "'sold.csv' in the same folder has the same columns and will not land: the pattern 'sales_*.csv' does not "
        "match. To take every file, write pattern='*.csv'",
    )


def test_a_folder_of_one_kind_is_taken_whole(tmp_path: Path) -> None:
    """All of its files are looked at; what a landing folder passes over is none of them."""
    put(tmp_path, "march.csv", "april.csv")
    put(tmp_path, ".hidden.csv", "april.csv.md5", "_draft.csv", columns="x")
    files = choose_files(tmp_path, columns_of)
    assert ([file.name for file in files.first], files.pattern) == (["april.csv", "march.csv"], "*.csv")


def test_a_folder_of_several_kinds_asks_for_one(tmp_path: Path) -> None:
    """The line names a file of each kind."""
    put(tmp_path, "sales_1.csv", "sales_2.csv")
    put(tmp_path, "shops.csv", columns="shop,town")
    with pytest.raises(DataError, match=r"files of 2 kinds.*'sales_1.csv', 'shops.csv'.*Name one file"):
        choose_files(tmp_path, columns_of)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """There is nothing to infer a model from."""
    with pytest.raises(DataError, match="a folder without a CSV or Parquet file"):
        choose_files(tmp_path, columns_of)


def test_the_folder_is_written_so_that_the_project_can_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the landing root, to the project, or to the home folder; absolute only elsewhere."""
    project = tmp_path / "project"
    models, landing = project / "models", project / ".evergreen" / "landing"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for folder, written in (
        (landing / "sales", '"sales"'),
        (project / "data" / "sales", 'Path(__file__).resolve().parents[1] / "data" / "sales"'),
        (project, "Path(__file__).resolve().parents[1]"),
        (tmp_path / "me" / "sales", '"~/sales"'),
        (Path("/srv/sales"), '"/srv/sales"'),
    ):
        assert folder_expression(folder, models, landing) == written


def test_rows_of_a_folder_are_there_once_for_each_key(tmp_path: Path) -> None:
    """As they land: of rows with one key that of the later file, whatever the order of the columns."""
    put(tmp_path / "in", "1.csv").write_text("id,a\n1,first\n2,first\n")
    (tmp_path / "in" / "2.csv").write_text("id,a\n2,second\n3,second\n")
    _, rows = DataOptions(csv=tmp_path / "in").draft("m", ("id",), tmp_path / "models")
    assert list(zip(rows["id"], rows["a"], strict=True)) == [("1", "first"), ("2", "second"), ("3", "second")]
    _, every = DataOptions(csv=tmp_path / "in").draft("m", (), tmp_path / "models")
    assert len(every) == 4


def test_a_parquet_file_starts_a_model_file(tmp_path: Path) -> None:
    """With the types that it has."""
    import pandas as pd

    (tmp_path / "in").mkdir()
    pd.DataFrame({"a": [1.5, 2.5], "b": [True, False]}).to_parquet(tmp_path / "in" / "part-1.parquet")
    draft, rows = DataOptions(csv=tmp_path / "in" / "part-1.parquet").draft("m", (), tmp_path / "models")
    assert rows.dtypes.astype(str).to_dict() == {"a": "float64", "b": "bool"}
    assert '    pattern="part-*.parquet",' in draft.lines
