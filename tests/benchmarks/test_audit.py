"""The audit of what was promised: its made rows have the trait that they are made for, and every line is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.audit import NEW, OLD, Size, _dumps, _month_ends, _new_files, audit


def test_made_rows_have_their_traits(tmp_path: Path) -> None:
    """By the settings of old copies judge, times are cut and a constant beats the trees; by the new ones none does."""
    dumps, months = _dumps(), _month_ends()
    assert (dumps.old, dumps.new) == ("94%", "0%")
    assert (months.old, months.new) == ("30 of 151 on the other side", "none")
    amounts, texts = _new_files(tmp_path)
    trees, constant = (float(word) for word in amounts.old.replace(",", "").split() if word[0].isdigit())
    assert trees > constant
    assert amounts.new == "rmse"
    left_out, encoded = (float(line.partition(": ")[2]) for line in (texts.old, texts.new))
    assert texts.new.startswith("target-encoded: ")
    assert encoded < 0.9 * left_out


def test_settings_are_those_of_the_files() -> None:
    """Of old: a margin of 0 for whoever asks. New: what `evergreen new` writes for rows with a time."""
    assert (OLD.margin, OLD.routine_margin, OLD.persistence) == (0, None, "off")
    text = Path("evergreen/model_files/source_text.py").read_text()
    assert 'Gates(routine_margin={ROUTINE_MARGIN:g}, persistence="tell")' in text
    assert NEW.persistence == "tell"


@pytest.mark.slow
def test_every_line_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest size, on simulated rows: without the real file its lines are left out, and the others stay."""
    monkeypatch.setenv("EVERGREEN_TEST_DATA", str(tmp_path))
    lines = list(audit(Size(6, 2, 4), tmp_path))
    assert len(lines) == 2 * 5 + 3 + 6
    assert all(line.what and line.new for line in lines)
    prices = next(line for line in lines if line.what.startswith("accuracy of weekly refits"))
    assert (prices.old, prices.new) == ("nothing says so", "the gate says so")
