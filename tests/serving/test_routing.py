"""A request is sent by its key alone: every server decides alike, and a larger step takes nobody away."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocols.call import Call
from serving.routing import KEY_BYTES, is_for_challenger, route_key

KEYS = st.binary(max_size=40)
PERCENTS = st.integers(0, 100)


@given(key=KEYS, percent=PERCENTS, larger=PERCENTS, number=st.integers(1, 10**6))
def test_a_larger_step_keeps_those_that_are_on_the_challenger(
    key: bytes, percent: int, larger: int, number: int
) -> None:
    """Whatever the key; and the same key meets the same version each time."""
    less, more = sorted((percent, larger))
    before, after = (is_for_challenger("toy", number, key, each) for each in (less, more))
    assert before == is_for_challenger("toy", number, key, less)
    assert after or not before


@given(key=KEYS, number=st.integers(1, 10**6))
def test_no_share_is_nobody_and_the_whole_is_everybody(key: bytes, number: int) -> None:
    """At both ends nothing is left to chance."""
    assert not is_for_challenger("toy", number, key, 0)
    assert is_for_challenger("toy", number, key, 100)


@pytest.mark.parametrize("percent", [5, 25, 50, 100])
def test_a_step_is_the_share_that_it_says(percent: int) -> None:
    """Of 100,000 keys, within five standard deviations of the binomial distribution."""
    keys, share = 100_000, percent / 100
    found = sum(is_for_challenger("toy", 7, str(number).encode(), percent) for number in range(keys))
    assert abs(found - keys * share) <= 5 * math.sqrt(keys * share * (1 - share))


def test_another_challenger_and_another_model_meet_others() -> None:
    """The half that met one is not the half that meets the next: of 10,000 keys about a quarter meet both."""
    keys = [str(number).encode() for number in range(10_000)]
    met = {key for key in keys if is_for_challenger("toy", 7, key, 50)}
    for model, number in (("toy", 8), ("other", 7)):
        both = sum(is_for_challenger(model, number, key, 50) for key in met)
        assert abs(both - 2_500) <= 5 * math.sqrt(10_000 * 0.25 * 0.75)


@given(rows=st.lists(st.dictionaries(st.sampled_from(["id", "x"]), st.integers(), min_size=1), min_size=1))
def test_the_header_counts_before_the_column_and_the_column_before_the_id(rows: list[dict[str, Any]]) -> None:
    """The first row says it for all of a request."""
    call = Call(rows)
    assert route_key({b"x-route-key": b"anna"}, "id", call, "r-1") == b"anna"
    assert route_key({}, "id", call, "r-1") == (str(rows[0]["id"]).encode() if "id" in rows[0] else b"r-1")
    assert route_key({}, None, call, "r-1") == b"r-1"


@pytest.mark.parametrize("value", [7, 7.0, "7"])
def test_one_value_is_one_key_in_every_protocol(value: object) -> None:
    """A number that JSON has as 7.0, and the text of a CSV file."""
    assert route_key({}, "id", Call([{"id": value}]), "r-1") == b"7"
    assert route_key({}, "id", Call(frame=pd.DataFrame({"id": [value, "other"]})), "r-1") == b"7"


@pytest.mark.parametrize("value", [None, float("nan"), ""])
def test_a_missing_key_names_nobody(value: object) -> None:
    """Else everybody without one would be on the same version."""
    assert route_key({}, "id", Call([{"id": value}]), "r-1") == b"r-1"
    assert route_key({}, "id", Call(frame=pd.DataFrame({"x": [1.0]})), "r-1") == b"r-1"


def test_a_key_is_bounded() -> None:
    """And what is no text at all is a key as well."""
    assert len(route_key({b"x-route-key": b"k" * 10_000}, None, Call([{"x": 1}]), "r-1")) == KEY_BYTES
    assert route_key({b"x-route-key": b"\xff\x00"}, None, Call([{"x": 1}]), "r-1") == b"\xff\x00"
    assert route_key({}, "id", Call([{"id": "\ud800"}]), "r-1") == b"?"
