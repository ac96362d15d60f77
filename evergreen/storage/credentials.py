"""URLs that may hold a password: it is read from the environment where they are used, and kept nowhere else."""

from __future__ import annotations

import os
from urllib.parse import unquote

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
    return bool(_secrets(url))


def without_secrets(text: str, url: str) -> str:
    """A text that may quote a URL, with the URL's passwords blotted out, as they are written and as they are meant."""
    for secret in _secrets(url):
        for word in (secret, unquote(secret)):
            text = text.replace(word, "***") if word else text
    return text


def _secrets(url: str) -> list[str]:
    """The password of a URL, and the values of its query that go by such a name."""
    rest = url.partition("://")[2]
    _, colon, password = rest.rpartition("@")[0].partition(":")
    query = [pair.partition("=") for pair in rest.partition("?")[2].partition("#")[0].split("&")]
    values = [value for name, _, value in query if any(word in unquote(name).lower() for word in _SECRETS)]
    return [password, *values] if colon else values
