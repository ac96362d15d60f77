"""Markdown for people: readable numbers, and text from data that stays text."""

from __future__ import annotations

from evergreen.markdown import escape, many, number, table
from evergreen.reports.tables import gate_table
from evergreen.verdicts import Check, Verdict


def test_text_from_data_stays_text() -> None:
    """A tag or a bar within a cell neither becomes markup nor ends the cell."""
    shown = table(("a",), [("<script>alert(1)</script> | x\ny",)])
    assert "<script>" not in shown
    assert shown.splitlines()[-1] == "| &lt;script>alert(1)&lt;/script> \\| x y |"
    assert escape("a & b") == "a &amp; b"


def test_numbers_are_short() -> None:
    """Four figures, nothing for what was not measured, no negative zero."""
    assert [number(cell) for cell in (None, 1 / 3, 12345678.0, 3, -0.0, "x")] == [
        "",
        "0.3333",
        "1.235e+07",
        "3",
        "0",
        "x",
    ]


def test_a_count_agrees_with_its_noun() -> None:
    """One is one, nothing and several are many; thousands are set apart."""
    assert [many(count, "row") for count in (0, 1, 2, 1680)] == ["0 rows", "1 row", "2 rows", "1,680 rows"]
    assert [many(count, "row was", "rows were") for count in (1, 3)] == ["1 row was", "3 rows were"]


def test_gate_table_shows_status_value_bound_and_reason() -> None:
    """One line a check, in order."""
    checks = [Check("bound", Verdict.FAIL, 2.5, 2.0, "too large"), Check("size", Verdict.PASS, 1.0, None, "fine")]
    lines = gate_table(checks).splitlines()
    assert len(lines) == 4
    assert lines[2] == "| bound | **FAIL** | 2.5 | 2 | too large |"
    assert lines[3] == "| size | PASS | 1 |  | fine |"
