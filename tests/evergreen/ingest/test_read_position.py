"""Where the reading of a source is: what is kept, and where it begins the next time."""

from __future__ import annotations

from evergreen.ingest.read_position import ReadPosition


def test_a_bookmark_is_the_same_when_it_is_read_back() -> None:
    """With and without a refused batch; no text is the beginning."""
    moved = ReadPosition("shop").after("a").after("b", rejected_by="strict").after("c")
    assert moved == ReadPosition("shop", "c", retry_from="a", contract="strict")
    for position in (ReadPosition(), ReadPosition("shop", "a"), moved):
        assert ReadPosition.parse(position.text) == position
    assert ReadPosition.parse("") == ReadPosition()


def test_reading_begins_behind_the_mark_unless_source_or_contract_are_others() -> None:
    """Another source has its own beginning; another contract goes back to before the first refused batch, once."""
    clean, refused = ReadPosition("shop", "c"), ReadPosition("shop", "c", retry_from="a", contract="strict")
    assert clean.resume("shop", "strict") == clean.resume("shop", "wide") == clean
    assert clean.resume("other", "strict") == refused.resume("other", "strict") == ReadPosition("other")
    assert refused.resume("shop", "strict") == refused
    assert refused.resume("shop", "wide") == ReadPosition("shop", "a")


def test_the_first_of_several_refused_batches_counts() -> None:
    """Also one at the very beginning, before which there is no mark."""
    assert ReadPosition("shop").after("a", "strict").after("b", "strict") == ReadPosition("shop", "b", "", "strict")
    assert ReadPosition("shop", "b", "", "strict").resume("shop", "wide") == ReadPosition("shop", "")
