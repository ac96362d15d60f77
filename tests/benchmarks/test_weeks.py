"""The plain script that the loop is held against: it learns no label before it is known."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.weeks import Stream, read, refit_by_script
from evergreen.sources.simulator import simulate
from evergreen.spec import Search
from models import bike_demand


def test_a_script_refits_on_what_is_labelled_by_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows from the first moment on, in order; counts that become known later change nothing before they are known."""
    one_fit = Search(grid={"model__max_leaf_nodes": (15,)}, folds=2)
    monkeypatch.setattr(bike_demand, "MODEL", bike_demand.MODEL.model_copy(update={"search": one_fit}))
    file = tmp_path / "hours.csv"
    simulate(date(2011, 1, 1), 60, seed=7).to_csv(file, index=False)
    stream = read(file, timedelta(days=7))
    first, second, until = (datetime(2011, month, day, tzinfo=UTC) for month, day in ((2, 10), (2, 20), (2, 24)))
    script = refit_by_script(stream, [first, second], until)
    served = stream.rows.loc[script.index, "at"]
    assert (served.min(), served.max()) == (pd.Timestamp(first), pd.Timestamp(until) - pd.Timedelta(hours=1))
    assert served.is_monotonic_increasing
    late = stream.rows["known_at"] >= first
    other = Stream(stream.rows.assign(cnt=stream.rows["cnt"].where(~late, 0.0)))
    again = refit_by_script(other, [first, second], until)
    before = served < second
    assert (script[before] == again[before]).all()
    assert (script[~before] != again[~before]).any()
