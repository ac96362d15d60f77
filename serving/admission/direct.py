"""Admit a plain row without a frame: in microseconds, or not at all.

What is admitted here would be admitted by `evergreen.data.checked_batch`, with the same values. All else (a value that
has to be converted, a rule that is not known here, a row that breaks the contract) is left to that slower way, which
decides. So this module never refuses a row and never explains one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.data.coercion import kind_of
from evergreen.data.written_text import missing_words
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from pandera.pandas import Check, Column, DataFrameSchema

Test = Callable[[Any], bool]
Convert = Callable[[Any], Any]

EXACT = 2**53
"""Whole numbers below it are exact as floats."""


class NotDirectError(Exception):
    """Why no row can be admitted directly: a sentence without its period."""


class _Undecided(Exception):  # noqa: N818 - it is no error
    """A value that only the slower way can judge."""


@dataclass(frozen=True, slots=True)
class DirectAdmission:
    """Admits plain rows.

    Attributes:
        columns: the features in the order of the plan, each with what turns its JSON value into the plan's.
        others: what else a row may have beside its features (keys and time), each with a test of its value.
    """

    columns: tuple[tuple[str, Convert], ...]
    others: Mapping[str, Test]
    keys: tuple[str, ...]

    def admit(self, row: Mapping[str, Any]) -> list[Any] | None:
        """The row's values in the order of the features, as the pipeline gets them; None where this cannot say."""
        try:
            values = [convert(row[name]) for name, convert in self.columns]
        except (KeyError, _Undecided):
            return None
        if len(row) > len(values) and not self._knows_the_rest(row):
            return None
        return values

    def _knows_the_rest(self, row: Mapping[str, Any]) -> bool:
        features = {name for name, _ in self.columns}
        for name, value in row.items():
            if name in self.others:
                if not self.others[name](value):
                    return False
            elif name not in features:
                return False
        # A part of a key names no row: the slower way says which is missing.
        given = [key in row for key in self.keys]
        return all(given) or not any(given)


def direct_admission(spec: ModelSpec, schema: DataFrameSchema) -> DirectAdmission:
    """What admits the rows of a model directly.

    Args:
        spec: the model.
        schema: of `scoring_schema`.

    Raises:
        NotDirectError: the contract has a rule that is not known here.
    """
    if schema.checks or schema.parsers:
        raise NotDirectError("the contract has a rule about whole rows")
    words = missing_words(spec.reading, written=False)
    columns = []
    for name in spec.features.all:
        column = schema.columns[name]
        columns.append((name, _conversion(name, column, name in spec.features.categorical, words)))
    # A feature that is also a key or the time is admitted as a feature.
    names = {*spec.keys, *([spec.time] if spec.time else [])} - set(spec.features.all)
    others = {name: _IDENTITY.get(kind_of(schema.columns[name].dtype), _never) for name in names}
    for name in others:
        if schema.columns[name].checks or schema.columns[name].parsers:
            raise NotDirectError(f"{name}, a key or the time, has a rule of its own")
    return DirectAdmission(tuple(columns), others, tuple(key for key in spec.keys if key in others))


def _conversion(name: str, column: Column, is_category: bool, words: frozenset[str]) -> Convert:
    kind = kind_of(column.dtype)
    if kind == "time" or column.parsers or getattr(column, "regex", False):
        raise NotDirectError(f"{name} is a time, or is parsed by the contract")
    tests = [_test_of(check, name) for check in column.checks]
    missing: Any = None if is_category else float("nan")
    make = {"text": _text, "flag": _flag, "integer": _integer, "number": _number}[kind]
    present = make(is_category, tests, name, words)
    if not column.nullable:
        return present

    def convert(value: Any) -> Any:
        return missing if value is None else present(value)

    return convert


def _text(_is_category: bool, tests: Sequence[Test], name: str, words: frozenset[str]) -> Convert:
    known: dict[str, str] = {}

    def convert(value: Any) -> Any:
        if value.__class__ is str:
            if value in known:
                return value
            # Other letters may have to be composed; the column's own name may be a header that was repeated.
            if value.isascii() and value not in words and value != name and all(test(value) for test in tests):
                if len(known) < _REMEMBERED:
                    known[value] = value
                return value
        raise _Undecided

    return convert


_REMEMBERED = 1_000
"""Texts of a column that are known to be good; a column of names has too many to be remembered."""


def _flag(is_category: bool, tests: Sequence[Test], _name: str, _words: frozenset[str]) -> Convert:
    def convert(value: Any) -> Any:
        if value.__class__ is bool and all(test(value) for test in tests):
            return str(value) if is_category else float(value)
        raise _Undecided

    return convert


def _integer(is_category: bool, tests: Sequence[Test], _name: str, _words: frozenset[str]) -> Convert:
    def convert(value: Any) -> Any:
        if value.__class__ is int and -EXACT < value < EXACT:
            for test in tests:
                if not test(value):
                    raise _Undecided
            return str(value) if is_category else float(value)
        raise _Undecided

    return convert


def _number(is_category: bool, tests: Sequence[Test], _name: str, _words: frozenset[str]) -> Convert:
    def convert(value: Any) -> Any:
        if value.__class__ is int and -EXACT < value < EXACT:
            value = float(value)
        # The difference of an infinite number, or of none, with itself is not zero.
        if value.__class__ is not float or value - value != 0.0:
            raise _Undecided
        for test in tests:
            if not test(value):
                raise _Undecided
        if not is_category:
            return value
        return str(int(value)) if value.is_integer() and -EXACT < value < EXACT else str(value)

    return convert


def _is_plain_text(value: Any) -> bool:
    # A digit and an exponent is a key that a spreadsheet may have rounded, which the slower way refuses.
    return value.__class__ is str and _PLAIN_KEY.fullmatch(value) is not None


def _is_plain_integer(value: Any) -> bool:
    return value.__class__ is int and -EXACT < value < EXACT


def _never(_value: Any) -> bool:
    return False


def _is_instant(value: Any) -> bool:
    """Whether a text is a time with its offset, as 2026-01-31T08:00:00Z; others need the model file's zone."""
    if value.__class__ is not str or not _INSTANT.fullmatch(value):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


_INSTANT = re.compile(r"[12]\d{3}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_:/-]{1,200}", re.ASCII)
_IDENTITY: Mapping[str, Test] = {"text": _is_plain_text, "integer": _is_plain_integer, "time": _is_instant}
"""What a key or a time of each kind may look like."""


def _test_of(check: Check, name: str) -> Test:
    """The same check of one value, of those that pandera has itself."""
    plain = check.ignore_na and not check.raise_warning and check.groupby is None
    arguments = check.statistics or {}
    build = _TESTS.get((str(check.name), frozenset(arguments))) if plain else None
    if build is None:
        raise NotDirectError(f"{name} has a rule of its own ({check.name})")
    return build(**arguments)


def _within(min_value: Any, max_value: Any, include_min: bool, include_max: bool) -> Test:
    if include_min and include_max:
        return lambda value: bool(min_value <= value <= max_value)
    above: Test = (lambda value: value >= min_value) if include_min else (lambda value: value > min_value)
    below: Test = (lambda value: value <= max_value) if include_max else (lambda value: value < max_value)
    return lambda value: above(value) and below(value)


def _one_of(allowed_values: Any) -> Test:
    return frozenset(allowed_values).__contains__


def _none_of(forbidden_values: Any) -> Test:
    forbidden = frozenset(forbidden_values)
    return lambda value: value not in forbidden


def _of_length(min_value: int | None, max_value: int | None, exact_value: int | None) -> Test:
    if exact_value is not None:
        return lambda value: len(value) == exact_value
    low, high = min_value or 0, float("inf") if max_value is None else max_value
    return lambda value: low <= len(value) <= high


def _begins_like(pattern: Any) -> Test:
    match = re.compile(pattern).match
    return lambda value: match(value) is not None


_TESTS: Mapping[tuple[str, frozenset[str]], Callable[..., Test]] = {
    ("in_range", frozenset({"min_value", "max_value", "include_min", "include_max"})): _within,
    ("isin", frozenset({"allowed_values"})): _one_of,
    ("notin", frozenset({"forbidden_values"})): _none_of,
    ("greater_than", frozenset({"min_value"})): lambda min_value: lambda value: value > min_value,
    ("greater_than_or_equal_to", frozenset({"min_value"})): lambda min_value: lambda value: value >= min_value,
    ("less_than", frozenset({"max_value"})): lambda max_value: lambda value: value < max_value,
    ("less_than_or_equal_to", frozenset({"max_value"})): lambda max_value: lambda value: value <= max_value,
    ("equal_to", frozenset({"value"})): lambda value: lambda other: other == value,
    ("not_equal_to", frozenset({"value"})): lambda value: lambda other: other != value,
    ("str_length", frozenset({"min_value", "max_value", "exact_value"})): _of_length,
    ("str_matches", frozenset({"pattern"})): _begins_like,
}
"""By a check's name and the names of its arguments: a user's own check of the same name has others."""
