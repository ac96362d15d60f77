"""Which files are model files: in a folder and in the folders in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from evergreen.errors import ModelFileError
from evergreen.model_files.finding import find_files
from evergreen.spec.model import NAME

SHIPPED = Path(models.__file__).parent
FOLDERS = st.sampled_from(["team", "north", "Upper", "with space", "_private", ".hidden", "__pycache__", "data.old"])
STEMS = st.sampled_from(["churn", "load", "a1", "_features", "__init__", "CHURN", "1st", "two-words", "x" * 64])
PATHS = st.tuples(st.lists(FOLDERS, max_size=3), STEMS, st.sampled_from([".py", ".pyc", ".html", ""]))


@given(places=st.sets(PATHS.map(lambda path: (tuple(path[0]), path[1], path[2])), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_found(tmp_path_factory: pytest.TempPathFactory, places: set[tuple[tuple[str, ...], str, str]]) -> None:
    """Every `.py` of a name that a model can have, once by its path, and none below a folder that is passed over."""
    root = tmp_path_factory.mktemp("models")
    expected: dict[str, set[str]] = {}
    for folders, stem, suffix in places:
        place = root.joinpath(*folders)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{stem}{suffix}").touch()
        if suffix == ".py" and NAME.fullmatch(stem) and not any(each[0] in "._" for each in folders):
            expected.setdefault(stem, set()).add(str(place / f"{stem}.py"))
    found = find_files(root)
    assert {name: set(files) for name, files in found.items()} == expected
    assert list(found) == sorted(expected)
    assert sum(map(len, found.values())) == sum(map(len, expected.values()))
    assert models.names(root) == tuple(sorted(expected))


def test_a_folder_that_leads_to_itself_ends(tmp_path: Path) -> None:
    """A link to a folder is not followed."""
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "churn.py").touch()
    (tmp_path / "team" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert models.names(tmp_path) == ("churn",)
    assert models.names(tmp_path / "nowhere") == ()


def test_two_files_of_one_name_are_both_named(tmp_path: Path) -> None:
    """The model that has two files is refused with both of them; the others go on."""
    text = (SHIPPED / "iris.py").read_text()
    for place in ("north", "south"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "iris.py").write_text(text)
    (tmp_path / "south" / "churn.py").write_text(text.replace('name="iris"', 'name="churn"'))
    assert models.names(tmp_path) == ("churn", "iris")
    for load in (models.load, models.load_spec, models.files_of):
        with pytest.raises(ModelFileError) as caught:
            load("iris", tmp_path)
        first, second = tmp_path / "north" / "iris.py", tmp_path / "south" / "iris.py"
        assert caught.value.what == f"The model iris has 2 files: {first} and {second}."
    assert models.load("churn", tmp_path).spec.file == str(tmp_path / "south" / "churn.py")
