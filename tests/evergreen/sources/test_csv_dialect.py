"""The dialect of a CSV file: what separates fields, where the header is."""

from __future__ import annotations

import pytest

from evergreen.sources.csv_dialect import Dialect, detect_dialect


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a,b\n1,2\n", Dialect(",", ("a", "b"))),
        ("a;b\n1,5;2,5\n", Dialect(";", ("a", "b"))),
        ("a\tb\n1,5\t2\n", Dialect("\t", ("a", "b"))),
        ("a|b\n1|2\n", Dialect("|", ("a", "b"))),
        ("a\n1\n2\n", Dialect(",", ("a",))),
        ('"a;x",b\n"1;2",3\n', Dialect(",", ("a;x", "b"))),
        ("sep=;\na;b,c\n1;2,3\n", Dialect(";", ("a", "b,c"), 1)),
        ('"sep=|"\na|b\n1|2\n', Dialect("|", ("a", "b"), 1)),
        ("Report\nof May\n\na,b,c\n1,2,3\n4,5,6\n", Dialect(",", ("a", "b", "c"), 2)),
        ("\n\na,b\n1,2\n", Dialect(",", ("a", "b"), 2)),
        # A header with a name too few is a mistake, and no line of a preamble.
        ("a,b\n1,2,x\n3,4,y\n", Dialect(",", ("a", "b"))),
        # A row of values is no header.
        ("a\n1,2,3\n4,5,6\n", Dialect(",", ("a",))),
        ("", Dialect(",", ())),
    ],
)
def test_the_dialect(text: str, wanted: Dialect) -> None:
    """Separator, names and the number of lines before the header."""
    assert detect_dialect(text) == wanted


def test_a_doubt_is_resolved_by_the_sniffer() -> None:
    """Where two separators are steady, the one that makes better cells is taken."""
    rows = "".join(f"2026-01-{day:02};{day},5;{day * 2},25\n" for day in range(1, 29))
    assert detect_dialect("day;a,b;c,d\n" + rows).separator == ";"
