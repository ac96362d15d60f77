"""What a request and its answer are: the little of HTTP that the server needs beyond ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from serving.faults import RequestError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = dict[str, Any]

JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost.

    Attributes:
        body_bytes: of its body.
        body_seconds: until its body is there.
        answer_seconds: until it is answered.
    """

    body_bytes: int = 10 * 1024 * 1024
    body_seconds: float = 10.0
    answer_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its body.

    Attributes:
        content_type: without its parameters, in lower case.
        headers: by name in lower case, of those that anybody reads.
        body: as it came.
    """

    content_type: str
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    body: bytes
    status: int = HTTPStatus.OK
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()


def json_response(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer of JSON."""
    import orjson

    return Response(orjson.dumps(value), status)


def refusal(error: RequestError, request_id: str, path: str) -> Response:
    """The answer to a request that is refused, in the form of the protocol of its path."""
    body = error.body(request_id)
    if path.startswith("/v2"):
        # The Open Inference Protocol has the message alone as `error`; what else there is comes beside it.
        body = {"error": error.message, "detail": body["error"], "request_id": request_id}
    response = json_response(body, error.status)
    if error.allow:
        return Response(response.body, response.status, headers=[(b"allow", error.allow.encode())])
    if error.status == HTTPStatus.UNAUTHORIZED:
        return Response(response.body, response.status, headers=[(b"www-authenticate", b"Bearer")])
    return response


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        RequestError: it is larger than it may be, or does not come.
        ConnectionError: the client went away.
    """
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            message = await receive()
            body: bytes = message.get("body", b"")
            parts = [body]
            size = len(body)
            while message.get("more_body") and message["type"] == "http.request":
                message = await receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limits.body_bytes:
                    raise _too_large(limits)
    except TimeoutError:
        text = f"The body of the request did not come within {limits.body_seconds:g} seconds."
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, "timeout", text) from None
    if message["type"] == "http.disconnect":
        raise ConnectionResetError
    return body if len(parts) == 1 else b"".join(parts)


def _too_large(limits: Limits) -> RequestError:
    message = f"The body of the request is larger than {limits.body_bytes:,} bytes; send fewer rows at a time."
    return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)


async def send_response(send: Send, response: Response, request_id: bytes) -> None:
    """Send an answer whole."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        (b"x-request-id", request_id),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
