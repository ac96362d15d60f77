"""The driver of `driver.py` with the points of a scoring."""

from __future__ import annotations

import importlib
from typing import Any

import driver


def _second(suffix: str) -> driver.Match:
    """The commit of the second chunk."""
    return lambda args, _kwargs: args[2].endswith(suffix)


def _chunk(number: int) -> driver.Match:
    return lambda args, _kwargs: args[0].number == number


def _kind(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> bool:
    return args[2].endswith(":closed")


driver.POINTS |= {
    "chunk": ("tasks.predict", "score_chunk", _chunk(1)),
    "refuse": ("evergreen.storage.delta_table", "Table.append", _second(":60-120:rows")),
    "append": ("evergreen.storage.delta_table", "Table.append", _second(":1")),
    "export": ("tasks.export", "export_batch", driver._always),
    "close": ("evergreen.storage.delta_table", "Table.append", _kind),
}

if __name__ == "__main__":
    importlib.import_module("flows.score")
    driver.main()
