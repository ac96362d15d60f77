"""Where messages come from and go to: a queue of RabbitMQ, a stream of Redis, a topic of Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from evergreen.errors import EvergreenError
from evergreen.storage.credentials import resolve_env

FORMS = "amqp://host:5672/vhost#queue, redis://host:6379/0#stream or kafka://host:9092#topic"
_SCHEMES = {
    "amqp": "amqp",
    "amqps": "amqp",
    "redis": "redis",
    "rediss": "redis",
    "kafka": "kafka",
}
"""The broker of each scheme; amqps and rediss are encrypted."""


@dataclass(frozen=True, slots=True)
class Address:
    """A queue, stream or topic.

    Attributes:
        broker: `amqp`, `redis` or `kafka`.
        url: of the broker, with user and password, without the name.
        name: of the queue, stream or topic.
    """

    broker: str
    url: str
    name: str

    def __str__(self) -> str:
        """As it may be shown: without user, password and options."""
        return f"{self.server}#{self.name}"

    def __repr__(self) -> str:
        """As it may be shown."""
        return f"Address({self})"

    @property
    def server(self) -> str:
        """The broker alone, as it may be shown."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def read_address(text: str, what: str) -> Address:
    """Read an address; `env:NAME` is replaced by what that variable holds.

    Args:
        text: as a person gave it.
        what: what it is for, such as `source`, for messages.

    Raises:
        EvergreenError: it is no address, or a variable is not set. Nothing of it is quoted but its scheme.
    """
    place = resolve_env(text, what, FORMS)
    url, _, name = place.partition("#")
    scheme, separator, _ = url.partition("://")
    broker = _SCHEMES.get(scheme.lower()) if separator else None
    if broker is None:
        told = f"begins with {scheme!a}://" if separator and scheme.isalnum() else "is no URL"
        raise EvergreenError(f"The {what} {told}, which is no broker that is known here.", f"Write {FORMS}.")
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (broker == "kafka" or parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    if not has_host:
        raise EvergreenError(f"The {what} names no host, or a port that is none.", f"Write {FORMS}.")
    if not name:
        raise EvergreenError(f"The {what} does not say which queue, stream or topic.", f"Write {FORMS}.")
    if broker == "kafka" and ("@" in parts.netloc or parts.query):
        raise EvergreenError(f"The {what} has a user or options, which are not passed on to Kafka.", f"Write {FORMS}.")
    return Address(broker, url, name)
