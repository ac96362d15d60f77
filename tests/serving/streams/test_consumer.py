"""A consumer as a process, with real brokers: what it answers, refuses, waits for and leaves behind."""

from __future__ import annotations

import json
import signal
from typing import Any

import numpy as np
import pytest

from evergreen.ingest.quarantine import quarantine_table
from tests.serving.streams.conftest import Rabbit, StreamHome, row, rows, wait_for


def test_rows_are_predicted_kept_published_and_acknowledged(broker: Any, stream_home: StreamHome) -> None:
    """Each message has one answer in the target, one row in both tables, and is gone from the source."""
    number = stream_home.promote(1.0)
    broker.send(rows(300))
    consumer = stream_home.start(broker)
    wait_for(lambda: broker.left() == 0 and stream_home.logged() == 300, "all are predicted", consumer)
    assert consumer.end() == 0
    published = broker.read()
    kept, requests = stream_home.predictions(), stream_home.requests()
    assert len(published) == len(kept) == len(requests) == 300
    by_id = kept.set_index("run_id")["prediction"]
    for name, body in published:
        assert body == {
            "model": "toy", "version": number, "alias": "champion", "request_id": name, "prediction": by_id[name],
        }  # fmt: skip
    assert set(requests["request"]) == set(kept["run_id"]) == {name for name, _ in published}
    assert kept["id"].astype(int).sort_values().tolist() == list(range(300))
    assert np.allclose(np.diff(kept.assign(n=kept["id"].astype(int)).sort_values("n")["prediction"].iloc[::2]), 6e-4, atol=1e-4)
    assert kept["batch"].str.startswith("stream-").all()
    assert broker.left() == 0
