"""What a consumer does with a batch, step by step, beside a source and a target in memory and a real lake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.settings import Settings
from evergreen.spec import Lookup, Serve
from serving.champion import Followed
from serving.frame_worker import FrameWorker
from serving.streams import consumer as module
from serving.streams.address import read_address
from serving.streams.consumer import Consumer, Plan
from serving.streams.feed import Inbox, Outgoing
from serving.streams.lake import StreamLog
from serving.streams.message import Message
from serving.version import ServedVersion
from tests.serving.streams.conftest import in_loop, row

Make = Callable[..., Any]


class Place:
    """A source or target in memory, which may be away for some attempts."""

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.acknowledged: list[str] = []
        self.away = 0
        self.inbox: Inbox | None = None
        self.paused = False

    async def connect(self) -> None:
        self._answer()

    async def start(self, inbox: Inbox) -> None:
        self._answer()
        self.inbox = inbox

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self._answer()
        self.published += messages

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        self._answer()
        self.acknowledged += [each.id for each in messages]

    async def answers(self) -> bool:
        return not self.away

    async def pause(self) -> None:
        self.paused = True

    async def close(self) -> None:
        pass

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionError("amqp://user:geheim@host")

    @property
    def bodies(self) -> dict[str, Any]:
        return {each.id: json.loads(each.body) for each in self.published}


class Registry:
    """Knows the versions that a test hands over."""

    def __init__(self, *versions: ServedVersion) -> None:
        self.versions = {each.number: each for each in versions}

    def get(self, model: str, number: int) -> ServedVersion:
        if number not in self.versions:
            raise EvergreenError("There is none.")
        return self.versions[number]

    def load(self, version: ServedVersion, spec: Any) -> Any:
        return version.pipeline


def message(name: str, body: bytes | None = None, *, again: bool = False) -> Message:
    return Message(name, row(1) if body is None else body, again, 1_000.0, None)


@pytest.fixture
def make_consumer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Consumer]:
    """A consumer of a version in the test's own lake; `letters` gives it a place for dead letters."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)

    def make(version: ServedVersion | None, *, letters: bool = False, registry: Registry | None = None) -> Consumer:
        address = read_address("amqp://host/#orders", "source")
        plan = Plan("toy", address, replace(address, name="to"), None, 100, 0.01, 1.0)
        known = registry or Registry(*([version] if version else []))
        log = StreamLog(settings.lake_uri, known, "orders")  # type: ignore[arg-type]
        place = Place() if letters else None
        return Consumer(plan, Followed(version), log, FrameWorker(), Place(), Place(), place)

    return make


def tables(settings: Settings, version: ServedVersion) -> tuple[Any, Any]:
    """The predictions and the requests."""
    return (
        PredictionLog(settings.lake_uri, version.spec).table.read(),
        RequestLog(settings.lake_uri, version.spec).table.read(),
    )


def score(consumer: Consumer, *messages: Message) -> None:
    async def work() -> None:
        await consumer._score(messages)

    in_loop(work())
    consumer.worker.close()
    consumer.worker = FrameWorker()


def test_a_message_is_a_row_or_a_list_of_rows(make_consumer: Make, version: ServedVersion, settings: Settings) -> None:
    """Answers have the form of `/predict`, and every row is kept under the id of its message."""
    consumer = make_consumer(version)
    score(consumer, message("one"), message("many", b"[" + row(1) + b"," + row(2) + b"]"))
    one, many = consumer.target.bodies["one"], consumer.target.bodies["many"]
    assert one["prediction"] == many["predictions"][0]
    assert (one["version"], one["request_id"], one["model"]) == (1, "one", "toy")
    predictions, requests = tables(settings, version)
    for kept, name in ((predictions, "run_id"), (requests, "request")):
        assert sorted(zip(kept[name], kept["row"], strict=True)) == [("many", 0), ("many", 1), ("one", 0)]
    assert consumer.feed.acknowledged == ["one", "many"]
    assert (consumer.counts.rows, consumer.counts.again) == (3, 0)


@pytest.mark.parametrize("again", [True, False])
def test_a_message_that_comes_again_is_answered_as_before(
    make_consumer: Make, make_version: Make, settings: Settings, again: bool
) -> None:
    """By the version that answered first, also when another one is the champion by now, and by another consumer."""
    first, second = make_version(1), make_version(2, slope=30.0)
    score(make_consumer(first), message("a"), message("b"))
    consumer = make_consumer(second)
    if not again:
        # The source does not know: a message that was published twice. What was kept last is known to each consumer.
        consumer.log.look(second.spec)
    score(consumer, message("b", again=again), message("c"))
    predictions, requests = tables(settings, second)
    assert sorted(predictions["run_id"]) == sorted(requests["request"]) == ["a", "b", "c"]
    assert consumer.target.bodies["b"]["version"] == 1
    assert consumer.target.bodies["c"]["version"] == 2
    assert consumer.target.bodies["b"]["prediction"] == predictions.set_index("run_id")["prediction"]["b"]
    assert (consumer.counts.rows, consumer.counts.again) == (1, 1)


def test_a_message_that_is_there_twice_is_answered_once(
    make_consumer: Make, version: ServedVersion, settings: Settings
) -> None:
    """In one batch, too; both deliveries are acknowledged."""
    consumer = make_consumer(version)
    score(consumer, message("a"), message("a", again=True))
    assert [each.id for each in consumer.target.published] == ["a"]
    assert consumer.feed.acknowledged == ["a", "a"]
    assert len(tables(settings, version)[0]) == 1


def test_a_kept_answer_counts_though_the_row_would_be_refused_now(
    make_consumer: Make, version: ServedVersion, make_version: Make
) -> None:
    """A contract that became stricter does not take back what was answered."""
    score(make_consumer(version), message("a"))
    stricter = make_version(2, serve=Serve(max_rows=1))
    consumer = make_consumer(stricter, letters=True)
    score(consumer, message("a", b"[" + row(1) + b"," + row(2) + b"]", again=True))
    assert consumer.target.bodies["a"]["version"] == 1
    assert consumer.dead_letters.published == []


def test_classes_and_probabilities_are_those_of_the_version_that_answered(
    make_consumer: Make, make_version: Make, make_spec: Make, make_rows: Make, settings: Settings
) -> None:
    """Labels keep their type, and probabilities the names of their own version's classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from serving.champion import make_served
    from tests.serving.conftest import as_utc, fitted

    def served(number: int, low: int, high: int) -> ServedVersion:
        spec = make_spec(
            task="classification", metric={"name": "accuracy"}, pipeline=_classifier(Pipeline, LogisticRegression)
        )
        rows = as_utc(make_rows(200))
        rows = rows.assign(y=[high if x > 0 else low for x in rows["x"]])
        return make_served(spec, fitted(spec, rows), rows, number=number, sha256=f"{number:064}")

    first, second = served(1, 0, 1), served(2, 5, 6)
    consumer = make_consumer(first)
    score(consumer, message("a", row(9_000, kind=None)))
    said = consumer.target.bodies["a"]
    assert said["prediction"] in (0, 1)
    assert set(said["probability"]) == {"0", "1"}
    later = make_consumer(second, registry=Registry(first, second))
    score(later, message("a", row(9_000, kind=None), again=True))
    assert later.target.bodies["a"] == said
    forgotten = make_consumer(second, registry=Registry(second))
    score(forgotten, message("a", row(9_000, kind=None), again=True))
    assert forgotten.target.bodies["a"]["version"] == 1


def _classifier(pipeline: Any, model: Any) -> Callable[[int], Any]:
    from sklearn.compose import ColumnTransformer

    def build(seed: int) -> Any:
        return pipeline([("x", ColumnTransformer([("x", "passthrough", ["x"])])), ("model", model())])

    return build


REFUSED = [
    (b"{", "malformed", ""),
    (b"", "malformed", ""),
    (b"\xff\xfe", "malformed", ""),
    (b"7", "malformed", ""),
    (b'{"id": 1, "x": NaN}', "malformed", ""),
    (row(1, x=1_000), "invalid_rows", "x"),
    (row(1, colour="red"), "unknown_column", ""),
    (json.dumps({"id": 1, "kind": "a"}).encode(), "missing_column", ""),
    (b"[" + row(1) + b"," + row(2, x=1_000) + b"]", "invalid_rows", "x"),
]


@pytest.mark.parametrize(("body", "code", "column"), REFUSED)
def test_a_refused_message_goes_to_the_dead_letters(
    make_consumer: Make, version: ServedVersion, body: bytes, code: str, column: str
) -> None:
    """With its code, column and all that it was; the others of its batch are answered."""
    consumer = make_consumer(version, letters=True)
    score(consumer, message("bad", body), message("good"))
    assert list(consumer.target.bodies) == ["good"]
    letter = consumer.dead_letters.bodies["bad"]
    assert letter["error"]["code"] == code
    assert letter["error"]["message"].endswith(".")
    assert [each["column"] for each in letter["error"].get("rows", [])] == ([column] if column else [])
    assert letter["body_base64"] == "//4=" if body == b"\xff\xfe" else letter["body"] == body.decode()
    assert (letter["model"], letter["source"], letter["request_id"]) == ("toy", "orders", "bad")
    assert consumer.feed.acknowledged == ["bad", "good"]
    assert dict(consumer.counts.refused) == {code: 1}


@pytest.mark.parametrize(("body", "code", "column"), REFUSED)
def test_without_dead_letters_it_goes_to_the_quarantine(
    make_consumer: Make, version: ServedVersion, settings: Settings, body: bytes, code: str, column: str
) -> None:
    """Row by row, each with why; coming again it is there once."""
    for again in (False, True):
        consumer = make_consumer(version)
        score(consumer, message("bad", body, again=again))
        assert consumer.feed.acknowledged == ["bad"]
    kept = quarantine_table(settings.lake_uri, "toy").read()
    assert set(kept["origin"]) == {"orders#bad"}
    assert kept["reason"].str.startswith(code).all()
    if column:
        assert kept["reason"].str.contains(f"{column}: ").any()
        whole = json.loads(body)
        assert [json.loads(each) for each in kept["payload"]] == (whole if isinstance(whole, list) else [whole])
    else:
        assert kept["row"].tolist() == [-1]
        assert kept["payload"].tolist() == [body.decode(errors="backslashreplace")]


def test_a_row_on_which_the_pipeline_fails_does_not_fail_the_others(
    make_consumer: Make, make_version: Make, make_spec: Make
) -> None:
    """Rows that share a frame are predicted one by one where the frame fails."""
    version = make_version()

    class Picky:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def predict(self, frame: Any) -> Any:
            if (frame["x"] == 7.0).any():
                raise ValueError("seven")
            return self.inner.predict(frame)

    picky = replace(version, pipeline=Picky(version.pipeline), plan=None, direct=None)
    consumer = make_consumer(picky, letters=True)
    score(consumer, message("a"), message("seven", row(1, x=7.0)), message("b"))
    assert sorted(consumer.target.bodies) == ["a", "b"]
    assert consumer.dead_letters.bodies["seven"]["error"]["code"] == "prediction_failed"


def test_nothing_is_acknowledged_while_the_lake_is_away(
    make_consumer: Make, version: ServedVersion, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor published; when it is back, the same batch goes on."""
    consumer, seen = make_consumer(version), []
    keep = StreamLog.keep

    def away(self: StreamLog, *words: Any) -> Any:
        seen.append((list(consumer.target.published), list(consumer.feed.acknowledged)))
        if len(seen) < 4:
            raise EvergreenError("The table cannot be written.")
        return keep(self, *words)

    monkeypatch.setattr(StreamLog, "keep", away)
    score(consumer, message("a"))
    assert seen == [([], [])] * 4
    assert consumer.feed.acknowledged == ["a"]
    assert len(tables(settings, version)[0]) == 1


def test_nothing_is_acknowledged_while_the_target_is_away(
    make_consumer: Make, version: ServedVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """It is published when it is back; what is told has no password."""
    consumer = make_consumer(version)
    consumer.target.away = 3
    score(consumer, message("a"))
    assert consumer.feed.acknowledged == ["a"]
    assert len(consumer.target.published) == 1
    told = [each.message for each in caplog.records if each.name == module.__name__]
    assert told[0] == "toy: messages wait for the target: ConnectionError"
    assert sum("wait for" in each for each in told) == 1
    assert "geheim" not in caplog.text


def test_a_source_that_takes_no_acknowledgement_gives_the_message_again(
    make_consumer: Make, version: ServedVersion, settings: Settings
) -> None:
    """It goes on with the next batch; what comes again is answered from the table."""
    consumer = make_consumer(version)
    consumer.feed.away = 1
    score(consumer, message("a"))
    assert consumer.feed.acknowledged == []
    score(consumer, message("a", again=True))
    assert consumer.feed.acknowledged == ["a"]
    assert len(tables(settings, version)[0]) == 1


def test_requests_that_a_killed_consumer_left_out_are_added(
    make_consumer: Make, make_version: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died between its two commits: the features are added when the message comes again, beside its own version."""
    first, second = make_version(1), make_version(2, slope=30.0)
    dying = make_consumer(first)

    def die(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dying.log._requests.__class__, "append", _only_predictions(dying.log, die))
        with pytest.raises(KeyboardInterrupt):
            dying.log.keep(first, _served(first, dying, "a"), frozenset())
    assert [len(each) for each in tables(settings, first)] == [1, 0]
    score(make_consumer(second), message("a", again=True))
    predictions, requests = tables(settings, second)
    assert predictions["version"].tolist() == requests["version"].tolist() == [1]


def _only_predictions(log: StreamLog, die: Callable[..., Any]) -> Callable[..., Any]:
    append = log._predictions.__class__.append

    def some(self: Any, *words: Any) -> Any:
        return append(self, *words) if self is log._predictions else die()

    return some


def _served(version: ServedVersion, consumer: Consumer, name: str) -> Any:
    from serving.streams.answers import answer

    answered = in_loop(answer(version, [message(name)], consumer.worker))
    return [each.served for each in answered]


def test_features_that_cannot_be_looked_up_hold_the_message(make_consumer: Make, make_version: Make) -> None:
    """A store that is away is no fault of the row: it waits, and is answered when the store is back."""
    serve = Serve(rows="contract", lookup=Lookup(url="sqlite:///nowhere.db#features", key="id", columns=("x",)))
    version = make_version(serve=serve)

    class Store:
        def __init__(self) -> None:
            self.asked = 0

        def fetch(self, keys: Sequence[Any], columns: Sequence[str]) -> Any:
            self.asked += 1
            if self.asked < 3:
                raise ConnectionError
            return [{"x": float(key)} for key in keys]

    store = Store()
    version = replace(version, lookup=replace(version.lookup, store=store))
    consumer = make_consumer(version, letters=True)
    lacking = [json.dumps({"id": number, "kind": "a"}).encode() for number in (1, 2)]
    nameless = json.dumps({"kind": "a"}).encode()
    score(consumer, message("a", lacking[0]), message("b", lacking[1]), message("c", nameless), message("d"))
    assert sorted(consumer.target.bodies) == ["a", "b", "d"]
    assert consumer.target.bodies["a"]["prediction"] < consumer.target.bodies["b"]["prediction"]
    assert consumer.dead_letters.bodies["c"]["error"]["code"] == "missing_key"
    assert store.asked > 2


def test_nothing_is_taken_before_there_is_a_champion(
    make_consumer: Make, version: ServedVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and begins by itself; told to stop, it does what it took and takes no more."""
    consumer = make_consumer(None)
    consumer.followed.stale = "No version is the champion yet."

    async def work() -> None:
        running = asyncio.create_task(consumer.run())
        async with asyncio.timeout(60):
            while "No version is the champion yet." not in caplog.text:
                await asyncio.sleep(0.01)
            assert consumer.feed.inbox is None
            consumer.followed.current = version
            while consumer.feed.inbox is None:
                await asyncio.sleep(0.01)
            await consumer.feed.inbox.put(message("a"))
            while not consumer.feed.acknowledged:
                await asyncio.sleep(0.01)
            await consumer.feed.inbox.put(message("b"))
            consumer.stop()
            await running

    in_loop(work())
    assert consumer.feed.acknowledged == ["a", "b"]
    assert consumer.feed.paused


def test_without_a_champion_it_stops_at_once(make_consumer: Make) -> None:
    """There is nothing that it took."""
    consumer = make_consumer(None)

    async def work() -> None:
        running = asyncio.create_task(consumer.run())
        consumer.stop()
        async with asyncio.timeout(30):
            await running

    in_loop(work())
    assert consumer.feed.inbox is None
