"""Rows that champion and challenger both answered, as servers keep them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from evergreen.canary.canary_ledger import read_canaries
from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.observations import Observations
from evergreen.ledger.decisions import Decisions
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict

BLOCK = timedelta(milliseconds=20)
"""Of time in which rows stand for one observation, in these tests."""


def answer_by_both(
    lake: str, spec: ModelSpec, rows: pd.DataFrame, pipelines: Mapping[int, Any], *, blocks: int = 30
) -> None:
    """Keep what the versions 1 and 2 of a regression predict, some blocks long from when the canary's step began.

    Returns when these blocks are over.
    """
    began = read_canaries(Decisions(lake, spec.name))[-1].position.entered
    log, n = ComparisonLog(lake, spec), len(rows)
    columns: dict[str, Any] = {
        "received_at": [began + BLOCK * (blocks * i / n) for i in range(n)],
        "champion": [1] * n,
        "challenger": [2] * n,
        "at": [None] * n,
        "key": Observations(lake, spec).ids(rows).view(np.int64).tolist(),
        "request": [f"r{i}" for i in range(n)],
        "row": [0] * n,
        "served": ["champion"] * n,
    }
    for side, number in (("champion", 1), ("challenger", 2)):
        predicted = predict(pipelines[number], spec, rows).values
        columns |= {f"{side}_prediction": predicted.tolist(), f"{side}_probability": [None] * n}
        columns |= {f"{side}_failed": [False] * n, f"{side}_microseconds": [10.0] * n}
    schema = log.table.schema
    arrays = {name: pa.array(columns[name], schema.field(name).type) for name in schema.names}
    log.append(pa.table(arrays), f"{began:%H%M%S%f}")
    end, deadline = began + (blocks + 1) * BLOCK, time.monotonic() + 30
    while datetime.now(UTC) < end:
        assert time.monotonic() < deadline
