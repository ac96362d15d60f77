"""What each service is started with."""

from __future__ import annotations

import os
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

from deployments.stack import services
from deployments.stack.services import SERVER, WORKER, Ports, command, environment
from evergreen.settings import Settings, load_settings


@pytest.mark.parametrize("environment", ["", "staging"])
def test_a_service_has_the_state_folder_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    """What the stack tells its services is where the state folders are, and not the one of the environment in it."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_ENVIRONMENT", environment)
    before = load_settings()
    for name, value in services.environment(services.WORKER, before, Ports(1, 2)).items():
        monkeypatch.setenv(name, value)
    assert load_settings().root == before.root


@pytest.mark.parametrize(("asked_for", "processors", "limit"), [(0, 2, 4), (0, 16, 16), (2, 16, 2), (30, 2, 30)])
def test_the_worker_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: int, processors: int, limit: int
) -> None:
    """By the setting, or one run for each processor and at least four: thirty at once would take the memory of all."""
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    words = command(WORKER, Settings(home=tmp_path, parallel_runs=asked_for), Ports(1, 2))
    assert words[words.index("--limit") + 1] == str(limit)


def test_only_the_part_that_needs_a_password_is_told_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker, and so every flow, knows neither Prefect's database nor Redis; what a user has set stands."""
    settings = Settings(home=tmp_path, prefect_database="postgresql+asyncpg://u:p@h/d", redis="redis://h/1")  # type: ignore[arg-type]
    ports = Ports(1, 2)
    server, worker = environment(SERVER, settings, ports), environment(WORKER, settings, ports)
    assert server["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://u:p@h/d"
    assert server["PREFECT_SERVER_DOCKET_URL"] == server["PREFECT_REDIS_MESSAGING_URL"] == "redis://h/1"
    assert not [value for value in worker.values() if "u:p@h" in value or "redis://" in value]
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "7")
    assert "PREFECT_WORKER_QUERY_SECONDS" not in environment(WORKER, settings, ports)


def test_every_part_of_the_server_has_the_redis_that_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it stays on the Redis that Prefect looks for by itself, which another server may use."""
    pytest.importorskip("prefect_redis", reason="prefect-redis is not installed: the extra redis")
    import prefect_redis
    from pydantic_settings import BaseSettings

    url = "redis://redis.example.org:6380/3"
    told = environment(SERVER, Settings(home=tmp_path, redis=url), Ports(1, 2))
    for name, value in told.items():
        if name.startswith("PREFECT_"):
            monkeypatch.setenv(name, value)
    modules = [import_module(f"prefect_redis.{each.name}") for each in pkgutil.iter_modules(prefect_redis.__path__)]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    settings = [kind() for kind in kinds if issubclass(kind, BaseSettings) and "url" in kind.model_fields]
    assert {type(each).__name__: each.url for each in settings} == {
        "RedisMessagingSettings": url,
        "RedisWorkerCleanupQueueSettings": url,
    }
