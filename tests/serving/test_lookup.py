"""Features that a request leaves out are fetched by its key, in time or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from evergreen.data.request_log import RequestLog
from evergreen.errors import ModelFileError
from evergreen.spec import Lookup, Serve
from serving import lookup as module
from serving.app import App
from serving.version import ServedVersion
from tests.serving.conftest import Answered, ask_once

PREDICT = "/models/toy/predict"
REDIS = "redis://127.0.0.1:6379/0"
Make = Callable[..., Any]
FEATURES: dict[int, dict[str, Any]] = {7: {"x": 1.0, "kind": "a"}, 8: {"x": -2.0, "kind": None}}


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A prefix of its own in the Redis of this machine, with two rows."""
    redis = pytest.importorskip("redis", reason="the redis extra is not installed")
    client, prefix = redis.Redis.from_url(REDIS), f"evergreen-test-{uuid4().hex}"
    try:
        client.ping()
    except redis.RedisError:
        pytest.skip(f"no Redis at {REDIS}")
    for key, features in FEATURES.items():
        client.set(f"{prefix}:{key}", json.dumps(features))
    yield f"{REDIS}#{prefix}"
    client.delete(*(f"{prefix}:{key}" for key in FEATURES))
    client.close()


@pytest.fixture
def sql_url(tmp_path: Path) -> str:
    """A table with the same two rows."""
    url = f"sqlite:///{tmp_path / 'features.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE features (id INTEGER, x FLOAT, kind TEXT)"))
        for key, features in FEATURES.items():
            connection.execute(text("INSERT INTO features VALUES (:id, :x, :kind)"), {"id": key, **features})
    engine.dispose()
    return f"{url}#features"


@pytest.fixture(params=["redis_url", "sql_url"])
def url(request: pytest.FixtureRequest) -> str:
    """Each of the stores."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def make_served(make_version: Make, make_app: Make) -> Iterator[Callable[..., App]]:
    """Build an application whose model looks features up."""
    versions: list[ServedVersion] = []

    def make(url: str, **fields: Any) -> App:
        versions.append(make_version(serve=Serve(lookup=Lookup(url=url, key="id", **fields))))
        return make_app(versions[-1])  # type: ignore[no-any-return]

    yield make
    for version in versions:
        store: Any = version.lookup.store if version.lookup else None
        for name in ("client", "engine"):
            with suppress(AttributeError):
                held = getattr(store, name)
                (held.close if name == "client" else held.dispose)()


def _ask(app: App, body: Any) -> Answered:
    return ask_once(app, PREDICT, body)


def test_features_are_fetched_by_key(make_served: Make, url: str) -> None:
    """The same prediction as with the features in the request; what the request brings counts before what is stored."""
    app = make_served(url)
    whole = _ask(app, [{"id": 7, "x": 1.0, "kind": "a"}, {"id": 7, "x": 50.0, "kind": "a"}]).json["predictions"]
    fetched = _ask(app, [{"id": 7}, {"id": 7, "x": 50.0}])
    assert (fetched.status, fetched.json["predictions"]) == (200, whole)
    app.parts.queue.write()
    version = app.parts.follower.models["toy"].current
    assert version is not None
    rows = RequestLog(app.parts.queue.lake, version.spec).table.read(("features", "row"))
    assert sorted(rows["features"]) == sorted(['{"x":1.0,"kind":"a"}', '{"x":50.0,"kind":"a"}'] * 2), (
        "what was used is kept"
    )


def test_what_is_not_there_is_missing(make_served: Make, url: str) -> None:
    """A key that nobody knows, and a value that is null: as the contract says, here a missing kind is allowed."""
    app = make_served(url)
    assert _ask(app, {"id": 8}).status == 200
    unknown = _ask(app, {"id": 999, "x": 1.0})
    null = _ask(app, {"id": 7, "x": 1.0, "kind": None})
    assert (unknown.status, unknown.json["prediction"]) == (200, null.json["prediction"])


@pytest.mark.parametrize("row", [{}, {"x": 1.0}, {"id": None}, {"id": 1.5}, {"id": [7]}, {"id": True}], ids=str)
def test_a_row_without_its_key_is_refused(make_served: Make, sql_url: str, row: dict[str, Any]) -> None:
    """By row and column, like any fault."""
    answer = _ask(make_served(sql_url), [{"id": 7}, row or {"kind": "a"}])
    assert (answer.status, answer.json["error"]["code"]) == (422, "missing_key")
    assert answer.json["error"]["rows"][0] | {"reason": ""} == {"row": 1, "column": "id", "reason": ""}


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def fetch(self, keys: Sequence[Any], columns: Sequence[str]) -> Sequence[dict[str, Any]]:
        self.go.wait(60)
        return [{} for _ in keys]


class Broken:
    """Fails with a secret in its message."""

    def fetch(self, keys: Sequence[Any], columns: Sequence[str]) -> Sequence[dict[str, Any]]:
        raise RuntimeError("password=hunter2")


@pytest.mark.parametrize("store", [Slow, Broken])
def test_a_store_that_does_not_answer_leaves_features_missing(
    make_served: Make, sql_url: str, monkeypatch: pytest.MonkeyPatch, caplog: Any, store: Any
) -> None:
    """In time: where the contract allows it the row is answered, else it is told that the lookup failed."""
    planted = store()
    monkeypatch.setattr(module.SqlStore, "fetch", lambda _self, keys, columns: planted.fetch(keys, columns))
    app = make_served(sql_url, seconds=0.05)
    try:
        assert _ask(app, {"id": 7, "x": 1.0}).status == 200
        refused = _ask(app, {"id": 7, "x": 900.0})
        assert (refused.status, refused.json["error"]["code"]) == (503, "lookup")
        assert "not looked up" in caplog.text
        assert "hunter2" not in caplog.text
    finally:
        if isinstance(planted, Slow):
            planted.go.set()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://127.0.0.1:6379/0", "no #prefix"),
        ("nonsense#table", "not a URL"),
        ("redis://host:port/0#p", "not a Redis URL"),
        ("env:NO_SUCH_VARIABLE", "not set"),
    ],
)
def test_a_url_that_cannot_be_used_names_the_field(make_spec: Make, url: str, says: str) -> None:
    """When the version is loaded, and not at the first request."""
    spec = make_spec(serve=Serve(lookup=Lookup(url=url, key="id")))
    with pytest.raises(ModelFileError, match=says) as refused:
        module.open_lookup(spec, lambda _problem: None)
    assert "serve" in refused.value.what


def test_a_password_is_not_written_into_a_model_file() -> None:
    """A variable holds it."""
    with pytest.raises(ValueError, match="env:NAME"):
        Lookup(url="redis://:hunter2@host/0#p", key="id")
