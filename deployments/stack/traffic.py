"""Ask a running server for predictions without pause, and count what comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Self

from deployments.stack.services import HOST
from evergreen.naming import predict_path


@dataclass(slots=True)
class Traffic:
    """One client that asks for the same row over one connection until it is stopped.

    Attributes:
        port: of the server.
        model: that is asked.
        answers: when each answer came (seconds since 1970), and which version gave it.
        failures: requests that were not answered with a prediction.
    """

    port: int
    model: str
    answers: list[tuple[float, int]] = field(default_factory=list)
    failures: int = 0
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop, when the last answer is there."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def wait_for(self, version: int, seconds: float) -> bool:
        """Wait until a version answers; whether it did within these seconds."""
        return self._wait(lambda: bool(self.answers) and self.answers[-1][1] == version, seconds)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _ask(self) -> None:
        connection = HTTPConnection(HOST, self.port, timeout=30)
        body, headers = b"", {"content-type": "application/json"}
        while not self._done.is_set():
            try:
                body = body or json.dumps(self._example(connection)).encode()
                connection.request("POST", predict_path(self.model), body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                self.answers.append((time.time(), int(answer["version"])))
            except (OSError, HTTPException, ValueError, KeyError):
                self.failures += 1
                with suppress(OSError):
                    connection.close()
                time.sleep(0.05)
        connection.close()

    def _example(self, connection: HTTPConnection) -> Any:
        """The typical row that the server's description has."""
        connection.request("GET", "/openapi.json")
        paths = json.loads(connection.getresponse().read())["paths"]
        post = paths[predict_path(self.model)]["post"]
        return post["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]["examples"][0]
