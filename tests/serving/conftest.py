"""A small served version, and an application that is asked without a socket."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import models
from evergreen.registry import lineage
from evergreen.registry.client import Registry
from evergreen.registry.version import CANARY, CHALLENGER, CHAMPION
from evergreen.settings import Settings
from evergreen.spec.canary import Canary
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import target_of
from evergreen.training.reference import REFERENCE
from serving import frame_worker
from serving.access import Access
from serving.app import App, Parts
from serving.challenger import OpenCanary
from serving.champion import ChampionFollower, Followed, make_served
from serving.comparison import Comparer
from serving.frame_worker import FrameWorker
from serving.http import Limits
from serving.prediction_queue import PredictionQueue
from serving.version import ServedVersion

Make = Callable[..., Any]


def fitted(spec: ModelSpec, rows: pd.DataFrame) -> Any:
    """The model's pipeline, fitted on rows after the contract."""
    from evergreen.data.frames import model_frame

    return spec.pipeline(spec.seed).fit(model_frame(rows, spec.features), target_of(spec, rows))


def as_utc(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as the contract has them."""
    return rows.assign(at=rows["at"].dt.tz_localize("UTC"))


@pytest.fixture
def make_version(make_spec: Make, make_rows: Make) -> Callable[..., ServedVersion]:
    """Build a served version of the small regression; any field of its model file can be changed."""

    def make(number: int = 1, slope: float = 3.0, **changes: Any) -> ServedVersion:
        spec = make_spec(**changes)
        rows = as_utc(make_rows(200, slope=slope))
        return make_served(spec, fitted(spec, rows), rows, number=number, sha256=f"{number:064}")

    return make


@pytest.fixture
def version(make_version: Callable[..., ServedVersion]) -> ServedVersion:
    """A served version of the small regression."""
    return make_version()


class NoRegistry:
    """Never answers."""

    def by_alias(self, model: str, alias: str) -> None:
        raise ConnectionError

    def tagged(self, key: str) -> None:
        raise ConnectionError


@pytest.fixture
def make_app(settings: Settings) -> Callable[..., App]:
    """Build an application that serves versions; nothing follows an alias."""

    def make(*versions: ServedVersion, access: Access | None = None, limits: Limits | None = None) -> App:
        served = {each.spec.name: Followed(each) for each in versions}
        follower = ChampionFollower(settings, NoRegistry(), served, lambda name: served[name].current.spec)  # type: ignore[arg-type, union-attr]
        queue = PredictionQueue(settings.lake_uri, comparer=unhurried())
        return App(Parts(follower, FrameWorker(), queue, access or Access(), limits or Limits(), "0.1"))

    return make


def open_canary(app: App, challenger: ServedVersion, share: int, **rules: Any) -> OpenCanary:
    """Let a version meet the traffic of an application beside its champion."""
    followed = app.parts.follower.models[challenger.spec.name]
    assert followed.current is not None
    # On a busy machine an answer is late that is not meant to be.
    opened = OpenCanary(followed.current, challenger, share, Canary(**{"deadline": 600.0} | rules))
    followed.canary.open = opened
    return opened


def unhurried() -> Comparer:
    """It compares all, however slow the machine is."""
    return Comparer(saved=3600.0)


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def ask(
    app: App,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
) -> Answered:
    """Ask an application without a socket; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"content-type": "application/json", "content-length": str(len(content))} | dict(headers or {})
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }

    async def body_at_once() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive or body_at_once, send)
    if not sent:
        return Answered(0, {}, b"")
    start = next(message for message in sent if message["type"] == "http.response.start")
    whole = b"".join(message["body"] for message in sent if message["type"] == "http.response.body")
    return Answered(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, whole)


def ask_once(app: App, path: str, body: Any = None, **how: Any) -> Answered:
    """Ask in a loop of its own."""
    return asyncio.run(ask(app, path, body, **how))


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each frame had that was predicted."""
    seen: list[int] = []
    predict = frame_worker.predict

    def count(pipeline: Any, spec: Any, rows: Any) -> Any:
        seen.append(len(rows))
        return predict(pipeline, spec, rows)

    monkeypatch.setattr(frame_worker, "predict", count)
    return seen


PROJECT = Path(__file__).resolve().parents[2]
TOY = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
MODEL_FILE = TOY.replace("ModelSpec\n", "ModelSpec, Serve\n").replace("    target=", "    serve=Serve(),\n    target=")


class Home:
    """The other side of a server's home: versions and their aliases."""

    def __init__(self, settings: Settings, rows: pd.DataFrame) -> None:
        self.settings, self.registry, self.rows = settings, Registry(settings), rows
        self.folder = settings.root / "candidate"
        self.spec = models.load_spec("toy", settings.models)

    def register(self, factor: float, against: int | None = None) -> int:
        """A version that answers `factor` times as much as the first one, and was held against a champion."""
        self.spec = models.load_spec("toy", self.settings.models)
        pipeline = fitted(self.spec, self.rows.assign(y=self.rows["y"] * factor))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows.to_parquet(self.folder / REFERENCE)
        candidate = self.registry.log(
            self.spec,
            pipeline,
            run_name="candidate",
            classes=None,
            params={},
            metrics={},
            files=self.folder,
            dataset={"name": "toy", "digest": "0", "table": "toy", "version": "1", "rows": "100"},
            tags={"decision_id": f"d-{factor}", "compared_with": lineage.against(against)},
        )
        return self.registry.register("toy", candidate).number

    def promote(self, number: int) -> None:
        self.registry.set_alias("toy", CHAMPION, number)

    def challenge(self, number: int, share: int) -> None:
        """Let a version answer its share of the requests."""
        self.registry.tag(self.registry.get("toy", number), CANARY, str(share))
        self.registry.set_alias("toy", CHALLENGER, number)


@pytest.fixture
def served_home(tmp_path: Path, settings: Settings, empty_database: Path) -> Settings:
    """A home with one model file, `MODEL_FILE`, and no version."""
    settings.root.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_database, settings.root / "mlflow.db")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "toy.py").write_text(MODEL_FILE)
    return Settings(home=settings.home, models=folder)
