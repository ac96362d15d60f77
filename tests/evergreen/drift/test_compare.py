"""The drift report's verdicts, and the wrong answers of Evidently alone that the guards are there for."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.data.sampling import sample
from evergreen.drift.compare import ColumnDrift, compare, report_verdict
from evergreen.drift.report import DriftReport
from evergreen.spec.monitoring import DriftThresholds
from evergreen.verdicts import Verdict

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
Frame = pd.DataFrame
Sides = tuple[Frame, Frame]


def normal(rows: int, *, seed: int, mean: float = 0.0) -> Any:
    return np.random.default_rng(seed).normal(mean, size=rows)


def frame(rows: int, *, seed: int, **columns: Any) -> Frame:
    """Two harmless columns, `v` and `w`; `columns` replace or add some."""
    return pd.DataFrame({"v": normal(rows, seed=seed), "w": normal(rows, seed=seed + 1000)} | columns)


def report(
    reference: Frame,
    current: Frame,
    *,
    numeric: tuple[str, ...] = ("v",),
    categorical: tuple[str, ...] = (),
    folder: Path | None = None,
    seed: int = 0,
    **policy: Any,
) -> DriftReport:
    return compare(
        reference,
        current,
        DriftThresholds(**policy),
        numeric=numeric,
        categorical=categorical,
        folder=folder,
        seed=seed,
    )


def column(found: DriftReport, name: str = "v") -> ColumnDrift:
    return next(column for column in found.columns if column.name == name)


def bare(reference: Frame, current: Frame) -> str:
    """What Evidently's preset says of `v` with inferred types: drift, no drift, the same with a warning of NumPy's,
    skipped or crash."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        from evidently import Dataset, Report
        from evidently.presets import DataDriftPreset

        warnings.simplefilter("always", RuntimeWarning)
        preset = DataDriftPreset(num_method="psi", cat_method="psi", num_threshold=0.25, cat_threshold=0.25)
        try:
            old, new = Dataset.from_pandas(reference), Dataset.from_pandas(current)
            found = Report([preset], include_tests=True).run(new, old).dict()
        except Exception:
            return "crash"
    status = {test["metric_config"]["params"].get("column"): test["status"].value for test in found["tests"]}
    calm = "no drift with a warning" if told else "no drift"
    return {"FAIL": "drift", "SUCCESS": calm, None: "skipped"}[status.get("v")]


def half_null() -> Sides:
    return frame(2000, seed=0), frame(1000, seed=1).assign(v=lambda f: f.v.where(f.index % 2 == 0))


def infinite() -> Sides:
    # With one null among them Evidently drops them all; without it they end the whole report.
    current = frame(1000, seed=1).assign(v=lambda f: f.v.where(f.index % 10 == 0, np.inf).where(f.index != 1))
    return frame(2000, seed=0), current


def hidden_shift() -> Sides:
    return frame(2000, seed=0), frame(1000, seed=1).assign(v=lambda f: (f.v + 5).where(f.index != 7, 1e9))


def absent() -> Sides:
    return frame(2000, seed=0), frame(1000, seed=1)[["w"]]


def new_identifiers() -> Sides:
    return (
        frame(2000, seed=0, v=[f"order {row:05}" for row in range(2000)]),
        frame(1000, seed=1, v=[f"order {row:05}" for row in range(5000, 6000)]),
    )


def all_null() -> Sides:
    return frame(2000, seed=0), frame(1000, seed=1, v=np.nan)


def one_row() -> Sides:
    return frame(2000, seed=0), frame(1, seed=1, v=[0.1])


def constant() -> Sides:
    return frame(2000, seed=0, v=1.0), frame(1000, seed=1, v=1.0)


def of_dtype(dtype: Any) -> Callable[[], Sides]:
    def sides() -> Sides:
        old = pd.Series(np.arange(2000) % 100)
        new = pd.Series(np.arange(1000) % 50 + 150)
        if dtype.startswith("boolean"):
            old, new = old.eq(0), new.ge(160)
        return frame(2000, seed=0, v=old.astype(dtype)), frame(1000, seed=1, v=new.astype(dtype))

    return sides


@pytest.mark.parametrize(
    ("sides", "kind", "wrong", "right"),
    [
        pytest.param(half_null, "numeric", "no drift", FAIL, id="half of the values null"),
        pytest.param(infinite, "numeric", "no drift with a warning", FAIL, id="nine in ten infinite"),
        pytest.param(hidden_shift, "numeric", "no drift", FAIL, id="five sigma behind one outlier"),
        pytest.param(absent, "numeric", "skipped", FAIL, id="column missing"),
        pytest.param(new_identifiers, "categorical", "no drift", FAIL, id="identifiers all new"),
        pytest.param(all_null, "numeric", "crash", FAIL, id="one column all null"),
        pytest.param(one_row, "numeric", "drift", INCONCLUSIVE, id="one row"),
        pytest.param(constant, "numeric", "no drift with a warning", PASS, id="constant"),
        *(
            pytest.param(of_dtype(dtype), "numeric", "skipped", FAIL, id=dtype)
            for dtype in ("uint8", "Int64", "Float64", "boolean", "double[pyarrow]")
        ),
    ],
)
def test_evidently_alone_is_wrong_where_the_report_is_right(
    sides: Callable[[], Sides], kind: str, wrong: str, right: Verdict
) -> None:
    """Each of these inputs misleads or stops Evidently's preset, and is answered here."""
    reference, current = sides()
    assert bare(reference, current) == wrong
    found = report(
        reference,
        current,
        numeric=("w", "v") if kind == "numeric" else ("w",),
        categorical=("v",) if kind == "categorical" else (),
    )
    if right is INCONCLUSIVE:
        assert (found.verdict, found.columns) == (INCONCLUSIVE, ())
    else:
        assert (column(found).verdict, column(found, "w").verdict) == (right, PASS)
        assert column(found).reason


def test_one_outlier_is_no_drift() -> None:
    """A single wild value in an otherwise unchanged column is left to the contract."""
    current = frame(168, seed=1).assign(v=lambda f: f.v.where(f.index != 7, 1e9))
    assert column(report(frame(1500, seed=0), current)).verdict is PASS


@pytest.mark.parametrize("rows", [1500, 20_000])
def test_a_week_without_a_shift_passes_and_a_shift_of_one_sigma_fails(rows: int) -> None:
    """168 rows raise no false alarm in forty columns, and one standard deviation is found in every one of them."""
    names = tuple(f"n{place}" for place in range(40))
    old = pd.DataFrame({name: normal(rows, seed=place) for place, name in enumerate(names)})
    new = pd.DataFrame({name: normal(168, seed=place + 500) for place, name in enumerate(names)})
    assert report(old, new, numeric=names).drifted == ()
    assert report(old, new + 1, numeric=names).drifted == names


def test_many_categories_raise_no_alarm_in_a_small_window() -> None:
    """Fifty categories in a hundred rows are mostly chance, and are cut to what chance leaves readable."""
    names = tuple(f"c{place}" for place in range(20))
    rng = np.random.default_rng(3)
    old, new = (pd.DataFrame({name: rng.integers(0, 50, rows) for name in names}) for rows in (5000, 100))
    assert report(old, new, numeric=(), categorical=names).drifted == ()


def test_what_chance_alone_can_reach_is_not_proven() -> None:
    """A score above the threshold in a tiny window is INCONCLUSIVE, unless it is too large for chance."""
    old = frame(1000, seed=0, v=np.arange(1000))
    near, far = (frame(12, seed=1, v=values) for values in ([*range(0, 1000, 125), 10, 20, 30, 40], np.full(12, 5.0)))
    found = column(report(old, near, min_rows=10, threshold=0.05))
    assert found.verdict is INCONCLUSIVE and "by chance" in found.reason
    assert column(report(old, far, min_rows=10, threshold=0.05)).verdict is FAIL


def test_ties_do_not_hide_a_shift() -> None:
    """A column of 95 % zeros notices that zeros have become negative, and stays quiet otherwise."""
    old = frame(2000, seed=0, v=np.where(np.arange(2000) % 20 == 0, 3.0, 0.0))
    assert column(report(old, old.sample(500, random_state=1))).verdict is PASS
    assert column(report(old, old.assign(v=old.v.where(old.v > 0, -1.0)))).verdict is FAIL


def test_a_rare_category_that_takes_over_is_drift() -> None:
    """Among a thousand categories one grows from nothing much to half of the rows."""
    old = frame(5000, seed=0, v=[f"c{row % 1000}" for row in range(5000)])
    new = frame(400, seed=1, v=[f"c{row * 7 % 1000}" if row % 2 else "c999" for row in range(400)])
    found = column(report(old, new, numeric=(), categorical=("v",)))
    assert (found.verdict, found.unseen) == (FAIL, 0.0)
    same = old.sample(400, random_state=2)
    assert column(report(old, same, numeric=(), categorical=("v",))).verdict is PASS


def test_text_in_a_numeric_column_fails_by_name() -> None:
    """A feed that sends words where numbers were is told without a traceback."""
    found = column(report(frame(500, seed=0), frame(200, seed=1, v=["n/a"] * 200)))
    assert (found.verdict, found.method, found.score) == (FAIL, "type", None)
    assert "something else than numbers" in found.reason
    assert column(report(frame(500, seed=0, v=["n/a"] * 500), frame(200, seed=1))).verdict is INCONCLUSIVE


def test_a_column_empty_on_both_sides_is_not_judged() -> None:
    """It neither drifts nor counts among the judged columns."""
    old, new = frame(500, seed=0, v=np.nan), frame(200, seed=1, v=np.nan)
    found = report(old, new, numeric=("v", "w"))
    assert (column(found).verdict, column(found).score, found.verdict) == (INCONCLUSIVE, None, PASS)


def test_values_where_the_reference_had_none_are_drift() -> None:
    """A sensor that comes alive is new to the model; a stray value or two are not."""
    old = frame(500, seed=0, v=np.nan)
    assert column(report(old, frame(200, seed=1))).verdict is FAIL
    stray = frame(200, seed=1).assign(v=lambda f: f.v.where(f.index < 2))
    assert column(report(old, stray)).verdict is INCONCLUSIVE


@pytest.mark.parametrize(("changed", "verdict"), [(0, PASS), (10, PASS), (11, FAIL)])
def test_a_constant_fails_once_too_many_values_differ(changed: int, verdict: Verdict) -> None:
    """With `unseen` at 5 %, 10 of 200 other values are accepted and 11 are not, in numbers as in text."""
    for value, other in ((1.0, 2.0), ("x", "y")):
        old, new = frame(500, seed=0, v=value), frame(200, seed=1, v=[other] * changed + [value] * (200 - changed))
        kind = {"numeric": ("v",)} if value == 1.0 else {"numeric": (), "categorical": ("v",)}
        found = column(report(old, new, **kind))
        assert found.verdict is verdict and found.score == pytest.approx(changed / 200)


def test_a_rise_of_missing_values_is_measured_against_the_reference() -> None:
    """What was half missing before may be half missing still; exactly the accepted rise passes."""
    old = frame(20_000, seed=0).assign(v=lambda f: f.v.where(f.index % 2 == 0))
    assert column(report(old, old.iloc[:400])).verdict is PASS
    rise = frame(20_000, seed=1).assign(v=lambda f: f.v.where(f.index >= 11_000))
    assert column(report(old, rise)).verdict is PASS
    assert column(report(old, rise.assign(v=rise.v.where(rise.index != 19_999)))).verdict is FAIL


def test_the_share_of_drifted_columns_decides() -> None:
    """The report fails at its share, not only above it, and columns that could not be judged do not count."""
    old, new = frame(500, seed=0, x=np.nan), frame(300, seed=1, x=np.nan).assign(v=lambda f: f.v + 3)
    found = report(old, new, numeric=("v", "w", "x"), share=0.5)
    assert (found.verdict, found.share, found.threshold, found.drifted) == (FAIL, 0.5, 0.5, ("v",))
    assert "1 of 2 columns drifted, 50%" in found.reason and "v" in found.reason
    assert report(old, new, numeric=("v", "w", "x"), share=0.51).verdict is PASS


@pytest.mark.parametrize(("old", "new", "names"), [(500, 0, "0 current rows"), (99, 500, "99 reference rows")])
def test_too_few_rows_prove_nothing(old: int, new: int, names: str, tmp_path: Path) -> None:
    """Either side below `min_rows` ends the comparison with the count, and no file is written."""
    found = report(frame(old, seed=0), frame(new, seed=1), folder=tmp_path / "none")
    assert (found.verdict, found.share, found.page) == (INCONCLUSIVE, 0.0, None)
    assert names in found.reason and not (tmp_path / "none").exists()


def test_evidently_is_not_imported_for_nothing() -> None:
    """A window that is too small, or without a column to score, costs no import."""
    code = (
        "import sys, pandas as pd\n"
        "from evergreen.drift.compare import compare\nfrom evergreen.spec import DriftThresholds\n"
        "few, null = pd.DataFrame({'v': [1.0]}), pd.DataFrame({'v': [None] * 200})\n"
        "for rows in (few, null):\n"
        "    compare(rows, rows, DriftThresholds(), numeric=['v'], categorical=[], folder=None)\n"
        "assert 'evidently' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_files_and_arguments(tmp_path: Path) -> None:
    """The page and its JSON lie in the folder, and neither frame nor index is changed."""
    old, new = frame(500, seed=0, c="x"), frame(200, seed=1, c="x").set_index(pd.RangeIndex(200) * 3)
    copies = old.copy(), new.copy()
    found = report(old, new, numeric=("v", "w"), categorical=("c",), folder=tmp_path)
    assert found.page == "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert {metric["config"]["column"] for metric in json.loads((tmp_path / "report.json").read_text())["metrics"]} == {
        "v",
        "w",
    }
    pd.testing.assert_frame_equal(old, copies[0])
    pd.testing.assert_frame_equal(new, copies[1])


def test_the_same_seed_gives_the_same_report() -> None:
    """Samples, scores and verdicts repeat; another seed takes other rows."""
    old, new = frame(30_000, seed=0), frame(25_000, seed=1)
    first, again, other = (report(old, new, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert column(first).score != column(other).score
    assert (first.reference_rows, first.current_rows) == (30_000, 25_000)


@given(rows=st.integers(0, 500), wanted=st.integers(1, 100), seed=st.integers(0, 2**32))
def test_a_sample_covers_time_evenly(rows: int, wanted: int, seed: int) -> None:
    """One row from each stretch, in order, or the frame itself where it is small enough."""
    whole = pd.DataFrame({"v": range(rows)})
    taken = sample(whole, wanted, seed=seed)
    if rows <= wanted:
        assert taken is whole
    else:
        assert [value * wanted // rows for value in taken["v"]] == pytest.approx(range(wanted), abs=1)
        assert taken["v"].is_monotonic_increasing and taken["v"].is_unique and len(taken) == wanted


NUMBERS = st.one_of(st.none(), st.floats(width=64), st.integers(-(2**40), 2**40), st.sampled_from([0.0, 1.0, np.inf]))
ANYTHING = st.one_of(NUMBERS, st.booleans(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
DTYPES = ("object", "float64", "Float64", "double[pyarrow]", "str", "category", "boolean", "Int64", "uint8")


@st.composite
def anything(draw: st.DrawFn) -> pd.Series:
    """A column of 8 to 40 values of any kind, as any dtype that takes them."""
    values = draw(st.lists(draw(st.sampled_from([NUMBERS, ANYTHING])), min_size=8, max_size=40))
    dtype: Any = draw(st.sampled_from(DTYPES))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            column: pd.Series = pd.Series(values, dtype="object").astype(dtype)
            return column
    except Exception:
        return pd.Series(values, dtype="object")


SKEWED = np.array([0.4, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05, 0.04, 0.03, 0.03])


def test_many_columns_in_small_windows_raise_no_alarm() -> None:
    """Forty columns, twelve windows of 100 rows without a shift: not one column drifts, though many scores are high."""
    rng = np.random.default_rng(12)
    names = tuple(f"c{place}" for place in range(40))

    def rows(count: int) -> Frame:
        return pd.DataFrame({name: rng.choice(list("abcdefghij"), count, p=SKEWED) for name in names})

    old = rows(5000)
    found = [report(old, rows(100), numeric=(), categorical=names, threshold=0.1) for _ in range(12)]
    assert [one.drifted for one in found] == [()] * 12
    doubted = sum("by chance" in column.reason for one in found for column in one.columns)
    assert doubted >= 10


@pytest.mark.parametrize("seed", range(5))
def test_one_sigma_is_found_in_a_hundred_rows(seed: int) -> None:
    """Allowing for chance does not blind a report on a few columns to a plain shift."""
    names = ("v", "w")
    assert report(frame(2000, seed=seed), frame(100, seed=seed + 50) + 1, numeric=names).drifted == names


@pytest.mark.parametrize(("rows", "verdict"), [(100, INCONCLUSIVE), (2000, FAIL)])
def test_a_rise_that_chance_may_bring_is_not_proven(rows: int, verdict: Verdict) -> None:
    """Eleven points more missing or unknown values are drift in 2,000 rows, and may be chance in 100."""
    old = frame(500, seed=0).assign(c="x", v=lambda f: f.v.where(f.index % 5 > 0))
    old = old.assign(c=old.c.where(old.index % 100 > 0, "y"))
    gone = frame(rows, seed=1).assign(v=lambda f: f.v.where(f.index % 100 >= 31))
    assert column(report(old, gone, numeric=("v", "w"))).verdict is verdict
    new = frame(rows, seed=1).assign(c=lambda f: np.where(f.index % 100 < 6, "new", "x"))
    found = column(report(old.head(120), new, categorical=("c",)), "c")
    assert found.verdict is verdict
    assert ("by chance" in found.reason) is (verdict is INCONCLUSIVE)


def test_values_that_are_mostly_new_each_time_are_told_from_rare_ones() -> None:
    """Of 2,000 categories some are always unknown to 5,000 rows, and that is no drift; of identifiers all are."""
    rng = np.random.default_rng(5)
    old, new = (frame(rows, seed=1, v=rng.integers(0, 2000, rows).astype(str)) for rows in (5000, 500))
    found = column(report(old, new, numeric=("w",), categorical=("v",)))
    assert found.unseen > 0.05 and found.verdict is INCONCLUSIVE
    assert column(report(*new_identifiers(), numeric=("w",), categorical=("v",))).verdict is FAIL


def test_a_rare_category_that_takes_over_a_small_window_is_drift() -> None:
    """A tenth of 200 rows is proven against 20,000 rows of a thousand categories."""
    rng = np.random.default_rng(7)
    old = frame(20_000, seed=0, v=rng.integers(0, 1000, 20_000).astype(str))
    values = np.where(np.arange(200) < 20, "999", rng.integers(0, 1000, 200).astype(str))
    found = column(report(old, frame(200, seed=1, v=values), numeric=(), categorical=("v",)))
    assert (found.verdict, found.unseen) == (FAIL, 0.0)


def one(name: str, verdict: Verdict) -> ColumnDrift:
    return ColumnDrift(name, "numeric", verdict, 0.1, "psi", 0.25, 0.0, 0.0, 0.0, "because")


SIX = tuple(one(name, FAIL if name in ("temp", "prediction") else PASS) for name in ("temp", *"abcd", "prediction"))
WEIGHTS = {"temp": 0.42, "a": 0.5, "b": 0.08, "c": 0.0, "d": 0.0, "prediction": 1.0}
HEAVY = DriftThresholds(weigh="importance")


def test_columns_count_by_importance() -> None:
    """Two of six columns are 71 % of the weight, and the reason says so; a column that matters little is let be."""
    found = report_verdict(SIX, HEAVY, (500, 500), WEIGHTS)
    assert found.verdict is FAIL and found.share == pytest.approx(0.71)
    assert found.reason == "2 of 6 columns drifted, 71% of the weight; the report fails at 30%: temp, prediction."
    assert [column.weight for column in found.columns] == pytest.approx([0.21, 0.25, 0.04, 0, 0, 0.5])
    idle = tuple(one(name, FAIL if name in "bcd" else PASS) for name in WEIGHTS)
    assert report_verdict(idle, HEAVY, (500, 500), WEIGHTS).verdict is PASS
    assert report_verdict(idle, DriftThresholds(), (500, 500), WEIGHTS).share == 0.5


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        pytest.param(None, "stored without importances", id="an older version"),
        pytest.param({}, "none of them matters", id="nothing matters"),
        pytest.param({"gone": 1.0}, "none of them matters", id="only what is not watched matters"),
    ],
)
def test_without_weights_columns_count_alike_and_that_is_said(weights: dict[str, float] | None, why: str) -> None:
    """The share is that of the columns, and the reason tells why it is not the weight's."""
    found = report_verdict(SIX, HEAVY, (500, 500), weights)
    assert found.verdict is FAIL and found.share == pytest.approx(1 / 3)
    assert "33%; the report fails at 30%: temp, prediction; columns count alike" in found.reason
    assert why in found.reason


def test_where_nothing_that_matters_could_be_judged_the_others_count_alike() -> None:
    """An importance of nought is no reason to divide by it."""
    columns = (one("a", INCONCLUSIVE), one("c", FAIL), one("d", PASS))
    found = report_verdict(columns, HEAVY, (500, 500), WEIGHTS)
    assert (found.verdict, found.share) == (FAIL, 0.5) and "no column that could be judged matters" in found.reason


@given(
    verdicts=st.lists(st.sampled_from([PASS, FAIL, INCONCLUSIVE]), min_size=1, max_size=8),
    weights=st.lists(st.floats(0, 1e9), min_size=8, max_size=8),
    share=st.floats(1e-6, 1),
)
def test_a_share_is_one_whatever_the_weights(verdicts: list[Verdict], weights: list[float], share: float) -> None:
    """It lies between 0 and 1, is 0 without drift and 1 where all drifted, and the weights add up to 1."""
    columns = tuple(one(str(place), verdict) for place, verdict in enumerate(verdicts))
    policy = DriftThresholds(weigh="importance", share=share)
    found = report_verdict(columns, policy, (500, 500), dict(zip("01234567", weights, strict=True)))
    judged = {verdict for verdict in verdicts if verdict is not INCONCLUSIVE}
    assert math.fsum(column.weight for column in found.columns) == pytest.approx(1)
    assert 0 <= found.share <= 1 + 1e-9
    assert not judged or (judged == {FAIL}) <= (found.share == pytest.approx(1))
    assert (FAIL in judged) or found.verdict is not FAIL


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(old=anything(), new=anything(), seed=st.integers(0, 100))
def test_no_column_of_any_kind_stops_the_report(old: pd.Series, new: pd.Series, seed: int) -> None:
    """Whatever the values and dtypes, there is a verdict; and rows in another order are never drift."""
    reference, current = pd.DataFrame({"v": old, "c": old}), pd.DataFrame({"v": new, "c": new})
    assert report(reference, current, categorical=("c",), min_rows=2).columns
    shuffled = reference.sample(frac=1.0, random_state=seed)
    found = report(reference, shuffled, categorical=("c",), min_rows=2)
    assert found.drifted == ()
    assert all((column.score or 0.0) == pytest.approx(0.0, abs=1e-6) for column in found.columns)
