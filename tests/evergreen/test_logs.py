"""Log lines as JSON: valid whatever is logged, with what joins them, and without secrets and rows."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH, load_logging_config

from evergreen import logs
from evergreen.errors import DataError
from evergreen.logs import JsonConsole, JsonFormatter, JsonText
from evergreen.settings import PROJECT
from serving.server import prepare_process

TEXT = st.text(st.characters(codec=None, exclude_categories=()))
ARGUMENT = st.one_of(TEXT, st.integers(), st.floats(), st.none(), st.binary(), st.builds(ValueError, TEXT))


class Unprintable:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError


def _line(
    message: object, *args: object, logger: str = "test", error: BaseException | None = None, **extra: Any
) -> Any:
    """What the formatter makes of a record, read again; it is one line of ASCII."""
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(logger, logging.INFO, "x.py", 1, message, args, exc_info)
    vars(record).update(extra)
    text = JsonFormatter().format(record)
    assert text.isascii() and "\n" not in text and "\r" not in text
    return json.loads(text)


@given(TEXT, st.lists(ARGUMENT, max_size=3), st.none() | st.builds(ValueError, TEXT), TEXT)
def test_every_record_becomes_one_line(message: str, args: list[Any], error: ValueError | None, extra: str) -> None:
    """Line ends, quotes, lone surrogates, `%` without an argument, arguments without `%`, exceptions: all are JSON."""
    line = _line(message, *args, error=error, decision=extra)
    assert {"time", "level", "logger", "message"} <= set(line)
    assert ("exception" in line) is (error is not None)


@pytest.mark.parametrize("args", [(Unprintable(),), ({"a": 1},), ("a", "b", "c"), ()])
def test_arguments_that_do_not_fit_leave_the_message(args: tuple[object, ...]) -> None:
    """A line is never lost, nor written as a traceback of the logging itself."""
    assert "rows of %(name)" in _line("rows of %(name)s and %s", *args)["message"]


def test_what_is_known_is_a_field() -> None:
    """Prefect's attributes get their names, ours stay; what is not known is left out."""
    extra = {"flow_run_id": "f", "flow_name": "retrain", "task_run_id": "t", "task_run_name": "gate", "version": 2}
    line = _line("gate: %s", "PASS", model="toy", decision="d", request_id="", deployment_name=None, **extra)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "test",
        "message": "gate: PASS",
        "flow_run": "f",
        "flow": "retrain",
        "task_run": "t",
        "task": "gate",
        "model": "toy",
        "version": 2,
        "decision": "d",
    }
    assert "flow" not in _line("x", flow_name="<unknown>")


def _raised(make: Callable[[], BaseException], cause: BaseException | None = None) -> BaseException:
    try:
        raise make() from cause
    except BaseException as error:
        return error


def test_an_exception_is_told_without_the_values_that_it_quotes() -> None:
    """Type and traceback, its causes first; of Evergreen's own errors the message as well."""
    cause = _raised(lambda: KeyError("hunter2"))
    error = _raised(lambda: ValueError("could not convert 'hunter2'"), cause)
    texts = (
        ["failed: %r", "failed: %s"],
        [f"Task run failed with exception: {error!r} - Retries", f"it failed: {error}"],
    )
    lines = [_line(text, error, error=error) for text in texts[0]] + [_line(text, error=error) for text in texts[1]]
    state = "Finished in state Failed(\"Flow run encountered an exception: ValueError: could not\nconvert 'hunter2'\")"
    lines += [_line(state, logger="prefect.flow_runs"), _line("failed: %(a)s", {"a": error})]
    assert "hunter2" not in json.dumps(lines)
    assert [line["message"] for line in lines[:2]] == ["failed: ValueError"] * 2
    assert lines[4]["message"] == 'Finished in state Failed("Flow run encountered an exception: ValueError'
    told = lines[0]["exception"]
    assert (told["type"], "message" in told) == ("ValueError", False)
    assert told["traceback"].index("KeyError") < told["traceback"].index("ValueError")
    assert "raise make() from cause" in told["traceback"]
    ours = _line("failed: %s", DataError("a.csv: column 'x' is missing."), error=_raised(lambda: DataError("No rows.")))
    assert (ours["message"], ours["exception"]["message"]) == ("failed: a.csv: column 'x' is missing.", "No rows.")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:hunter2@127.0.0.1:5432/mlflow",
        "https://host/api?token=hunter2&x=1",
        "amqp://u:hunter2@host/#q",
    ],
)
def test_a_secret_in_a_url_is_not_printed(url: str) -> None:
    """Neither in the message nor in an argument; the rest of the URL is."""
    lines = [_line(f"no answer from {url}, again"), _line("no answer from %s", url), _line("%s", {"at": url})]
    assert "hunter2" not in json.dumps(lines)
    assert all("host" in line["message"] or "127.0.0.1" in line["message"] for line in lines)


def test_what_is_printed_becomes_lines() -> None:
    """A line when it is complete; empty ones are left out, and a level may be given."""
    written = io.StringIO()
    text = JsonText(written, "test")
    print("one", "two", file=text)
    text.write("begun, ")
    print("and ended\n\n  last  ", file=text)
    text.log(logging.ERROR, "broken")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["one two", "begun, and ended", "last", "broken"]
    assert lines[-1]["level"] == "ERROR"


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> tuple[logging.Logger, io.StringIO]:
    """A logger whose only handler is the JSON console, and what it writes; the hooks of the process are restored."""
    for place in (sys, threading):
        monkeypatch.setattr(place, "excepthook", place.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(logging, "_warnings_showwarning", None)
    written = io.StringIO()
    root = logging.Logger("root")
    root.addHandler(JsonConsole(written, styles={"log.web_url": "bright_blue"}))
    monkeypatch.setattr(logging, "getLogger", lambda name=None: root)
    return root, written


def test_warnings_and_uncaught_exceptions_become_lines(console: tuple[logging.Logger, io.StringIO]) -> None:
    """Python's own text on stderr would be no JSON; the end of a process or thread is told with its traceback."""
    warnings.showwarning("an old name", DeprecationWarning, "x.py", 1)
    error = _raised(lambda: ValueError("hunter2"))
    sys.excepthook(ValueError, error, error.__traceback__)
    threading.excepthook(threading.ExceptHookArgs([ValueError, error, error.__traceback__, None]))
    lines = [json.loads(line) for line in console[1].getvalue().splitlines()]
    assert ["an old name" in lines[0]["message"], len(lines)] == [True, 3]
    assert {line["exception"]["type"] for line in lines[1:]} == {"ValueError"}
    assert "hunter2" not in console[1].getvalue()


def test_prefect_takes_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own configuration, with our variables, names our handler and formatter; its UI gets text as before."""
    monkeypatch.delenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", raising=False)
    before = load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)
    for name, value in logs.PREFECT.items():
        monkeypatch.setenv(name, value)
    config = load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)
    console = config["handlers"]["console"]
    assert (console["class"], console["formatter"]) == ("evergreen.logs.JsonConsole", "json")
    assert config["formatters"]["json"]["class"] == "evergreen.logs.JsonFormatter"
    assert (config["handlers"]["api"], config["root"], config["loggers"]) == (
        before["handlers"]["api"],
        before["root"],
        before["loggers"],
    )


_SERVE = """
import logging
from evergreen.settings import load_settings
from serving.server import prepare_process
prepare_process(load_settings())
logging.getLogger("serving.app").error("request %s failed", "r-1", extra={"request_id": "r-1"})
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_server_of_predictions_logs_in_the_form_of_the_setting(form: str) -> None:
    """As JSON with the request's id; by default the text that it always was."""
    environment = {"EVERGREEN_LOGS": form, "PATH": "", "HOME": "/tmp"}  # noqa: S108 - nothing is written
    done = subprocess.run(
        [sys.executable, "-c", _SERVE], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    if form == "json":
        line = json.loads(done.stderr)
        assert (line["request_id"], line["level"], line["logger"]) == ("r-1", "ERROR", "serving.app")
    else:
        assert done.stderr.endswith(" ERROR request r-1 failed\n")
    assert prepare_process.__module__ == "serving.server"
