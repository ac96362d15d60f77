"""A container's health check of its worker; tests/live/test_compose.py shows that it passes for one that is well."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.stack.services import Ports, write_ports
from deployments.stack.worker_health import main
from evergreen.errors import EvergreenError
from evergreen.settings import load_settings
from tests.live.conftest import free_port


def test_it_fails_where_no_worker_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None was started in this home; or one was, and its server does not answer."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    with pytest.raises(EvergreenError, match="No worker was started in this home"):
        main()
    stack = load_settings().stack
    stack.mkdir(parents=True)
    write_ports(load_settings(), Ports(1, 2, server=f"http://127.0.0.1:{free_port()}/api"))
    with pytest.raises(EvergreenError, match="has not heard of this home's worker for 120 seconds"):
        main()
