"""What the server is asked with is held to what lands later: a monitor run names the column that differs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from rich.console import Console
from sqlalchemy import create_engine

import models
from deployments.cli import console
from deployments.cli.console import show_monitor
from deployments.cli.why_view import show_entries
from evergreen.data.frames import model_frame
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.timeline import read_timeline
from evergreen.pages.gather import gather
from evergreen.pages.links import PageLinks
from evergreen.pages.render import render
from evergreen.registry.client import Registry
from evergreen.runs.results import MonitorResult
from evergreen.settings import Settings, load_settings
from flows.monitor import monitor
from flows.retrain import retrain
from serving.access import Access
from serving.app import App, Parts
from serving.champion import ChampionFollower, Followed, make_served
from serving.frame_worker import FrameWorker
from serving.http import Limits
from serving.prediction_queue import PredictionQueue
from tests.serving.conftest import ask

pytestmark = pytest.mark.usefixtures("in_process")
PROJECT = Path(__file__).resolve().parents[2]
MODEL = "toy"
HOW = "online is 1.8 times the landed value plus 32"
Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The toy's model file, a category of which may be missing; `serve` says how it is served."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))
    text = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
    text = text.replace("Metric, ModelSpec\n", "Lookup, Metric, ModelSpec, Serve, Skew\n")
    text = text.replace('isin(["a", "b"]))', 'isin(["a", "b"]), nullable=True)')

    def write(serve: str) -> None:
        fields = f"    skew=Skew(min_rows=50),\n{serve}    drift="
        (folder / f"{MODEL}.py").write_text(text.replace("    drift=", fields))

    write("    serve=Serve(),\n")
    return write


def land(settings: Settings, rows: pd.DataFrame, name: str) -> None:
    folder = settings.landing / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / f"{name}.csv", index=False)


def serve(rows: pd.DataFrame, known: pd.DataFrame) -> None:
    """Ask the champion for each row by itself, and write what was answered; `known` are rows that it was trained on."""
    settings = load_settings()
    spec, registry = models.load(MODEL, settings.models).spec, Registry(settings)
    champion = registry.champion(MODEL)
    assert champion is not None
    golden = model_frame(known, spec.features)
    served = make_served(spec, registry.load(champion, spec), golden, number=champion.number, sha256="")
    follower = ChampionFollower(settings, registry, {MODEL: Followed(served)}, lambda _name: spec)
    queue = PredictionQueue(settings.lake_uri)
    app = App(Parts(follower, FrameWorker(), queue, Access(), Limits(), "0"))

    async def ask_all() -> None:
        for row in rows.drop(columns="y").to_dict("records"):
            answer = await ask(app, f"/models/{MODEL}/predict", row | {"at": f"{row['at']:%Y-%m-%dT%H:%M:%SZ}"})
            assert answer.status == 200, answer.body

    asyncio.run(ask_all())
    queue.write()
    assert (queue.counts.kept, queue.counts.without_key) == (len(rows), 0)
    if served.lookup is not None:
        served.lookup.store.engine.dispose()  # type: ignore[attr-defined]


def notes(run: str) -> dict[str, str]:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run)]))
        return {str(one.key): str(one.data) for one in client.read_artifacts(artifact_filter=wanted)}


def shown(monkeypatch: pytest.MonkeyPatch, settings: Settings, result: MonitorResult) -> str:
    """What the terminal has of a run and of the ledger, in one line."""
    out = Console(highlight=False, width=200, record=True)
    monkeypatch.setattr(console, "out", out)
    show_monitor(result)
    show_entries([entry for entry in read_timeline(settings, MODEL) if entry.kind == "skew"], settings.report_place)
    return " ".join(out.export_text().split())


def test_a_unit_that_was_changed_online_is_named(
    settings: Settings, make_rows: Callable[..., Any], events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served in one unit and landed in another: stored, told, shown everywhere, once; the next rows are right again."""
    known, rows = make_rows(200), make_rows(180, start=200)
    land(settings, known, "known")
    assert getattr(retrain(MODEL), "outcome", "") == "promoted"
    quiet = monitor(MODEL)
    assert (quiet.skew.reason, "skew" in quiet.to_json()) == ("nothing was asked online yet", False)
    serve(rows[:60].assign(x=rows["x"] * 1.8 + 32), known)
    serve(rows[60:120], known)
    land(settings, rows[:60], "a-day-later")
    events.clear()
    seen = monitor(MODEL)
    assert (seen.skew.verdict, [one.name for one in seen.skew.columns]) == ("FAIL", ["x"]), seen.skew.reason
    column = seen.skew.columns[0]
    assert (column.rows, column.differing, column.how) == (60, 60, HOW)
    assert set(column.examples) < {str(key) for key in range(200, 260)}
    (stored,) = Decisions(settings.lake_uri, MODEL).all("skew")
    assert (stored.id, stored.outcome, stored.champion) == (seen.skew.decision_id, "FAIL", 1)
    told = [payload for name, payload in events if name == "evergreen.skew.failed"]
    assert told == [{"decision_id": stored.id, "rows": 60, "columns": ["x"], "reason": seen.skew.reason}]
    assert not [name for name, _ in events if "retrain" in name]
    assert f"| x | **FAIL** | 60 | 60 | {column.least:.1%} | {HOW} |" in notes(stored.flow_run)["skew-toy"]
    text = shown(monkeypatch, settings, seen)
    assert "Asked online: FAIL. what was served differs from what landed: x in 60 of 60 rows" in text
    assert "question Does the server get the features that land later?" in text
    assert "FAIL x 1, bound 0.01" in text
    assert "decision A person is told. No retraining helps" in text
    page = render(
        gather(settings, models.load(MODEL, load_settings().models).spec, PageLinks(), now=stored.at), PageLinks()
    )
    assert "Asked online, and landed later" in page
    assert HOW in page
    document = json.loads(json.dumps(seen.to_json()))["skew"]
    assert (document["verdict"], document["columns"][0]["name"], document["look"]) == ("FAIL", "x", 1)

    land(settings, rows[60:120], "two-days-later")
    later = monitor(MODEL)
    assert (later.skew.verdict, later.skew.rows, later.skew.look) == ("PASS", 60, 2), later.skew.reason
    again = monitor(MODEL)
    assert again.skew == later.skew
    assert [name for name, _ in events if ".skew." in name] == ["evergreen.skew.failed", "evergreen.skew.passed"]


def test_a_default_of_the_feature_store_is_named(
    settings: Settings, make_rows: Callable[..., Any], model: Callable[[str], None], tmp_path: Path
) -> None:
    """The store has a category where none lands: what was looked up is compared as what a request brought."""
    place = tmp_path / "features.db"
    model(f'    serve=Serve(lookup=Lookup(url="sqlite:///{place}#features", key="id", columns=("kind",))),\n')
    known, rows = make_rows(200), make_rows(90, start=200)
    land(settings, known, "known")
    assert getattr(retrain(MODEL), "outcome", "") == "promoted"
    missing = rows["id"] % 3 == 0
    engine = create_engine(f"sqlite:///{place}")
    rows[["id", "kind"]].assign(kind=rows["kind"].mask(missing, "a")).to_sql("features", engine, index=False)
    engine.dispose()
    serve(rows.drop(columns="kind"), known)
    land(settings, rows.assign(kind=rows["kind"].mask(missing)), "a-day-later")
    skew = monitor(MODEL).skew
    assert [one.name for one in skew.columns] == ["kind"], skew.reason
    assert skew.columns[0].how == "one and the same value online (a default?) where none landed"
    assert skew.verdict == "FAIL"


def test_a_model_that_is_not_served_has_no_step(
    settings: Settings, make_rows: Callable[..., Any], model: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is run, read, kept or told."""
    model("")
    monkeypatch.setattr("flows.shared.served.compare_served", pytest.fail)
    land(settings, make_rows(200), "known")
    retrain(MODEL)
    seen = monitor(MODEL)
    assert (seen.skew.reason, "skew" in seen.to_json()) == ("the model is not served", False)
    assert not Decisions(settings.lake_uri, MODEL).all("skew")
