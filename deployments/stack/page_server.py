"""The pages of all models on a loopback port, made when they are asked for.

Reading only: GET and HEAD, no file but the Evidently reports that decisions name, no answer to a name that is not this
machine's (a page elsewhere may have its own name point here: DNS rebinding).
"""

from __future__ import annotations

import errno
import re
import threading
import time
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import models
from deployments.stack.services import HOST
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.ledger.timeline import ledger
from evergreen.pages.environment import policy
from evergreen.pages.gather import gather
from evergreen.pages.links import Places
from evergreen.pages.render import Line, render, render_index, render_problem
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION
from evergreen.settings import Settings

_FRESH_SECONDS = 60.0
_MODEL = re.compile(r"/([a-z][a-z0-9_]*)")
_REPORT = re.compile(r"/report/([a-z][a-z0-9_]*)/([0-9a-f]{1,64})")
# Evidently's page draws with inline scripts and its own Plotly; in a sandbox it is nobody, and it may fetch nothing.
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)


class Pages:
    """The pages by model, made anew when what they are made of has changed, at the latest after a minute."""

    def __init__(self, settings: Settings, places: Places) -> None:
        self.settings = settings
        self.places = places
        self._lock = threading.Lock()
        self._made: dict[str, tuple[object, float, Any]] = {}

    def page(self, model: str) -> str:
        """The page of one model.

        Raises:
            EvergreenError: the model file is at fault, or the registry or a table cannot be read.
        """

        def make() -> str:
            spec = models.load(model, self.settings.models).spec
            return render(gather(self.settings, spec, self.places, now=datetime.now(UTC)), self.places)

        return str(self._kept(f"page {model}", model, make))

    def index(self) -> str:
        """The page of all models; one that cannot be read is said to be so, and takes nothing from the others."""
        lines = [self._kept(f"line {name}", name, lambda name=name: self._line(name)) for name in self.names()]
        return render_index(lines, datetime.now(UTC))

    def names(self) -> tuple[str, ...]:
        """The models that there are."""
        return models.names(self.settings.models)

    def report(self, model: str, decision: str) -> Path | None:
        """Evidently's page of a decision; None unless a decision of the model names it, and it is among its reports."""
        found = Decisions(self.settings.lake_uri, model).select(("drift", "retrain"))
        named = [each.detail.get("report") for each in found if each.id == decision]
        home = self.settings.reports(model).resolve()
        for path in (Path(text).resolve() for text in named if text):
            if path.is_relative_to(home) and path.is_file():
                return path
        return None

    def _kept(self, key: str, model: str, make: Any) -> Any:
        """What was made of the same tables a moment ago, else made now; one at a time."""
        with self._lock:
            state = self._state(model)
            known = self._made.get(key)
            if known is not None and known[0] == state and time.monotonic() - known[1] < _FRESH_SECONDS:
                return known[2]
            made = make()
            self._made[key] = state, time.monotonic(), made
            return made

    def _state(self, model: str) -> object:
        """What a page follows from: the model file and the versions of the tables."""
        decisions = Decisions(self.settings.lake_uri, model)
        lake = self.settings.lake_uri
        tables = (decisions.table, decisions.scores, Promotions(lake, model).table, quarantine_table(lake, model))
        file = self.settings.models / f"{model}.py"
        changed = file.stat().st_mtime_ns if file.is_file() else 0
        return changed, *(table.open().version() if table.exists() else None for table in tables)

    def _line(self, model: str) -> Line:
        try:
            models.load(model, self.settings.models)
            champion = Registry(self.settings).by_alias(model, CHAMPION)
            entries = ledger(self.settings, model)
        except EvergreenError as error:
            return Line(model, None, "", "", "", None, str(error))
        last = {entry.kind: entry.outcome for entry in entries}
        return Line(
            model,
            champion.number if champion else None,
            last.get("drift", ""),
            last.get("performance", ""),
            last.get("retrain", ""),
            entries[-1].at if entries else None,
        )


class Server(ThreadingHTTPServer):
    """Listens on loopback; threads end with it."""

    daemon_threads = True

    def __init__(self, pages: Pages, port: int) -> None:
        self.pages = pages
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            what = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
            raise EvergreenError(
                f"Port {port} on {HOST} {what}.", "Choose another one: evergreen page --serve --port N"
            ) from None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server_port}"

    def knows(self, host: str | None) -> bool:
        """Whether a request was meant for this server."""
        return host in (f"{HOST}:{self.server_port}", f"localhost:{self.server_port}")


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
        if not self.server.knows(self.headers.get("Host")):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"This server is asked by another name.\n", kind="text/plain")
            return
        path = self.path.partition("?")[0]
        try:
            self._found(path)
        except EvergreenError as error:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, render_problem("This page cannot be made", error).encode())
        except Exception:
            # A bug: the terminal gets its traceback, and whoever asked an answer.
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, b"This page cannot be made; see the log.\n", kind="text/plain")
            raise

    def _found(self, path: str) -> None:
        pages = self.server.pages
        model, report = _MODEL.fullmatch(path), _REPORT.fullmatch(path)
        if path == "/health":
            self._send(HTTPStatus.OK, b"ok\n", kind="text/plain")
        elif path == "/":
            self._send(HTTPStatus.OK, pages.index().encode())
        elif model and model[1] in pages.names():
            self._send(HTTPStatus.OK, pages.page(model[1]).encode(), rule=policy(plots=True))
        elif report and report[1] in pages.names() and (file := pages.report(report[1], report[2])):
            self._send(HTTPStatus.OK, file.read_bytes(), rule=_REPORT_POLICY)
        else:
            missing = EvergreenError("There is no such page.", "The models are on the first page.")
            self._send(HTTPStatus.NOT_FOUND, render_problem("Not found", missing).encode())

    def _send(self, status: HTTPStatus, body: bytes, *, kind: str = "text/html", rule: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
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
        """Say nothing: the terminal is for what goes wrong."""
