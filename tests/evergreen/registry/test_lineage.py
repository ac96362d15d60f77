"""The tags of a version say what a rebuild starts from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evergreen.data.snapshot import Snapshot
from evergreen.registry import lineage as module
from evergreen.registry.lineage import against, learned_until, lineage, params_text, same_recipe, with_params
from evergreen.registry.version import Version, VersionTags
from evergreen.spec.training import Search

SNAPSHOT = Snapshot("table", 7, 100, None, "2025-01-02T00:00:00+00:00", 120, "ab" * 16)


def _tags(**changes: Any) -> dict[str, str]:
    facts: dict[str, Any] = {
        "decision": "d1",
        "reason": "drift",
        "spec_hash": "s",
        "compared_with": 3,
        "params": {"b": 1, "a": 2},
        "seed": 42,
        "flow_run": "run",
    }
    return lineage(SNAPSHOT, **facts | changes)


def test_data_decision_and_packages_are_named() -> None:
    """Every tag is text; data by version and digest, parameters comparable, packages with their versions."""
    tags = _tags()
    assert all(isinstance(value, str) for value in tags.values())
    assert (tags["data_version"], tags["data_digest"], tags["next_row"]) == ("7", "ab" * 16, "120")
    assert (tags["data_start"], tags["data_end"]) == ("", "2025-01-02T00:00:00+00:00")
    assert (tags["compared_with"], tags["params"]) == ("3", '{"a": 2, "b": 1}')
    assert "scikit-learn" in json.loads(tags["packages"])
    assert _tags(compared_with=None)["compared_with"] == against(None) == "none"
    assert params_text(None) == params_text({}) == ""


def test_a_version_knows_until_when_it_learned() -> None:
    """The newest labelled row counts; of versions without that tag the newest row, without time there is none."""

    def until(**tags: str) -> str | None:
        return learned_until(Version("toy", 1, "run", "model", VersionTags.read(tags), ""))

    assert _tags(learned_end="2025-01-01T00:00:00+00:00")["learned_end"] == "2025-01-01T00:00:00+00:00"
    assert _tags()["learned_end"] == ""
    assert until(learned_end="a", data_end="b") == "a"
    assert until(learned_end="", data_end="b") == until(data_end="b") == "b"
    assert until(learned_end="", data_end="") is None


def test_the_commit_and_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repository the commit is named and a change noticed; outside of one, or without git, both are empty."""
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (_tags()["git_commit"], _tags()["git_dirty"]) == ("", "")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    tags = _tags()
    assert len(tags["git_commit"]) == 40
    assert tags["git_dirty"] == "false"
    (tmp_path / "file").write_text("two")
    assert _tags()["git_dirty"] == "true"
    # A variable of the shell does not speak for a repository.
    monkeypatch.setenv(module.BUILT_FROM, "c0ffee")
    assert _tags()["git_commit"] == tags["git_commit"]
    monkeypatch.delenv(module.BUILT_FROM)
    monkeypatch.setenv("PATH", "")
    assert _tags()["git_commit"] == ""


@pytest.mark.parametrize(("said", "dirty"), [("c0ffee", "false"), ("c0ffee-dirty", "true")])
def test_an_image_says_which_commit_it_was_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, dirty: str
) -> None:
    """It has no repository, and its environment has what git said when it was built."""
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv(module.BUILT_FROM, said)
    assert (_tags()["git_commit"], _tags()["git_dirty"]) == ("c0ffee", dirty)
    assert module.current_commit() == "c0ffee"


def test_parameters_by_hand_are_another_recipe_where_the_search_does_not_try_them() -> None:
    """Without any, or with what the grid holds, the recipe is the model file's; of an unknown one nothing follows."""
    spec: Any = SimpleNamespace(search=Search(grid={"depth": (2, 3), "rate": (0.1,)}))
    assert with_params("file", spec, None) == with_params("file", spec, {"depth": 3, "rate": 0.1}) == "file"
    other, another = (with_params("file", spec, params) for params in ({"depth": 4}, {"leaves": 2}))
    assert len({"file", other, another}) == 3
    assert with_params("file", spec, {"depth": 4}) == other
    assert with_params("", spec, {"depth": 4}) == ""


def test_a_candidate_is_routine_by_the_recipe_of_the_champion() -> None:
    """Both have to be known and equal: a version of before bears no recipe."""

    def version(recipe: str) -> Version:
        return Version("toy", 1, "run", "model", VersionTags.read(_tags(recipe=recipe)), "")

    assert same_recipe(version("a"), version("a"))
    assert not same_recipe(version("a"), version("b"))
    assert not same_recipe(version(""), version(""))
    assert not same_recipe(version("a"), version(""))
    assert not same_recipe(version("a"), None)
    assert VersionTags.read({}).recipe == _tags()["recipe"] == ""
