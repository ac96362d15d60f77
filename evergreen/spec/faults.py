"""The mistakes of a model file, all of them at once, each with its line and field.

A section such as `Metric(...)` is checked where it is made, before the `ModelSpec` exists. While a file is loaded, a
section that is wrong is noted and left empty, so that what comes after it is checked as well.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ValidationError

from evergreen.errors import ModelFileError
from evergreen.spec.place import line_of, shown

_LIBRARIES = (str(Path(__file__).parents[1]), str(Path(pydantic.__file__).parent))
_SECTIONS = {"ModelSpec": "", "DriftThresholds": "drift", "PerformanceThresholds": "performance"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake.

    Attributes:
        file: the file as a person names it.
        line: of the field, or of the section that lacks it; None where it is not known.
        field: such as `metric.bound`; empty where the mistake is not of one field.
        message: what is wrong.
    """

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text

    @property
    def text(self) -> str:
        """Field and message, without the line."""
        return f"{self.field}: {self.message}" if self.field else self.message


def mistakes_in(file: str, faults: Sequence[Fault]) -> ModelFileError:
    """One line about every mistake of a file; those of another file, which it imports, are named with that one."""
    if len(faults) == 1:
        fault = faults[0]
        where = f"{fault.file}, line {fault.line}" if fault.line else fault.file
        return ModelFileError(ended(f"{where}: {fault.text}"), f"Correct {fault.field or 'it'} there.")
    faults = sorted(faults, key=lambda fault: (fault.file != file, fault.file, fault.line or 0))
    lines = [str(fault) if fault.file == file else f"{fault.file}, {fault}" for fault in faults]
    return ModelFileError(ended(f"{file} has {len(faults)} mistakes: {'; '.join(lines)}"), "Correct each of them.")


def ended(sentence: str) -> str:
    """A sentence with its point, where it does not end already."""
    return sentence if sentence.endswith(("?", ".")) else f"{sentence}."


class DisagreementError(ValueError):
    """Fields of a section that do not go together.

    Attributes:
        faults: of each, the field and what is wrong.
    """

    def __init__(self, faults: Collection[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.faults))


_NOTED: ContextVar[list[Fault] | None] = ContextVar("noted", default=None)


@contextmanager
def note_faults() -> Iterator[list[Fault]]:
    """While it lasts, a section that is wrong is noted in the list instead of raising."""
    faults: list[Fault] = []
    token = _NOTED.set(faults)
    try:
        yield faults
    finally:
        _NOTED.reset(token)


def note(section: type[BaseModel], error: ValidationError, fields: Mapping[str, Any]) -> bool:
    """Note what is wrong with a section; False where nobody loads a file, and it has to be raised."""
    noted = _NOTED.get()
    if noted is None:
        return False
    noted.extend(faults_of(section, error, fields, *_caller()))
    return True


def _caller() -> tuple[str, int]:
    """The file and line that makes the section: the first frame that is neither ours nor a library's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def faults_of(
    section: type[BaseModel], error: ValidationError, fields: Mapping[str, Any], path: str, line: int
) -> Iterator[Fault]:
    """Every mistake of a section that is made in a line of a file, from what pydantic found."""
    prefix = _SECTIONS.get(section.__name__, section.__name__.lower())
    for place, message in _mistakes(section, error, fields):
        names = [str(part) for part in place if not isinstance(part, int)]
        field = ".".join([*([prefix] if prefix else []), *map(str, place)])
        found = line_of(path, *names, call=section.__name__, at=line) or line
        if found == line and prefix:
            # A section that is written as a dictionary.
            found = line_of(path, prefix, *names, at=line) or line
        yield Fault(shown(path), found, field, message)


def _mistakes(
    section: type[BaseModel], error: ValidationError, fields: Mapping[str, Any]
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    found = error.errors(include_url=False)
    misspelt = {str(one["loc"][-1]): _alike(str(one["loc"][-1]), section) for one in found if one["type"] == _STRAY}
    wrong = {str(one["loc"][0]) for one in found if one["loc"]}
    for one in found:
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, DisagreementError):
            yield from ((tuple(field.split(".")), message) for field, message in cause.faults)
        elif one["type"] == "missing" and str(one["loc"][-1]) in {*misspelt.values(), *fields}:
            # It is there by another name, or it was noted already.
            continue
        else:
            yield _place_and_message(section, dict(one))
    if wrong and hasattr(section, "disagreements"):
        defaults = {name: field.default for name, field in section.model_fields.items() if not field.is_required()}
        # A field that is wrong is neither what it says nor what it would be without it.
        sound = {name: value for name, value in {**defaults, **fields}.items() if name not in wrong}
        for field, message in section.disagreements(sound):
            yield tuple(field.split(".")), message


LENGTH_TAGS = ("a duration", "rows")
"""What the two kinds of a length (`evergreen/spec/fields.py`) are called in the place of a mistake."""
_STRAY = "extra_forbidden"
_VALUE_ERROR = "Value error, "


def _place_and_message(section: type[BaseModel], error: dict[str, Any]) -> tuple[tuple[int | str, ...], str]:
    """Where a mistake is and what it is, from one error of pydantic's."""
    kind, message = error["type"], str(error["msg"])
    place = tuple(part for part in error["loc"] if part not in LENGTH_TAGS)
    if kind == _STRAY:
        alike = _alike(str(place[-1]), section)
        known = f"did you mean {alike}?" if alike else f"the fields are {', '.join(section.model_fields)}"
        return place, f"there is no such field; {known}"
    if kind == "missing":
        return place, "the field is missing"
    if message.startswith(_VALUE_ERROR):
        message = message.removeprefix(_VALUE_ERROR)
        # A check of a whole section names its field at the beginning.
        named = re.match(r"(\w+): ", message)
        is_field = named is not None and not place and named[1] in section.model_fields
        return ((named[1],), message.removeprefix(named[0])) if named and is_field else (place, message)
    # What pydantic calls a choice of its own is no name of a field.
    place = tuple(part for part in place if isinstance(part, int) or str(part).isidentifier())
    return place, _unfit(kind, message.removeprefix("Input "), error.get("input"))


def _unfit(kind: str, should: str, value: object) -> str:
    """Why a value is not what a field takes; `should` is what it should be."""
    if kind == "tuple_type" and isinstance(value, str):
        return f"it is {value!r}, and should be a tuple: write ({value!r},)"
    if "instance of Source" in should:
        return f"it is {value!r}, and should be a source of evergreen.sources, such as Folder('NAME', pattern='*.csv')"
    if isinstance(value, timedelta):
        return f"it is {value.total_seconds():g} seconds, and {should}"
    if not isinstance(value, str | int | float | bool | None):
        return f"it is a {type(value).__name__}, and {should}"
    near = closest(value, re.findall(r"'([^']*)'", should)) if isinstance(value, str) else ""
    return f"it is {value!r}, and {should}{f'; did you mean {near!r}?' if near else ''}"


def _alike(name: str, section: type[BaseModel]) -> str:
    """The field that a misspelt one most likely is; empty where none is like it."""
    return closest(name, section.model_fields)


def closest(name: str, known: Collection[str]) -> str:
    """The name that a misspelt one most likely is; empty where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), "")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a message about a name that is not known: the one that is like it, or all of them."""
    alike = closest(name, known)
    return f"did you mean {alike!r}?" if alike else f"there are {', '.join(map(repr, known))}"
