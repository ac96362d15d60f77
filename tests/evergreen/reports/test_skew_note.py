"""The note of a look says which rows were compared and which columns differ, escaped."""

from __future__ import annotations

from evergreen.details.watch import SkewedColumn
from evergreen.performance.skew_report import SkewReport
from evergreen.reports.skew_note import skew_note
from evergreen.verdicts import Verdict

SINCE = "2026-01-01T08:00:00.123456+00:00"


def test_each_column_has_its_line() -> None:
    """With its verdict, how it differs and whose rows; a sample and what was left out are told."""
    columns = (
        SkewedColumn("a|b", Verdict.FAIL, 200, 50, 0.1512, "missing online where a value landed", ("7", "<8>")),
        SkewedColumn("c", Verdict.PASS, 200, 1, 0.0, "another value online"),
    )
    report = SkewReport(
        rows=200, of=4000, features=3, columns=columns, max_share=0.01, look=2, since=SINCE, unread=1,
        verdict=Verdict.FAIL, reason="why", decision_id="d1",
    )  # fmt: skip
    note = skew_note("toy", report)
    assert note.startswith("# What toy was asked: FAIL\n\nwhy\n\n200 served rows, a sample of 4,000, of which the row ")
    assert "landed after 2026-01-01 08:00:00 UTC. 1 row is left out: it was corrected since, and cannot" in note
    assert "| a\\|b | **FAIL** | 200 | 50 | 15.1% | missing online where a value landed | 7, &lt;8> |" in note
    assert "| c | PASS | 200 | 1 | 0.0% | another value online |  |" in note


def test_where_nothing_differs_there_is_no_table() -> None:
    """The verdict, the reason and the rows."""
    report = SkewReport(rows=200, of=200, features=3, since=SINCE, verdict=Verdict.PASS, reason="why", decision_id="d1")
    assert skew_note("toy", report) == (
        "# What toy was asked: PASS\n\nwhy\n\n200 served rows, of which the row landed after 2026-01-01 08:00:00 UTC."
    )
