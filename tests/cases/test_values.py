"""Values that other tools change in silence, after their public bug reports: here they stay, or are refused by name."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of, scoring_schema
from evergreen.errors import DataError
from evergreen.model_files.notation import recognise
from evergreen.sources.file_formats import read_rows
from evergreen.spec.data import Features, Reading
from evergreen.spec.training import Holdout
from tests.cases.conftest import NOW, Place, rejected

RANDOM = np.random.default_rng(7)


def csv(frame: pd.DataFrame, **options: object) -> str:
    text = io.StringIO()
    frame.to_csv(text, index=False, **options)  # type: ignore[call-overload]
    return text.getvalue()


def people(rows: int = 200) -> pd.DataFrame:
    """Rows with an id, two features and a class that follows from them."""
    age = RANDOM.integers(18, 90, rows)
    return pd.DataFrame({"id": np.arange(rows), "age": age, "left": (age > 50).astype(int)})


def test_ids_of_19_digits_beside_an_empty_one(place: Place) -> None:
    """Every digit stays, the row without a key is refused alone, and a correction finds its rows (pandas #32134)."""
    ids = [1904455120067318273 + 7 * n for n in range(120)]
    frame = people(120).drop(columns="id").assign(order_id=list(map(str, ids)))
    place.new(place.drop("first.csv", csv(frame)), "left", keys=("order_id",))
    assert place.ingest().added == 120
    more = frame.head(40).assign(order_id=[str(number + 3) for number in ids[:39]] + [""])
    place.drop("next.csv", csv(more))
    landing = place.ingest()
    assert (landing.added, place.reasons()) == (39, ["order_id: a key is missing"])
    place.drop("fix.csv", csv(more.head(5).assign(age=99)))
    (fixed,) = place.ingest().batches
    assert (fixed.added, fixed.replaced) == (0, 5)
    assert sorted(place.rows()["order_id"].astype("int64")) == sorted([*ids, *(number + 3 for number in ids[:39])])


def test_codes_with_leading_zeros(place: Place, tmp_path: Path) -> None:
    """A zip is the same text in a file of digits alone and beside one with letters (dataretrieval #420)."""
    zips = np.array(["02139", "02140", "07030", "10001", "94105", "K1A0B1"])
    frame = people().assign(zip=RANDOM.choice(zips, 200))
    place.new(place.drop("first.csv", csv(frame)), "left", keys=("id",))
    place.drop("digits.csv", csv(people(50).assign(id=range(900, 950), zip=zips[np.arange(50) % 5])))
    assert place.ingest().added == 250
    assert set(place.rows()["zip"]) == set(zips)

    read = {}
    for name, ids in (("digits", ["9001,02139,30,0"]), ("letters", ["9001,02139,30,0", "9002,K1A0B1,30,0"])):
        file = tmp_path / f"{name}.csv"
        file.write_text("\n".join(["id,zip,age,left", *ids, ""]))
        rows = read_rows(file)[0]
        assert rows is not None
        read[name] = check_batch(rows, place.spec, scoring_schema(place.spec), now=NOW, scoring=True, written=True).rows
    assert read["digits"]["zip"][0] == read["letters"]["zip"][0] == "02139"


def test_codes_of_four_digits_are_no_years(place: Place) -> None:
    """A shop's number is a category, with its zeros, and no time to leave out."""
    shops = np.array(["0042", "0117", "1003"])
    place.new(place.drop("first.csv", csv(people().assign(shop=RANDOM.choice(shops, 200)))), "left", keys=("id",))
    place.ingest()
    assert place.spec.features.categorical == ("shop",)
    assert set(place.rows()["shop"]) == set(shops)


def test_codes_like_floats(place: Place) -> None:
    """Serials of digits and one E are different keys, and 1E3 is a word (smarter_csv #345)."""
    frame = people(100).assign(serial=[f"{n:06}E{n % 90 + 10}" for n in range(100)], part=["1E3", "12E12"] * 50)
    place.new(place.drop("first.csv", csv(frame.drop(columns="id"))), "left", keys=("serial",))
    more = frame.drop(columns="id").assign(serial=[f"{n:06}E{n % 90 + 10}" for n in range(500, 600)])
    place.drop("next.csv", csv(more))
    assert place.ingest().added == 200
    rows = place.rows()
    assert rows["serial"].nunique() == 200
    assert set(rows["part"]) == {"1E3", "12E12"}


def test_a_country_that_is_na(place: Place) -> None:
    """NA and None stay categories and are told of; the empty cell alone is missing (country-codes #38)."""
    countries = np.array(["NA", "DE", "ZA", ""])[np.arange(200) % 4]
    frame = people().assign(country=countries, plan=np.array(["None", "Pro"])[np.arange(200) % 2])
    notes = place.new(place.drop("first.csv", csv(frame)), "left", keys=("id",))
    assert any("'NA' in 50 cells of 'country' is kept as text" in note for note in notes)
    place.ingest()
    rows = place.rows()
    assert (rows["country"].isna().sum(), (rows["country"] == "NA").sum()) == (50, 50)
    assert set(rows["plan"]) == {"None", "Pro"}


def test_a_word_among_numbers_is_missing(place: Place) -> None:
    """A word that stands among numbers is written into the model file as missing, and counted."""
    frame = people().assign(income=["-" if n % 10 == 0 else str(n * 1.5) for n in range(200)])
    notes = place.new(place.drop("first.csv", csv(frame)), "left", keys=("id",))
    assert any("'-' in 20 cells of 'income' is taken for missing" in note for note in notes)
    assert place.spec.reading is not None
    assert place.spec.reading.missing[0] == "-"
    assert (rejected(place.ingest()), int(place.rows()["income"].isna().sum())) == (0, 20)


def test_numbers_as_spreadsheets_write_them(place: Place) -> None:
    """Thousands, currency and percent are recognised, shown with three values, and read (CSV.jl #217)."""
    town = RANDOM.integers(1000, 900_000, 200)
    frame = people().assign(
        population=[f"{n:,}" for n in town],
        income=[f"${n / 7:,.2f}" for n in town],
        growth=[f"{n % 90 / 10 - 4:.1f}%" for n in town],
    )
    notes = place.new(place.drop("towns.csv", csv(frame)), "population", keys=("id",), task="regression")
    told = " ".join(notes)
    assert "'population' holds numbers with ',' between thousands" in told
    assert "'income' holds numbers with ',' between thousands and a sign ($)" in told
    assert "'growth' holds numbers with a sign (%)" in told
    place.ingest()
    rows = place.rows().sort_values("id")
    np.testing.assert_allclose(rows["population"], town)
    np.testing.assert_allclose(rows["income"], (town / 7).round(2))
    np.testing.assert_allclose(rows["growth"], [float(f"{n % 90 / 10 - 4:.1f}") for n in town])


def test_a_decimal_comma_is_no_thousands_separator(place: Place) -> None:
    """0,381 is a fraction, and a later file with points is refused, with what it looks like."""
    values = RANDOM.uniform(0.1, 9, 200)
    frame = people().assign(kwh=[f"{value:.3f}".replace(".", ",") for value in values])
    place.new(place.drop("first.csv", csv(frame, sep=";")), "kwh", keys=("id",), task="regression")
    place.ingest()
    np.testing.assert_allclose(place.rows().sort_values("id")["kwh"], values.round(3))
    place.drop("next.csv", csv(people(20).assign(id=range(900, 920), kwh="1.5"), sep=";"))
    (refused,) = place.ingest().batches
    assert "kwh: not a number" in refused.problem


def test_the_hour_24_of_a_day(place: Place) -> None:
    """24:00 is the midnight that follows, in a format of the reading as in ISO 8601 (electricitymaps #6179)."""
    days = pd.date_range("2026-01-05", periods=20, freq="D")
    times = [f"{day:%d.%m.%Y} {hour:02}:00" for day in days for hour in range(1, 25)]
    frame = pd.DataFrame({"time": times, "load": RANDOM.normal(size=480), "y": RANDOM.normal(size=480)})
    place.new(place.drop("a.csv", csv(frame)), "y", time="time", timezone="Europe/Berlin")
    landing = place.ingest()
    assert (landing.added, rejected(landing)) == (480, 0)
    wanted = pd.date_range("2026-01-05 01:00", periods=480, freq="h", tz="Europe/Berlin")
    assert sorted(place.rows()["time"]) == sorted(wanted.tz_convert("UTC"))


@pytest.mark.parametrize("order", [["meter", "at"], ["at", "meter"]])
def test_a_repeated_hour_of_many_meters(place: Place, order: list[str]) -> None:
    """Each meter has 02:00 twice, an hour apart, whichever way the file is ordered (pandas #29056)."""
    hours = pd.date_range("2025-10-25 22:00", periods=48, freq="h", tz="UTC")
    frame = pd.DataFrame([{"meter": f"M{meter}", "at": at} for meter in range(8) for at in hours]).sort_values(order)
    clock = frame["at"].dt.tz_convert("Europe/Berlin").dt.strftime("%Y-%m-%d %H:%M")
    written = frame.assign(time=clock, y=RANDOM.normal(size=len(frame)), x=RANDOM.normal(size=len(frame)))
    file = place.drop("a.csv", csv(written.drop(columns="at")))
    place.new(file, "y", time="time", timezone="Europe/Berlin", keys=("meter", "time"))
    landing = place.ingest()
    assert (landing.added, rejected(landing)) == (384, 0)
    for _, rows in place.rows().groupby("meter"):
        assert sorted(rows["time"]) == list(hours)


def test_names_that_look_the_same(place: Place) -> None:
    """White space around a name and decomposed accents do not matter, in names and in categories (pandas #9067)."""
    towns = np.array(["Zürich", "Köln", "Genève"])[np.arange(200) % 3]
    frame = people().assign(stadtgröße=RANDOM.integers(1, 9, 200), town=towns)
    place.new(place.drop("first.csv", csv(frame)), "left", keys=("id",))
    spaced = people(20).assign(id=range(900, 920), **{"stadtgröße": 3, "town": "Köln"})
    place.drop("spaces.csv", csv(spaced.rename(columns={"age": " age", "town": "town "})))
    composed = csv(spaced.assign(id=range(950, 970), town="Zürich"))
    place.drop("x_decomposed.csv", composed.replace("ü", "u\u0308").replace("ö", "o\u0308"))
    landing = place.ingest()
    assert (landing.added, rejected(landing), place.reasons()) == (240, 0, [])
    assert set(place.rows()["town"]) == set(towns)


def test_a_name_that_is_near(place: Place) -> None:
    """Where a column is absent, the name that is near it is shown."""
    place.new(place.drop("first.csv", csv(people())), "left", keys=("id",))
    place.drop("next.csv", csv(people(20).rename(columns={"age": "Age"})))
    (refused,) = [batch for batch in place.ingest().batches if batch.problem]
    assert refused.problem == "column 'age' is missing; near it there is 'Age'"


def test_integer_names_of_parquet(place: Place) -> None:
    """Names of columns are texts, whatever the file's metadata say (dask #8010)."""
    values = RANDOM.normal(size=(200, 4))
    place.new(place.drop("first.csv", csv(pd.DataFrame(values))), "3")
    packed = io.BytesIO()
    pd.DataFrame(values[:60] + 1).to_parquet(packed)
    place.drop("next.parquet", packed.getvalue())
    assert place.ingest().added == 260


def test_a_key_in_scientific_notation(place: Place) -> None:
    """A spreadsheet has cut its digits off: it is refused by name."""
    place.new(place.drop("first.csv", csv(people())), "left", keys=("id",))
    place.drop("next.csv", "id,age,left\n" + "".join(f"{n},30,0\n" for n in range(900, 940)) + "1.90446E+18,40,1\n")
    assert place.ingest().added == 240
    assert place.reasons() == ["id: a key in scientific notation, which has lost digits; write it in full"]


def test_a_float_key_of_parquet(place: Place) -> None:
    """Whole floats below 2^53 are integers; a larger one, or a fraction, may be another row's and is refused."""
    place.new(place.drop("first.csv", csv(people())), "left", keys=("id",))
    packed = io.BytesIO()
    keys = [*map(float, range(900, 960)), 2.0**53, 1.5]
    pd.DataFrame({"id": keys, "age": 30, "left": 0}).to_parquet(packed)
    place.drop("next.parquet", packed.getvalue())
    assert place.ingest().added == 260
    assert set(place.reasons()) == {"id: a key that is a float and no whole number below 2^53; give it as text"}


@pytest.mark.parametrize(("value", "holds"), [(b"\x00\x01", "bytes"), ([1, 2], "lists or records")])
def test_what_no_column_can_hold(place: Place, value: object, holds: str) -> None:
    """Binary and nested columns of Parquet are refused in words."""
    place.new(place.drop("first.csv", csv(people())), "left", keys=("id",))
    packed = io.BytesIO()
    pd.DataFrame({"id": range(900, 920), "age": [value] * 20, "left": 0}).to_parquet(packed)
    place.drop("next.parquet", packed.getvalue())
    (refused,) = [batch for batch in place.ingest().batches if batch.problem]
    assert f"age: {holds}, which no column of a contract holds" in refused.problem


def test_decimals_of_a_database_keep_every_digit(place: Place) -> None:
    """Decimal(19, 0) keys are exact integers or texts."""
    import pyarrow
    import pyarrow.parquet as pq

    place.new(place.drop("first.csv", csv(people())), "left", keys=("id",))
    ids = pyarrow.array([str(9007199254740993 + 2 * n) for n in range(20)]).cast(pyarrow.decimal128(19, 0))
    packed = io.BytesIO()
    columns = {"id": ids, "age": pyarrow.array([30] * 20), "left": pyarrow.array([0] * 20)}
    pq.write_table(pyarrow.table(columns), packed)
    place.drop("next.parquet", packed.getvalue())
    assert place.ingest().added == 220
    assert set(place.rows()["id"]) >= {9007199254740993 + 2 * n for n in range(20)}


def test_decimals_beside_a_missing_one(make_spec: Any) -> None:
    """A column of decimals that lacks a value is read, digit for digit."""
    columns = {"id": pa.Column(int), "n": pa.Column(int, nullable=True), "y": pa.Column(float)}
    features, holdout = Features(numeric=("n",)), Holdout(strategy="random")
    spec = make_spec(
        contract=lambda: pa.DataFrameSchema(columns), time=None, timezone=None, holdout=holdout, features=features
    )
    rows = pd.DataFrame({"id": [1, 2, 3], "n": [Decimal(2**53 + 1), None, Decimal("7.00")], "y": 1.0})
    found = check_batch(rows, spec, schema_of(spec), now=NOW)
    assert found.rejected.empty
    assert found.rows["n"].tolist()[::2] == [2**53 + 1, 7]


def test_days_as_numbers_beside_a_missing_one(make_spec: Any) -> None:
    """A day such as 20260105 that comes as a float is the same day; 24:00:01 is no time."""
    reading = Reading(times={"at": "%Y%m%d"})
    rows = pd.DataFrame({"id": [1, 2], "at": [20260105.0, None], "x": 1.0, "kind": "a", "y": 1.0})
    spec = make_spec(reading=reading)
    found = check_batch(rows, spec, schema_of(spec), now=NOW)
    assert found.rows["at"].tolist() == [pd.Timestamp("2026-01-05", tz="UTC")]
    late = rows.assign(at=["2026-01-05T24:00:01", "2026-01-05 24:00:00"])
    spec = make_spec(reading=Reading())
    found = check_batch(late, spec, schema_of(spec), now=NOW, scoring=True)
    assert found.rows["at"].tolist() == [pd.Timestamp("2026-01-06", tz="UTC")]


def test_a_units_row(place: Place) -> None:
    """A row of units below the header is shown by `new`, and refused as no number."""
    text = csv(people(300)).replace("id,age,left\n", "id,age,left\n,years,\n", 1)
    notes = place.new(place.drop("first.csv", text), "left")
    assert "row 1 holds units, no values: it will go to quarantine" in notes
    landing = place.ingest()
    assert (landing.added, rejected(landing)) == (300, 1)


def test_a_new_file_that_nothing_can_be_learned_from(place: Place) -> None:
    """The reason names the file and what is wrong with it."""
    with pytest.raises(DataError, match="a quote is never closed"):
        place.new(place.drop("a.csv", 'a,b\n1,"2\n3,4\n'), "b")


@pytest.mark.parametrize(
    "layout",
    [
        *("%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d-%b-%Y %H:%M", "%d %b %Y %H:%M:%S"),
        *("%b %d, %Y %I:%M %p", "%d/%m/%y %H:%M", "%Y/%m/%d %H:%M", "%Y%m%d%H%M", "%Y%m%d%H%M%S"),
        *("s", "ms", "us", "ns"),
    ],
)
def test_times_as_programs_write_them(place: Place, layout: str) -> None:
    """`new` finds the layout, and the instants are those that were written."""
    times = pd.date_range("2026-01-03 05:30", periods=300, freq="7h", tz="UTC")
    power = {"s": 9, "ms": 6, "us": 3, "ns": 0}.get(layout)
    texts = times.strftime(layout) if power is None else pd.Index(times.as_unit("ns").asi8 // 10**power)
    frame = pd.DataFrame({"at": texts, "x": np.arange(300) % 11, "y": np.arange(300) % 7 * 1.5})
    place.new(place.drop("first.csv", csv(frame)), "y", time="at", keys=("at",))
    assert place.ingest().added == 300
    assert place.rows()["at"].tolist() == times.tolist()


@pytest.mark.parametrize("write", ["{:.1f}-", "\u2212{:.1f}"])
def test_a_minus_of_another_kind(place: Place, write: str) -> None:
    """Behind the digits, or the sign of typography: the amount is negative."""
    frame = people().assign(balance=[write.format(n + 0.5) if n % 3 else f"{n}.5" for n in range(200)])
    place.new(place.drop("first.csv", csv(frame)), "left", keys=("id",))
    place.ingest()
    assert place.rows()["balance"].tolist() == [-(n + 0.5) if n % 3 else n + 0.5 for n in range(200)]


def test_the_header_again(place: Place) -> None:
    """In a file that was made of several, in columns of text alone as well."""
    words = {"plan": RANDOM.choice(["basic", "pro", "max"], 200), "left": RANDOM.choice(["yes", "no"], 200)}
    frame = pd.DataFrame({"id": [f"K{n}" for n in range(200)], **words})
    place.new(place.drop("first.csv", csv(frame)), "left", keys=("id",))
    place.drop("next.csv", csv(frame.head(50)) + csv(frame.tail(50)))
    landing = place.ingest()
    assert (rejected(landing), place.reasons()) == (1, ["the header again"])
    notes = recognise(pd.read_csv(io.StringIO(csv(frame) + csv(frame)), dtype="str")).notes
    assert "row 201 is the header again: such rows will go to quarantine" in notes
