"""Loading a model file, where what goes wrong is not the file's fault."""

from __future__ import annotations

import ast
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import models
from evergreen.errors import ModelFileError

SHIPPED = Path(models.__file__).parent
DERIVED = """from models.iris import MODEL as OTHER

MODEL = OTHER.model_copy(update={"name": "derived", "seed": OTHER.seed + 1})
"""


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


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder with `derived.py`, which imports `models.iris`; given a seed, also `iris.py` with that seed."""

    def make(name: str, seed: int | None = None) -> Path:
        place = tmp_path / name
        place.mkdir()
        (place / "derived.py").write_text(DERIVED)
        if seed is not None:
            text = (SHIPPED / "iris.py").read_text(encoding="utf-8")
            (place / "iris.py").write_text(text.replace("MODEL = ModelSpec(", f"MODEL = ModelSpec(\n    seed={seed},"))
        return place

    return make


def test_a_model_file_imports_its_neighbour_or_else_the_shipped_one(folder: Callable[..., Path]) -> None:
    """Whatever this process loaded before from other folders, and whether or not the neighbour was loaded itself."""
    edited, again, plain = folder("edited", 100), folder("again", 200), folder("plain")
    shipped = models.load("iris", SHIPPED).spec
    for first in (None, edited, again):
        if first is not None:
            models.load("iris", first)
        seeds = [models.load("derived", place).spec.seed for place in (edited, plain, again, edited)]
        assert seeds == [101, shipped.seed + 1, 201, 101]
        from models import iris

        assert iris.MODEL.seed == 100
    assert models.load("iris", SHIPPED).spec.seed == shipped.seed


def test_a_file_that_failed_is_not_left_behind_for_its_neighbours(folder: Callable[..., Path]) -> None:
    """What a model file that imports a broken one is told is that one's fault, as if it was never loaded before."""
    broken = folder("broken", 7)
    (broken / "iris.py").write_text("1 / 0\nMODEL = None\n")
    for name in ("iris", "derived"):
        with pytest.raises(ModelFileError, match="ZeroDivisionError"):
            models.load(name, broken)


@pytest.mark.parametrize(
    ("line", "now"),
    [
        ("from evergreen.sql_source import SqlSource", "from evergreen.sources import SqlSource"),
        ("from evergreen.simulator import Simulator", "from evergreen.sources import Simulator"),
        ("from evergreen.delta_source import DeltaSource", "from evergreen.sources import DeltaSource"),
        ("from evergreen.dvc_source import DvcSource", "from evergreen.sources import DvcSource"),
        ("from evergreen.object_store import ObjectFolder", "from evergreen.sources import ObjectFolder"),
        ("from evergreen.parquet_source import ParquetDataset", "from evergreen.sources import ParquetDataset"),
        ("from evergreen.policies import Every, any_of", "from evergreen.spec import Every, any_of"),
        ("from evergreen.occasion import Occasion", "from evergreen.spec import PolicyContext"),
    ],
)
def test_an_import_of_before_names_its_new_line(tmp_path: Path, line: str, now: str) -> None:
    """A model file that imports from where a name was is told the line to write, and that line works."""
    (tmp_path / "old.py").write_text(f'"""Old."""\n\n{line}\n\nMODEL = None\n')
    with pytest.raises(
        ModelFileError, match=r"old\.py, line 3: evergreen\.\w+ is part of evergreen\.\w+ now"
    ) as caught:
        models.load("old", tmp_path)
    assert caught.value.fix == f"Write in {tmp_path / 'old.py'}: {now}"
    exec(now, {})  # noqa: S102


@pytest.mark.parametrize(
    "line", ["from evergreen.spec import ModelSpec", "from evergreen.sources import Folder, Bundled"]
)
def test_an_import_through_a_door_still_works(line: str) -> None:
    """What model files imported from `evergreen.spec` and `evergreen.sources` before is still there."""
    exec(line, {})  # noqa: S102
