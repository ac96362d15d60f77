"""Start the server: one process, or several that share a port."""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec

import models
from evergreen.errors import EvergreenError
from evergreen.registry.client import Registry
from evergreen.settings import Settings, load_settings
from evergreen.spec.model import ModelSpec
from evergreen.surroundings import prepare_environment
from serving.access import is_loopback, read_access
from serving.app import App, Parts
from serving.champion import ChampionFollower, Followed
from serving.frame_worker import FrameWorker
from serving.http import Limits
from serving.prediction_queue import PredictionQueue

HOST, PORT = "127.0.0.1", 8000
DRAIN_SECONDS = 30
"""How long requests in flight may take after SIGTERM."""
_OPTIONS = "EVERGREEN_SERVE_OPTIONS"
_LIBRARIES = ("uvicorn", "httptools", "orjson")


@dataclass(frozen=True, slots=True)
class Options:
    """How a server runs.

    Attributes:
        models: the names of what is served.
        host, port: where it listens.
        workers: processes that share the port, each with its own models in memory.
        poll_seconds: between two looks at the `champion` alias.
    """

    models: tuple[str, ...]
    host: str = HOST
    port: int = PORT
    workers: int = 1
    poll_seconds: float = 1.0


def served_models(names: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The models to serve: those that are named, or all whose file has `serve=Serve(...)`.

    Raises:
        EvergreenError: there is none, or a model file has a mistake.
    """
    if names:
        return tuple(dict.fromkeys(models.load_spec(name, settings.models).name for name in names))
    known = models.names(settings.models)
    served = tuple(name for name in known if models.load_spec(name, settings.models).serve is not None)
    if not served:
        raise EvergreenError(
            "No model file asks to be served.", "Name a model: evergreen serve NAME, or set serve=Serve() in its file."
        )
    return served


def require_served(options: Options, settings: Settings) -> None:
    """Refuse to start a server that lacks a library, or that anybody could ask.

    Raises:
        EvergreenError: a library is not installed, or the host is not this machine alone and there is no API key.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise EvergreenError(
            f"The server needs {', '.join(missing)}, which is not installed.", "Run: pip install 'evergreen[serve]'"
        )
    if not is_loopback(options.host) and not read_access(settings.serving_keys).clients:
        raise EvergreenError(
            f"--host {options.host} is reached from other machines, and there is no API key.",
            "Make one: evergreen serve --add-key NAME, or leave out --host.",
        )


def build(options: Options, settings: Settings) -> App:
    """The application of one process."""

    def load_spec(name: str) -> ModelSpec:
        return models.load_spec(name, settings.models)

    follower = ChampionFollower(
        settings,
        Registry(settings),
        {name: Followed() for name in options.models},
        load_spec,
        options.poll_seconds,
    )
    queue = PredictionQueue(settings.lake_uri)
    access = read_access(settings.serving_keys)
    return App(Parts(follower, FrameWorker(), queue, access, Limits(), version("evergreen")))


def create_app() -> App:
    """The application of one of several processes, which find what to do in their environment."""
    options = Options(**{**json.loads(os.environ[_OPTIONS])})
    prepare_environment(os.environ)
    prepare_process()
    return build(options, load_settings())


def prepare_process() -> None:
    """Log lines to stderr, and a garbage collector that seldom looks: answers are freed by their reference counts."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for library in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(library).setLevel(logging.WARNING)
    gc.set_threshold(100_000, 50, 100)


def run(options: Options, app: App | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and write what is left.

    Args:
        options: how.
        app: of this process; None for several.
    """
    import uvicorn

    if app is None:
        os.environ[_OPTIONS] = json.dumps(asdict(options))
    uvicorn.run(
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
