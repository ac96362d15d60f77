"""Environments share one MLflow: none touches or lists the versions of another, and one that is seen is only read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evergreen.errors import EvergreenError, ForeignError, RegistryError
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.moved_home import rewrite_places
from evergreen.registry.version import CHAMPION, PENDING, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict
from evergreen.verdicts import Verdict

Make = Callable[..., Any]


@pytest.fixture
def spec(make_spec: Make) -> ModelSpec:
    found: ModelSpec = make_spec()
    return found


@pytest.fixture
def environments(tmp_path: Path) -> dict[str, Settings]:
    """No environment and two with a name, on one MLflow and one lake; dev sees prod."""
    shared = {"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "lake": str(tmp_path / "lake")}
    return {
        name: Settings(home=tmp_path / f"home-{name}", environment=name, sees="prod", **shared)
        for name in ("", "dev", "prod")
    }


@pytest.fixture
def versions(environments: dict[str, Settings], spec: ModelSpec, make_rows: Make, make_version: Make) -> dict[str, Any]:
    """A pending version of the same model in each."""
    return {name: make_version(spec, make_rows(100), home=settings) for name, settings in environments.items()}


@pytest.fixture
def registries(environments: dict[str, Settings]) -> dict[str, Registry]:
    return {name: Registry(settings) for name, settings in environments.items()}


def test_a_sweep_leaves_the_versions_of_others(versions: dict[str, Version], registries: dict[str, Registry]) -> None:
    """What another environment trains at this moment is PENDING, and stays so, as its run stays RUNNING."""
    running = {}
    for name, registry in registries.items():
        experiment = registry.client.get_experiment_by_name(registry.experiment("toy"))
        running[name] = registry.client.create_run(experiment.experiment_id).info.run_id
    for name, registry in registries.items():
        others = {other: each for other, each in registries.items() if other > name}
        assert registry.sweep("toy") == 1
        assert registry.get("toy", 1).status == "INCONCLUSIVE"
        assert {each.get("toy", 1).status for each in others.values()} <= {PENDING}
        assert {registry.client.get_run(running[other]).info.status for other in others} <= {"RUNNING"}


def test_each_lists_its_own(versions: dict[str, Version], registries: dict[str, Registry]) -> None:
    """Champions, tagged versions, aliases and leftovers: of one MLflow each sees what it registered, by its name."""
    for name, registry in registries.items():
        passed = registry.conclude(versions[name], Verdict.PASS, "", {})
        assert (passed.model, passed.number, registry.champion("toy")) == ("toy", 1, None)
        assert registry.named_by(CHAMPION) == {}
        registry.set_alias("toy", CHAMPION, 1)
        registry.tag(passed, "canary", "open")
        assert registry.named_by(CHAMPION) == {"toy": 1}
        assert [each.label for each in registry.tagged("canary")] == ["toy version 1"]
        assert maintenance.aliases(registry, "toy") == {CHAMPION: 1}
        assert maintenance.leftovers(registry, "toy") == ()
        assert [each.number for each in registry.versions("toy")] == [1]
    registries["dev"].drop_alias("toy", CHAMPION)
    assert registries["prod"].champion("toy") is not None
    assert sorted(each.name for each in registries[""].client.search_registered_models()) == [
        *("dev-toy", "prod-toy", "toy"),
    ]


def test_the_champion_that_is_seen_predicts_our_rows(
    versions: dict[str, Version], environments: dict[str, Settings], registries: dict[str, Registry],
    spec: ModelSpec, make_rows: Make,
) -> None:  # fmt: skip
    """It is loaded as by its owner, and answers the same rows alike."""
    registries["prod"].set_alias("toy", CHAMPION, 1)
    seen, rows = Registry(environments["dev"].see("prod")), make_rows(20, seed=9)
    champion = seen.champion("toy")
    assert champion is not None
    ours = predict(registries["prod"].load(champion, spec), spec, rows)
    assert (predict(seen.load(champion, spec), spec, rows).values == ours.values).all()


def test_every_write_to_a_registry_that_is_seen_is_refused(
    versions: dict[str, Version], environments: dict[str, Settings], registries: dict[str, Registry], tmp_path: Path
) -> None:
    """Call, environment and setting are named; no version, tag or alias changes, and no folder is made."""
    seen, version = Registry(environments["dev"].see("prod")), versions["prod"]
    before = registries["prod"].get("toy", 1)
    writes: list[Callable[[], object]] = [
        lambda: seen.conclude(version, Verdict.PASS, "", {}),
        lambda: seen.tag(version, "canary", "open"),
        lambda: seen.untag(version, "decision_id"),
        lambda: seen.set_alias("toy", CHAMPION, 1),
        lambda: seen.drop_alias("toy", CHAMPION),
        lambda: seen.enrich(version.run_id, {"a": 1.0}, {}),
        lambda: seen.sweep("toy"),
        lambda: maintenance.discard(seen, maintenance.places(seen, version)[0]),
        lambda: seen.client.create_registered_model("prod-other"),
        lambda: seen.client.delete_experiment("1"),
    ]
    for write in writes:
        with pytest.raises(ForeignError, match="belongs to the environment prod, which EVERGREEN_SEES"):
            write()
    assert registries["prod"].get("toy", 1) == before
    assert not (tmp_path / "home-dev" / "environment-prod").exists()


def test_a_registry_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """An environment of another home has its registry elsewhere; what to share is said."""
    seen = Settings(home=tmp_path, environment="dev", sees="prod").see("prod")
    with pytest.raises(RegistryError, match="The environment prod has no model registry") as error:
        Registry(seen).champion("toy")
    assert isinstance(error.value, EvergreenError)
    assert "EVERGREEN_TRACKING_URI" in error.value.fix
    assert not list(tmp_path.iterdir())


def test_a_moved_home_is_its_owner_s_to_put_right(tmp_path: Path, empty_database: Path) -> None:
    """One home, one database: that the files of another environment are gone is neither a fault here, nor mended."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    shared = f"sqlite:///{tmp_path / 'mlflow.db'}"
    own = Settings(home=tmp_path, tracking_uri=shared)
    other = Settings(home=tmp_path, tracking_uri=shared, environment="staging")
    other.artifact_folder.mkdir(parents=True)
    place = f"{other.artifact_folder.as_uri()}/staging-toy"
    Registry(other).client.create_experiment("staging-toy", artifact_location=place)
    shutil.rmtree(other.root)
    assert rewrite_places(own) == ()
    Registry(own).client.search_registered_models()
    assert Registry(own).client.get_experiment_by_name("staging-toy").artifact_location == place
