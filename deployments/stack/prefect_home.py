"""Make Prefect store its state in EVERGREEN_HOME. Call it before Prefect is first imported."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from deployments.stack.services import HOST, Ports, read_ports, shared_environment
from deployments.stack.supervisor import is_listening
from evergreen.errors import EvergreenError
from evergreen.settings import Settings
from evergreen.surroundings import make_home, prepare_environment


def use(settings: Settings) -> None:
    """Set Prefect's environment, except what the user has set. The server is this home's stack, if it is up."""
    prepare_environment(os.environ)
    defaults = shared_environment(settings) | {
        # A temporary server takes up to half a minute on a busy laptop.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # The terminal shows Evergreen's own lines; the Prefect UI shows Prefect's.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    if not has_server() and (ports := _running_stack(settings)) is not None:
        defaults |= {"PREFECT_API_URL": ports.api, "EVERGREEN_PAGES": settings.pages or ports.pages_ui}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        make_home(settings.root)
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvergreenError(
            f"The folder {os.environ['PREFECT_HOME']} cannot be created: {error.strerror}.",
            "Set EVERGREEN_HOME to a folder of yours.",
        ) from None


def _running_stack(settings: Settings) -> Ports | None:
    """The ports of this home's stack; None unless it is up and its server answers. This takes a millisecond."""
    ports = read_ports(settings)
    if ports is None or not is_listening(settings):
        return None
    try:
        socket.create_connection((HOST, ports.prefect), timeout=1).close()
    except OSError:
        return None
    return ports


def has_server() -> bool:
    """Whether a server is set; without one, each process starts a temporary one."""
    return bool(os.environ.get("PREFECT_API_URL"))
