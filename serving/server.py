"""Start the server: one process, or several that share a port."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import models
from evergreen.logs import log_as_json
from evergreen.registry.client import Registry
from evergreen.settings import Settings, load_settings
from evergreen.spec.model import ModelSpec
from evergreen.spec.serving import Serve
from evergreen.surroundings import prepare_environment
from serving.access import read_access
from serving.app import App, Parts
from serving.champion import ChampionFollower, Followed
from serving.frame_worker import FrameWorker
from serving.http import Limits
from serving.options import Options
from serving.pinned import pin
from serving.prediction_queue import PredictionQueue

DRAIN_SECONDS = 30
"""How long requests in flight may take after SIGTERM."""
UNREAD_SECONDS = 60
"""How long a client may take nothing of its answer."""
STARTUP_FAILURE = 3
"""The exit status of uvicorn where it cannot start."""
_OPTIONS = "EVERGREEN_SERVE_OPTIONS"


def build(options: Options, settings: Settings) -> App:
    """The application of one process."""

    def load_spec(name: str) -> ModelSpec:
        spec = models.load_spec(name, settings.models)
        return spec if options.kept else _keep_nothing(spec)

    if options.pinned:
        follower: ChampionFollower = pin(options.models[0], Path(options.pinned), settings, load_spec)
    else:
        followed = {name: Followed() for name in options.models}
        follower = ChampionFollower(settings, Registry(settings), followed, load_spec, options.poll_seconds)
    queue = PredictionQueue(settings.lake_uri)
    access = read_access(
        settings.serving_keys_file,
        settings.serving_keys.get_secret_value(),
        behind_platform=settings.serving_access == "platform",
    )
    return App(Parts(follower, FrameWorker(), queue, access, Limits(), version("evergreen")))


def _keep_nothing(spec: ModelSpec) -> ModelSpec:
    return spec.model_copy(update={"serve": (spec.serve or Serve()).model_copy(update={"log": 0.0})})


def create_app() -> App:
    """The application of one of several processes, which find what to do in their environment."""
    options = Options(**{**json.loads(os.environ[_OPTIONS])})
    prepare_environment(os.environ)
    settings = load_settings()
    prepare_process(settings)
    return build(options, settings)


def prepare_process(settings: Settings) -> None:
    """Log lines to stderr, and an interpreter that lets requests through while a version is loaded."""
    if settings.logs == "json":
        log_as_json(logging.INFO)
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for library in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # Answers are freed by their reference counts.
    gc.set_threshold(100_000, 50, 100)
    # A thread that loads a version or writes the log gives the interpreter to a request after a tenth of a millisecond,
    # and not after five, which a request would wait at each turn of the loop.
    sys.setswitchinterval(0.0001)


def run(options: Options, app: App | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and write what is left.

    Args:
        options: how.
        app: of this process; None for several.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    if app is None:
        os.environ[_OPTIONS] = json.dumps(asdict(options))
    config = uvicorn.Config(
        app if app is not None else "serving.server:create_app",
        factory=app is None,
        host=options.host,
        port=options.port,
        workers=options.workers,
        loop="auto",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=4096,
    )
    listening = config.bind_socket()
    cut_off_who_never_reads(listening)
    if app is None:
        Multiprocess(config, sockets=[listening]).run()
        return
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def cut_off_who_never_reads(listening: socket.socket, seconds: float = UNREAD_SECONDS) -> None:
    """End connections whose client takes nothing of its answer for so long.

    Each would keep its answer in memory and its connection for ever, also one that the server has closed: uvicorn has
    no limit for it. Linux has, and a connection inherits it; elsewhere there is none.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
