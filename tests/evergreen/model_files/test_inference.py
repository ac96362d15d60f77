"""What is inferred from rows: which columns are features and of what kind, what is left out, and what is said of it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.errors import EvergreenError
from evergreen.model_files.inference import Findings, examine

ROWS = 300


def frame(**columns: Any) -> pd.DataFrame:
    """Rows as a CSV gives them, with a feature `x` and a binary target `y`."""
    rng = np.random.default_rng(3)
    given = {"x": rng.normal(size=ROWS), "y": rng.choice(["no", "yes"], ROWS)} | columns
    return pd.read_csv(io.StringIO(pd.DataFrame(given).to_csv(index=False)), low_memory=False)


def found(**columns: Any) -> Findings:
    """What is inferred from such rows."""
    return examine(frame(**columns), target="y")


def kinds(findings: Findings) -> dict[str, str]:
    """Features by name, with their kind."""
    return {c.name: c.kind for c in (*findings.numeric, *findings.categorical)}


N = np.arange(ROWS)
FEATURES: dict[str, tuple[Any, str]] = {
    "whole numbers": (N % 7, "float"),
    "whole numbers, some missing": (np.where(N % 7, N % 5, np.nan), "float"),
    "two numbers": (N % 2, "float"),
    "amounts": (N / 7, "float"),
    "unique amounts in disorder": (np.random.default_rng(1).permutation(N), "float"),
    "whole numbers beyond a float": (2**53 + N % 7, "int"),
    "numbers with one bad text": (np.where(N == 5, "n.a.!", N.astype(str)), "float"),
    "numbers with one infinite": (np.where(N == 5, np.inf, N / 3), "float"),
    "flags": (N % 3 == 0, "bool"),
    "flags, some missing": (np.where(N % 3, N % 2 == 0, None), "bool"),
    "text": (np.char.add("group ", (N % 9).astype(str)), "str"),
    "text or nothing": (np.where(N % 2, "Y", None), "str"),
    "a hundred categories": (np.char.add("c", (N % 100).astype(str)), "str"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_a_column_becomes_a_feature_of_its_kind(case: str) -> None:
    """Numbers stay numbers however few they are; text and flags are categories."""
    values, kind = FEATURES[case]
    assert kinds(found(column=values)) == {"x": "float", "column": kind}


LEFT_OUT: dict[str, tuple[str, Any, str]] = {
    "constant": ("c", "same", "same in every row"),
    "missing": ("c", np.nan, "missing in every row"),
    "identifier of text": ("c", [f"u{n}" for n in N], "an identifier"),
    "free text": ("c", [f"text {n // 2}" for n in N], "free text"),
    "sentences": ("c", [f"the room {n} was cold" for n in N], "free text"),
    "identifier of numbers": ("customerId", N * 3 + 5, "an identifier"),
    "a number that grows": ("invoice", 1000 + N * 3, "grow from row to row"),
    "row numbers without a name": ("Unnamed: 0", N, "an identifier"),
    "dates": ("c", pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d"), "a time"),
    "dates of another form": ("c", pd.date_range("2020-01-01", periods=ROWS).strftime("%d.%m.%Y"), "a time"),
    "a column of the tables": ("_landed_at", N % 3, "rename it"),
    "another case of a name": ("X", N % 3, "rename it"),
    "the prediction": ("prediction", N % 3, "rename it"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_column_that_would_not_help_is_left_out_with_the_reason(case: str) -> None:
    """It is named with the reason, and is no feature."""
    name, values, why = LEFT_OUT[case]
    findings = found(**{name: values})
    assert kinds(findings) == {"x": "float"}
    assert [column.name for column in findings.left_out] == [name]
    assert why in findings.left_out[0].why


def test_a_text_of_many_values_is_a_feature_of_its_own_kind() -> None:
    """Where most rows share their value with two others, in whatever part of the table."""
    rng = np.random.default_rng(3)
    rows = frame(place=[f"p{n}" for n in rng.integers(0, 120, ROWS)], town=np.char.add("t", (N % 9).astype(str)))
    findings = examine(pd.concat([rows] * 2, ignore_index=True), target="y")
    assert kinds(findings) == {"x": "float", "place": "str", "town": "str"}
    assert dict(findings.distinct) == {"place": rows["place"].nunique()}


def test_texts_that_run_on_are_identifiers() -> None:
    """Three lines of each invoice: no later file has any of them again; in another order they could be places."""
    rows = pd.concat([frame()] * 2, ignore_index=True).assign(invoice=[f"i{n // 3:04d}" for n in range(2 * ROWS)])
    (left_out,) = examine(rows, target="y").left_out
    assert left_out.why == (
        "identifiers that run on: most of the last rows have a value that none before them has (200)"
    )
    assert dict(examine(rows.sample(frac=1, random_state=1), target="y").distinct) == {"invoice": 200}


def test_a_number_that_grows_is_kept_where_there_is_nothing_else() -> None:
    """A table of two columns, sorted by the one, is still one to learn from."""
    rows = frame(y=np.sqrt(N)).assign(x=N)
    assert kinds(examine(rows, target="y")) == {"x": "float"}


def test_a_copy_of_the_target_is_left_out() -> None:
    """Equal values, or one value for each class and back; chance agreement of a few rows is none."""
    y = np.array(["a", "b", "c"])[N % 3]
    assert kinds(found(y=y, copy=y, code=N % 3 + 10, coarse=np.where(N % 3, "r", "s"))) == {
        "x": "float",
        "coarse": "str",
    }
    amounts = N * 1.5
    assert kinds(examine(frame(y=amounts, copy=amounts, shifted=amounts * 2), target="y")) == {
        "x": "float",
        "shifted": "float",
    }
    few = frame(flag=np.where(N % 2, 1, 0), y=np.where(N % 2, "yes", "no"))
    assert kinds(examine(few, target="y")) == {"x": "float"}
    assert kinds(examine(few.head(12), target="y")) == {"x": "float", "flag": "float"}


def test_every_feature_may_be_missing_and_every_number_is_a_decimal() -> None:
    """A file is not refused for what the pipeline takes and the drift report tells."""
    findings = found(whole=N % 7, flag=N % 3 == 0, town=np.char.add("t", (N % 9).astype(str)))
    assert all(column.nullable for column in (*findings.numeric, *findings.categorical))
    assert {column.kind for column in findings.numeric} == {"float"}


def test_a_flag_of_a_text_file_is_a_category() -> None:
    """So that "unknown" beside true and false refuses no file; typed flags have no third value."""
    rows = frame(flag=N % 3 == 0)
    assert kinds(examine(rows, target="y", texts={"flag"}))["flag"] == "str"
    assert kinds(examine(rows, target="y"))["flag"] == "bool"


def test_rows_that_will_be_refused_are_counted() -> None:
    """Infinite values and text among numbers, in features and target; too many of them are said to be."""
    findings = found(a=np.where(N == 5, np.inf, N / 3), b=np.where(N % 10, N / 7, -np.inf))
    assert any("'a' is infinite or no number in 1 row," in note for note in findings.notes)
    assert any("raise max_rejected" in note for note in findings.notes)


def test_exact_repeats_share_a_key_and_count_once() -> None:
    """Only rows that disagree are a fault of the key."""
    rows = pd.concat([frame(id=N), frame(id=N).head(3)], ignore_index=True)
    assert any("3 rows repeat another row exactly" in note for note in examine(rows, target="y", keys=("id",)).notes)


def test_a_day_that_could_be_a_month_is_read_in_the_order_of_the_file() -> None:
    """Where both ways can be read, the one in which times rise is taken, and the doubt is told."""
    days = [f"{11 - month:02}/{month:02}/2020" for month in range(1, 11)]
    findings = examine(frame().head(10).assign(at=days), target="y", time="at")
    assert findings.time is not None
    assert findings.time.layout == "%d/%m/%Y"
    assert any("it could be %m/%d/%Y as well" in note for note in findings.notes)


TARGETS: dict[str, tuple[Any, str, str]] = {
    "two whole numbers": (N % 2, "classification", "int"),
    "two whole numbers, some missing": (np.where(N % 9, N % 2, np.nan), "classification", "float?"),
    "few whole numbers": (N % 15, "regression", "float"),
    "too many for the rows": (N % 20, "regression", "float"),
    "fractions": (N % 3 / 2, "regression", "float"),
    "flags": (N % 3 == 0, "classification", "bool"),
    "text": (np.where(N % 3, "a", "b"), "classification", "str"),
    "text, some missing": (np.where(N % 3, np.where(N % 2, "a", "b"), None), "classification", "str?"),
    "amounts with one bad text": (np.where(N == 5, "?", (N / 3).astype(str)), "regression", "float"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_the_task_follows_from_the_target(case: str) -> None:
    """Text, flags and two whole numbers are classes; the rest are amounts."""
    values, task, kind = TARGETS[case]
    target = found(y=values).target
    assert (target.task, target.column.kind + "?" * target.column.nullable) == (task, kind)
    assert sum(rows for _, rows in target.classes) in (0, target.rows)


@pytest.mark.parametrize(
    ("name", "values", "task"),
    [
        ("class", N % 7 + 1, "classification"),
        ("wine_type", N % 3, "classification"),
        ("label", N % 10, "classification"),
        ("quality", N % 7 + 3, "regression"),
        ("visits", N % 7, "regression"),
        ("claim_count", N % 2, "regression"),
        ("claimed", N % 2, "classification"),
        ("month", N % 12 + 1, "regression"),
    ],
)
def test_whole_numbers_are_classes_only_where_that_is_certain(name: str, values: Any, task: str) -> None:
    """Two values, or a name that says so; of any other the next file may hold one more, and a person is told."""
    findings = examine(frame(**{name: values}), target=name)
    assert findings.target.task == task
    assert any("is taken for numbers, not for classes" in note for note in findings.notes) == (task == "regression")


CELLS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("2020-01-01"))


@given(
    cells=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=20),
    task=st.sampled_from([None, "regression", "classification"]),
    time=st.sampled_from([None, "a"]),
)
def test_whatever_the_cells_there_is_a_model_or_one_clear_line(cells: list[Any], task: Any, time: str | None) -> None:
    """No mixture of values ends in anything but findings or an error for the person."""
    text = pd.DataFrame(cells, columns=["a", "b", "y"]).to_csv(index=False)
    try:
        rows = pd.read_csv(io.StringIO(text), low_memory=False)
        task_found = examine(rows, target="y", task=task, time=time).target.task
    except EvergreenError as error:
        task_found = "none" if "\n" in str(error) else "regression"
    except pd.errors.ParserError:
        return
    assert task_found in ("regression", "classification")
