"""Another project's MLflow in the environment of a shell or a container."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.settings import Settings

Make = Callable[..., Any]


def test_the_environment_of_another_project(
    settings: Settings, make_spec: Make, make_rows: Make, make_version: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run, an experiment and a server that it names are left alone: the version has a run of its own."""
    foreign = "0123456789abcdef0123456789abcdef"
    monkeypatch.setenv("MLFLOW_RUN_ID", foreign)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "somebody-elses")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "databricks-uc")
    made: Version = make_version(make_spec(), make_rows(100))
    assert made.run_id != foreign
    registry = Registry(settings)
    run = registry.client.get_run(made.run_id)
    assert registry.client.get_experiment(run.info.experiment_id).name != "somebody-elses"
