"""Log lines as JSON: one object a line, with what joins the lines of one decision.

Prefect's logging is configured by its own variables, which point to the classes here; the other processes call
`log_as_json`. A record says what it belongs to by attributes: Prefect's adapter sets those of flow and task run, and
`extra` the others.

The message of an exception may show values of rows: of any exception but Evergreen's own only type and place are told.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.storage.credentials import without_secrets

FIELDS = {
    "flow_run_id": "flow_run",
    "flow_name": "flow",
    "task_run_id": "task_run",
    "task_run_name": "task",
    "model": "model",
    "version": "version",
    "decision": "decision",
    "request_id": "request_id",
}
"""The attribute of a record, and the field that it becomes; one that is not known is left out."""

PREFECT = {
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": f"{__name__}.JsonFormatter",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": f"{__name__}.JsonConsole",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
    "PREFECT_LOGGING_HANDLERS_DEBUG_FORMATTER": "json",
}
"""What makes Prefect write its own lines, and those of flows and tasks, as JSON; its UI gets text as before."""

_UNKNOWN = (None, "", "<unknown>")
_MOST_CAUSES = 10
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>\\]+")
_QUOTED_EXCEPTION = re.compile(r"(exception:? \w+)[:(][\s\S]*")
"""Prefect quotes the exception that ended a run in the state of the run."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line, in ASCII, whatever its message and arguments hold."""

    def __init__(self, *_: object) -> None:
        """A configuration may name a format; there is only one."""
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The line: time, level, logger, message, the fields that are known, and the exception if there is one."""
        error = record.exc_info[1] if record.exc_info else None
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record, error),
        }
        known = {field: getattr(record, name, None) for name, field in FIELDS.items()}
        line |= {field: value for field, value in known.items() if value not in _UNKNOWN}
        if error is not None:
            line["exception"] = describe_error(error)
        return json.dumps(line, default=str)


class JsonConsole(logging.StreamHandler[TextIO]):
    """Writes JSON lines to a stream. Warnings, and exceptions that nobody catches, become lines like any other."""

    def __init__(self, stream: TextIO | None = None, styles: Mapping[str, str] | None = None) -> None:
        """`styles` are those of the handler whose place this one takes in Prefect's configuration; they do nothing."""
        super().__init__(stream)
        self.setFormatter(JsonFormatter())
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_of_thread


class JsonText(io.TextIOBase):
    """A text stream for what is printed: each line that is written becomes a JSON line at INFO."""

    def __init__(self, stream: TextIO, logger: str) -> None:
        self._stream, self._logger, self._begun = stream, logger, ""

    def write(self, text: str) -> int:
        """Write the lines that are complete, and keep the rest for the next call."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self.log(logging.INFO, line)
        return len(text)

    def log(self, level: int, message: str) -> None:
        """Write one line; an empty one is left out."""
        if message.strip():
            record = logging.LogRecord(self._logger, level, "", 0, message.strip(), None, None)
            self._stream.write(JsonFormatter().format(record) + "\n")

    def flush(self) -> None:
        """Flush the stream behind it."""
        self._stream.flush()


def log_as_json(level: int) -> None:
    """Send the log of this process to stderr as JSON lines, from a level on, in place of what was configured."""
    logging.basicConfig(level=level, handlers=[JsonConsole()], force=True)


def print_as_json(logger: str, *, errors: bool = False) -> None:
    """Write what this process prints as JSON lines, too; they go to stderr, as the log does.

    With `errors` that is also what it prints to stderr itself: not beside a handler that writes JSON lines to it.
    """
    sys.stdout = JsonText(sys.stderr, logger)
    if errors:
        sys.stderr = sys.stdout


def _message(record: logging.LogRecord, error: BaseException | None) -> str:
    """The message with its arguments; without the texts of exceptions, and without passwords of URLs."""
    try:
        message = str(record.msg)
        if record.args:
            message %= _without_texts(record.args)
    except Exception:
        # Arguments that do not fit their message, or that cannot be printed: the message alone.
        message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    if error is not None and not isinstance(error, EvergreenError):
        for text in _texts(error):
            message = message.replace(text, type(error).__name__)
    if record.name.startswith("prefect"):
        message = _QUOTED_EXCEPTION.sub(r"\1", message)
    return _URL.sub(lambda url: without_secrets(url[0], url[0]), message)


def _without_texts(args: Any) -> Any:
    """The arguments of a message, exceptions replaced by the names of their types."""
    if isinstance(args, Mapping):
        return {name: _name(value) for name, value in args.items()}
    return tuple(_name(value) for value in args) if isinstance(args, tuple) else args


class _Name(str):
    """A name that is printed without quotation marks also by `%r`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _name(value: object) -> object:
    is_foreign = isinstance(value, BaseException) and not isinstance(value, EvergreenError)
    return _Name(type(value).__name__) if is_foreign else value


def _texts(error: BaseException) -> Iterator[str]:
    """How an exception is printed, the longer form first."""
    for show in (repr, str):
        try:
            text = show(error)
        except Exception:  # noqa: S112 - an exception that cannot be printed is in no message
            continue
        if text:
            yield text


def describe_error(error: BaseException) -> dict[str, str]:
    """Type and traceback, its causes first; the message only where Evergreen wrote it."""
    told = {"type": type(error).__name__, "traceback": "\n".join(reversed(list(_tracebacks(error))))}
    return told | ({"message": str(error)} if isinstance(error, EvergreenError) else {})


def _tracebacks(error: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _MOST_CAUSES:
        seen.add(id(error))
        yield "".join([*traceback.format_tb(error.__traceback__), type(error).__name__])
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    logging.getLogger(naming.LOGGER).critical("The process ends with an error.", exc_info=(kind, error, trace))


def _log_uncaught_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and args.exc_type is not SystemExit:
        error = (args.exc_type, args.exc_value, args.exc_traceback)
        logging.getLogger(naming.LOGGER).critical("A thread ends with an error.", exc_info=error)
