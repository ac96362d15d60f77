"""The server as an ASGI application.

Plain ASGI, not a framework: of the 50 microseconds that a request takes, a framework's routing and models would be the
greater part.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import count
from secrets import token_hex
from typing import Any

from evergreen.naming import invocations_path, predict_path
from evergreen.prometheus import CONTENT_TYPE
from serving.access import Access
from serving.answering import Answering, Form
from serving.champion import ChampionFollower
from serving.description import metadata, openapi
from serving.faults import RequestError
from serving.frame_worker import FrameWorker
from serving.http import (
    Limits,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    json_response,
    read_body,
    refusal,
    send_response,
)
from serving.metrics import Metrics
from serving.prediction_queue import PredictionQueue
from serving.protocols import mlflow, open_inference, plain
from serving.protocols.call import ID_BYTES, Call, is_request_id
from serving.request_counts import RequestCounts
from serving.version import ServedVersion

Handler = Callable[[Request, str, float], Awaitable[Response]]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of.

    Attributes:
        follower: says which version answers.
        worker: predicts what is no plain row.
        queue: keeps what was answered.
        access: who may ask.
        limits: what a request may cost.
        version: of Evergreen.
    """

    follower: ChampionFollower
    worker: FrameWorker
    queue: PredictionQueue
    access: Access
    limits: Limits
    version: str


class App:
    """Answers requests; see `docs/serving.md` for its routes."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.counts = RequestCounts(parts.follower.models)
        self.answering = Answering(parts.follower, parts.worker, parts.queue, parts.limits, self.counts)
        self.metrics = Metrics(parts.follower, parts.worker, parts.queue, self.counts, self._can_answer, parts.version)
        self._prefix = token_hex(6)
        self._count = count(1)
        names = tuple(parts.follower.models)
        self._post: dict[str, Handler] = {}
        self._get: dict[str, Callable[[], Response]] = {
            "/ping": self._ping,
            "/health": self._ping,
            "/version": partial(json_response, parts.version),
            "/v2": self._server,
            "/v2/health/live": partial(json_response, {"live": True}),
            "/v2/health/ready": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": partial(self._openapi, names),
        }
        for name in names:
            self._add(name)
        if len(names) == 1:
            self._post["/invocations"] = self._post[invocations_path(names[0])]

    def _add(self, name: str) -> None:
        forms = {
            predict_path(name): Form(_read_plain, plain.write_answer),
            invocations_path(name): Form(_read_mlflow, mlflow.write_answer),
            f"/v2/models/{name}/infer": Form(_read_open_inference, open_inference.write_answer),
        }
        self._post |= {path: partial(self.answering.answer, name, form) for path, form in forms.items()}
        self._get[f"/v2/models/{name}"] = partial(self._metadata, name)
        self._get[f"/v2/models/{name}/ready"] = partial(self._model_ready, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the start and the end of the server."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start before the first request and write what is left after the last."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await asyncio.to_thread(self.parts.follower.start)
                self.parts.queue.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.parts.worker.close)
                await asyncio.to_thread(self.answering.challengers.close)
                await asyncio.to_thread(self.parts.follower.close)
                await asyncio.to_thread(self.parts.queue.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")[: ID_BYTES + 1].decode("latin-1")
        name = given if is_request_id(given) else f"{self._prefix}-{next(self._count)}"
        try:
            response = await self._respond(scope, headers, receive, name, began)
        except RequestError as error:
            self.counts.refused[error.code] += 1
            response = refusal(error, name, scope["path"])
        except ConnectionError:
            # The client went away: there is nobody to answer.
            self.counts.refused["went_away"] += 1
            return
        except Exception as error:
            # The message may show values of the rows.
            _LOG.error("request %s failed: %s", name, type(error).__name__, extra={"request_id": name})
            internal = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The server failed; see its log.")
            self.counts.refused[internal.code] += 1
            response = refusal(internal, name, scope["path"])
        await send_response(send, response, name.encode())

    async def _respond(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, name: str, began: float
    ) -> Response:
        path, method = scope["path"], scope["method"]
        if method == "POST" and (handler := self._post.get(path) or self._versioned(path, self._post)):
            self.parts.access.admit(headers)
            self.counts.in_flight += 1
            try:
                body = await read_body(headers, receive, self.parts.limits)
                content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
                return await handler(Request(content_type, headers, body), name, began)
            finally:
                self.counts.in_flight -= 1
        if method in ("GET", "HEAD") and (page := self._get.get(path) or self._versioned(path, self._get)):
            if path not in _OPEN:
                self.parts.access.admit(headers)
            return page()
        # What there is, is told to those with a key alone.
        self.parts.access.admit(headers)
        raise self._unknown(path)

    def _unknown(self, path: str) -> RequestError:
        """Why there is no answer at a path."""
        allow = "POST" if path in self._post else "GET, HEAD" if path in self._get else ""
        if allow:
            return RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "method", f"Use {allow} here.", allow=allow)
        names = ", ".join(self.parts.follower.models)
        message = f"There is nothing here; models served: {names}. /openapi.json lists what can be asked."
        return RequestError(HTTPStatus.NOT_FOUND, "not_found", message)

    def _versioned(self, path: str, routes: Mapping[str, Handler | Callable[[], Response]]) -> Any:
        """The route of `/v2/models/NAME/versions/NUMBER...`, which there is for a version that answers now."""
        base, marker, rest = path.partition("/versions/")
        number, _, action = rest.partition("/")
        followed = self.parts.follower.models.get(base.removeprefix("/v2/models/"))
        if not marker or followed is None:
            return None
        # As text: int() would also read 007, and digits of other scripts.
        found = next((each.number for each in followed.answering if str(each.number) == number), None)
        route: Any = routes.get(f"{base}/{action}" if action else base)
        return None if found is None or route is None else partial(route, number=found)

    def _server(self) -> Response:
        """As the Open Inference Protocol asks, and how many requests were refused since the start, by their code."""
        server = {"name": open_inference.NAME, "version": self.parts.version, "extensions": open_inference.EXTENSIONS}
        return json_response(server | {"parameters": {"refused": self.counts.refused}})

    def _ping(self) -> Response:
        """As SageMaker and MLflow ask: 200 where requests can be answered."""
        return Response(b"\n", HTTPStatus.OK if self._is_ready() else HTTPStatus.SERVICE_UNAVAILABLE)

    def _is_ready(self) -> bool:
        return all(self._can_answer(name) for name in self.parts.follower.models)

    def _can_answer(self, name: str) -> bool:
        """Whether a version is there, and what predicts its rows is not stuck."""
        version = self.parts.follower.models[name].current
        if version is None:
            return False
        return not version.slow_because or not self.parts.worker.is_stuck(self.parts.limits.answer_seconds)

    def _ready(self) -> Response:
        ready = self._is_ready()
        return json_response({"ready": ready}, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    def _model_ready(self, name: str, number: int | None = None) -> Response:
        # The champion answers where the challenger does not: a number asks nothing more.
        ready = self._can_answer(name)
        body = {"name": name, "ready": ready}
        return json_response(body, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    def _metadata(self, name: str, number: int | None = None) -> Response:
        return json_response(metadata(name, self.parts.follower.models[name], self.parts.queue, number))

    def _metrics(self) -> Response:
        return Response(self.metrics.text(), content_type=CONTENT_TYPE.encode())

    def _openapi(self, names: Sequence[str]) -> Response:
        served = {name: self.parts.follower.models[name].current for name in names}
        return json_response(openapi(served, self.parts.version, closed=bool(self.parts.access.clients)))


_OPEN = frozenset({"/ping", "/health", "/v2/health/live", "/v2/health/ready"})
"""What a load balancer asks, without a key."""


def _read_plain(request: Request, _version: ServedVersion) -> Call:
    return plain.read_call(request.content_type, request.body)


def _read_mlflow(request: Request, version: ServedVersion) -> Call:
    return mlflow.read_call(request.content_type, request.body, version.spec.features.all)


def _read_open_inference(request: Request, _version: ServedVersion) -> Call:
    return open_inference.read_call(request.content_type, request.body, request.headers)
