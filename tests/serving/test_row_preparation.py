"""A model file's `prepare_row` answers once it is seen to do what `prepare` does, and never where it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.spec import Serve
from serving import row_preparation
from serving.app import App
from serving.row_preparation import AGREED_ROWS
from tests.serving.conftest import ask_once

PREDICT = "/models/toy/predict"
Make = Callable[..., Any]
Row = dict[str, Any]


def _prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Centimetres to metres, a letter to lower case, seconds since the epoch to a time."""
    return pd.DataFrame(
        {
            "id": frame["number"],
            "at": pd.to_datetime(frame["seconds"], unit="s", utc=True),
            "x": frame["cm"] / 100,
            "kind": frame["letter"].str.lower(),
            "note": frame["letter"],
        }
    )


def _prepare_row(row: Row) -> Row:
    at = pd.Timestamp(row["seconds"], unit="s", tz="UTC").to_pydatetime()
    note = row["letter"]
    return {"id": row["number"], "at": at, "x": row["cm"] / 100, "kind": note.lower(), "note": note}


def _arriving(number: int) -> Row:
    return {"number": number, "seconds": 1_735_689_600 + number, "cm": 3.5 * number, "letter": "AB"[number % 2]}


@pytest.fixture
def make(make_app: Make, make_version: Make) -> Callable[..., App]:
    """An application whose model has a `prepare_row`."""

    def build(prepare_row: Callable[[Row], Mapping[str, Any]] = _prepare_row, **changes: Any) -> App:
        fields = {"prepare": _prepare, "serve": Serve(prepare_row=prepare_row)} | changes
        return make_app(make_version(**fields))  # type: ignore[no-any-return]

    return build


def _why(app: App) -> str:
    return str(ask_once(app, "/v2/models/toy", method="GET").json["parameters"]["slow_because"])


def test_it_answers_after_rows_on_which_both_agreed(make: Callable[..., App], frames: list[int]) -> None:
    """The same predictions before and after, without a frame after."""
    app = make()
    for number in range(AGREED_ROWS):
        assert f"{number} of {AGREED_ROWS}" in _why(app)
        assert ask_once(app, PREDICT, _arriving(number)).status == 200
    assert (_why(app), len(frames)) == ("", AGREED_ROWS)
    before = ask_once(make(), PREDICT, _arriving(77)).json["prediction"]
    frames.clear()
    assert ask_once(app, PREDICT, _arriving(77)).json["prediction"] == pytest.approx(before, rel=1e-12)
    assert ask_once(app, PREDICT, [_arriving(5), _arriving(6)]).status == 200
    assert not frames


def test_one_row_again_and_again_proves_nothing(make: Callable[..., App]) -> None:
    """Only different rows count."""
    app = make()
    for _ in range(AGREED_ROWS + 5):
        ask_once(app, PREDICT, _arriving(3))
    assert f"1 of {AGREED_ROWS}" in _why(app)


def test_what_it_answers_is_kept_as_what_a_frame_answers(make: Callable[..., App]) -> None:
    """The features as the pipeline got them, the key and the time, so that a label finds the row."""
    app = make()
    ask_once(app, PREDICT, [_arriving(number) for number in range(AGREED_ROWS)])
    ask_once(app, PREDICT, _arriving(40))
    as_frame = make()
    ask_once(as_frame, PREDICT, _arriving(40))
    app.parts.queue.write()
    as_frame.parts.queue.write()
    spec = app.parts.follower.models["toy"].current.spec  # type: ignore[union-attr]
    requests = RequestLog(app.parts.queue.lake, spec).table.read(("features", "at", "key"))
    both = requests[requests["at"] == pd.Timestamp(1_735_689_640, unit="s", tz="UTC")]
    assert both["features"].tolist() == ['{"x":1.4,"kind":"a"}'] * 2
    assert (both["key"].notna().all(), both["key"].nunique()) == (True, 1)
    ids = PredictionLog(app.parts.queue.lake, spec).table.read(("id",))["id"].tolist()
    assert ids.count("40") == 2


def _planted(**wrong: Callable[[Row], Any]) -> Callable[[Row], Row]:
    """`prepare_row` with values of its own from row 20 on."""

    def prepare_row(row: Row) -> Row:
        made = _prepare_row(row)
        return made if row["number"] < 20 else made | {name: make_it(row) for name, make_it in wrong.items()}

    return prepare_row


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"x": lambda row: row["cm"] / 100 * (1 + 1e-15)}, "gives x another value"),
        ({"kind": lambda row: row["letter"]}, "gives kind another value"),
        ({"id": lambda row: row["number"] + 1}, "gives the key another value"),
        ({"at": lambda _row: "2025-01-01T00:00:00+01:00"}, "gives the time another value"),
    ],
    ids=["a number", "a category", "a key", "the time"],
)
def test_a_difference_keeps_it_from_answering(
    make: Callable[..., App], frames: list[int], wrong: dict[str, Callable[[Row], Any]], why: str
) -> None:
    """However many rows agreed before or after; and the reason shows no value."""
    app = make(_planted(**wrong))
    for number in range(AGREED_ROWS + 10):
        assert ask_once(app, PREDICT, _arriving(number)).status == 200
    assert why in _why(app)
    assert len(frames) == AGREED_ROWS + 10


def test_a_time_without_offset_is_one_of_the_models_zone(make: Callable[..., App]) -> None:
    """As in `prepare`; an hour that there is twice is left to the frames."""
    zone = "America/New_York"

    def prepare(frame: pd.DataFrame) -> pd.DataFrame:
        return _prepare(frame).assign(at=pd.to_datetime(frame["seconds"], unit="s"))

    def prepare_row(row: Row) -> Row:
        return _prepare_row(row) | {"at": datetime.fromtimestamp(row["seconds"], UTC).replace(tzinfo=None)}

    app = make(prepare_row, prepare=prepare, timezone=zone)
    ask_once(app, PREDICT, [_arriving(number) for number in range(AGREED_ROWS - 1)])
    # 2025-11-02 01:30 in New York.
    assert ask_once(app, PREDICT, _arriving(50) | {"seconds": 1_762_047_000}).status == 200
    assert f"{AGREED_ROWS - 1} of {AGREED_ROWS}" in _why(app)
    ask_once(app, PREDICT, _arriving(60))
    assert _why(app) == ""


def test_a_difference_that_comes_later_is_found(make: Callable[..., App], monkeypatch: pytest.MonkeyPatch) -> None:
    """One request of so many is answered as a frame as well, for as long as the version serves."""
    monkeypatch.setattr(row_preparation, "EVERY", 10)
    app = make(lambda row: _prepare_row(row) | ({"x": 0.0} if row["number"] > 100 else {}))
    ask_once(app, PREDICT, [_arriving(number) for number in range(AGREED_ROWS)])
    for number in range(101, 112):
        ask_once(app, PREDICT, _arriving(number))
    assert "gives x another value" in _why(app)


def test_a_row_that_frames_refuse_is_a_difference(make: Callable[..., App]) -> None:
    """`prepare` has no such column, and `prepare_row` does without it."""
    app = make(lambda row: _prepare_row({"letter": "A", **row}))
    row = _arriving(1)
    del row["letter"]
    assert ask_once(app, PREDICT, row).status == 422
    assert "makes a good row of one" in _why(app)


def test_what_it_cannot_do_is_answered_as_a_frame(make: Callable[..., App]) -> None:
    """A failure of it is no failure of the request; the reason has its kind and not its message."""

    def fails(row: Row) -> Row:
        raise ValueError(f"secret {row['number']}")

    app = make(fails)
    assert ask_once(app, PREDICT, _arriving(1)).status == 200
    assert "failed with ValueError" in _why(app)
    assert "secret" not in _why(app)
    naive = make(lambda row: _prepare_row(row) | {"at": "2025-01-01 00:00:00"})
    assert ask_once(naive, PREDICT, _arriving(1)).status == 200
    assert "a time with its offset" in _why(naive)


def test_a_comparison_that_fails_fails_no_request(make: Callable[..., App], monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps `prepare_row` from answering."""

    def fail(*_arguments: Any) -> None:
        raise TypeError("secret 1")

    monkeypatch.setattr(row_preparation, "identities_of_rows", fail)
    app = make()
    assert ask_once(app, PREDICT, [_arriving(number) for number in range(80)]).status == 200
    assert "cannot be compared with prepare() (TypeError)" in _why(app)


def test_a_row_that_is_prepared_already_needs_none() -> None:
    """Said where the model file is written."""
    with pytest.raises(ValidationError, match="nothing is prepared"):
        Serve(rows="contract", prepare_row=_prepare_row)
