"""Which requests a challenger answers: a pure function of the request, so that every server decides alike.

The share of a hash says it, not chance: the same key meets the same version for as long as the step lasts, and a larger
step keeps those that are on the challenger already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from serving.protocols.call import Call

HEADER = b"x-route-key"
"""Names whoever a request is for; it counts before the column of the model file."""
KEY_BYTES = 256
"""Of a route key; what follows is not read."""
_BITS = 64


def is_for_challenger(model: str, challenger: int, key: bytes, percent: int) -> bool:
    """Whether the challenger answers.

    Args:
        model: its name.
        challenger: the version's number: another challenger is met by others.
        key: of the request, by `route_key`.
        percent: of the keys that the challenger answers, 0 to 100.
    """
    whose = b"\0".join((model.encode(), str(challenger).encode(), key))
    drawn = hashlib.blake2b(whose, digest_size=_BITS // 8).digest()
    return int.from_bytes(drawn, "big") * 100 < percent << _BITS


def route_key(headers: Mapping[bytes, bytes], column: str | None, call: Call, request_id: str) -> bytes:
    """By what a request is sent to one of the two: the header, else the column of its first row, else its id."""
    given = headers.get(HEADER, b"")
    if not given and column is not None:
        given = _text(_first(call, column)).encode("utf-8", "replace")
    return (given or request_id.encode())[:KEY_BYTES]


def _first(call: Call, column: str) -> Any:
    if call.frame is not None:
        return call.frame[column].iloc[0] if column in call.frame.columns else None
    return call.rows[0].get(column)


def _text(value: Any) -> str:
    """As one text for what is one value in each protocol: 7, 7.0 and "7"; empty for a missing one."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
