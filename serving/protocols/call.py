"""What a request asks for, whatever form it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from serving.faults import RequestError, malformed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Rows to predict.

    Attributes:
        rows: JSON objects; empty where there is a frame.
        frame: the rows of a protocol that sends columns.
        written: every value of the frame is a text, as in a file.
        single: the client sent one row and not a list.
        request_id: that the body names; empty where it does not.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    frame: pd.DataFrame | None = None
    written: bool = False
    single: bool = False
    request_id: str = ""

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.rows) if self.frame is None else len(self.frame)


ID_BYTES = 128
"""Of a request id that a client gives; a longer one is replaced."""


def is_request_id(text: object) -> bool:
    """Whether a client's id of a request may go into logs and headers."""
    return isinstance(text, str) and 0 < len(text) <= ID_BYTES and text.isascii() and text.isprintable()


def parse_json(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        RequestError: it is none: also NaN, a number beyond a double, or a value nested a thousand levels deep.
    """
    import orjson

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        what = str(error).partition(":")[0]
        raise malformed(f"The body is not JSON (line {error.lineno}, column {error.colno}): {what}.") from None


def require_objects(rows: Any) -> Sequence[Mapping[str, Any]]:
    """A list of JSON objects.

    Raises:
        RequestError: it is something else, or it has no rows.
    """
    if rows.__class__ is not list:
        raise malformed("The rows have to be a list of JSON objects.")
    if not rows:
        raise malformed("There is no row in it.")
    for position, row in enumerate(rows):
        if row.__class__ is not dict or not row:
            raise malformed(f"Row {position} is not a JSON object with the columns of the row.")
    return rows


def require_type(content_type: str, *allowed: str) -> None:
    """Refuse a body of another type than those.

    Raises:
        RequestError: it has another one.
    """
    if content_type not in allowed:
        what = f"Content-Type {content_type!r} is not read here" if content_type else "There is no Content-Type"
        message = f"{what}; send {' or '.join(allowed)} (with curl: -H 'content-type: {allowed[0]}')."
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content_type", message)
