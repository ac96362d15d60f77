"""Each message has one prediction, though consumers are killed and the broker comes and goes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data.contract import scoring_schema
from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.registry.version import CHAMPION
from evergreen.scoring.chunk import LoadedVersion, RunStamp, score_chunk
from evergreen.scoring.input import Chunk
from evergreen.scoring.staging import read_arrow, write_arrow
from tests.serving.streams.conftest import Process, Rabbit, RedisStreams, StreamHome, row, rows, wait_for

_REFUSED = 2
"""The exit status where a broker does not answer."""
PLANTED = ("-m", "tests.serving.streams.planted")


def faults(sent: Mapping[str, bytes], home: StreamHome, published: list[tuple[str, Any]] | None) -> list[str]:
    """What is wrong where each message should have one row in both tables, and its prediction in the target.

    The rows say which they are: Redis gives its own ids to messages. Without `published` the target is not looked at.
    """
    wanted = Counter(json.loads(body)["id"] for body in sent.values())
    predictions, requests = home.predictions(), home.requests()
    found = []
    for name, kept in (("predictions", predictions["id"].astype("int64")), ("requests", _ids(predictions, requests))):
        there = Counter(kept.tolist())
        for what, wrong in (("lost", wanted - there), ("doubled", there - wanted)):
            if wrong:
                found.append(f"{name}: {sum(wrong.values()):,} {what}")
    if predictions["run_id"].duplicated().any():
        found.append("predictions: an id is there twice")
    if published is not None:
        said = dict(zip(predictions["run_id"], predictions["prediction"], strict=True))
        if missing := set(said) - {name for name, _ in published}:
            found.append(f"target: {len(missing):,} lost")
        if others := [name for name, body in published if said.get(name) != body["prediction"]]:
            found.append(f"target: {len(others):,} answered otherwise")
    return found


def _ids(predictions: pd.DataFrame, requests: pd.DataFrame) -> pd.Series:
    """The row that each request is."""
    by_id = predictions.drop_duplicates("run_id").set_index("run_id")["id"].astype("int64")
    return requests["request"].map(by_id).fillna(-1).astype("int64")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "kill_at", "found"),
    [
        ("", "before the commit", []),
        ("", "after the commit", []),
        ("acknowledges first", "before the commit", ["predictions: 100 lost", "requests: 100 lost"]),
        ("looks for nothing", "after the commit", ["predictions: 100 doubled", "requests: 100 doubled",
                                                   "predictions: an id is there twice"]),
    ],
)  # fmt: skip
def test_a_consumer_that_does_wrong_is_found(
    rabbit: Rabbit, stream_home: StreamHome, tmp_path: Path, plant: str, kill_at: str, found: list[str]
) -> None:
    """Killed before or after its commit, the real one loses nothing and doubles nothing; the planted ones do."""
    stream_home.promote(1.0)
    sent = rows(100)
    rabbit.send(sent)
    surroundings = {"PLANT": plant, "KILL_AT": kill_at, "KILL_MARKER": str(tmp_path / "killed")}
    # A batch that is all of them, so that what is lost is known.
    first = stream_home.start(rabbit, "--wait", "5", "--batch", "100", program=PLANTED, **surroundings)
    assert first.process.wait(120) == -signal.SIGKILL
    # Another version would answer otherwise what was not kept before.
    stream_home.promote(10.0)
    second = stream_home.start(rabbit, program=PLANTED, **surroundings)
    wait_for(lambda: "Ctrl-C ends it" in second.text, "it runs", second)
    if plant != "acknowledges first":
        wait_for(lambda: rabbit.left(1) >= 100, "all are published", second)
    assert second.end() == 0
    assert faults(sent, stream_home, None if plant else rabbit.read()) == found
    assert rabbit.left() == 0


@pytest.mark.slow
def test_a_killed_consumer_loses_and_doubles_nothing(broker: Any, stream_home: StreamHome) -> None:
    """Two share a source, and one is killed in the middle: the short form of the proof."""
    stream_home.promote(1.0)
    sent = rows(4_000)
    broker.send(sent)
    pair = [stream_home.start(broker, "--batch", "200", "--claim", "1") for _ in range(2)]
    wait_for(lambda: stream_home.logged() > 0, "some are done", *pair)
    pair[0].end(signal.SIGKILL)
    wait_for(lambda: broker.left() == 0 and stream_home.logged() >= 4_000, "the rest is done", pair[1])
    assert pair[1].end() == 0
    assert faults(sent, stream_home, broker.read()) == []


@dataclass
class Node:
    """A broker of the test's own, which can be killed and started again with what it had."""

    command: list[str]
    folder: Path
    port: int
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with closing(socket.socket()) as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            assert self.process.poll() is None, (self.folder / "broker.log").read_text()[-2_000:]
            time.sleep(0.2)
        pytest.fail("the broker did not start within two minutes")

    def kill(self) -> None:
        """As a power cut does: all processes of its own session at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
            self.process = None


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rabbit_node(folder: Path) -> Node:
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not program.exists():
        pytest.skip("RabbitMQ is not installed")
    port, distribution = _free_port(), _free_port()
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    own = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"evergreen-proof-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    return Node([str(program)], folder, port, os.environ | own)


def _redis_node(folder: Path) -> Node:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not installed")
    port = _free_port()
    words = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    return Node([program, *words], folder, port, os.environ)


@pytest.fixture(params=["rabbit", "redis"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Node, Any]]:
    """A broker of the proof's own, and its queues or streams."""
    folder = tmp_path / "broker"
    folder.mkdir()
    own = _rabbit_node(folder) if request.param == "rabbit" else _redis_node(folder)
    own.start()
    try:
        host = f"127.0.0.1:{own.port}"
        yield (
            own,
            Rabbit(f"amqp://guest:guest@{host}/") if request.param == "rabbit" else RedisStreams(f"redis://{host}/0"),
        )
    finally:
        own.kill()


class Pair:
    """Two consumers that share a source; each that is killed is started again."""

    def __init__(self, home: StreamHome, queues: Any) -> None:
        self.home, self.queues = home, queues
        self.running = [self._start() for _ in range(2)]

    def _start(self) -> Process:
        return self.home.start(self.queues, "--claim", "5")

    def kill(self, place: int) -> None:
        self.running[place].end(signal.SIGKILL)
        self.running[place] = self._start()

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 900.0) -> None:
        def is_so() -> bool:
            for place, each in enumerate(self.running):
                if each.process.poll() == _REFUSED:
                    # It began while the broker was away: as under a supervisor, it begins again.
                    self.running[place] = self._start()
            assert all(each.process.poll() is None for each in self.running), self._said
            return bool(condition())

        wait_for(is_so, f"{what}\n{self._said}", seconds=seconds)

    @property
    def _said(self) -> str:
        return "\n".join(each.text for each in self.running)


def _score_in_a_batch(home: StreamHome, sent: Mapping[str, bytes], folder: Path) -> float:
    """Rows a second of the same rows as a chunk of batch scoring: contract, prediction and commit."""
    registry, spec = home.versions.registry, home.spec
    version = registry.by_alias("toy", CHAMPION)
    assert version is not None
    loaded = LoadedVersion(spec, scoring_schema(spec), registry.load(version, spec))
    frame = pd.DataFrame([json.loads(body) for body in sent.values()])
    lake, stamp = str(folder / "batch-lake"), RunStamp("batch", "rows", version.number, "", datetime.now(UTC))
    for number, rows_in in enumerate((frame.head(10), frame)):
        path = folder / f"{number}.arrow"
        write_arrow(pa.Table.from_pandas(rows_in, preserve_index=False), path)
        began = time.monotonic()
        scored = score_chunk(Chunk(number, str(path), 0, len(rows_in)), loaded, stamp, lake)
        PredictionLog(lake, spec).append(read_arrow(scored.predictions), Progress("batch", chunks=number + 1))
    return len(sent) / (time.monotonic() - began)


@pytest.mark.proof(name="stream")
def test_a_hundred_thousand_rows_while_consumers_are_killed_and_the_broker_is(
    node: tuple[Node, Any], stream_home: StreamHome, tmp_path: Path
) -> None:
    """Five kills of consumers, one of the broker: every row has one prediction, and its answer is in the target."""
    count, (broker, queues) = int(os.environ.get("EVERGREEN_PROOF_ROWS", "100000")), node
    draw = random.Random(0)
    stream_home.promote(1.0)
    sent = {f"m-{number}": row(number) for number in range(count)}
    queues.send(sent)
    began = time.monotonic()
    pair = Pair(stream_home, queues)
    pair.wait_for(lambda: stream_home.logged() > 0, "they begin")
    first, at = stream_home.logged(), time.monotonic()
    pair.wait_for(lambda: stream_home.logged() >= 0.2 * count, "a fifth is done")
    rate = (stream_home.logged() - first) / (time.monotonic() - at)
    for share in (0.2, 0.3, 0.4, 0.6, 0.7):
        pair.wait_for(lambda: stream_home.logged() >= share * count, f"{share:.0%} are done")  # noqa: B023
        pair.kill(draw.randrange(2))
        if share == 0.4:
            stream_home.promote(10.0)
            pair.wait_for(lambda: stream_home.logged() >= 0.5 * count, "half is done")
            broker.kill()
            broker.start()
    pair.wait_for(lambda: stream_home.logged() >= count and _left(queues) == 0, "all are done")
    took = time.monotonic() - began
    for each in pair.running:
        assert each.end() == 0
    published = queues.read()
    assert faults(sent, stream_home, published) == []
    versions = stream_home.predictions()["version"].value_counts().sort_index().to_dict()
    batch = _score_in_a_batch(stream_home, sent, tmp_path)
    print(
        f"\n{type(queues).__name__}: {count:,} rows, each with one prediction, in {took:.0f} s with five kills of "
        f"consumers and one of the broker; {len(published) - count:,} answers published twice, by version {versions}; "
        f"{rate:,.0f} rows a second undisturbed by two consumers, {batch:,.0f} in a batch."
    )


def _left(queues: Any) -> int:
    """What is not acknowledged; as long as the broker is away nobody knows."""
    try:
        return int(queues.left())
    except Exception:
        return -1
