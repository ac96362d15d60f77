"""A consumer as a process, with real brokers: what it answers, refuses, waits for and leaves behind."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest

from evergreen.ingest.quarantine import quarantine_table
from tests.serving.streams.conftest import Rabbit, StreamHome, row, rows, wait_for


def test_rows_are_predicted_kept_published_and_acknowledged(broker: Any, stream_home: StreamHome) -> None:
    """Each has one answer in the target and a row in both tables; what is refused is in the dead letters with why."""
    number = stream_home.promote(1.0)
    bad = {"no-json": b"{", "too-large": row(1, x=1_000), "two": b"[" + row(1) + b"," + row(2, x=-1_000) + b"]"}
    broker.send(rows(300) | bad)
    consumer = stream_home.start(broker, "--dead-letters", "env:DEAD")
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
    assert sorted(kept["id"].astype(int)) == list(range(300))
    assert kept["batch"].str.startswith("stream-").all()
    letters = {body["body"]: body["error"] for _, body in broker.read(2)}
    assert {body: error["code"] for body, error in letters.items()} == {
        bad["no-json"].decode(): "malformed",
        bad["too-large"].decode(): "invalid_rows",
        bad["two"].decode(): "invalid_rows",
    }
    assert letters[bad["two"].decode()]["rows"] == [{"row": 1, "column": "x", "reason": "in_range(-100, 100)"}]
    assert not quarantine_table(stream_home.settings.lake_uri, "toy").read().shape[0]
    assert broker.left() == 0


def test_it_waits_for_a_champion_and_a_message_keeps_its_first_answer(rabbit: Rabbit, stream_home: StreamHome) -> None:
    """It says what it waits for; what is published again after a promotion is answered as before the promotion."""
    rabbit.send(rows(3))
    consumer = stream_home.start(rabbit)
    wait_for(lambda: "No version is the champion yet." in consumer.text, "it says so", consumer)
    assert rabbit.left() == 3
    first = stream_home.promote(1.0)
    wait_for(lambda: stream_home.logged() == 3, "the first three", consumer)
    second = stream_home.promote(10.0)
    wait_for(lambda: f"version {second} answers now" in consumer.text, "the new champion", consumer)
    rabbit.send(rows(5))
    wait_for(lambda: stream_home.logged() == 5 and rabbit.left(1) == 8, "the other two", consumer)
    assert consumer.end() == 0
    published = rabbit.read()
    for name in ("m-0", "m-1", "m-2"):
        bodies = [body for each, body in published if each == name]
        assert len(bodies) == 2
        assert bodies[0] == bodies[1]
        assert bodies[0]["version"] == first
    assert {body["version"] for name, body in published if name in ("m-3", "m-4")} == {second}
    assert sorted(stream_home.requests()["request"]) == [f"m-{number}" for number in range(5)]


@pytest.mark.slow
def test_consumers_share_the_work_and_one_that_is_told_to_end_drains(broker: Any, stream_home: StreamHome) -> None:
    """Each message goes to one of them; what the first has taken is done and acknowledged, the rest is the others'."""
    stream_home.promote(1.0)
    first = stream_home.start(broker, "--batch", "20")
    second = stream_home.start(broker, "--batch", "20")
    for each in (first, second):
        wait_for(lambda: "Ctrl-C ends it" in each.text, "both run", first, second)  # noqa: B023
    broker.send(rows(800))
    wait_for(lambda: stream_home.logged() > 100, "some are done", first, second)
    assert first.end() == 0
    wait_for(lambda: broker.left() == 0 and stream_home.logged() == 800, "the others are done", second)
    assert second.end() == 0
    kept = stream_home.predictions()
    assert kept["run_id"].is_unique
    published = broker.read()
    # Nothing was done twice: what was acknowledged was published once.
    assert len(published) == len({name for name, _ in published}) == 800
    said = [int(re.findall(r"([\d,]+) rows predicted", each.text)[-1].replace(",", "")) for each in (first, second)]
    assert min(said) > 0
    assert sum(said) == 800


def test_secrets_are_in_no_line(rabbit: Rabbit, stream_home: StreamHome) -> None:
    """Neither of a broker that answers, nor of one that refuses the password."""
    stream_home.promote(1.0)
    consumer = stream_home.start(rabbit)
    wait_for(lambda: "Ctrl-C ends it" in consumer.text, "it runs", consumer)
    assert consumer.end(signal.SIGINT) == 0
    wrong = stream_home.start(rabbit, SOURCE=rabbit.source.replace("guest:guest", "guest:geheim"))
    assert wrong.process.wait(60) == 2
    wrong.reader.join()
    for each in (consumer, wrong):
        assert "guest:" not in each.text
        assert "geheim" not in each.text
        assert "Traceback" not in each.text
    assert "The broker amqp://127.0.0.1:5672/ does not answer as it should" in wrong.text
