"""The streams to try decisions on."""

from __future__ import annotations

from benchmarks.streams import autocorrelated_classes, seasons


def test_streams_are_seeded() -> None:
    """A seed repeats its rows; another one is another draw."""
    for build in (autocorrelated_classes, seasons):
        one, again, other = build(0).rows, build(0).rows, build(1).rows
        assert one.equals(again)
        assert not one.equals(other)
