"""Where something stands in a model file: the file as a person names it, the line of a field, the line that failed.

Messages about a model file are made from this, so that each of them names the file that is really used.
"""

from __future__ import annotations

import ast
import inspect
import traceback
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from evergreen.settings import PROJECT


def shown(path: Path | str) -> str:
    """A file as a person names it: from the project on where it lies there, else its whole path."""
    absolute = Path(path).absolute()
    return absolute.relative_to(PROJECT).as_posix() if absolute.is_relative_to(PROJECT) else str(absolute)


def line_of(path: Path | str, *fields: str, call: str = "ModelSpec", at: int | None = None) -> int | None:
    """The line of a field in a file, as deep as it can be followed; None where the file has no such call.

    Args:
        path: a Python file.
        fields: a field and those inside of it, such as `search`, `grid`, `model__alpha`.
        call: the class whose call has the first of them.
        at: the line at which that call begins, where it is known.
    """
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return at
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and at in (None, node.lineno)]
    named = [node for node in calls if _name_of(node.func) == call]
    # A model that is a changed copy of another one names its fields in model_copy(update={...}).
    for node in named or [node for node in calls if _name_of(node.func) == "model_copy"]:
        line, part = node.lineno, node
        for field in fields:
            found = next((item for item in _items(part) if item[0] == field), None)
            if found is None:
                break
            _, line, part = found
        return line
    return at


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _items(node: ast.expr) -> Iterator[tuple[str, int, Any]]:
    """The named parts of a call or a dictionary: name, line, value."""
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == "update":
                yield from _items(keyword.value)
            elif keyword.arg is not None:
                yield keyword.arg, keyword.lineno, keyword.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), key.lineno, value


def definition(function: Callable[..., Any] | None) -> tuple[str, int] | None:
    """The file and the first line of a function; None of what is not written in Python."""
    while isinstance(function, partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
    return None if code is None else (code.co_filename, code.co_firstlineno)


def failed_in(function: Callable[..., Any], error: BaseException, *, told: bool = True) -> str:
    """Which line of a person's code failed, and how: `models/x.py, line 31, in prepare(): KeyError: 'temp'`.

    The line is the last one of the traceback that lies beside the function's own file. Without `told` the message of
    the error is left out, for it may show values of the rows.
    """
    what = describe(error) if told else type(error).__name__
    line = failing_line(function, error)
    if line is not None:
        return f"{line}: {what}"
    name = getattr(function, "__qualname__", type(function).__qualname__)
    place = definition(function) or definition(type(function).__call__)
    return f"{shown(place[0])}, line {place[1]}, in {name}(): {what}" if place else f"{name}(): {what}"


def failing_line(function: Callable[..., Any], error: BaseException) -> str | None:
    """The line in which an error left the code of a person, and its function; None where it never was in it."""
    place = definition(function) or definition(type(function).__call__)
    folder = Path(place[0]).parent if place else None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == folder]
    if not frames:
        return None
    inner = frames[-1].name
    # A comprehension and a lambda have no name of their own.
    name = getattr(function, "__name__", "") if inner.startswith("<") else inner
    return f"{shown(frames[-1].filename)}, line {frames[-1].lineno}, in {'a lambda' if '<' in name else f'{name}()'}"


def frame_of(error: BaseException) -> types.FrameType | None:
    """The frame in which an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else trace.tb_frame


def describe(error: BaseException) -> str:
    """The kind of an error and the first line of what it says, cut between words."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if len(text) > _LETTERS:
        text = text[:_LETTERS].rpartition(" ")[0] + " ..."
    return f"{type(error).__name__}: {text}".rstrip(": ").rstrip(".")


_LETTERS = 300
"""A message of another library is cut here; its first line says what is wrong."""
