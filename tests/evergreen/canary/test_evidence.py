"""What is known of a challenger, from real tables: whoever asks finds the same, and only what is known by then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.canary.evidence import Pair, metric_of, read_evidence, trace_outcome
from evergreen.canary.judge import Evidence, Position, judge_outcome
from evergreen.data.checked_batch import check_batch
from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.contract import schema_of
from evergreen.data.observations import Observations
from evergreen.spec.canary import Canary
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.retraining import Approval
from evergreen.spec.serving import Serve

Make = Callable[..., Any]
START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAIR = Pair(1, 2)
HOURS, EACH = 30, 20


@pytest.fixture
def spec(make_spec: Callable[..., ModelSpec]) -> ModelSpec:
    return make_spec(approval=Approval(mode="canary"), serve=Serve())


@pytest.fixture
def tables(tmp_path: Path, spec: ModelSpec) -> tuple[Observations, ComparisonLog]:
    return Observations(str(tmp_path), spec), ComparisonLog(str(tmp_path), spec)


def land(observations: Observations, rows: pd.DataFrame, batch: str, now: datetime) -> None:
    checked = check_batch(rows, observations.spec, schema_of(observations.spec), now=now)
    observations.land(checked.rows, batch, f"{batch}.csv", now=now)


def compare(
    observations: Observations,
    log: ComparisonLog,
    rows: pd.DataFrame,
    *,
    worse: float = 0.0,
    received: list[datetime] | None = None,
    batch: str = "b1",
    **changes: Any,
) -> None:
    """The champion errs by 1 on each row, the challenger by 1 + worse."""
    n = len(rows)
    at = received or [START + timedelta(hours=i // EACH, minutes=i % EACH) for i in range(n)]
    columns: dict[str, Any] = {
        "received_at": at,
        "champion": [1] * n,
        "challenger": [2] * n,
        "at": [None] * n,
        "key": observations.ids(rows).view(np.int64).tolist(),
        "request": [f"r{i:05}" for i in range(n)],
        "row": [0] * n,
        "served": ["champion"] * n,
        "champion_prediction": (rows["y"] + 1.0).tolist(),
        "champion_probability": [None] * n,
        "champion_failed": [False] * n,
        "champion_microseconds": [10.0] * n,
        "challenger_prediction": (rows["y"] - 1.0 - worse).tolist(),
        "challenger_probability": [None] * n,
        "challenger_failed": [False] * n,
        "challenger_microseconds": [12.0] * n,
    }
    schema = log.table.schema
    columns |= changes
    log.append(pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}), batch)


def read(tables: tuple[Observations, ComparisonLog], now: datetime, position: Position | None = None) -> Evidence:
    return read_evidence(*tables, Canary(), PAIR, position or Position(0, START, START), now, lambda number: None)


def test_nothing_is_known_of_what_nobody_asked(tables: tuple[Observations, ComparisonLog]) -> None:
    """Before there is a table."""
    nothing = (0, 0, 0, 0, 0)
    found = read(tables, START + HOUR)
    assert (found.rows, found.rows_in_step, found.failures, found.timed, found.slower) == nothing


def test_losses_are_added_up_by_blocks_that_have_their_labels(
    tables: tuple[Observations, ComparisonLog], make_rows: Make
) -> None:
    """An hour counts when it is over and nine tenths of its rows have a label."""
    observations, log = tables
    rows = make_rows(HOURS * EACH)
    compare(observations, log, rows, worse=0.1)
    land(observations, rows[: 26 * EACH + 10], "labels", START + 40 * HOUR)
    found = read(tables, START + 41 * HOUR)
    assert len(found.blocks.rows) == 26
    assert found.blocks.rows.tolist() == [EACH] * 26
    assert found.blocks.lost == pytest.approx([EACH] * 26)
    assert found.blocks.worse == pytest.approx([0.1 * EACH] * 26)
    assert found.blocks.starts[0] == START.timestamp()
    question = judge_outcome(Canary(), found, 100)
    assert question.seen == pytest.approx(0.1)
    assert (found.rows, found.timed, found.slower, found.unlabelled) == (600, 600, 0, 70)
    assert len(read(tables, START + 20 * HOUR).blocks.rows) == 20
    trace = trace_outcome(Canary(), found.blocks)
    assert [point.rows for point in trace] == [24 * EACH, 25 * EACH, 26 * EACH]
    assert trace[-1].at == (START + 26 * HOUR).isoformat()


def test_an_hour_that_is_not_over_does_not_count(tables: tuple[Observations, ComparisonLog], make_rows: Make) -> None:
    """Its rows may be the easy ones."""
    observations, log = tables
    rows = make_rows(HOURS * EACH)
    compare(observations, log, rows)
    land(observations, rows, "labels", START)
    found = read(tables, START + 25 * HOUR + timedelta(minutes=30))
    assert len(found.blocks.rows) == 25
    assert found.rows == 26 * EACH


def test_a_key_that_is_asked_again_counts_once(tables: tuple[Observations, ComparisonLog], make_rows: Make) -> None:
    """The first answer was acted upon; each request counts for whether it was answered, and how fast."""
    observations, log = tables
    rows = make_rows(HOURS * EACH)
    compare(observations, log, rows)
    late = [START + timedelta(hours=i // EACH, minutes=40) for i in range(len(rows))]
    compare(observations, log, rows, worse=5.0, received=late, batch="b2", challenger_microseconds=[16.0] * len(rows))
    land(observations, rows, "labels", START)
    found = read(tables, START + HOURS * HOUR)
    assert found.blocks.worse == pytest.approx([0.0] * HOURS)
    assert (found.rows, found.slower) == (2 * HOURS * EACH, HOURS * EACH)


def test_failures_are_those_of_the_challenger_alone(
    tables: tuple[Observations, ComparisonLog], make_rows: Make
) -> None:
    """A row that neither could answer is no fault of it; rows without two answers have no outcome, or time."""
    observations, log = tables
    rows = make_rows(40)
    challenger, champion = [i < 6 for i in range(40)], [i < 2 for i in range(40)]
    times = [None if failed else 20.0 for failed in challenger]
    predicted = [None if failed else 0.0 for failed in challenger]
    compare(
        observations,
        log,
        rows,
        challenger_failed=challenger,
        champion_failed=champion,
        challenger_microseconds=times,
        challenger_prediction=predicted,
    )
    found = read(tables, START + 2 * HOUR)
    assert (found.failures, found.timed, found.slower, found.unlabelled) == (4, 34, 34, 34)


def test_another_pair_and_an_earlier_canary_are_left_out(
    tables: tuple[Observations, ComparisonLog], make_rows: Make
) -> None:
    """Rows of a step are those since it began."""
    observations, log = tables
    rows = make_rows(HOURS * EACH)
    compare(observations, log, rows, challenger=[3] * len(rows))
    compare(observations, log, rows, batch="b2", received=[START - HOUR] * len(rows))
    assert read(tables, START + HOURS * HOUR).rows == 0
    compare(observations, log, rows, batch="b3")
    found = read(tables, START + HOURS * HOUR, Position(1, START + 20 * HOUR, START))
    assert (found.rows, found.rows_in_step) == (HOURS * EACH, 10 * EACH)


def test_versions_that_differ_more_where_no_label_is_are_told(
    tables: tuple[Observations, ComparisonLog], make_rows: Make
) -> None:
    """Five times as far apart on the rows of today as on those whose labels are known."""
    observations, log = tables
    rows = make_rows(HOURS * EACH)
    known = np.arange(len(rows)) < 26 * EACH
    compare(observations, log, rows, challenger_prediction=(rows["y"] + 1 + np.where(known, 1.0, 5.0)).tolist())
    land(observations, rows[known], "labels", START)
    found = read(tables, START + HOURS * HOUR)
    assert (found.unlabelled, found.disagreement) == (4 * EACH, pytest.approx(5.0))


def test_a_classification_is_judged_by_its_probabilities(tmp_path: Path, make_spec: Make, make_rows: Make) -> None:
    """Labels come back as the classes' own type, and each version's probabilities in its own order of classes."""
    import pandera.pandas as pandera

    def contract() -> Any:
        return pandera.DataFrameSchema(
            {"id": pandera.Column(int), "x": pandera.Column(float), "y": pandera.Column(int)}
        )

    spec = make_spec(
        task="classification",
        contract=contract,
        time=None,
        holdout={"strategy": "random", "min_rows": 10},
        features={"numeric": ("x",)},
        metric=Metric(name="roc_auc"),
        approval=Approval(mode="canary"),
        serve=Serve(),
    )
    assert metric_of(spec, Canary()).name == "log_loss"
    assert metric_of(spec, Canary(metric="accuracy")).name == "accuracy"
    observations, log = Observations(str(tmp_path), spec), ComparisonLog(str(tmp_path), spec)
    rows = make_rows(HOURS * EACH)[["id", "x"]].assign(y=np.arange(HOURS * EACH) % 2)
    text = rows["y"].astype(str).tolist()
    compare(
        observations,
        log,
        rows.astype({"y": float}),
        champion_prediction=text,
        challenger_prediction=text,
        champion_probability=[[0.8, 0.2] if y == 0 else [0.2, 0.8] for y in rows["y"]],
        challenger_probability=[[0.1, 0.9] if y == 0 else [0.9, 0.1] for y in rows["y"]],
    )
    land(observations, rows, "labels", START)
    classes = {1: (0, 1), 2: (1, 0)}
    now = START + HOURS * HOUR
    found = read_evidence(observations, log, Canary(), PAIR, Position(0, START, START), now, classes.get)
    assert found.metric == "log_loss"
    assert found.blocks.lost == pytest.approx([-EACH * np.log(0.8)] * HOURS)
    assert found.blocks.worse == pytest.approx([EACH * (np.log(0.8) - np.log(0.9))] * HOURS)
    by_label = read_evidence(
        observations, log, Canary(metric="accuracy"), PAIR, Position(0, START, START), now, classes.get
    )
    assert by_label.blocks.lost == pytest.approx([0.0] * HOURS)
