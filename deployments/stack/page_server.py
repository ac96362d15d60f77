"""Serve the pages of all models, and the loop's metrics; a page is built when it is requested.

The server only reads: GET and HEAD, and no file but the Evidently reports that decisions name. It has no login: beyond
loopback it is for a proxy that asks for one. It refuses a page for another host name than its own, because a page
elsewhere may let its own name point to this machine (DNS rebinding).
"""

from __future__ import annotations

import errno
import logging
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import gaierror
from typing import Any
from urllib.parse import urlsplit

import models
from deployments.stack.loop_monitor import LoopMonitor
from deployments.stack.services import HOST
from evergreen import naming
from evergreen.details.decision import RetrainDetail
from evergreen.details.watch import DriftDetail
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.naming import Table
from evergreen.pages.environment import policy
from evergreen.pages.gather import gather
from evergreen.pages.links import PageLinks
from evergreen.pages.render import render, render_index, render_problem
from evergreen.prometheus import CONTENT_TYPE
from evergreen.runs.fleet import read_fleet, sort_lines
from evergreen.runs.loop_facts import stored_state
from evergreen.settings import Settings
from evergreen.storage.kept_files import KeptFiles, kept_name

_LOG = logging.getLogger(__name__)
_FRESH_SECONDS = 60.0
_PAGE_TABLES: tuple[Table, ...] = ("decisions", "drift", "promotions", "quarantine")
HTML, PLAIN_TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
_PROBES = ("/health", "/metrics")
_REFUSED = {
    errno.EADDRINUSE: "is in use",
    errno.EACCES: "may not be used",
    errno.EADDRNOTAVAIL: "is no address of this machine",
}
_MODEL = re.compile(r"/([a-z][a-z0-9_]*)")
_REPORT = re.compile(r"/report/([a-z][a-z0-9_]*)/([0-9a-f]{1,64})")
# Evidently's page draws with inline scripts and its own Plotly. In a sandbox it has no origin and may fetch nothing.
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)


class PageCache:
    """The pages by model. A page is built again when its sources have changed, and at the latest after a minute."""

    def __init__(self, settings: Settings, links: PageLinks) -> None:
        self.settings = settings
        self.links = links
        self._lock = threading.Lock()
        self._built: dict[str, tuple[object, float, Any]] = {}

    def page(self, model: str) -> str:
        """The page of one model.

        Raises:
            EvergreenError: the model file has a mistake, or the registry or a table cannot be read.
        """

        def build() -> str:
            spec = models.load(model, self.settings.models).spec
            return render(gather(self.settings, spec, self.links, now=datetime.now(UTC)), self.links)

        return str(self._cached(f"page {model}", model, build))

    def index(self) -> str:
        """The page of all models, the most worrying first; for a model that cannot be read it shows the error."""
        with self._lock:
            states = {name: self._state(name) for name in self.names()}
            stale = [name for name, state in states.items() if self._kept(f"line {name}", state) is None]
            load, now = partial(models.load_spec, folder=self.settings.models), datetime.now(UTC)
            for line in read_fleet(self.settings, stale, load, now=now):
                self._built[f"line {line.model}"] = states[line.model], time.monotonic(), line
            lines = sort_lines(self._built[f"line {name}"][2] for name in states)
            return render_index(self.settings.environment, lines, now)

    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return models.names(self.settings.models)

    def report(self, model: str, decision: str) -> bytes | None:
        """Evidently's page of a decision; None unless a decision of the model names it and it is one of its reports."""
        decisions = Decisions(self.settings.lake_uri, model).select(("drift", "retrain"))
        details = [each.detail for each in decisions if each.id == decision]
        reports = [detail.report for detail in details if isinstance(detail, DriftDetail | RetrainDetail)]
        own = naming.report_folder(model, "")
        named = [name for name in map(kept_name, reports) if name and name.startswith(f"{own}/")]
        files = KeptFiles(self.settings.report_place)
        return next((page for page in map(files.read, named) if page is not None), None)

    def _cached(self, key: str, model: str, build: Callable[[], Any]) -> Any:
        """What was built from the same tables within the last minute, or else built now; one at a time."""
        with self._lock:
            state = self._state(model)
            kept = self._kept(key, state)
            if kept is None:
                kept = build()
                self._built[key] = state, time.monotonic(), kept
            return kept

    def _state(self, model: str) -> object:
        """Equal as long as nothing was written of a model; of a table that cannot be read, never."""
        try:
            return stored_state(self.settings, model, _PAGE_TABLES)
        except EvergreenError:
            return object()

    def _kept(self, key: str, state: object) -> Any:
        built = self._built.get(key)
        fresh = built is not None and built[0] == state and time.monotonic() - built[1] < _FRESH_SECONDS
        return built[2] if built is not None and fresh else None


class Server(ThreadingHTTPServer):
    """Listens on loopback, or on the address that it is told; its threads end with it."""

    daemon_threads = True

    def __init__(self, pages: PageCache, port: int, host: str = HOST) -> None:
        self.pages = pages
        self.monitor = LoopMonitor(pages.settings)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            what = _REFUSED.get(error.errno or 0)
            if what is None and not isinstance(error, gaierror):
                raise
            raise EvergreenError(
                f"Port {port} on {host} {what or 'is no address of this machine'}.",
                "Choose another one: evergreen page --serve --port N, and --host where it listens elsewhere.",
            ) from None
        self.host = host
        # What it is called from outside, by a proxy that passes the name on.
        self.names = {f"{HOST}:{self.server_port}", f"localhost:{self.server_port}", f"{host}:{self.server_port}"}
        self.names |= {urlsplit(pages.settings.pages).netloc} - {""}

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://{self.host}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a request failed with."""
        if self.pages.settings.logs == "json":
            _LOG.error("A request failed.", exc_info=True)
        else:
            super().handle_error(request, client_address)

    def knows(self, host: str | None) -> bool:
        """Whether a Host header names this server."""
        return host in self.names


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "Evergreen", ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer with a page."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer with the headers of a page."""
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        # In a network of containers a probe and Prometheus ask by whatever name or address the server has there.
        is_probe = path in _PROBES and self.server.host != HOST
        if not is_probe and not self.server.knows(self.headers.get("Host")):
            self._send(
                HTTPStatus.MISDIRECTED_REQUEST, b"This server does not have this name.\n", content_type=PLAIN_TEXT
            )
            return
        try:
            self._send_page(path)
        except EvergreenError as error:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, render_problem("This page cannot be built", error).encode())
        except Exception:
            # A bug: the log gets the traceback, and the browser an answer.
            self._send(
                HTTPStatus.INTERNAL_SERVER_ERROR, b"This page cannot be built; see the log.\n", content_type=PLAIN_TEXT
            )
            raise

    def _send_page(self, path: str) -> None:
        pages = self.server.pages
        model, report = _MODEL.fullmatch(path), _REPORT.fullmatch(path)
        if path == "/health":
            self._send(HTTPStatus.OK, b"ok\n", content_type=PLAIN_TEXT)
        elif path == "/metrics":
            self._send(HTTPStatus.OK, self.server.monitor.text(), content_type=CONTENT_TYPE)
        elif path == "/":
            self._send(HTTPStatus.OK, pages.index().encode())
        elif model and model[1] in pages.names():
            self._send(HTTPStatus.OK, pages.page(model[1]).encode(), rule=policy(plots=True))
        elif report and report[1] in pages.names() and (found := pages.report(report[1], report[2])):
            self._send(HTTPStatus.OK, found, rule=_REPORT_POLICY)
        else:
            missing = EvergreenError("There is no such page.", "The first page lists all models.")
            self._send(HTTPStatus.NOT_FOUND, render_problem("Not found", missing).encode())

    def _send(self, status: HTTPStatus, body: bytes, *, content_type: str = HTML, rule: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", f"{rule or policy()}; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the log is for errors."""
