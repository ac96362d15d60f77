"""The servers that are measured: ours, with a plan and with frames, and others of the same pipeline.

BentoML runs in an environment of its own, made once in `.benchmarks/`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import console, free_port

PROJECT = Path(__file__).resolve().parents[1]
CONTRACT_ROW = {
    "temp": 0.62, "atemp": 0.59, "hum": 0.51, "windspeed": 0.16, "mnth": 6, "hr": 8, "weekday": 3, "holiday": 0,
    "workingday": 1, "season": 2, "weathersit": 1,
}  # fmt: skip
ARRIVING_ROW = {"dteday": "06/12/2012", **CONTRACT_ROW}
STARLETTE = """
import json, os
import joblib, pandas as pd
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

pipeline = joblib.load(os.environ["PIPELINE"])
text = json.loads(os.environ["CATEGORIES"])
order = json.loads(os.environ["FEATURES"])


async def predict(request):
    frame = pd.DataFrame([await request.json()])[order]
    frame[text] = frame[text].astype(str)
    return JSONResponse({"prediction": pipeline.predict(frame).tolist()})


async def ping(request):
    return JSONResponse({})

app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/ping", ping)])
"""
BENTO = """
import json, os
import bentoml, joblib, pandas as pd


@bentoml.service(workers=1, traffic={"timeout": 60})
class Bikes:
    def __init__(self):
        self.pipeline = joblib.load(os.environ["PIPELINE"])
        self.text = json.loads(os.environ["CATEGORIES"])
        self.order = json.loads(os.environ["FEATURES"])

    @bentoml.api
    def predict(self, row: dict) -> list:
        frame = pd.DataFrame([row])[self.order]
        frame[self.text] = frame[self.text].astype(str)
        return self.pipeline.predict(frame).tolist()
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to ask.

    Attributes:
        command: starts it, with `PORT` in place of its port.
        path: where it is asked.
        ping: answers with 200 when it is up.
        body: what it is asked.
        environment: beyond ours.
        folder: that it is started in.
    """

    command: tuple[str, ...]
    path: str
    ping: str
    body: Any
    environment: Mapping[str, str]
    folder: Path = PROJECT


def train(home: Path) -> None:
    """Make the champion of the shipped model in a home of its own."""
    command = [sys.executable, "-m", "deployments.cli", "retrain", "bike_demand", "--json"]
    subprocess.run(command, env=environment(home), cwd=PROJECT, check=True, capture_output=True)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a process that works on a home."""
    return os.environ | {"EVERGREEN_HOME": str(home), "PYTHONPATH": str(PROJECT)} | more


def peers(folder: Path, home: Path, *, with_bento: bool) -> dict[str, Peer]:
    """The servers, of which BentoML is left out where it cannot be installed."""
    import joblib

    pipeline, spec = champion(home)
    joblib.dump(pipeline, folder / "pipeline.joblib")
    (folder / "starlette_app.py").write_text(STARLETTE)
    (folder / "bento_service.py").write_text(BENTO)
    models = folder / "arriving"
    shutil.copytree(PROJECT / "models", models, ignore=shutil.ignore_patterns("__pycache__"))
    file = models / "bike_demand.py"
    file.write_text(file.read_text().replace('Serve(rows="contract")', "Serve()"))
    ours = (sys.executable, "-m", "deployments.cli", "serve", "bike_demand", "--port", "PORT")
    facts = {
        "PIPELINE": str(folder / "pipeline.joblib"),
        "CATEGORIES": json.dumps(spec.features.categorical),
        "FEATURES": json.dumps(spec.features.all),
    }
    tracking = f"sqlite:///{home / 'mlflow.db'}"
    text = CONTRACT_ROW | {name: str(CONTRACT_ROW[name]) for name in spec.features.categorical}
    doubles = {name: float(value) if not isinstance(value, str) else value for name, value in text.items()}
    found = {
        "evergreen": Peer(ours, "/models/bike_demand/predict", "/ping", CONTRACT_ROW, environment(home)),
        "evergreen, frames": Peer(
            ours,
            "/models/bike_demand/predict",
            "/ping",
            ARRIVING_ROW,
            environment(home, EVERGREEN_MODELS=str(models)),
        ),
        "Starlette": Peer(
            (sys.executable, "-m", "uvicorn", "starlette_app:app", "--port", "PORT", "--log-level", "error"),
            "/predict",
            "/ping",
            CONTRACT_ROW,
            os.environ | facts,
            folder,
        ),
        "MLflow": Peer(
            (
                *(sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/bike_demand@champion"),
                *("--port", "PORT", "--env-manager", "local", "--workers", "1"),
            ),
            "/invocations",
            "/ping",
            {"dataframe_records": [doubles]},
            # MLflow starts uvicorn by its name.
            os.environ | {"MLFLOW_TRACKING_URI": tracking, "PATH": _with_path(Path(sys.executable).parent)},
            folder,
        ),
    }
    if with_bento and (python := bento()):
        bentoml = str(python.with_name("bentoml"))
        command = (bentoml, "serve", "bento_service:Bikes", "--port", "PORT")
        place = {"BENTOML_HOME": str(folder / "bentoml"), "PATH": _with_path(python.parent)}
        quiet = {"BENTOML_DO_NOT_TRACK": "true", **place}
        row = {"row": CONTRACT_ROW}
        found["BentoML"] = Peer(command, "/predict", "/livez", row, os.environ | facts | quiet, folder)
    return found


def _with_path(folder: Path) -> str:
    """PATH with a folder before all others."""
    return os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])


def champion(home: Path) -> tuple[Any, Any]:
    """The pipeline and the model of the champion."""
    import models
    from evergreen.registry.client import Registry
    from evergreen.settings import Settings

    settings = Settings(home=home)
    registry, spec = Registry(settings), models.load_spec("bike_demand", settings.models)
    version = registry.champion("bike_demand")
    assert version is not None
    return registry.load(version, spec), spec


def bento() -> Path | None:
    """The Python of an environment with BentoML, made at the first time; None where it cannot be installed."""
    import sklearn

    place = PROJECT / ".benchmarks" / "bentoml"
    python = place / "bin" / "python"
    if (place / "bin" / "bentoml").exists():
        return python
    uv = Path(sys.executable).with_name("uv")
    console.print("[dim]installing BentoML into .benchmarks/bentoml[/]")
    wanted = ("bentoml", f"scikit-learn=={sklearn.__version__}", "pandas", "joblib")
    for words in (("venv", "--quiet", str(place)), ("pip", "install", "--quiet", "--python", str(python), *wanted)):
        done = subprocess.run([uv, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            console.print(f"[yellow]BentoML is left out: {done.stderr.strip().splitlines()[-1:]}[/]")
            return None
    return python


@contextmanager
def started(peer: Peer, log: Path) -> Iterator[int]:
    """A server that is up; ended by its process group."""
    port = free_port()
    command = [word.replace("PORT", str(port)) for word in peer.command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(peer.environment), cwd=peer.folder, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait_until_up(f"http://127.0.0.1:{port}{peer.ping}", process, log)
            yield port
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(60)


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} is not up: {log.read_text()[-2000:]}")
