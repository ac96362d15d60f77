"""What another process is sent to score a chunk: names and hashes. Settings and passwords it reads for itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from evergreen.errors import EvergreenError
from evergreen.registry.client import Registry
from evergreen.registry.version import Version, VersionTags
from evergreen.runs.context import RunContext
from evergreen.scoring.input import ScoringInput
from evergreen.settings import Settings, load_settings
from evergreen.spec.model import ModelSpec
from tasks.predict import ScoringJob

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSWORD = "never-to-be-seen"


def _job(settings: Settings, spec: ModelSpec) -> ScoringJob:
    context = RunContext(spec, "code", settings, Registry(settings), NOW)
    scored = ScoringInput("file", "b", "rows.csv", "rows.csv")
    return ScoringJob(context, scored, Version("toy", 1, "", "", VersionTags.read({}), ""))


def test_no_password_is_sent_to_a_worker(settings: Settings, make_spec: Callable[..., ModelSpec]) -> None:
    """The address of the registry has one; a worker that has the same environment comes to the same settings."""
    secret = SecretStr(f"postgresql://user:{PASSWORD}@host/mlflow")
    job = _job(settings.model_copy(update={"tracking_uri": secret, "redis": secret}), make_spec())
    assert PASSWORD in job.settings.tracking
    sent = pickle.dumps(job)
    assert PASSWORD.encode() not in sent
    assert pickle.loads(sent).settings == load_settings()


def test_a_worker_with_other_tables_is_told(
    settings: Settings, make_spec: Callable[..., ModelSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It scores nothing: both places are named."""
    sent = pickle.dumps(_job(settings, make_spec()))
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(EvergreenError, match="elsewhere/lake, and the run at") as told:
        _ = pickle.loads(sent).settings
    assert "EVERGREEN_*" in told.value.fix
