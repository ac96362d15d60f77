"""Which models have a stream."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import models
from evergreen.errors import EvergreenError, ModelFileError
from evergreen.settings import Settings
from evergreen.spec.stream import Stream
from serving.streams.feed import require_library

_LOG = logging.getLogger(__name__)


def asked_streams(settings: Settings, names: Sequence[str] = ()) -> dict[str, Stream]:
    """The streams of model files, by model: of those that are named, or of all that have one.

    Raises:
        EvergreenError: one that is named has none, or none has one.
    """
    found = {}
    for name in names or models.names(settings.models):
        try:
            serve = models.load_spec(name, settings.models).serve
        except ModelFileError as error:
            if names:
                raise
            _LOG.warning("%s: its stream is not scored: %s", name, error.what)
            continue
        if serve is not None and serve.stream is not None:
            found[name] = serve.stream
        elif names:
            raise EvergreenError(
                f"The file of {name} has no stream.",
                "Give --from and --to, or write serve=Serve(stream=Stream(source=..., target=...)).",
            )
    if not found:
        raise EvergreenError(
            "No model file has a stream.",
            "Name one with --from and --to, or write serve=Serve(stream=Stream(source=..., target=...)) in its file.",
        )
    return found


def is_asked_for(settings: Settings) -> bool:
    """Whether a model file has a stream, and the library for it is installed."""
    try:
        require_library()
        return bool(asked_streams(settings))
    except EvergreenError:
        return False
