"""What the libraries of a flow would each read again while they are loaded and begin, read once.

Loading them is most of the time of a command that finds nothing new. Nothing here is about a model: it is which plugins
are installed and whose certificates are trusted, and neither changes while a command runs.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any


@contextmanager
def read_once() -> Iterator[None]:
    """Read what is installed once, and each file of certificates."""
    with _plugins_read_once(), _certificates_read_once():
        yield


@contextmanager
def _plugins_read_once() -> Iterator[None]:
    """Look only once through the installed packages for what they plug in.

    MLflow looks for nine kinds of plugins, one after another, and pandera, fsspec and Alembic for theirs: all of them
    take a tenth of a second.
    """
    read = metadata.entry_points
    known = functools.cache(read)

    def entry_points(**which: Any) -> Any:
        return known().select(**which) if which else known()

    with _instead(metadata, "entry_points", entry_points):
        yield


@contextmanager
def _certificates_read_once() -> Iterator[None]:
    """Read a file of trusted certificates once, and not for each HTTP client.

    Prefect makes six, also where its server speaks plain HTTP: all of them take a tenth of a second. Only what is asked
    for by the name of the file alone is shared: Prefect loosens no other than those that it asks for without one.
    """
    make = ssl.create_default_context

    @functools.cache
    def trusting(file: str) -> ssl.SSLContext:
        return make(cafile=file)

    def create(*words: Any, **named: Any) -> ssl.SSLContext:
        by_file = not words and set(named) == {"cafile"} and named["cafile"]
        return trusting(named["cafile"]) if by_file else make(*words, **named)

    with _instead(ssl, "create_default_context", create):
        yield


@contextmanager
def _instead(module: Any, name: str, function: Any) -> Iterator[None]:
    """Put a function in the place of another one of a module."""
    former = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, former)
