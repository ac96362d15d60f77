"""How a server runs, and what it serves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import models
from evergreen.errors import EvergreenError, ModelFileError
from evergreen.settings import Settings
from serving.access import is_loopback, read_access

HOST, PORT = "127.0.0.1", 8000
_LIBRARIES = ("uvicorn", "httptools", "orjson", "prometheus_client")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a server runs.

    Attributes:
        models: the names of what is served.
        host, port: where it listens.
        workers: processes that share the port, each with its own models in memory.
        poll_seconds: between two looks at the `champion` alias.
        pinned: the folder of the one version that is served, without a registry; empty to follow the alias.
        kept: whether answers go to the lake.
    """

    models: tuple[str, ...]
    host: str = HOST
    port: int = PORT
    workers: int = 1
    poll_seconds: float = 1.0
    pinned: str = ""
    kept: bool = True


def served_models(names: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The models to serve: those that are named, or all whose file has `serve=Serve(...)`.

    Raises:
        EvergreenError: there is none, or the file of one that is named has a mistake.
    """
    if names:
        return tuple(dict.fromkeys(models.load_spec(name, settings.models).name for name in names))
    served = _asking(settings)
    if not served:
        raise EvergreenError(
            "No model file asks to be served.", "Name a model: evergreen serve NAME, or set serve=Serve() in its file."
        )
    return served


def is_asked_for(settings: Settings) -> bool:
    """Whether a model file asks for a server, and its libraries are installed."""
    return not _missing_libraries() and bool(_asking(settings))


def _asking(settings: Settings) -> tuple[str, ...]:
    """The models whose file asks to be served; a file with a mistake does not keep the others from it."""
    names = []
    for name in models.names(settings.models):
        try:
            if models.load_spec(name, settings.models).serve is not None:
                names.append(name)
        except ModelFileError as error:
            _LOG.warning("%s is not served: %s", name, error.what)
    return tuple(names)


def _missing_libraries() -> list[str]:
    return [name for name in _LIBRARIES if find_spec(name) is None]


def require_served(options: Options, settings: Settings) -> None:
    """Refuse to start a server that lacks a library, or that anybody could ask.

    Raises:
        EvergreenError: a library is not installed, or the host is not this machine alone and there is no API key.
    """
    if missing := _missing_libraries():
        raise EvergreenError(
            f"The server needs {', '.join(missing)}, which is not installed.", "Run: pip install 'evergreen[serve]'"
        )
    if is_loopback(options.host) or settings.serving_access == "platform":
        return
    if not read_access(settings.serving_keys_file, settings.serving_keys.get_secret_value()).clients:
        raise EvergreenError(
            f"{options.host} is reached from other machines, and there is no API key.",
            "Make one: evergreen serve --add-key NAME. A container takes the line that this adds to "
            f"{settings.serving_keys_file.name} as EVERGREEN_SERVING_KEYS; EVERGREEN_SERVING_ACCESS=platform is for a "
            "platform that knows its clients itself.",
        )
