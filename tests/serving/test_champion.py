"""The alias is followed: a version takes over when it is proven good, and else the former one goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.errors import ArtifactError, RegistryError
from evergreen.registry.version import Version, VersionTags
from evergreen.settings import Settings
from evergreen.spec import ModelSpec, Serve
from evergreen.training.reference import REFERENCE
from serving.champion import ChampionFollower, Followed, make_served
from serving.verified_copy import read_copy
from tests.serving.conftest import as_utc, fitted

Make = Callable[..., Any]


class Versions:
    """A registry in memory whose answers a test decides."""

    def __init__(self, folder: Path, spec: ModelSpec, rows: pd.DataFrame) -> None:
        self.folder, self.spec, self.rows = folder, spec, rows
        self.champion: int | None = None
        self.down = False
        self.corrupt: set[int] = set()
        self.loads: list[int] = []
        folder.mkdir(parents=True)
        rows.to_parquet(folder / REFERENCE)

    def by_alias(self, model: str, alias: str) -> Version | None:
        if self.down:
            raise RegistryError("The registry cannot be reached.")
        if self.champion is None:
            return None
        tags = VersionTags(sha256=f"{self.champion:064}")
        return Version(model, self.champion, "run", "id", tags, "", datetime(2026, 1, 1, tzinfo=UTC))

    def tagged(self, key: str) -> tuple[Version, ...]:
        if self.down:
            raise RegistryError("The registry cannot be reached.")
        return ()

    def load(self, version: Version, spec: ModelSpec) -> Any:
        self.loads.append(version.number)
        if version.number in self.corrupt:
            raise ArtifactError(f"version {version.number} is not what was registered.")
        return fitted(spec, self.rows.assign(y=self.rows["y"] * version.number))

    def files(self, version: Version) -> Path:
        return self.folder


@pytest.fixture
def versions(tmp_path: Path, make_spec: Make, make_rows: Make) -> Versions:
    return Versions(tmp_path / "files", make_spec(), as_utc(make_rows(120)))


@pytest.fixture
def follow(settings: Settings, versions: Versions) -> Callable[[], ChampionFollower]:
    """A follower as after a start of the server."""
    return lambda: ChampionFollower(settings, versions, {"toy": Followed()}, lambda _name: versions.spec)  # type: ignore[arg-type]


def _answers(follower: ChampionFollower) -> int:
    current = follower.models["toy"].current
    assert current is not None
    answered = current.answer_directly([{"x": 1.0, "kind": "a"}])
    assert answered is not None
    # Trained on so many times the target.
    return round(answered.answers[0][0] / 3.0)


def test_a_new_champion_takes_over_and_one_that_was_rolled_back_too(
    versions: Versions, follow: Callable[[], ChampionFollower]
) -> None:
    """In either direction, loaded once each time; one that stays is not loaded again."""
    follower = follow()
    for champion in (1, 1, 2, 2, 1):
        versions.champion = champion
        follower.look()
        assert (_answers(follower), follower.models["toy"].stale) == (champion, "")
    assert (versions.loads, follower.models["toy"].swaps) == ([1, 2, 1], 3)


def test_without_a_champion_nothing_is_served_until_there_is_one(
    versions: Versions, follow: Callable[[], ChampionFollower]
) -> None:
    """It is told why."""
    follower = follow()
    follower.look()
    assert follower.models["toy"].current is None
    assert "No version is the champion" in follower.models["toy"].stale
    versions.champion = 1
    follower.look()
    assert (_answers(follower), follower.models["toy"].stale) == (1, "")


def test_a_version_that_fails_its_check_does_not_take_over(
    versions: Versions, follow: Callable[[], ChampionFollower]
) -> None:
    """The former one goes on, `stale` says why, and the failed one is not loaded every second."""
    follower = follow()
    versions.champion = 1
    follower.look()
    versions.champion, versions.corrupt = 2, {2}
    for _ in range(3):
        follower.look()
        assert _answers(follower) == 1
        assert follower.models["toy"].stale == "version 2 is not what was registered."
    assert versions.loads == [1, 2]
    versions.champion = 3
    follower.look()
    assert (_answers(follower), follower.models["toy"].stale) == (3, "")


@pytest.mark.parametrize("fault", ["down", "alias"])
def test_the_last_good_version_goes_on(versions: Versions, follow: Callable[[], ChampionFollower], fault: str) -> None:
    """With the registry away, or the alias deleted."""
    follower = follow()
    versions.champion = 1
    follower.look()
    versions.down, versions.champion = fault == "down", None if fault == "alias" else 1
    follower.look()
    assert _answers(follower) == 1
    assert follower.models["toy"].stale
    versions.down, versions.champion = False, 1
    follower.look()
    assert follower.models["toy"].stale == ""


def test_the_copy_on_disk_serves_after_a_restart(
    versions: Versions, follow: Callable[[], ChampionFollower], settings: Settings
) -> None:
    """The registry is away from the start: the same version answers the same, and is stale until it is back."""
    versions.champion = 2
    follow().look()
    versions.down = True
    follower = follow()
    follower.look()
    current = follower.models["toy"].current
    assert current is not None
    assert (_answers(follower), current.number) == (2, 2)
    assert "cannot be reached" in follower.models["toy"].stale
    versions.down = False
    follower.look()
    assert (follower.models["toy"].stale, versions.loads) == ("", [2])


@pytest.mark.parametrize("file", ["copy.json", "model.skops", "golden.parquet"])
def test_a_copy_that_was_changed_does_not_serve(
    versions: Versions, follow: Callable[[], ChampionFollower], settings: Settings, file: str
) -> None:
    """Not a byte of it: nothing is loaded whose hash is another one."""
    versions.champion = 1
    follow().look()
    path = next(settings.serving("toy").rglob(file))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    versions.down = True
    follower = follow()
    follower.look()
    assert follower.models["toy"].current is None
    assert "does not serve either" in follower.models["toy"].stale


def test_another_copy_takes_the_place_of_the_former(
    versions: Versions, follow: Callable[[], ChampionFollower], settings: Settings
) -> None:
    """What is read is the one that was served last."""
    follower = follow()
    for champion in (1, 2):
        versions.champion = champion
        follower.look()
    copy = read_copy(settings.serving("toy"), versions.spec)
    assert copy is not None
    assert copy.number == 2


def test_what_cannot_be_compiled_is_served_as_frames(make_spec: Make, make_rows: Make) -> None:
    """With the reason, for the log and the metadata."""
    rows = as_utc(make_rows(80))
    spec = make_spec(prepare=lambda frame: frame)
    served = make_served(spec, fitted(spec, rows), rows, number=1, sha256="")
    assert served.plan is None
    assert "prepare()" in served.slow_because
    assert served.answer_directly([{"x": 1.0, "kind": "a"}]) is None
    taken = make_spec(prepare=lambda frame: frame, serve=Serve(rows="contract"))
    assert make_served(taken, fitted(taken, rows), rows, number=1, sha256="").plan is not None


def test_a_plan_that_differs_is_not_used(make_spec: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a plan of another fit is found by the comparison, and the version is served as frames."""
    rows, spec = as_utc(make_rows(80)), make_spec()
    other = fitted(spec, rows.assign(y=rows["y"] + 1))
    from serving import champion

    compile_plan = champion.compile_plan
    monkeypatch.setattr(champion, "compile_plan", lambda _pipeline, *rest: compile_plan(other, *rest))
    served = make_served(spec, fitted(spec, rows), rows, number=1, sha256="")
    assert served.plan is None
    assert served.slow_because


def test_the_example_is_typical_and_no_row(version: Any) -> None:
    """The median of a number, the most frequent text: it is shown to people."""
    assert set(version.example) == {"x", "kind"}
    assert version.answer_directly([version.example]) is not None
