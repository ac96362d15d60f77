"""Versions are made once, found by their decision, and are what was stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evergreen.errors import ArtifactError, ModelFileError, RegistryError
from evergreen.registry.artifacts import PIPELINE
from evergreen.registry.client import Registry
from evergreen.registry.lineage import PACKAGES
from evergreen.registry.version import CHAMPION, PENDING, Candidate, Version
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

Make = Callable[..., Any]


@pytest.fixture
def version(registry: Registry, make_spec: Make, make_rows: Make, make_version: Make) -> Version:
    """A registered version with the decision `first`."""
    made: Version = make_version(make_spec(), make_rows(100))
    return made


def _again(version: Version, **tags: str) -> Candidate:
    """The candidate that a version was made of, under other tags."""
    known = version.tags.raw
    hashes = (known[name] for name in ("sha256", "files_sha256", "state_sha256"))
    return Candidate(version.run_id, version.model_id, *hashes, 1.0, {"decision_id": "next"} | tags)


def test_a_version_starts_pending_with_its_lineage(version: Version, registry: Registry) -> None:
    """Every fact of its origin is a tag of the version, and of its run."""
    assert (version.status, version.label) == (PENDING, "toy version 1")
    keys = {
        *("decision_id", "reason", "compared_with", "data_version", "data_digest", "data_rows", "data_start"),
        *("data_end", "next_row", "spec_hash", "params", "seed", "git_commit", "git_dirty", "flow_run", "packages"),
        *("sha256", "files_sha256", "state_sha256", "size_mb", "model_id"),
    }
    assert keys <= set(version.tags.raw)
    assert set(json.loads(version.tags.raw["packages"])) == {"python", *PACKAGES}
    run = registry.client.get_run(version.run_id)
    assert run.data.tags["evergreen.decision_id"] == "first"
    assert run.info.status == "FINISHED"


def test_the_signature_takes_missing_numbers(version: Version, registry: Registry) -> None:
    """Numbers are doubles and categories text, so that a missing one is no error; requirements are exact."""
    stored = registry.client.get_logged_model(version.model_id)
    folder = registry.stored.model_folder(stored.model_id)
    told = "".join((folder / "MLmodel").read_text().split())
    assert '"type":"double","name":"x"' in told
    assert '"type":"string","name":"kind"' in told
    lines = (folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in lines} >= {"scikit-learn", "pandas", "numpy", "skops"}
    assert all("==" in line for line in lines)


def test_the_requirements_are_not_looked_up_again(
    registry: Registry, make_spec: Make, make_rows: Make, make_version: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow does not list the files of all packages to store ours, and checks what anybody else stores as ever."""
    import importlib_metadata
    from mlflow.utils import environment, requirements_utils

    listed: list[str] = []
    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    monkeypatch.setattr(importlib_metadata, "packages_distributions", lambda: listed.append("all") or {})
    make_version(make_spec(), make_rows(100))
    assert listed == []
    environment._process_pip_requirements(None, ["pandas==0.1"])
    assert listed == ["all"]


def test_the_data_is_known_by_our_digest(version: Version, registry: Registry) -> None:
    """The run's input bears the digest of the snapshot's bytes, not MLflow's own, which is of a sample."""
    given = registry.client.get_run(version.run_id).inputs.dataset_inputs[0]
    assert given.dataset.digest == version.tags.raw["data_digest"]
    assert json.loads(given.dataset.source)["delta_table_version"] == version.tags.raw["data_version"]


def test_a_version_is_found_by_its_decision(version: Version, registry: Registry) -> None:
    """A decision finds the version it made, the newest if there are several, and nothing else."""
    second = registry.register("toy", _again(version))
    third = registry.register("toy", _again(version))
    assert registry.find("toy", "first") == version
    assert registry.find("toy", "next") == third
    assert registry.find("toy", "never") is None
    assert registry.find("other", "first") is None
    assert [found.number for found in registry.versions("toy")] == [1, second.number, third.number]


def test_an_unknown_version_is_told_with_the_known_ones(version: Version, registry: Registry) -> None:
    """Asking for a number that is not there names those that are."""
    assert registry.lookup("toy", 7) is None
    assert registry.lookup("other", 1) is None
    with pytest.raises(RegistryError, match="toy has no version 7; there are: 1"):
        registry.get("toy", 7)
    with pytest.raises(RegistryError, match="there are: none"):
        registry.get("other", 1)


def test_aliases_move_in_one_write_and_vanish_with_their_version(version: Version, registry: Registry) -> None:
    """An alias names one version at a time; that of a deleted version names none."""
    second = registry.register("toy", _again(version))
    assert registry.champion("toy") is None
    for number in (1, second.number):
        registry.set_alias("toy", CHAMPION, number)
        found = registry.champion("toy")
        assert found is not None
        assert found.number == number
    registry.client.delete_model_version("toy", str(second.number))
    assert registry.champion("toy") is None
    with pytest.raises(RegistryError, match="not found"):
        registry.set_alias("toy", CHAMPION, second.number)


@pytest.mark.parametrize("status", ["PENDING", "FAILED"])
def test_a_half_stored_model_is_not_registered(version: Version, registry: Registry, status: str) -> None:
    """MLflow would register a model whose upload was killed or failed, and call it ready."""
    experiment = registry.client.get_experiment_by_name("toy").experiment_id
    half = registry.client.create_logged_model(experiment_id=experiment)
    if status == "FAILED":
        registry.client.finalize_logged_model(half.model_id, "FAILED")
    with pytest.raises(ArtifactError, match=f"not stored completely .*{status}"):
        registry.register("toy", replace(_again(version), model_id=half.model_id))
    assert len(registry.versions("toy")) == 1


def test_the_status_is_written_last(version: Version, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that says PASSED has everything else that the gates wrote."""
    written: list[str] = []
    real = registry.client.set_model_version_tag

    def keep(name: str, number: str, key: str, value: str) -> None:
        written.append(key)
        real(name, number, key, value)

    monkeypatch.setattr(registry.client, "set_model_version_tag", keep)
    done = registry.conclude(version, Verdict.PASS, "# Gates", {"holdout_rows": "20", "checks": "{}"})
    assert written[-1] == "model_validation_status"
    assert (done.status, done.description, done.tags.raw["holdout_rows"]) == ("PASSED", "# Gates", "20")


@pytest.mark.parametrize(("verdict", "status"), [(Verdict.FAIL, "FAILED"), (Verdict.INCONCLUSIVE, "INCONCLUSIVE")])
def test_what_did_not_pass_says_so(version: Version, registry: Registry, verdict: Verdict, status: str) -> None:
    """Each verdict has its status."""
    assert registry.conclude(version, verdict, "", {}).status == status


def test_what_a_killed_process_left_is_swept(version: Version, registry: Registry) -> None:
    """A run that still says it runs is marked killed, a version that nobody judged INCONCLUSIVE; nothing else moves."""
    passed = registry.conclude(registry.register("toy", _again(version)), Verdict.PASS, "", {})
    experiment = registry.client.get_experiment_by_name("toy").experiment_id
    left = registry.client.create_run(experiment).info.run_id
    assert registry.sweep("toy") == 1
    assert registry.client.get_run(left).info.status == "KILLED"
    assert registry.client.get_run(version.run_id).info.status == "FINISHED"
    assert registry.get("toy", version.number).status == "INCONCLUSIVE"
    assert registry.get("toy", passed.number) == passed
    assert registry.sweep("toy") == 0
    assert registry.sweep("other") == 0


def test_a_tag_can_be_taken_away(version: Version, registry: Registry) -> None:
    """A tag is set and taken away; one that is not there is no fault."""
    registry.tag(version, "rolled_back", "because")
    tagged = registry.get("toy", 1)
    assert tagged.tags.raw["rolled_back"] == "because"
    registry.untag(tagged, "rolled_back")
    assert registry.get("toy", 1) == version
    registry.untag(version, "rolled_back")


def test_versions_are_found_by_a_tag_of_any_value(version: Version, registry: Registry) -> None:
    """Those of all models, as long as they have it; a person's tag of the same name is another one."""
    assert registry.tagged("canary") == ()
    registry.client.set_model_version_tag("toy", str(version.number), "canary", "mine")
    assert registry.tagged("canary") == ()
    registry.tag(version, "canary", "0")
    (found,) = registry.tagged("canary")
    assert (found.number, found.tags.canary) == (version.number, 0)
    registry.untag(found, "canary")
    assert registry.tagged("canary") == ()


@pytest.mark.parametrize("damage", ["changed", "added", "missing"])
def test_tampered_files_are_refused(version: Version, registry: Registry, damage: str) -> None:
    """The reference and what else was stored is checked before use; any change is refused."""
    folder = registry.files(version)
    reference = folder / "reference.parquet"
    if damage == "changed":
        reference.write_bytes(reference.read_bytes() + b"\0")
    elif damage == "added":
        (folder / "more.json").write_text("{}")
    else:
        reference.unlink()
    with pytest.raises(ArtifactError, match=r"toy version 1: .* not what was registered"):
        registry.files(version)


@pytest.mark.parametrize("damage", ["swapped", "truncated", "missing"])
def test_a_tampered_pipeline_is_refused(version: Version, registry: Registry, make_spec: Make, damage: str) -> None:
    """A swapped, cut or missing pipeline is one line that says which version it is."""
    path = registry.stored.model_folder(version.model_id) / PIPELINE
    registry.load(version, make_spec())
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-9] if damage == "truncated" else content[::-1])
    with pytest.raises(ArtifactError, match=r"^toy version 1[: ]"):
        registry.load(version, make_spec())


def _stored(registry: Registry, spec: ModelSpec, pipeline: Any, files: Path) -> Candidate:
    return registry.log(
        spec,
        pipeline,
        run_name="test",
        classes=None,
        params={},
        metrics={"train_mae": 1.0},
        files=files,
        dataset={"name": "toy", "digest": "d", "table": "t", "version": "1", "rows": "1"},
        tags={"decision_id": "d"},
    )


def test_types_nobody_trusts_are_named_before_storing(registry: Registry, make_spec: Make, tmp_path: Path) -> None:
    """A pipeline that could not be loaded again is refused with the line to add to the model file."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    best = Pipeline([("model", FunctionTransformer(np.nan_to_num).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 3.0]))])
    with pytest.raises(ModelFileError, match=r"models/toy\.py: trusted: .*nan_to_num") as caught:
        _stored(registry, make_spec(), best, tmp_path)
    assert "trusted=('numpy.nan_to_num',)" in caught.value.fix


@pytest.mark.parametrize("step", ["log_model", "log_artifacts"])
def test_a_full_disk_leaves_no_version(
    registry: Registry, make_spec: Make, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills while a candidate is stored is one line; its run is marked failed and nothing is registered."""
    import mlflow
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    owner = mlflow.sklearn if step == "log_model" else mlflow.MlflowClient
    monkeypatch.setattr(owner, step, full)
    pipeline = Pipeline([("model", Ridge().fit([[0.0], [1.0]], [0.0, 2.0]))])
    with pytest.raises(RegistryError, match="the disk is full"):
        _stored(registry, make_spec(), pipeline, tmp_path)
    experiment = registry.client.get_experiment_by_name("toy").experiment_id
    assert [run.info.status for run in registry.client.search_runs([experiment])] == ["FAILED"]
    assert registry.versions("toy") == ()
