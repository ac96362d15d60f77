"""What happens to MLflow's runs, versions and files behind Evergreen's back, with a real MLflow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from deployments.cli.doctor_checks import Finding, examine
from evergreen.data.observations import Observations
from evergreen.decision import Decision
from evergreen.errors import LostError, RefusedError, RegistryError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.registry.client import Registry
from evergreen.registry.moved_home import rewrite_places
from evergreen.registry.promotion import accept_loss, promote, require_consistent, roll_back
from evergreen.registry.version import Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training.plan import Plan, plan_retraining
from evergreen.training.request import Request
from evergreen.verdicts import Verdict
from tests.details import detail_of

Make = Callable[..., Any]
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class Production:
    """A model with a champion in a home with a database of its own."""

    settings: Settings
    spec: ModelSpec
    make_version: Make
    make_rows: Make
    versions: list[Version] = field(default_factory=list)

    @property
    def registry(self) -> Registry:
        return Registry(self.settings)

    @property
    def log(self) -> Promotions:
        return Promotions(self.settings.lake_uri, self.spec.name)

    def promote_new(self, decision: str) -> Version:
        """Train a version on new rows and make it champion."""
        rows = self.make_rows(60, start=1000 * len(self.versions))
        champion = self.registry.champion(self.spec.name)
        version = self.make_version(self.spec, rows, decision, champion, home=self.settings)
        version = self.registry.conclude(version, Verdict.PASS, "passed", {})
        promote(self.spec, self.registry, self.log, version, reason="test", by="test", now=NOW, lock=nullcontext())
        self.versions.append(version)
        return version

    def accept_loss(self, reason: str = "tidied up") -> Move:
        stores = self.registry, self.registry, self.log
        return accept_loss(self.spec, *stores, reason=reason, by="person: kim", now=NOW, lock=nullcontext())

    def plan(self, **asked: Any) -> Plan:
        return plan_retraining(
            Observations(self.settings.lake_uri, self.spec),
            "spec",
            self.registry,
            self.log,
            Decisions(self.settings.lake_uri, self.spec.name),
            Request(**asked),
            now=NOW,
            lock=nullcontext(),
        )


@pytest.fixture
def production(settings: Settings, empty_database: Path, make_spec: Make, make_rows: Make, make_version: Make) -> Any:
    """A model with one champion."""
    settings.root.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_database, settings.root / "mlflow.db")
    place = Production(settings, make_spec(), make_version, make_rows)
    place.promote_new("first")
    return place


def test_a_home_that_was_moved(production: Production, tmp_path: Path) -> None:
    """32: both places are named and nothing is made at the old one; once told, everything is found at the new one."""
    (version,), old = production.versions, production.settings.root
    (new := tmp_path / "a restored home").parent.mkdir(exist_ok=True)
    old.rename(new)
    production.settings = Settings(home=new, models=production.settings.models)
    with pytest.raises(RegistryError, match=re.escape(str(old))) as moved:
        production.plan(force=True)
    assert str(new) in moved.value.what
    assert moved.value.fix == f"Let it look under {new}: evergreen doctor --fix"
    assert _registry_finding(production).fix == moved.value.fix
    rewritten = rewrite_places(production.settings)
    assert [(each.old, each.new, each.number) for each in rewritten] == [(old, new, 4)]
    assert rewrite_places(production.settings) == ()
    assert _registry_finding(production).ok
    assert production.registry.files(version).is_relative_to(new)
    production.registry.load(version, production.spec)
    second = production.promote_new("second")
    assert production.registry.files(second).is_relative_to(new)
    assert not old.exists()


def test_a_home_that_was_copied(production: Production, tmp_path: Path) -> None:
    """32: the copy is told of, also where the original is still there, and does not touch what is in it."""
    (version,), old = production.versions, production.settings.root
    shutil.copytree(old, new := tmp_path / "copy")
    copy = Settings(home=new)
    with pytest.raises(RegistryError, match=rf"or use the old place: EVERGREEN_HOME={re.escape(str(old))}$"):
        Registry(copy).champion("toy")
    rewrite_places(copy)
    assert Registry(copy).files(version).is_relative_to(new)
    assert production.registry.files(version).is_relative_to(old)


def test_what_is_no_moved_home(production: Production, tmp_path: Path) -> None:
    """32: a link to the home, and an experiment that a person keeps elsewhere, are left alone."""
    link, elsewhere = tmp_path / "link", tmp_path / "elsewhere" / "artifacts" / "mine"
    link.symlink_to(production.settings.root)
    elsewhere.mkdir(parents=True)
    production.registry.client.create_experiment("mine", artifact_location=elsewhere.as_uri())
    production.registry.client.create_experiment("bucket", artifact_location="s3://bucket/artifacts/bucket")
    assert Registry(Settings(home=link)).champion("toy") == production.versions[0]
    assert rewrite_places(production.settings) == ()


def _registry_finding(production: Production) -> Finding:
    (finding,) = [each for each in examine(production.settings) if each.name == "registry"]
    return finding


def _folder(uri: str) -> Path:
    return Path(urlparse(uri).path)


def _delete_version(production: Production, version: Version) -> None:
    production.registry.client.delete_model_version(version.model, str(version.number))


def _delete_run(production: Production, version: Version) -> None:
    """As MLflow's page and `mlflow gc` after it do."""
    client = production.registry.client
    files = _folder(client.get_run(version.run_id).info.artifact_uri)
    client.delete_run(version.run_id)
    client._tracking_client.store._hard_delete_run(version.run_id)
    shutil.rmtree(files)


def _delete_run_files(production: Production, version: Version) -> None:
    shutil.rmtree(_folder(production.registry.client.get_run(version.run_id).info.artifact_uri))


def _delete_model(production: Production, version: Version) -> None:
    production.registry.client.delete_logged_model(version.model_id)


def _delete_model_files(production: Production, version: Version) -> None:
    shutil.rmtree(_folder(production.registry.client.get_logged_model(version.model_id).artifact_location))


@pytest.mark.parametrize(
    ("delete", "says"),
    [
        (_delete_version, "toy version 1 (run candidate-first) is the champion by the log, and the registry has it no"),
        (_delete_run, "is not whole: MLflow has no such run any more"),
        (_delete_run_files, "artifacts/evergreen is missing"),
        (_delete_model, "is not whole: MLflow has no stored model"),
        (_delete_model_files, "model.skops is missing"),
    ],
)
def test_a_champion_that_is_gone(production: Production, delete: Make, says: str) -> None:
    """35: a retraining, forced or not, names version, run and the way on; a person's word makes way for a first one."""
    (version,) = production.versions
    delete(production, version)
    for asked in ({}, {"force": True}):
        with pytest.raises(LostError, match="evergreen accept-loss toy --reason TEXT") as lost:
            production.plan(**asked)
        assert says in lost.value.what
        assert "toy version 1 (run " in lost.value.what
    move = production.accept_loss()
    assert (move.action, move.before, move.after, move.by, move.reason) == ("loss", 1, None, "person: kim", "tidied up")
    assert [(line.before, line.after) for line in production.log.done()] == [(None, 1), (1, None)]
    assert production.registry.champion("toy") is None
    require_consistent(production.registry, None, production.log)
    assert production.plan().settled is None
    second = production.promote_new("second")
    assert (production.registry.champion("toy") or version).number == second.number == production.log.champion()


def test_after_a_loss_the_same_data_may_be_answered_again(production: Production) -> None:
    """35: the retraining that made what is lost has answered these rows; they are a new question after it."""
    first, (version,) = production.plan(force=True).decision_id.rpartition("-")[0], production.versions
    _delete_version(production, version)
    production.accept_loss()
    again = production.plan()
    assert (again.settled, again.champion) == (None, None)
    answer = Decision(
        again.decision_id, "retrain", NOW, "promoted", None, 1, "d", "why", detail_of("retrain", outcome="promoted")
    )
    Decisions(production.settings.lake_uri, "toy").record(answer)
    assert production.plan().settled == "unchanged"
    assert again.decision_id != first


def test_a_deleted_run_with_its_files_is_no_loss(production: Production) -> None:
    """35: until `mlflow gc` the run is only marked: everything works, and a loss is refused."""
    (version,) = production.versions
    production.registry.client.delete_run(version.run_id)
    production.registry.load(version, production.spec)
    assert production.plan().resume == production.registry.champion("toy")
    with pytest.raises(RefusedError, match="toy version 1 is not lost"):
        production.accept_loss()


def test_a_lost_champion_is_rolled_back(production: Production) -> None:
    """35: with an older version that is whole, one command gives it back, with the loss accepted or not."""
    second = production.promote_new("second")
    _delete_run(production, second)

    def roll_back_to(to: int | None) -> Move:
        stores = production.registry, production.log
        return roll_back(production.spec, *stores, to, reason="lost", by="test", now=NOW, lock=nullcontext())

    production.accept_loss()
    assert roll_back_to(None).after == 1
    third = production.promote_new("third")
    _delete_version(production, third)
    assert roll_back_to(1).before == 3
