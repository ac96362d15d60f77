"""`evergreen rebuild` and `evergreen clean` as a person meets them: what they print, and their exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import models
from deployments.cli.main import app
from evergreen.data.observations import Observations
from evergreen.registry.client import Registry
from evergreen.registry.lineage import lineage
from evergreen.settings import Settings
from evergreen.storage.locks import open_locks
from evergreen.verdicts import Verdict

MODEL = '''
"""A toy."""

from evergreen.sources import Folder
from evergreen.spec import Features, Holdout, Metric, ModelSpec, Training


def contract():
    import pandera.pandas as pa

    kinds = {"id": int, "at": "datetime64[us, UTC]", "x": float, "kind": str, "y": float}
    return pa.DataFrameSchema({name: pa.Column(kind) for name, kind in kinds.items()})


def pipeline(seed):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", Ridge())])


MODEL = ModelSpec(
    name="toy", task="regression", source=Folder("toy"), contract=contract, keys=("id",), time="at", target="y",
    features=Features(numeric=("x",)), pipeline=pipeline, metric=Metric(name="mae"),
    holdout=Holdout(min_rows=10), training=Training(min_rows=20),
)
'''


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Invoke the command line on a folder with one model file: run("clean", "toy")."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "toy.py").write_text(MODEL)
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, list(words))


def _version(settings: Settings, folder: Path, rows: Any, name: str) -> None:
    """Land rows and register what was fitted on them, as a retraining does."""
    from evergreen.data.windows import training_window
    from evergreen.training.candidate import build_candidate

    loaded = models.load("toy", folder)
    spec, registry, observations = loaded.spec, Registry(settings), Observations(settings.lake_uri, loaded.spec)
    moment = rows["at"].max().to_pydatetime()
    observations.land(rows.assign(at=rows["at"].dt.tz_localize("UTC")), name, name, now=moment)
    snapshot = observations.snapshot()
    facts: dict[str, Any] = {"decision": name, "reason": "test", "spec_hash": loaded.hash, "compared_with": None}
    tags = lineage(snapshot, **facts, params=None, seed=spec.seed, flow_run="")
    window = training_window(spec, snapshot)
    version = registry.register(
        "toy", build_candidate(observations, registry, window, decision=name, params=None, tags=tags)
    )
    registry.conclude(version, Verdict.PASS, "fine", {})


def _told(result: Result, status: int) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.exit_code == status, result.output
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_rebuild_and_clean(
    run: Callable[..., Result], settings: Settings, tmp_path: Path, make_rows: Callable[..., Any]
) -> None:
    """Equal is 0, another result or damage is 1, wrong input is 2; nothing is deleted without --yes."""
    for number in range(2):
        _version(settings, tmp_path / "models", make_rows(60, start=60 * number), f"b{number}")

    equal = run("rebuild", "toy", "1")
    assert equal.exit_code == 0
    assert "toy version 1: equal to the bit. 60 predictions" in equal.stdout
    assert "trained again on 48 rows" in equal.stderr
    assert _told(run("rebuild", "toy", "1", "--json"), 0)["equal"]
    for words, said in (
        (("toy", "7"), "toy has no version 7; there are: 1, 2."),
        (("tyo", "1"), "Unknown model 'tyo': models/ has toy."),
        (("toy", "one"), "Invalid value"),
    ):
        wrong = run("rebuild", *words)
        assert wrong.exit_code == 2
        assert said in wrong.stderr
        assert "Traceback" not in wrong.output

    looked = run("clean", "toy", "--older-than", "0", "--keep", "1")
    assert looked.exit_code == 0
    assert "Nothing was deleted; to delete it, add --yes" in looked.stdout
    assert "nothing to delete" in run("clean").stdout
    assert _told(run("rebuild", "toy", "1", "--json"), 0)["equal"]
    with open_locks(settings).hold("toy", "retrain", wait=0, now=make_rows(1)["at"].max().to_pydatetime()):
        busy = run("clean", "--yes")
        assert (busy.exit_code, "Skipped: Another retrain of toy" in busy.stderr) == (1, True)
        assert run("clean", "toy", "--yes").exit_code == 2
    done = _told(run("clean", "--older-than", "0", "--keep", "1", "--yes", "--json"), 0)
    assert done["deleted"]
    assert [item["name"] for item in done["models"][0]["going"]] == ["version 1"]
    parts = {part["name"]: part["bytes"] for part in done["state"]}
    assert parts["MLflow's database"] == (settings.root / "mlflow.db").stat().st_size
    assert parts["tables"] > 0
    assert done["in_use"] == []
    looked = run("clean")
    assert (looked.exit_code, "MLflow's database" in looked.stdout) == (0, True)
    assert "MLflow's database" not in run("clean", "toy").stdout
    gone = run("rebuild", "toy", "1")
    assert (gone.exit_code, "toy version 1 was cleaned at" in gone.stderr) == (2, True)
    assert run("clean", "--keep", "-1").exit_code == 2
    assert "Unknown model" in run("clean", "nobody").stderr

    registry = Registry(settings)
    packages = json.loads(registry.get("toy", 2).tags.raw["packages"]) | {"numpy": "1.0"}
    registry.tag(registry.get("toy", 2), "packages", json.dumps(packages))
    other = run("rebuild", "toy", "2")
    assert other.exit_code == 0
    assert "Different now" in other.stdout
    file = next((settings.root / "lake" / "toy" / "observations").glob("*.parquet"))
    file.unlink()
    damaged = run("rebuild", "toy", "2")
    assert (damaged.exit_code, damaged.stdout) == (1, "")
    assert f"{file.name} is missing" in damaged.stderr
    assert not _told(run("rebuild", "toy", "2", "--json"), 1)["equal"]
