"""Whether this home's worker is well, for the health check of a container: `python -m deployments.stack.worker_health`.

It ends with 0 where the Prefect server has heard of the worker lately.
"""

from __future__ import annotations

import sys
import time

from deployments.stack.health import is_online
from deployments.stack.services import read_ports
from evergreen.errors import EvergreenError
from evergreen.settings import load_settings

_LATELY = 120.0
"""A worker tells the server of itself every 30 seconds."""


def main() -> None:
    """Ask the server.

    Raises:
        EvergreenError: it has heard nothing, it does not answer, or no worker was started here.
    """
    settings = load_settings()
    ports = read_ports(settings)
    if ports is None:
        raise EvergreenError("No worker was started in this home.", "Run: evergreen up --worker")
    if not is_online(settings, ports, time.time() - _LATELY):
        raise EvergreenError(
            f"{ports.api} has not heard of this home's worker for {_LATELY:.0f} seconds.",
            f"See {settings.stack / 'logs' / 'worker.log'}.",
        )


if __name__ == "__main__":
    try:
        main()
    except EvergreenError as error:
        sys.exit(str(error))
