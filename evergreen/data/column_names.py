"""Names of columns: those of a batch that look the same as the contract's are taken for them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema


def plain_name(name: object) -> str:
    """A name as text, without white space around it, an accent and its letter as one character."""
    return unicodedata.normalize("NFC", str(name)).strip(" \t\u00a0\ufeff")


def plain_names(names: Sequence[object], kept: Collection[str] = ()) -> list[str]:
    """The plain names of columns; those in `kept`, and two that would have one name, stay as they are."""
    plain = [str(name) if str(name) in kept else plain_name(name) for name in names]
    return [new if plain.count(new) == 1 else str(old) for old, new in zip(names, plain, strict=True)]


def match_names(frame: pd.DataFrame, spec: ModelSpec, schema: DataFrameSchema) -> pd.DataFrame:
    """Give columns their plain names; a name that the contract has as it is stays.

    A model file without `reading` whose `prepare` uses the names of the file gets them as they are.
    """
    names = [str(name) for name in frame.columns]
    if spec.prepare is None or spec.reading is not None:
        names = plain_names(names, frozenset(schema.columns))
    return frame if names == list(frame.columns) else frame.set_axis(names, axis=1)


def missing_columns(frame: pd.DataFrame, schema: DataFrameSchema) -> list[str]:
    """Which columns of the contract a batch lacks."""
    names = list(map(str, frame.columns))
    return [name for name, column in schema.columns.items() if name not in names and column.required]


def describe_missing(missing: list[str], frame: pd.DataFrame, schema: DataFrameSchema) -> str:
    """Say which columns of the contract a batch lacks, with the names that are near them."""
    names = list(map(str, frame.columns))
    others = {name.casefold(): name for name in names if name not in schema.columns}
    near = [
        others[found]
        for name in missing
        for found in difflib.get_close_matches(name.casefold(), list(others), n=1, cutoff=0.75)
    ]
    there = f"; near it there is {', '.join(map(repr, near))}" if near else ""
    return f"column {', '.join(map(repr, missing))} is missing{there}"
