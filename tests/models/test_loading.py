"""Loading a model file, where what goes wrong is not the file's fault."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

import models

SHIPPED = Path(models.__file__).parent


def _deeper(levels: int) -> None:
    if levels:
        _deeper(levels - 1)
    else:
        ast.parse("x = 1")


@pytest.fixture
def parsing_collector() -> Iterator[list[int]]:
    """While it lasts, each run of the cycle collector parses something, as another thread may do at that moment."""
    runs: list[int] = []

    def parse(phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            runs.append(1)
            _deeper(20)

    threshold = gc.get_threshold()
    gc.set_threshold(20)
    gc.callbacks.append(parse)
    yield runs
    gc.callbacks.remove(parse)
    gc.set_threshold(*threshold)


def test_a_parse_elsewhere_does_not_make_a_sound_file_fail(parsing_collector: list[int]) -> None:
    """Python 3.11.7 raises `SystemError: AST constructor recursion depth mismatch` there; loading is not touched."""
    source = (SHIPPED / "bike_demand.py").read_text(encoding="utf-8")

    tree = models._parse(source, SHIPPED / "bike_demand.py")

    assert isinstance(tree, ast.Module)
    assert gc.isenabled()
    gc.collect()
    assert parsing_collector
