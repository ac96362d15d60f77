"""Who may ask: API keys, of which a file holds names, hashes and limits, and never a key itself.

A line of the file is `NAME SHA256 [REQUESTS_PER_SECOND]`; `evergreen serve --add-key NAME` writes one. A key is 32
random bytes, so one round of SHA-256 is enough: nobody can guess what was hashed.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from evergreen.errors import EvergreenError
from serving.faults import RequestError

BURST_SECONDS = 2.0
"""A client may send so many seconds' requests at once."""
_FIELDS = 2, 3
_FORWARDED = frozenset({b"x-forwarded-for", b"forwarded"})
"""Headers by which a proxy says for whom it asks."""


@dataclass(slots=True)
class _Client:
    """A name, its key's hash, and what is left of its rate."""

    name: str
    digest: bytes
    rate: float
    left: float
    at: float


@dataclass(slots=True)
class Access:
    """The clients of a server; without any, everybody on this machine may ask.

    Attributes:
        clients: by nothing: the keys' hashes are compared one by one, each in constant time.
        clock: seconds.
        behind_platform: what is in front of the server knows who asks.
    """

    clients: list[_Client] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    behind_platform: bool = False

    def admit(self, headers: Mapping[bytes, bytes]) -> str:
        """The client's name.

        Raises:
            RequestError: there is no key, nobody has it, or its client asked too often.
        """
        if not self.clients:
            if not self.behind_platform and not _FORWARDED.isdisjoint(headers):
                # To the server it comes from 127.0.0.1, whoever asked the proxy.
                message = (
                    "The request came through a proxy, and this server has no API key; it has to have one for that."
                )
                raise RequestError(HTTPStatus.UNAUTHORIZED, "unauthorized", message)
            return ""
        given = headers.get(b"x-api-key", b"")
        if not given:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            given = token.strip() if scheme.lower() == b"bearer" else b""
        digest = hashlib.sha256(given).digest()
        # All are compared, so that the time says nothing about which one is near.
        matches = [client for client in self.clients if hmac.compare_digest(client.digest, digest)]
        if not given or not matches:
            message = "Send an API key of this server as X-API-Key, or as Authorization: Bearer."
            raise RequestError(HTTPStatus.UNAUTHORIZED, "unauthorized", message)
        self._spend(matches[0])
        return matches[0].name

    def _spend(self, client: _Client) -> None:
        if not client.rate:
            return
        now = self.clock()
        client.left = min(client.rate * BURST_SECONDS, client.left + (now - client.at) * client.rate)
        client.at = now
        if client.left < 1.0:
            message = f"This key may ask {client.rate:g} times a second; send it again later."
            raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", message)
        client.left -= 1.0


def read_access(file: Path, given: str = "", *, behind_platform: bool = False) -> Access:
    """The clients in a file of keys; none if the file is not there.

    Args:
        file: a line for each.
        given: further lines, those of EVERGREEN_SERVING_KEYS, also separated by commas.
        behind_platform: as EVERGREEN_SERVING_ACCESS=platform says.

    Raises:
        EvergreenError: a line is none of the file's form, or the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise EvergreenError(f"{file} cannot be read ({type(error).__name__}).", "Check its owner and mode.") from None
    clients = [*_clients(lines, str(file)), *_clients(re.split(r"[\n,]", given), "EVERGREEN_SERVING_KEYS")]
    return Access(clients, behind_platform=behind_platform)


def _clients(lines: Sequence[str], where: str) -> list[_Client]:
    clients: list[_Client] = []
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        try:
            digest = bytes.fromhex(parts[1])
            rate = float(parts[2]) if len(parts) > _FIELDS[0] else 0.0
        except (IndexError, ValueError):
            digest, rate = b"", 0.0
        if len(digest) != hashlib.sha256().digest_size or len(parts) > _FIELDS[1] or not 0 <= rate < float("inf"):
            raise EvergreenError(
                f"{where}, line {number}: it is not NAME SHA256 [REQUESTS_PER_SECOND].",
                "Delete the line, and write a new one: evergreen serve --add-key NAME",
            )
        clients.append(_Client(parts[0], digest, rate, rate * BURST_SECONDS, 0.0))
    return clients


def add_key(file: Path, name: str) -> str:
    """Make a key, append its name and hash to the file, and return it; it is written nowhere.

    Raises:
        EvergreenError: the name has blanks or commas, begins with # or is taken.
    """
    if not name or re.search(r"[\s,]", name) or name.startswith("#"):
        raise EvergreenError(f"The name {name!r} cannot be a key's.", "Use letters, digits, dashes and dots.")
    if name in {client.name for client in read_access(file).clients}:
        raise EvergreenError(f"{file} has a key of {name} already.", "Delete its line first, or choose another name.")
    key = secrets.token_urlsafe(32)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n")
    file.chmod(0o600)
    return key


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
