"""A Prefect server for one command that has none: a process of its own, which ends with the command.

Prefect would start one by itself at the first request, and everything would wait for it: the command imports the whole
server only to start it, and then looks on. This one comes up while the command loads its libraries. Its socket is open
from the first moment, so that a request waits instead of failing. Its transactions wait for each other (see
`prefect_server`), so that two commands of one home can run at a time. Runs, logs and events are stored as before.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from evergreen.errors import EvergreenError

_HOST = "127.0.0.1"
_TIMEOUT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
_STOP_SECONDS = 20.0
"""It takes half a second; then it is killed, and what it had not stored yet is lost."""


@dataclass(frozen=True, slots=True)
class _Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def stop(self) -> None:
        """End it: it stores what it was sent, and ends because its input does."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_started: list[_Server] = []
"""This process's server, once there is one."""


def start(home: Path, *, migrated: bool) -> None:
    """Start a server, and make it that of this process and its children; `wait` waits for it.

    Args:
        home: Prefect's home, an existing folder; the log of the server is in it.
        migrated: its database has the newest schema, so that no migrations have to be looked for.
    """
    with socket.create_server((_HOST, 0), backlog=128) as listener:
        port = int(listener.getsockname()[1])
        environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        # Block types are for a server that stays. Without the second, Prefect would note that they are registered.
        environment |= {
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
            "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
            # Task runs are stored many at a time, the last ones at the end. One by one, the server of a busy machine
            # was still behind when it ended, and lost the rest.
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "10000",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        }
        if migrated:
            environment |= {"PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false"}
        log = home / "temporary-server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "deployments.stack.temporary_server", str(listener.fileno())],
                # Whatever ends this process closes the pipe, and that ends the server.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[listener.fileno()],
                env=environment,
                # Ctrl+C is for the command, which still has something to tell the server.
                start_new_session=True,
            )
    server = _Server(process, port, log)
    _started.append(server)
    # First registered, last called: Prefect sends what is left before that.
    atexit.register(server.stop)
    os.environ["PREFECT_API_URL"] = f"http://{_HOST}:{port}/api"


def wait() -> bool:
    """Wait until this process's server answers; False where it has started none.

    Raises:
        EvergreenError: it ended, or did not answer in time.
    """
    if not _started:
        return False
    server, seconds = _started[-1], float(os.environ.get(_TIMEOUT) or 120)
    connection = HTTPConnection(_HOST, server.port, timeout=seconds)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/api/health")
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            status = 0
            what = f"did not answer within {seconds:.0f} s" if isinstance(error, TimeoutError) else "ended"
        else:
            what = f"answered {status}"
    if status != 200:
        raise EvergreenError(
            f"Prefect's temporary server {what}; what it said is in {server.log}.",
            "Run the command again, or start a server with evergreen up.",
        )
    return True


def _serve(handle: int, ended: Callable[[], object]) -> None:
    """Be the server: on the socket of a handle, until `ended` returns."""
    # The imports leave so many objects that the cycle collector takes a sixth of the start.
    gc.disable()
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.server.database.dependencies import set_database_config
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    from deployments.stack.prefect_server import waiting_sqlite

    url = str(PREFECT_API_DATABASE_CONNECTION_URL.value())
    if url.startswith("sqlite"):
        set_database_config(waiting_sqlite(url))
    app = create_app(ephemeral=True, final=True)

    class Server(uvicorn.Server):
        async def main_loop(self) -> None:
            """End at once, where uvicorn looks every tenth of a second: the command waits for it."""
            loop, over = asyncio.get_running_loop(), asyncio.Event()

            def watch() -> None:
                ended()
                loop.call_soon_threadsafe(over.set)

            threading.Thread(target=watch, daemon=True).start()
            while not over.is_set() and not await self.on_tick(0):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), 0.1)

    server = Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    gc.freeze()
    gc.enable()
    server.run(sockets=[socket.socket(fileno=handle)])
    for output in (sys.stdout, sys.stderr):
        output.flush()
    # Everything is stored: nobody needs to wait until Python has taken the server apart.
    os._exit(0 if server.started else 3)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.stdin.buffer.read)
