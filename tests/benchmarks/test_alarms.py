"""The count of false alarms: seeded, without drift where it says so, and the preset taken as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import alarms
from benchmarks.measure import Scale


def test_windows_are_seeded_and_of_one_law() -> None:
    """A seed repeats its window; another part is another draw with the same columns, gaps and cardinalities."""
    one, again, other = alarms.frame(400, 3, 0), alarms.frame(400, 3, 0), alarms.frame(400, 3, 1)
    assert one.equals(again)
    assert not one.equals(other)
    assert list(one) == list(alarms.COLUMNS)
    assert len(alarms.COLUMNS) == 50
    assert {name for name in one if one[name].isna().any()} == set(alarms.GAPS)
    assert sum(alarms.importances(3).values()) == pytest.approx(1)


@pytest.mark.slow
def test_a_window_without_drift_is_judged_by_all() -> None:
    """Ours passes by every policy; the preset agrees with its own functions, and one of its tests fails."""
    found = alarms.window(0, checked=1)
    assert set(found) == {*alarms.OURS, *alarms.PRESET}
    assert not any(found[name] for name in alarms.OURS)
    assert found["preset: any test"]


@pytest.mark.proof(name="alarms")
def test_alarms_without_drift_are_rare(tmp_path: Path) -> None:
    """Of a thousand windows without drift at most one in twenty fails, by whichever policy of ours."""
    (finding,) = alarms.run(Scale(), tmp_path, "")
    assert finding.met, finding


@pytest.mark.slow
def test_a_large_shift_is_found_at_once() -> None:
    """One standard deviation in half of the columns fails the first report, whoever judges it."""
    place = alarms.SHIFTS.index(alarms.Shift("mean", 1.0, 24))
    assert alarms.series((place, 0)) == (place, dict.fromkeys((*alarms.OURS, *alarms.PRESET), 1))


def test_what_is_planted_is_planted_where_it_is_said() -> None:
    """A shift moves so many columns and the prediction with them; a new category and gaps come in the stated share."""
    new, weights = alarms.frame(2000, 5, 1), alarms.importances(5)
    changed = {}
    for kind in ("mean", "category", "missing"):
        found = alarms.planted(new, alarms.Shift(kind, 0.2, 5), 0.2, weights, 5)
        changed[kind] = [name for name in new if not new[name].equals(found[name])]
        assert len(set(changed[kind]) - {alarms.PREDICTION}) == 5
        if kind == "category":
            shares = [(found[name] == "never seen").mean() for name in changed[kind]]
            assert shares == pytest.approx([0.2] * 5, abs=0.03)
    assert alarms.PREDICTION in changed["mean"]
    assert alarms.PREDICTION not in changed["category"]
    heaviest = max(alarms.SMOOTH, key=lambda name: weights[name])
    assert heaviest in changed["mean"]


def test_a_share_has_wilsons_interval() -> None:
    """None of a thousand is up to 0.4 %; half of a hundred is 40 to 60 %."""
    assert list(alarms.wilson(0, 1000)) == pytest.approx([0.0, 0.0038], abs=1e-4)
    assert list(alarms.wilson(50, 100)) == pytest.approx([0.404, 0.596], abs=1e-3)


def test_never_is_told_as_never() -> None:
    """A median among windows that were not found is no number."""
    assert alarms._delay([1, 2, None]) == "2 (33%)"
    assert alarms._delay([1, None, None]) == "never (67%)"
