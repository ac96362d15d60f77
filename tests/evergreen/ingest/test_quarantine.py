"""What is counted of the quarantine: by a few words, whatever a reason names or quotes."""

from __future__ import annotations

import pytest

from evergreen.data.checked_batch import IN_FUTURE
from evergreen.ingest.quarantine import OTHER_REASON, REASONS, reason_class


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("y: a newer label took its place", "label"),
        ("y: the row came with a target of its own", "label"),
        ("another row of this batch has the same key", "repeated"),
        ("the header again", "repeated"),
        ("looks like a total: x is the sum of all others", "total"),
        ("id: a key is missing", "key"),
        ("id: a key that is a float and no whole number below 2^53; give it as text", "key"),
        ("at: not a time as %Y", "time"),
        (f"at: {IN_FUTURE}", "time"),
        ("at: Europe/Berlin skips this clock time", "time"),
        ("x: not a number", "number"),
        ("x: too large", "number"),
        ("x: in_range(-100, 100)", OTHER_REASON),
        ("label: in_range(0, 1)", OTHER_REASON),
        ("a key: isin(['a', 'b'])", OTHER_REASON),
    ],
)
def test_a_reason_has_one_of_a_few_classes(reason: str, expected: str) -> None:
    """By what it says, and not by the name of its column."""
    assert reason_class(reason) == expected
    assert expected in {*REASONS, OTHER_REASON}
