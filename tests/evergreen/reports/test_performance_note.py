"""A performance report reads as a few tables; text from data cannot break them."""

from __future__ import annotations

from evergreen.details.watch import AlsoFigure, Bin, Calibration, Residuals, RuleFigure, SliceFigure, WindowFigure
from evergreen.performance.report import PerformanceReport
from evergreen.reports.performance_note import performance_note
from evergreen.verdicts import Verdict

WINDOWS = tuple(
    WindowFigure(f"2025-01-{day:02}T00:00:00+00:00", 24, 0.96, 40.0 + day, (39.0, 60.0) if day > 4 else None)
    for day in range(1, 16)
)
FIGURES = ("mae", 45.123, (40.0, 50.0), 42.0, 360)
BARE = PerformanceReport(*FIGURES, verdict=Verdict.PASS, reason="as good as ever", decision_id="d")
FULL = PerformanceReport(
    *FIGURES,
    verdict=Verdict.FAIL,
    reason="rmse is 80, proven beyond its bound of 70",
    decision_id="d",
    logged=300,
    bound=63.0,
    own=Verdict.PASS,
    immature=7,
    windows=WINDOWS,
    slices=(SliceFigure("kind=a|<b>", 100, 44.0, (30.0, 50.0), None),),
    also=(
        AlsoFigure("rmse", Verdict.FAIL, 80.0, (75.0, 85.0), 70.0),
        AlsoFigure("mine", Verdict.INCONCLUSIVE, None, None, 1.0, "Metric 'mine': its function failed."),
    ),
    residuals=Residuals(3.0, (1.0, 5.0), {"0.05": -9.0, "0.95": 12.0}),
    calibration=Calibration("yes", 0.07, (Bin(360, 0.5, 0.57),)),
    rules=(RuleFigure("the last known label", 31.0, -14.123, (-18.0, -9.0), 0.98, "Give it lagged labels.", (9, 15)),),
)


def test_every_part_is_shown() -> None:
    """Status of each metric, bound, other metrics, the newest twelve windows, slices, residuals and calibration."""
    note = performance_note("toy", FULL)
    assert note.startswith("# Performance of toy: FAIL\n\nrmse is 80, proven beyond its bound of 70\n\n")
    assert "| mae | PASS | 45.12 | 40 to 50 | 63 | 42 | 360 | 300 of 360 |" in note
    assert "| mine | *INCONCLUSIVE* |  |  | 1 | Metric 'mine': its function failed. |" in note
    assert "The newest 12 of 15 that have their labels; 7 more wait for their labels." in note
    assert "| 2025-01-15 00:00 | 24 | 96% | 55 | 39 to 60 |" in note
    assert "2025-01-03" not in note
    assert "| kind=a\\|&lt;b> | 100 | 44 | 30 to 50 |  |" in note
    assert "| the last known label | 31 | -14.12 | -18 to -9 | 98% | 9 of 15 |\n\nGive it lagged labels.\n" in note
    assert "Truth less prediction is 3 on average (1 to 5): it predicts too little." in note
    assert "| 360 | 0.5 | 0.57 |" in note


def test_what_was_not_looked_at_is_left_out() -> None:
    """A report without windows, slices and the like is one table."""
    note = performance_note("toy", BARE)
    assert "##" not in note
    assert "| mae | PASS | 45.12 | 40 to 50 |  | 42 | 360 | 0 of 360 |" in note
