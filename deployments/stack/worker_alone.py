"""A worker on this machine for a Prefect server elsewhere, and nothing beside it: `evergreen up --worker`.

What it runs is found again by the server: a run whose machine died sends no more heartbeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deployments.stack.health import is_online
from deployments.stack.services import WORKER, read_ports, worker_name, write_ports
from deployments.stack.stack import DEFAULT_PORTS, wait_until_healthy
from deployments.stack.supervisor import Supervisor, end_orphans, is_listening
from evergreen.errors import EvergreenError
from evergreen.naming import work_pool
from evergreen.settings import Settings
from evergreen.storage.locks import hold_file
from evergreen.surroundings import make_home


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that is up.

    Attributes:
        server: the API of the Prefect server that it works for.
        pool: the work pool whose runs it takes.
        name: its name there.
        logs: the folder of its log.
        started: whether it was not up before.
        seconds: how long it took.
    """

    server: str
    pool: str
    name: str
    logs: Path
    started: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {"up": True, **asdict(self), "logs": str(self.logs), "seconds": round(self.seconds, 1)}


def up_worker(settings: Settings, server: str, say: Callable[[str], None]) -> Worker:
    """Start the worker unless it runs, and wait until the server has heard of it; `say` gets a line.

    Raises:
        EvergreenError: no server is named, it does not answer, or it refuses access; the worker ends by itself; or
            something else is up in this home.
    """
    from deployments.connection import open_client

    began = time.monotonic()
    if not server:
        raise EvergreenError(
            "A worker alone needs a Prefect server, and none is set.",
            "Set PREFECT_API_URL to its API, such as https://prefect.example.org/api, or run: evergreen up",
        )
    with open_client("A worker"):
        # The server answers, and lets us in.
        pass
    make_home(settings.stack)
    with hold_file(settings.stack / "up.lock"):
        supervisor, running = Supervisor(settings), is_listening(settings)
        ports = replace(read_ports(settings) or DEFAULT_PORTS, server=server)
        if running and read_ports(settings) != ports:
            raise EvergreenError(
                f"Something else than a worker of {server} is up in {settings.root}.",
                "Run: evergreen down, then: evergreen up --worker",
            )
        started = not running or supervisor.inspect(WORKER).state != "RUNNING"
        if started:
            try:
                if not running:
                    end_orphans(settings)
                    write_ports(settings, ports)
                    supervisor.launch()
                since = time.time()
                supervisor.start(WORKER)
                wait_until_healthy(supervisor, WORKER, lambda: is_online(settings, ports, since), say)
            except BaseException:
                if not running and is_listening(settings):
                    supervisor.shut_down()
                raise
    names = work_pool(settings.environment), worker_name(settings)
    return Worker(server, *names, settings.stack / "logs", started, time.monotonic() - began)
