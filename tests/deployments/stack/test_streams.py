"""The consumers of streams as a service of the stack: started, killed, started again, ended."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from deployments.stack.services import STREAMS, Ports, holder, write_ports
from deployments.stack.supervisor import Supervisor
from evergreen.settings import Settings
from tests.deployments.cli.test_stream import STREAMED
from tests.serving.streams.conftest import Rabbit, StreamHome, rabbit, rows, stream_home, wait_for  # noqa: F401


@pytest.mark.slow
def test_streams_are_scored_and_start_again(
    rabbit: Rabbit,  # noqa: F811 - the fixture
    stream_home: StreamHome,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed by its number it is there again, and goes on with what has come meanwhile."""
    settings = stream_home.settings
    assert settings.models is not None
    (Path(settings.models) / "toy.py").write_text(STREAMED)
    stream_home.promote(1.0)
    for name, value in {
        "EVERGREEN_HOME": settings.root,
        "EVERGREEN_MODELS": settings.models,
        "ORDERS": rabbit.source,
        "SCORES": rabbit.target,
    }.items():
        monkeypatch.setenv(name, str(value))
    settings.stack.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        write_ports(settings, Ports(prefect=free.getsockname()[1], mlflow=free.getsockname()[1]))
    supervisor = Supervisor(Settings(home=settings.home, models=settings.models))
    supervisor.launch()
    try:
        assert not supervisor.is_outdated()
        supervisor.start(STREAMS)
        rabbit.send(rows(20))
        wait_for(lambda: stream_home.logged() == 20, "the first rows")
        first = holder(settings, STREAMS)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        rabbit.send(rows(30, first=20))
        wait_for(lambda: stream_home.logged() == 50, "the others")
        assert holder(settings, STREAMS) not in (first, None)
        assert "guest:" not in (settings.stack / "logs" / f"{STREAMS}.log").read_text()
    finally:
        supervisor.shut_down()
    assert holder(settings, STREAMS) is None
    assert stream_home.predictions()["run_id"].is_unique
