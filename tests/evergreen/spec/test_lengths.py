"""Lengths follow the order of the rows: durations with a time, numbers of rows in the order of landing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from evergreen.spec.fields import Rows, distance
from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds
from evergreen.spec.training import Holdout, Training

DAY = timedelta(days=1)
WATCHED = PerformanceThresholds(window=Rows(50))
MakeSpec = Callable[..., ModelSpec]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": "rows"}, r"order: rows have the order of time='at'; leave one of both out"),
        ({"time": None, "order": "landed"}, "order"),
        ({"training": Training(last=Rows(9))}, r"training\.last: it is Rows\(9\), and rows have a time, 'at': write"),
        ({"performance": WATCHED}, r"performance\.window: it is Rows\(50\), and rows have a time"),
        ({"time": None, "performance": WATCHED}, r"performance\.window: it is Rows\(50\), and rows have no order; set"),
        (
            {"time": None, "drift": DriftThresholds(last=Rows(9))},
            r"drift\.last: it is Rows\(9\), and rows have no order",
        ),
        ({"time": None, "lateness": DAY}, "lateness: it counts in time"),
        ({"time": None, "gates": Gates(persistence="tell")}, r"gates\.persistence: it goes by the order of rows"),
    ],
)
def test_a_length_of_the_other_kind(make_spec: MakeSpec, changes: dict[str, Any], words: str) -> None:
    """Each is refused with the field, what is wrong with it, and what to write."""
    with pytest.raises(ValidationError, match=words):
        make_spec(**changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"performance": PerformanceThresholds()}, "performance.window"),
        ({"performance": PerformanceThresholds(window=Rows(50), last=DAY)}, "performance.last"),
        ({"holdout": Holdout(strategy="blocked")}, "holdout.block"),
        ({"holdout": Holdout(strategy="blocked", block=Rows(9), recent=DAY)}, "holdout.recent"),
        ({"holdout": Holdout(gap=DAY)}, "holdout.gap"),
        ({"training": Training(last=DAY)}, "training.last"),
        ({"training": Training(half_life=DAY)}, "training.half_life"),
        ({"drift": DriftThresholds(last=DAY)}, "drift.last"),
    ],
)
def test_a_duration_without_a_time(make_spec: MakeSpec, changes: dict[str, Any], field: str) -> None:
    """Every duration that would count rows is refused, the default window too: a week says nothing of rows."""
    with pytest.raises(ValidationError, match=rf"{field}: it is a duration, and with order='rows' .* Rows\(500\)"):
        make_spec(**{"time": None, "order": "rows", "performance": WATCHED} | changes)


def test_a_model_in_the_order_of_landing(make_spec: MakeSpec) -> None:
    """Every length is a number of rows; a duration that no rule uses does not matter, such as a block of `latest`."""
    spec = make_spec(
        time=None,
        order="rows",
        holdout=Holdout(strategy="blocked", block=Rows(20), recent=Rows(500), gap=Rows(5)),
        training=Training(last=Rows(1000), half_life=Rows(300)),
        drift=DriftThresholds(last=Rows(200)),
        performance=PerformanceThresholds(window=Rows(50), last=Rows(200)),
        gates=Gates(persistence="beat"),
    )
    assert spec.training.last == Rows(1000)
    assert make_spec(time=None, order="rows", performance=WATCHED).holdout.block == DAY


def test_a_number_of_rows() -> None:
    """It is multiplied and compared, written as in a model file, and told in words; it survives a process and JSON."""
    assert (3 * Rows(4), Rows(4) * 3, Rows(5) > Rows(4)) == (Rows(12), Rows(12), True)
    assert (repr(Rows(1200)), str(Rows(1200)), str(Rows(1))) == ("Rows(1200)", "1,200 rows", "1 row")
    assert (distance(Rows(7)), distance(DAY)) == (7, DAY)
    training = Training(last=Rows(5), half_life=None)
    assert pickle.loads(pickle.dumps(training)) == training
    assert Training.model_validate_json(training.model_dump_json()) == training
    # As before: a bare number is of seconds.
    assert Training(last=3600).last == timedelta(hours=1)
    for wrong in (0, -1, 1.5, True, "5"):
        with pytest.raises(ValueError, match="is a whole number above zero"):
            Rows(wrong)
    with pytest.raises(ValidationError, match="leaves no row to learn from"):
        Holdout(strategy="blocked", block=Rows(10), every=3, gap=Rows(10))
