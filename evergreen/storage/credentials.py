"""URLs that may hold a password. It is read from the environment where the URL is used, and stored nowhere else."""

from __future__ import annotations

import os
from urllib.parse import unquote

from evergreen.errors import EvergreenError

_VARIABLE = "env:"
_SECRETS = ("password", "passwd", "pwd", "secret", "token", "key")


def resolve_env(text: str, what: str, forms: str) -> str:
    """Replace `env:NAME`, or the `env:NAME` of `env:NAME#table`, by the value of that environment variable.

    Args:
        text: a path or URL, or a reference to a variable.
        what: what the text belongs to, such as "source", for the message.
        forms: what the variable may hold, for the message.

    Returns:
        The text with its reference replaced; a text without one as it is.

    Raises:
        EvergreenError: the variable is not set.
    """
    if not text.startswith(_VARIABLE):
        return text
    variable, separator, rest = text.removeprefix(_VARIABLE).partition("#")
    if not os.environ.get(variable):
        raise EvergreenError(
            f"The environment variable {variable!a}, which the {what} {text!a} names, is not set.",
            f"Set it where the run is, for deployments in the worker's environment, to {forms}.",
        )
    return os.environ[variable] + separator + rest


def holds_secret(url: str) -> bool:
    """Whether a URL has a password in it, or a value of its query with a name such as `token`."""
    return bool(_secrets(url))


def without_secrets(text: str, url: str) -> str:
    """Replace the passwords of `url` in a text that may quote it by `***`, both encoded and decoded."""
    for secret in _secrets(url):
        for word in (secret, unquote(secret)):
            text = text.replace(word, "***") if word else text
    return text


def _secrets(url: str) -> list[str]:
    """The password of a URL, and the values of its query with a name such as `token`."""
    rest = url.partition("://")[2]
    _, colon, password = rest.rpartition("@")[0].partition(":")
    query = [pair.partition("=") for pair in rest.partition("?")[2].partition("#")[0].split("&")]
    values = [value for name, _, value in query if any(word in unquote(name).lower() for word in _SECRETS)]
    return [password, *values] if colon else values
