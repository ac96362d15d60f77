"""Where the reading of a source is: what is kept, and where it begins the next time."""

from __future__ import annotations

from evergreen.ingest.read_position import Bookmark


def test_a_bookmark_is_the_same_when_it_is_read_back() -> None:
    """With and without a refused batch; no text is the beginning."""
    moved = Bookmark("shop").behind("a").behind("b", refused="strict").behind("c")
    assert moved == Bookmark("shop", "c", again="a", contract="strict")
    for bookmark in (Bookmark(), Bookmark("shop", "a"), moved):
        assert Bookmark.parse(bookmark.text) == bookmark
    assert Bookmark.parse("") == Bookmark()


def test_reading_begins_behind_the_mark_unless_source_or_contract_are_others() -> None:
    """Another source has its own beginning; another contract goes back to before the first refused batch, once."""
    clean, refused = Bookmark("shop", "c"), Bookmark("shop", "c", again="a", contract="strict")
    assert clean.opened("shop", "strict") == clean.opened("shop", "wide") == clean
    assert clean.opened("other", "strict") == refused.opened("other", "strict") == Bookmark("other")
    assert refused.opened("shop", "strict") == refused
    assert refused.opened("shop", "wide") == Bookmark("shop", "a")


def test_the_first_of_several_refused_batches_counts() -> None:
    """Also one at the very beginning, before which there is no mark."""
    assert Bookmark("shop").behind("a", "strict").behind("b", "strict") == Bookmark("shop", "b", "", "strict")
    assert Bookmark("shop", "b", "", "strict").opened("shop", "wide") == Bookmark("shop", "")
