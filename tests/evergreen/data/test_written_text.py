"""What texts of a file mean: every value is the one that was written, or none."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.written_text import (
    guess_types,
    guessed_kind,
    join_kinds,
    parse_decimals,
    parse_integers,
    plain_number,
)
from evergreen.sources.csv_file import read_dialect, read_text
from evergreen.spec.data import Features, Notation, Reading
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)
# The fixtures build specs and keep no state.
BUILDERS = [HealthCheck.function_scoped_fixture]
WORDS = frozenset(("", "NA"))


def texts(*values: str | None) -> pd.Series:
    return pd.Series(list(values), dtype="str", name="v")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("5", 5), ("-5", -5), ("+5", 5), ("005", 5), ("5.0", 5), ("5.", 5), ("9223372036854775807", 2**63 - 1)),
        *(("-9223372036854775808", -(2**63)), ("9007199254740993", 2**53 + 1), ("0", 0), ("-0", 0)),
    ],
)
def test_integers_are_exact(text: str, value: int) -> None:
    """Every digit counts, up to the ends of int64."""
    numbers, *wrong = parse_integers(texts(text))
    assert numbers.tolist() == [value]
    assert not any(mask.any() for mask in wrong)


@pytest.mark.parametrize(
    ("text", "which"),
    [
        *(("0x10", 0), ("1_000", 0), ("1,5", 0), ("abc", 0), ("nan", 0), ("inf", 0), ("\u0663", 0)),
        *(("1.5", 1), ("1e3", 1), ("9223372036854775808", 2), ("1" * 40, 2)),
    ],
)
def test_what_is_no_integer(text: str, which: int) -> None:
    """No number at all, a fraction or an exponent, beyond int64."""
    numbers, *wrong = parse_integers(texts("1", text))
    assert [mask[1] for mask in wrong] == [place == which for place in range(3)]
    assert numbers.isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "text", ["0x10", "1_000", "1,5", "abc", "nan", "NaN", "inf", "Infinity", "1e", ".", "", "\u0661"]
)
def test_what_is_no_decimal(text: str) -> None:
    """Words and other notations are no numbers, whatever a cast takes."""
    numbers, wrong = parse_decimals(texts("1.5", text))
    assert wrong.tolist() == [False, True]
    assert numbers.isna().tolist() == [False, True]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_come_back_to_the_bit(values: list[float]) -> None:
    """As Python writes them."""
    numbers, wrong = parse_decimals(texts(*map(repr, values)))
    assert numbers.tolist() == values
    assert not wrong.any()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_come_back(values: list[int]) -> None:
    """Every 64-bit integer."""
    assert parse_integers(texts(*map(str, values)))[0].tolist() == values


@pytest.mark.parametrize(
    ("notation", "text", "value"),
    [
        (Notation(decimal=","), "1234,5", 1234.5),
        (Notation(decimal=",", thousands="."), "1.234.567,25", 1234567.25),
        (Notation(decimal=",", thousands="."), "12,5", 12.5),
        (Notation(thousands=","), "1,234,567", 1234567),
        (Notation(thousands="'"), "1'234.5", 1234.5),
        (Notation(decimal=",", thousands="\u202f"), "1\u202f234,5", 1234.5),
        (Notation(thousands=",", remove=("$",)), "-$1,234.50", -1234.5),
        (Notation(remove=("%",)), "4.2 %", 4.2),
        (Notation(remove=("%",)), "4%2", None),
        (Notation(remove=("€",)), "1€20", None),
        (Notation(remove=("€",)), "-€ 5", -5),
        (Notation(thousands=",", remove=("$",)), "($1,234.50)", -1234.5),
        (Notation(thousands=",", remove=("$",)), "(($1,234.50))", None),
        # What is written in another notation is never another number.
        (Notation(decimal=","), "1.5", None),
        (Notation(decimal=",", thousands="."), "1.5", None),
        (Notation(decimal=",", thousands="."), "1.2345,5", None),
        (Notation(thousands=","), "1,5", None),
        (Notation(thousands=","), "12,34,567", None),
    ],
)
def test_a_notation(notation: Notation, text: str, value: float | None) -> None:
    """A number in the notation is read, and one in another is refused."""
    numbers, wrong = parse_decimals(plain_number(texts(text), notation))
    assert numbers.tolist() == [value] if value is not None else wrong.all()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1", "2"), "int"),
        (("1", None), "float"),
        (("1904455120067318273",), "str"),
        (("190445512006731827",), "long"),
        (("190445512006731827", None), "str"),
        (("1", "2.5"), "float"),
        (("1.5e-07", "2"), "float"),
        (("1E3", "12E12"), "str"),
        (("02139", "10001"), "str"),
        (("True", "false"), "bool"),
        ((None, None), "null"),
        (("a",), "str"),
    ],
)
def test_what_a_column_holds(values: tuple[str | None, ...], kind: str) -> None:
    """Codes are no numbers, and no number loses digits."""
    assert guessed_kind(texts(*values)) == kind


@given(
    st.lists(st.sampled_from(["1", "22", "2.5", "true", "x", "02", "190445512006731827", None]), min_size=1), st.data()
)
def test_pieces_hold_what_the_whole_holds(values: list[str | None], data: st.DataObject) -> None:
    """Wherever a column is cut, its kind is the same."""
    cut = data.draw(st.integers(0, len(values)))
    pieces = [texts(*part) for part in (values[:cut], values[cut:]) if part]
    whole = guessed_kind(texts(*values))
    joined = join_kinds({guessed_kind(piece) for piece in pieces})
    assert {"long": "int"}.get(joined, joined) == {"long": "int"}.get(whole, whole)


def test_a_prepare_of_before_gets_numbers() -> None:
    """Where a column holds nothing else; the contract's texts stay as they are written."""
    frame = pd.DataFrame({"a": ["1", "2"], "b": ["1.50", "NA"], "c": ["01", "2"], "d": ["1", "2"]}, dtype="str")
    found = guess_types(frame, frozenset({"d"}), WORDS)
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist()[0] == 1.5
    assert found["b"].isna().tolist() == [False, True]
    assert found["c"].tolist() == ["01", "2"]
    assert found["d"].tolist() == ["1", "2"]


def _contract() -> Any:
    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "code": pa.Column(str, nullable=True),
            "x": pa.Column(float, nullable=True),
            "n": pa.Column(int, nullable=True),
            "flag": pa.Column(bool, nullable=True),
            "y": pa.Column(float),
        }
    )


CODES = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(str.strip),
    st.sampled_from(["02139", "1E3", "1.10", "true", "NA", "null", 'say "hi"', "a;b", "a,b", "two\nlines", "0x10"]),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "code": CODES,
            "x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "flag": st.none() | st.booleans(),
            "y": st.floats(-1e6, 1e6),
        }
    ),
    min_size=2,
    max_size=12,
)


@settings(suppress_health_check=BUILDERS, max_examples=60)
@given(rows=ROWS, mark=st.sampled_from(",;\t|"), end=st.sampled_from(["\n", "\r\n"]), quoting=st.sampled_from([0, 1]))
def test_a_table_comes_back_from_any_dialect(
    rows: list[dict[str, Any]],
    mark: str,
    end: str,
    quoting: int,
    make_spec: Callable[..., ModelSpec],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever separates fields and ends lines, the contract finds the values that were written."""
    spec = make_spec(contract=_contract, time=None, timezone=None, holdout={"strategy": "random"}, reading=Reading(),
                     features=Features(numeric=("x", "n"), categorical=("code",)))  # fmt: skip
    frame = pd.DataFrame(rows, dtype="object").assign(id=range(len(rows)))[["id", "code", "x", "n", "flag", "y"]]
    text = io.StringIO()
    frame.to_csv(text, index=False, sep=mark, lineterminator=end, quoting=quoting)  # type: ignore[call-overload]
    file = tmp_path_factory.mktemp("dialect") / "a.csv"
    file.write_bytes(text.getvalue().encode())
    dialect = read_dialect(file.read_bytes())
    found = check_batch(read_text(file, dialect, packed=False), spec, schema_of(spec), now=NOW, written=True)
    assert (found.problem, len(found.rejected)) == ("", 0)
    for name in ("id", "x", "n", "flag", "y"):
        wanted = [None if value is None or value != value else value for value in frame[name]]  # noqa: PLR0124
        assert [None if pd.isna(value) else value for value in found.rows[name]] == wanted
    import unicodedata

    composed = [None if pd.isna(code) else unicodedata.normalize("NFC", code) for code in frame["code"]]
    assert [None if pd.isna(code) else code for code in found.rows["code"]] == composed


def test_a_piece_is_read_as_the_whole(make_spec: Callable[..., ModelSpec]) -> None:
    """A row means the same whatever else stands in its batch."""
    spec = make_spec(contract=_contract, time=None, timezone=None, holdout={"strategy": "random"}, reading=Reading(),
                     features=Features(numeric=("x", "n"), categorical=("code",)))  # fmt: skip
    cells = {"id": ["1", "2", "3"], "code": ["02139", "1", "K1"], "x": ["1", "2.5", ""]}
    cells |= {"n": ["1", "1904455120067322473", ""], "flag": ["true", "0", ""], "y": ["1", "2", "3"]}
    frame = pd.DataFrame(cells, dtype="str")
    whole = check_batch(frame, spec, schema_of(spec), now=NOW, written=True).rows
    for place in range(3):
        one = check_batch(frame.iloc[[place]], spec, schema_of(spec), now=NOW, written=True).rows
        for name in cells:
            first, second = one[name].iloc[0], whole[name].iloc[place]
            assert (pd.isna(first) and pd.isna(second)) or first == second
    assert whole["n"].tolist()[:2] == [1, 1904455120067322473]
    assert np.isnan(whole["x"].iloc[2])
