"""Loading a model file, where what goes wrong is not the file's fault."""

from __future__ import annotations

import ast
import gc
import importlib
import os
import sys
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


def test_a_file_in_a_folder_is_loaded_as_if_it_lay_outside(tmp_path: Path) -> None:
    """Moved into a folder, a model keeps its module, hash and recipe; others import it by its name, as before.

    What is no model is imported by its folder, so that two teams may each have a `_scale.py`.
    """
    for team, factor in (("north", 2), ("south", 3)):
        (tmp_path / team).mkdir()
        (tmp_path / team / "_scale.py").write_text(f"FACTOR = {factor}\n")
    text = (SHIPPED / "iris.py").read_text(encoding="utf-8")
    (tmp_path / "iris.py").write_text(text)
    (tmp_path / "derived.py").write_text(DERIVED)
    outside, alone = models.load("iris", tmp_path), models.load("derived", tmp_path)
    (tmp_path / "iris.py").rename(tmp_path / "north" / "iris.py")
    (tmp_path / "derived.py").rename(tmp_path / "south" / "derived.py")
    inside = models.load("iris", tmp_path)
    assert (inside.hash, inside.recipe) == (outside.hash, outside.recipe)
    assert inside.spec.pipeline.__module__ == "models.iris"
    assert inside.path == tmp_path / "north" / "iris.py"
    assert models.load("derived", tmp_path).recipe == alone.recipe
    files, _ = models.files_of("derived", tmp_path)
    assert files == {"models.derived": tmp_path / "south" / "derived.py", "models.iris": inside.path}
    for team in ("north", "south"):
        scaled = f"from models.{team}._scale import FACTOR\n{DERIVED.replace('+ 1', '+ FACTOR')}"
        (tmp_path / team / f"{team}.py").write_text(scaled.replace('"derived"', f'"{team}"'))
    seed = outside.spec.seed
    for name, factor in (("north", 2), ("south", 3), ("north", 2)):
        assert models.load(name, tmp_path).spec.seed == seed + factor
    assert set(models.files_of("south", tmp_path)[0]) == {"models.south", "models.iris", "models.south._scale"}
    # A process that has loaded another model since still finds the functions of a stored pipeline.
    del sys.modules["models.iris"]
    assert importlib.import_module("models.iris").__file__ == str(inside.path)


def test_a_neighbour_that_is_no_model_is_named_with_its_folder(tmp_path: Path) -> None:
    """`models._scale` is that of the folder of models; of another folder it is not guessed at."""
    (tmp_path / "north").mkdir()
    (tmp_path / "north" / "_scale.py").write_text("FACTOR = 2\n")
    (tmp_path / "north" / "iris.py").write_text("from models._scale import FACTOR\n")
    with pytest.raises(ModelFileError, match=r"iris\.py, line 1: there is no models/_scale\.py") as caught:
        models.load("iris", tmp_path)
    assert caught.value.fix == "Correct the import; models/team/_x.py is models.team._x."


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


def test_a_process_that_lives_on_reads_what_changed(tmp_path: Path) -> None:
    """For a run elsewhere: a file is read once, an edited one again, and one that is not the run's is refused."""
    (tmp_path / "_step.py").write_text("STEP = 1\n")
    (tmp_path / "derived.py").write_text(
        DERIVED.replace("from", "from models._step import STEP\nfrom", 1).replace("+ 1", "+ STEP")
    )
    first = models.load("derived", tmp_path)
    asked = ("derived", tmp_path, first.hash, first.recipe)
    one = models.load_same(*asked)
    assert models.load_same(*asked) is one
    (tmp_path / "_step.py").write_text("STEP = 22\n")
    with pytest.raises(ModelFileError, match=r"derived\.py on .* is another file than where the run is"):
        models.load_same("derived", tmp_path, "0" * 16, first.recipe)
    models._forget("models._step")
    second = models.load("derived", tmp_path)
    assert models.load_same("derived", tmp_path, second.hash, second.recipe).seed == one.seed + 21


def _write_at(path: Path, text: str, seconds: float) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (seconds, seconds))


def test_an_edit_within_a_second_of_the_same_size_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would take the bytecode of before for a file and for what it imports, and `recipe` the text of now."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    seen = set()
    for step, more in ((1, 5), (2, 7)):
        _write_at(tmp_path / "team" / "_step.py", f"STEP = {step}\n", 1e9)
        text = DERIVED.replace("from", "from models.team._step import STEP\nfrom", 1)
        _write_at(tmp_path / "team" / "derived.py", text.replace("+ 1", f"+ STEP * 10 + {more}"), 1e9)
        loaded = models.load("derived", tmp_path)
        assert models.load_same("derived", tmp_path, loaded.hash, loaded.recipe).seed == loaded.spec.seed
        seen.add((loaded.spec.seed, loaded.recipe))
        models._forget("models.team._step")
    seeds = sorted(seed for seed, _ in seen)
    assert (len({made_by for _, made_by in seen}), seeds[1] - seeds[0]) == (2, 12)


def test_a_process_that_lives_on_sees_an_edit_that_keeps_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that were unpacked or copied with their times: what they say decides whether they are read again."""
    seeds = []
    for step in (1, 2):
        _write_at(tmp_path / "_step.py", f"STEP = {step}\n", 1e9)
        text = DERIVED.replace("from", "from models._step import STEP\nfrom", 1).replace("+ 1", "+ STEP")
        _write_at(tmp_path / "derived.py", text, 1e9)
        as_before = sys.modules.get("models._step")
        models._forget("models._step")
        loaded = models.load("derived", tmp_path)
        if as_before is not None:
            monkeypatch.setitem(sys.modules, "models._step", as_before)
        seeds.append(models.load_same("derived", tmp_path, loaded.hash, loaded.recipe).seed)
    assert seeds[1] - seeds[0] == 1
