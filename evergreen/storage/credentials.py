"""URLs that may hold a password: it is read from the environment where they are used, and kept nowhere else."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl

from evergreen.errors import EvergreenError

_VARIABLE = "env:"
_SECRETS = ("password", "passwd", "pwd", "secret", "token", "key")


def resolved(text: str, what: str, forms: str) -> str:
    """The text itself, or what the environment holds where it is `env:NAME` or `env:NAME#table`.

    Args:
        text: as it was given.
        what: what names it, for the message.
        forms: what the variable may hold, for the message.

    Raises:
        EvergreenError: the variable is not set.
    """
    if not text.startswith(_VARIABLE):
        return text
    variable, mark, rest = text.removeprefix(_VARIABLE).partition("#")
    if not os.environ.get(variable):
        raise EvergreenError(
            f"The environment variable {variable!a}, which the {what} {text!a} names, is not set.",
            f"Set it where the run is, for deployments in the worker's environment, to {forms}.",
        )
    return os.environ[variable] + mark + rest


def holds_secret(url: str) -> bool:
    """Whether a password, or what goes by such a name, is written out in a URL."""
    rest = url.partition("://")[2]
    user = rest.rpartition("@")[0]
    asked = parse_qsl(rest.partition("?")[2].partition("#")[0])
    return ":" in user or any(word in name.lower() for name, _ in asked for word in _SECRETS)
