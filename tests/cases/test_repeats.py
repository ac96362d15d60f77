"""Rows that come again where no key tells them apart, totals among the rows, and days that can be read two ways."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.cases.conftest import Place, rejected
from tests.cases.test_values import csv

RANDOM = np.random.default_rng(3)


def customers(count: int = 300) -> pd.DataFrame:
    """A full export of one day."""
    tenure = 1 + RANDOM.permutation(5_000)[:count]
    names = [f"K{number:05d}" for number in range(count)]
    return pd.DataFrame({"customer": names, "tenure": tenure, "churned": (tenure < 2_500).astype(int)})


def test_a_full_export_every_day(place: Place) -> None:
    """`new` names the files that repeat each other and the key; ingest tells how many rows stand in several files."""
    first = customers()
    second = pd.concat([first, customers(320).tail(20).assign(tenure=range(20_000, 20_020))], ignore_index=True)
    second.loc[:29, "tenure"] += 10_000
    place.drop("day_2.csv", csv(second))
    notes = place.new(place.drop("day_1.csv", csv(first)), "churned")
    assert "270 of 320 rows of 'day_2.csv' beside it are rows of this file again" in notes
    (suggestion,) = (note for note in notes if "--key" in note)
    assert suggestion.endswith("if 'customer' names a row, take --key customer")
    landing = place.ingest()
    (doubt,) = landing.doubts
    assert doubt.startswith(
        "day_1.csv: 270 of 300 rows stand word for word in other files, and so it is with 1 more of the files."
    )
    assert "keys=('customer',) in " in doubt


def test_a_key_tells_them_apart(place: Place) -> None:
    """With the key that was suggested a row is there once, and nothing is doubted."""
    first = customers()
    notes = place.new(place.drop("day_1.csv", csv(first)), "churned", keys=("customer",))
    assert not [note for note in notes if "again" in note]
    place.drop("day_2.csv", csv(first))
    landing = place.ingest()
    assert (len(place.rows()), landing.doubts) == (300, ())


def test_different_files_are_not_doubted(place: Place) -> None:
    """Some rows are alike by chance."""
    place.new(place.drop("day_1.csv", csv(customers())), "churned")
    place.drop("day_2.csv", csv(customers().assign(tenure=range(10_000, 10_300))))
    assert place.ingest().doubts == ()


def halls(rows: int = 120) -> pd.DataFrame:
    """What halls used, some of them without a weather."""
    used = RANDOM.integers(20, 60, rows)
    hall = RANDOM.choice(["north", "south"], rows)
    return pd.DataFrame({"id": range(rows), "hall": hall, "heat": used * 2, "kwh": used})


TOTAL = pd.DataFrame({"id": [9_999], "hall": [None], "heat": [None], "kwh": [4_870]})


@pytest.mark.parametrize(("refuse", "landed"), [(False, 51), (True, 50)])
def test_a_total_among_rows_that_may_lack_values(place: Place, refuse: bool, landed: int) -> None:
    """It is doubted and shown; refused where the model file says so."""
    first = halls()
    first.loc[3, "hall"] = first.loc[4, "heat"] = None
    place.new(place.drop("first.csv", csv(first)), "kwh", keys=("id",))
    place.ingest()
    if refuse:
        file = place.settings.models / "case.py"
        file.write_text(file.read_text().replace("reading=Reading(", "reading=Reading(refuse_totals=True, "))
    more = halls(50).assign(id=range(500, 550))
    place.drop("next.csv", csv(pd.concat([more, TOTAL], ignore_index=True)))
    landing = place.ingest()
    assert (landing.added, rejected(landing)) == (landed, 51 - landed)
    why = "heat, hall are empty in this row alone, and kwh lies outside of all others"
    if refuse:
        assert (place.reasons(), landing.doubts) == ([f"looks like a total: {why}"], ())
    else:
        assert landing.doubts[0].startswith(f"next.csv, row 51 looks like a total, and landed as a case: {why}.")


def test_a_total_that_is_called_so(place: Place) -> None:
    """A category that no other row has, and a sum as target."""
    place.new(place.drop("first.csv", csv(halls())), "kwh", keys=("id",))
    more = pd.concat([halls(50).assign(id=range(500, 550)), TOTAL.assign(hall="Total", heat=9_740)], ignore_index=True)
    place.drop("next.csv", csv(more))
    (doubt,) = place.ingest().doubts
    assert "row 51 looks like a total, and landed as a case: hall is 'Total'" in doubt


def test_an_outlier_is_no_total(place: Place) -> None:
    """A row with an extreme target, or one that alone lacks a value, is a case."""
    first = halls()
    first.loc[3, "hall"] = first.loc[4, "heat"] = None
    place.new(place.drop("first.csv", csv(first)), "kwh", keys=("id",))
    more = halls(50).assign(id=range(500, 550))
    more.loc[10, "kwh"], more.loc[11, "hall"] = 9_000, None
    place.drop("next.csv", csv(more))
    assert place.ingest().doubts == ()


def test_the_model_file_of_a_report_with_a_total_refuses_it(place: Place) -> None:
    """`new` saw it in the first file and writes so."""
    file = place.drop("first.csv", csv(pd.concat([halls(), TOTAL], ignore_index=True)))
    notes = place.new(file, "kwh", keys=("id",))
    assert any("row 121, the last of them, looks like a total" in note for note in notes)
    assert place.spec.reading is not None
    assert place.spec.reading.refuse_totals


def visits(first: str, days: int, layout: str) -> str:
    times = pd.date_range(first, periods=days, freq="D")
    frame = pd.DataFrame({"day": times.strftime(layout), "x": np.arange(days) % 7, "y": np.arange(days) % 7 * 2.0})
    return csv(frame)


def test_a_file_with_day_and_month_the_other_way_round(place: Place) -> None:
    """It is refused whole, with both readings: most of its days could be read as other days."""
    place.new(place.drop("first.csv", visits("2026-01-01", 90, "%d/%m/%Y")), "y", time="day", keys=("day",))
    assert place.ingest().added == 90
    place.drop("next.csv", visits("2026-04-02", 12, "%m/%d/%Y"))
    place.drop("us.csv", visits("2026-05-05", 9, "%m/%d/%Y"))
    landing = place.ingest()
    problems = {batch.origin: batch.problem for batch in landing.batches}
    assert problems["next.csv"] == (
        "day: '04/13/2026' (row 12) is no time as %d/%m/%Y, and all 12 of the column are times as %m/%d/%Y: day and "
        "month stand the other way round; correct the file, or Reading(times=...)"
    )
    assert "'05/13/2026' (row 9)" in problems["us.csv"]


def test_one_bad_day_is_refused_alone(place: Place) -> None:
    """A day that no reading takes is one row's fault."""
    place.new(place.drop("first.csv", visits("2026-01-01", 90, "%d/%m/%Y")), "y", time="day", keys=("day",))
    text = visits("2026-04-02", 40, "%d/%m/%Y").replace("13/04/2026", "99/04/2026")
    place.drop("next.csv", text)
    landing = place.ingest()
    assert (landing.added, place.reasons()) == (129, ["day: not a time as %d/%m/%Y"])


def test_a_number_that_stands_for_missing_is_shown(place: Place) -> None:
    """Far from all others, and often there."""
    rows = halls().assign(heat=RANDOM.integers(10, 40, 120))
    rows.loc[:4, "heat"] = -999
    notes = place.new(place.drop("first.csv", csv(rows)), "kwh", keys=("id",))
    assert any(note.startswith("-999 in 5 cells of 'heat' is far from all others") for note in notes)
