"""A server of moto's S3 whose conditional writes are atomic, as those of S3 are.

moto looks whether an object is there, and then writes it: of two who write at once, both are told that they were first.
"""

from __future__ import annotations

import threading
from typing import Any

import moto.server

_CHANGING = {"PUT", "POST", "DELETE"}


class InTurn(moto.server.DomainDispatcherApplication):
    """moto's application; what changes an object is done one at a time."""

    _turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request."""
        if environ["REQUEST_METHOD"] not in _CHANGING:
            return super().__call__(environ, start_response)
        with self._turn:
            return super().__call__(environ, start_response)


if __name__ == "__main__":
    moto.server.DomainDispatcherApplication = InTurn  # type: ignore[misc]
    moto.server.main()
