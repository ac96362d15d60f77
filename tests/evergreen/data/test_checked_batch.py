from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.data.checked_batch import IN_FUTURE, CheckedBatch, check_batch
from evergreen.data.contract import arrow_schema, schema_of
from evergreen.errors import ModelFileError
from evergreen.spec.data import Features
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# The fixtures build specs and keep no state.
BUILDERS = [HealthCheck.function_scoped_fixture]
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


def checked(spec: ModelSpec, frame: pd.DataFrame) -> CheckedBatch:
    return check_batch(frame, spec, schema_of(spec), now=NOW)


def of(kind: Any, **options: Any) -> Callable[[], Any]:
    """A contract with one more column, `v`."""

    def contract() -> Any:
        return pa.DataFrameSchema(
            {
                "id": pa.Column(int),
                "at": pa.Column("datetime64[us, UTC]"),
                "x": pa.Column(float, nullable=True),
                "kind": pa.Column(str, nullable=True),
                "y": pa.Column(float, nullable=True),
                "v": pa.Column(kind, **options),
            }
        )

    return contract


def reasons(result: CheckedBatch) -> dict[int, str]:
    return dict(result.rejected.items())


def test_a_good_batch_is_left_alone(make_spec: Make, make_rows: Rows) -> None:
    """Every row passes, columns that the contract does not know are left out, and the argument is not changed."""
    frame = make_rows(10).assign(extra="?")
    before = frame.copy()
    result = checked(make_spec(), frame)
    assert (len(result.rows), len(result.rejected), result.problem, result.repeated) == (10, 0, "", 0)
    assert set(result.rows) == {"id", "at", "x", "kind", "y"}
    pd.testing.assert_frame_equal(frame, before)


def test_a_missing_column_refuses_the_batch(make_spec: Make, make_rows: Rows) -> None:
    """A batch without a column is refused whole, and the column is named."""
    assert checked(make_spec(), make_rows(5).drop(columns="x")).problem == "column 'x' is missing"


def test_an_optional_column_may_be_missing(make_spec: Make, make_rows: Rows) -> None:
    """A column with required=False is null where a batch does not have it."""
    spec = make_spec(contract=of(float, required=False))
    result = checked(spec, make_rows(5))
    assert (result.problem, len(result.rows)) == ("", 5)
    assert result.rows["v"].isna().all()
    assert checked(spec, make_rows(5).assign(v=1.5)).rows["v"].tolist() == [1.5] * 5


def test_text_among_numbers(make_spec: Make, make_rows: Rows) -> None:
    """A few cells of text refuse their rows; a column of it refuses the batch, and the first row is named."""
    few = make_rows(40).astype({"x": "object"})
    few.loc[7, "x"] = "warm"
    result = checked(make_spec(), few)
    assert reasons(result) == {7: "x: not a number"}
    assert (len(result.rows), result.problem) == (39, "")
    whole = checked(make_spec(), make_rows(40).assign(x="warm"))
    assert whole.problem.startswith("40 of 40 rows break the contract (100.0%, at most 5.0%): x: not a number")
    assert whole.problem.endswith("first in row 1)")


@pytest.mark.parametrize(
    ("value", "reason"), [(np.inf, "x: infinite"), (-np.inf, "x: infinite"), (101.0, "x: in_range(")]
)
def test_impossible_numbers(make_spec: Make, make_rows: Rows, value: float, reason: str) -> None:
    """Infinite values and those out of range refuse their row; NaN is a missing value, which may be allowed."""
    frame = make_rows(40)
    frame.loc[3, "x"] = value
    frame.loc[4, "x"] = np.nan
    result = checked(make_spec(), frame)
    assert list(reasons(result)) == [3]
    assert reasons(result)[3].startswith(reason)


@pytest.mark.parametrize(
    ("kind", "options", "values", "wanted"),
    [
        (int, {}, [1.0, 2.0, 3.0], [1, 2, 3]),
        (int, {}, ["1", " 2", "3"], [1, 2, 3]),
        (int, {"nullable": True}, [1.0, np.nan, 3.0], [1, None, 3]),
        (int, {"nullable": True}, pd.array([1, None, 3], dtype="Int8"), [1, None, 3]),
        (int, {}, [True, False, True], [1, 0, 1]),
        (int, {}, [1.5, 2.0, 3.0], ["v: not a whole number", 2, 3]),
        (int, {}, [1.0, np.nan, 3.0], [1, "v: not_nullable", 3]),
        (int, {}, [1e19, 2.0, np.inf], ["v: too large", 2, "v: infinite"]),
        (int, {}, np.array([1, 2**63, 3], dtype="uint64"), [1, "v: too large", 3]),
        (float, {}, ["1", "2e1", "x"], [1.0, 20.0, "v: not a number"]),
        (float, {}, pd.to_datetime(["2025-01-01"] * 3), ["v: not a number"] * 3),
        (bool, {}, [True, False, True], [True, False, True]),
        (bool, {}, ["true", "FALSE", "maybe"], [True, False, "v: neither true nor false"]),
        (bool, {}, [1.0, 0.0, None], [True, False, "v: not_nullable"]),
        ("boolean", {"nullable": True}, [1, 0, None], [True, False, None]),
        (str, {}, [1, 2, 3], ["1", "2", "3"]),
        (str, {}, [1.0, None, 3.0], ["1", "v: not_nullable", "3"]),
        (str, {"unique": True}, ["a", "b", "b"], ["a", "v: field_uniqueness", "v: field_uniqueness"]),
    ],
)
def test_types_are_made_plain(
    make_spec: Make, make_rows: Rows, kind: Any, options: dict[str, Any], values: Any, wanted: list[Any]
) -> None:
    """A value that means the same in another type is taken, any other refuses its row, and nothing is guessed."""
    spec = make_spec(contract=of(kind, **options), max_rejected=1.0)
    result = checked(spec, make_rows(3).assign(v=values))
    assert result.problem == ""
    found = reasons(result) | {at: None if pd.isna(value) else value for at, value in result.rows["v"].items()}
    assert [found[at] for at in range(3)] == wanted


def test_a_contract_cannot_drop_rows_unseen(make_spec: Make, make_rows: Rows) -> None:
    """Rows that pandera would drop silently are refused with a reason like any other."""

    def contract() -> Any:
        schema = make_spec().contract()
        schema.drop_invalid_rows = True
        return schema

    frame = make_rows(40)
    frame.loc[3, "x"] = 1000.0
    assert list(reasons(checked(make_spec(contract=contract), frame))) == [3]


def test_a_missing_key_or_time(make_spec: Make, make_rows: Rows) -> None:
    """A row without its key or time is refused, and so is one from the future."""
    frame = make_rows(80).astype({"id": "Int64"})
    frame.loc[0, "id"] = pd.NA
    frame.loc[1, "at"] = pd.NaT
    frame.loc[2, "at"] = pd.Timestamp(NOW + timedelta(days=2)).tz_localize(None)
    frame.loc[3, "at"] = pd.Timestamp(NOW + timedelta(hours=2)).tz_localize(None)
    assert reasons(checked(make_spec(), frame)) == {0: "id: a key is missing", 1: "at: no time", 2: f"at: {IN_FUTURE}"}


def test_rows_with_one_key(make_spec: Make, make_rows: Rows) -> None:
    """Identical rows are one; of rows that disagree the last stands and the others are refused."""
    rows = make_rows(60)
    twice = rows.iloc[[5]]
    other = rows.iloc[[6]].assign(y=99.0)
    result = checked(make_spec(), pd.concat([rows, twice, other]))
    assert result.repeated == 1
    assert reasons(result) == {6: "another row of this batch has the same key"}
    assert len(result.rows) == 60
    assert result.rows.set_index("id").loc[6, "y"] == 99.0


@settings(max_examples=40, suppress_health_check=BUILDERS)
@given(data=st.data())
def test_no_row_is_lost_in_the_contract(make_spec: Make, data: st.DataObject) -> None:
    """Accepted, rejected and repeated rows add up to those given; a key is accepted at most once, with its last row."""
    size = data.draw(st.integers(1, 25))
    column = lambda values: data.draw(st.lists(values, min_size=size, max_size=size))  # noqa: E731
    frame = pd.DataFrame(
        {
            "id": pd.Series(column(st.sampled_from([1, 2, 3, None, "x", 2.5])), dtype="object"),
            "at": pd.Series(column(st.sampled_from(["2025-01-01", "2025-01-01T03+02:00", "late", None])), dtype="str"),
            "x": pd.Series(column(st.sampled_from([0.0, 1.0, np.inf, np.nan, 1e6, "?"])), dtype="object"),
            "kind": "a",
            "y": 1.0,
        }
    )
    result = checked(make_spec(max_rejected=1.0), frame)
    assert result.problem == ""
    assert len(result.rows) + len(result.rejected) + result.repeated == size
    assert result.rows["id"].is_unique
    assert not set(result.rows.index) & set(result.rejected.index)
    assert (result.rejected != "").all()


# Times


def instants(result: CheckedBatch) -> list[str]:
    return [time.isoformat() for time in result.rows["at"]]


def test_mixed_offsets_meet_in_utc(make_spec: Make, make_rows: Rows) -> None:
    """Offsets that are given count, those without one are in the model's zone, also side by side in one column."""
    times = ["2025-07-01T12:00:00Z", "2025-07-01T12:00:00+02:00", "2025-07-01T12:00:00-05", "2025-07-01 12:00:00"]
    result = checked(make_spec(timezone="Europe/Paris"), make_rows(4).assign(at=times))
    assert [time[11:13] for time in instants(result)] == ["12", "10", "17", "10"]


def test_a_repeated_clock_hour(make_spec: Make, make_rows: Rows) -> None:
    """An hour that the clock shows twice is daylight time first and standard time then."""
    times = ["2025-10-26 01:00", "2025-10-26 02:00", "2025-10-26 02:00", "2025-10-26 03:00"]
    result = checked(make_spec(timezone="Europe/Paris"), make_rows(4).assign(at=times))
    assert [time[11:13] for time in instants(result)] == ["23", "00", "01", "02"]


def test_a_skipped_clock_hour(make_spec: Make, make_rows: Rows) -> None:
    """A clock time that the zone does not have refuses its row."""
    times = ["2025-03-30 01:30", "2025-03-30 02:30", "2025-03-30 03:30"]
    result = checked(make_spec(timezone="Europe/Paris", max_rejected=0.5), make_rows(3).assign(at=times))
    assert reasons(result) == {1: "at: Europe/Paris skips this clock time"}


@pytest.mark.parametrize("times", [pd.date_range("2025-01-01", periods=3), ["2025-01-01", "2025-01-01T00:00Z", None]])
def test_times_without_offset_need_a_zone(make_spec: Make, make_rows: Rows, times: Any) -> None:
    """Without a zone in the model file such times are an error that names the field."""
    with pytest.raises(ModelFileError, match=r"models/toy.py: timezone: the times in column 'at' carry no offset"):
        checked(make_spec(timezone=None), make_rows(3).assign(at=times))


@pytest.mark.parametrize(
    "dtype",
    [
        *("datetime64[ns, Europe/Paris]", "datetime64[s, UTC]"),
        *("timestamp[ns, tz=Europe/Paris][pyarrow]", "timestamp[us, tz=UTC][pyarrow]"),
    ],
)
def test_typed_times_are_the_same_instants_in_any_type(make_spec: Make, make_rows: Rows, dtype: str) -> None:
    """Times that come with a zone are the same microseconds in UTC, whether pandas or Arrow holds them."""
    frame = make_rows(4)
    instants = frame["at"].dt.tz_localize("UTC")
    result = checked(make_spec(timezone=None), frame.assign(at=instants.astype(dtype)))
    assert result.rows["at"].dtype == "datetime64[us, UTC]"
    assert result.rows["at"].tolist() == instants.tolist()


def test_times_that_are_none_need_no_zone(make_spec: Make, make_rows: Rows) -> None:
    """A column of junk is refused for what it is, not for a zone."""
    assert "at: not a time" in checked(make_spec(timezone=None), make_rows(3).assign(at="soon")).problem


@settings(max_examples=60, suppress_health_check=BUILDERS)
@given(
    times=st.lists(
        st.datetimes(datetime(1990, 1, 1), datetime(2025, 12, 31), timezones=st.timezones()), min_size=1, max_size=8
    ),
    typed=st.booleans(),
)
def test_an_instant_is_itself_whatever_its_zone(make_spec: Make, times: list[datetime], typed: bool) -> None:
    """Times with an offset come out as the same instants in UTC, to the millisecond."""
    # Offsets with seconds, from before the zones were tidied, are in no ISO text that pandas reads.
    times = [time for time in times if not (time.utcoffset() or timedelta()).total_seconds() % 60]
    frame = pd.DataFrame(
        {"id": range(len(times)), "at": [time.astimezone(UTC) if typed else time.isoformat() for time in times]}
    ).assign(x=1.0, kind="a", y=1.0)
    result = checked(make_spec(timezone=None, max_rejected=1.0), frame)
    wanted = [time.astimezone(UTC).replace(microsecond=time.microsecond // 1000 * 1000) for time in times]
    assert result.rows["at"].tolist() == wanted
    assert str(arrow_schema(make_spec()).field("at").type) == "timestamp[us, tz=UTC]"


@settings(max_examples=60, suppress_health_check=BUILDERS)
@given(
    zone=st.sampled_from(["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    clock=st.datetimes(datetime(1990, 1, 1), datetime(2025, 12, 31)),
)
def test_a_clock_time_is_in_its_zone(make_spec: Make, zone: str, clock: datetime) -> None:
    """A clock time that is accepted shows that time on a clock of the zone; any other says that the zone skips it."""
    clock = clock.replace(microsecond=0)
    frame = pd.DataFrame({"id": [1], "at": [clock.isoformat()], "x": 1.0, "kind": "a", "y": 1.0})
    result = checked(make_spec(timezone=zone, max_rejected=1.0), frame)
    if len(result.rows):
        assert result.rows["at"].dt.tz_convert(zone).dt.tz_localize(None).tolist() == [clock]
    else:
        assert reasons(result) == {0: f"at: {zone} skips this clock time"}


# prepare()


def test_prepare_may_leave_rows_out(make_spec: Make, make_rows: Rows) -> None:
    """What is refused is named by its place in the batch as it came, whatever prepare left out before."""
    spec = make_spec(prepare=lambda frame: frame[frame["id"] >= 5])
    frame = make_rows(60)
    frame.loc[9, "x"] = np.inf
    result = checked(spec, frame)
    assert reasons(result) == {9: "x: infinite"}
    assert result.rows.index[0] == 5


def test_prepare_may_cut_the_tail(make_spec: Make, make_rows: Rows) -> None:
    """Rows that keep their numbers are not taken for renumbered ones."""
    assert len(checked(make_spec(prepare=lambda frame: frame.head(10)), make_rows(20)).rows) == 10


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda frame: frame[frame["id"] > 5].reset_index(drop=True), "renumbered"),
        (lambda frame: frame.set_axis(frame.index + 100), "renumbered"),
        (lambda frame: pd.concat([frame, frame]), "repeated rows"),
        (lambda frame: pd.concat([frame, frame], ignore_index=True), "repeated rows"),
        (lambda frame: frame["gone"], "column 'gone' is missing"),
        (lambda frame: frame.assign(z={}["id"]), "prepare() failed: tests/evergreen/data/test_checked_batch.py, line"),
        (lambda frame: 1 / 0, "in a lambda: ZeroDivisionError: division by zero"),
        (lambda frame: None, "prepare() returned a NoneType"),
    ],
)
def test_a_prepare_that_cannot_be_trusted(make_spec: Make, make_rows: Rows, prepare: Any, problem: str) -> None:
    """What prepare does wrong refuses the batch, with what it was."""
    assert problem in checked(make_spec(prepare=prepare), make_rows(20)).problem


def test_prepare_cannot_change_what_came(make_spec: Make, make_rows: Rows) -> None:
    """A prepare that writes into its argument does not reach the batch."""

    def prepare(frame: pd.DataFrame) -> pd.DataFrame:
        frame["x"] = 0.0
        return frame

    frame = make_rows(5)
    before = frame.copy()
    assert checked(make_spec(prepare=prepare), frame).rows["x"].eq(0).all()
    pd.testing.assert_frame_equal(frame, before)


# The model file's own mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contract": lambda: 1 / 0}, r"test_checked_batch.py, line \d+, in a lambda: ZeroDivisionError"),
        ({"contract": lambda: None}, "contract: it returns a NoneType"),
        ({"slices": ("kinds",)}, r"slices: contract\(\) has no column 'kinds'; did you mean 'kind'\?"),
        ({"features": Features(numeric=("kind",))}, "contract: 'kind' is a numeric feature"),
        ({"time": "x"}, "contract: the time column 'x' has another type"),
        ({"contract": lambda: of(int)().add_columns({"X": pa.Column(float)})}, "'X' and 'x' differ in case only"),
        ({"contract": lambda: pa.DataFrameSchema({"_row": pa.Column(int)}).add_columns(of(int)().columns)}, "'_row'"),
    ],
)
def test_a_mistake_in_the_contract(make_spec: Make, changes: dict[str, Any], message: str) -> None:
    """A contract that cannot be used is one line that names the file and the field."""
    with pytest.raises(ModelFileError, match=message) as caught:
        schema_of(make_spec(**changes))
    assert caught.value.what.startswith(("models/toy.py: ", "tests/evergreen/data/test_checked_batch.py, line "))
