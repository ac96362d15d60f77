"""A past version is made again from its tags; what is not as it was is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.errors import DataError, RefusedError, RegistryError
from evergreen.maintenance import rebuild as module
from evergreen.maintenance.rebuild import Difference, Rebuilt, digest, rebuild
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import Version, VersionTags
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Search, Training
from evergreen.storage.delta_table import KEEP_LOG

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HASH = "spec"
"""As `make_version` tags it."""


@pytest.fixture
def spec(make_spec: Make) -> ModelSpec:
    """A model with a search, weights by age and a window shorter than the data."""
    made: ModelSpec = make_spec(
        search=Search(grid={"model__alpha": (0.1, 1.0)}),
        training=Training(min_rows=20, last=timedelta(hours=90), half_life=timedelta(hours=40)),
    )
    return made


@pytest.fixture
def version(registry: Registry, settings: Settings, spec: ModelSpec, make_rows: Make, make_version: Make) -> Version:
    """A version, after which rows that it was trained on were replaced and others landed."""
    made: Version = make_version(spec, make_rows(100))
    Observations(settings.lake_uri, spec).land(make_rows(100, start=60, slope=5.0), "second", "second", now=NOW)
    return made


@pytest.fixture
def again(settings: Settings, registry: Registry, spec: ModelSpec) -> Callable[..., Rebuilt]:
    """Rebuild a version of the model: again(version)."""
    return lambda version, **words: rebuild(
        spec, words.pop("hash", HASH), settings, registry, getattr(version, "number", version), **words
    )


def _files(settings: Settings, spec: ModelSpec, version: Version) -> list[Path]:
    """The files of the table at the version's data."""
    table = Observations(settings.lake_uri, spec).table
    return [Path(uri) for uri in table.open(int(version.tags.raw["data_version"])).file_uris()]


def test_equal_to_the_bit_after_later_data(again: Make, version: Version) -> None:
    """Rows of then, replaced since, give the very predictions; progress and every step are told, nothing differs."""
    told: list[str] = []
    fits: list[tuple[int, int]] = []
    found = again(version, step=told.append, progress=lambda done, total: fits.append((done, total)))
    assert (found.equal, found.damage, found.differences) == (True, "", ())
    # The training window has 90 hours: its 18 held rows and the 73 of the reference.
    assert found.rows == 91
    assert found.stored == found.rebuilt != ""
    assert [line.partition(":")[0] for line in told] == ["stored", "data", "fit", "compare"]
    assert fits[-1] == (6, 6)
    assert json.loads(json.dumps(found.to_json()))["made_of"]["data_version"] == version.tags.raw["data_version"]


def test_both_fits_are_rebuilt(
    registry: Registry, settings: Settings, spec: ModelSpec, make_rows: Make, make_version: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With a refit the deployed and the judged fit are equal to the bit; one that is not is named."""
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"refit": True})})
    version, told = make_version(spec, make_rows(100)), list[str]()
    found = rebuild(spec, HASH, settings, registry, version.number, step=told.append)
    assert (found.equal, found.damage, found.differences) == (True, "", ())
    # The 18 held rows, and the 91 of the window, which the deployed fit learned.
    assert found.rows == 109
    assert told[-2:] == [
        "refit: the deployed fit trained again on 91 rows",
        "compare: 109 predictions of each fit",
    ]
    real = module.refit
    monkeypatch.setattr(module, "refit", lambda spec, frame, params: real(spec, frame[:-1], params))
    found = rebuild(spec, HASH, settings, registry, version.number)
    assert not found.equal
    assert [each.name for each in found.differences] == ["predictions"]
    monkeypatch.setattr(module, "refit", real)
    fit_again = module.fit
    monkeypatch.setattr(module, "fit", lambda spec, train, weights, **words: fit_again(spec, train, None, **words))
    found = rebuild(spec, HASH, settings, registry, version.number)
    assert not found.equal
    assert "predictions of the judged fit" in [each.name for each in found.differences]


def test_labels_count_as_they_were_known_then(
    registry: Registry, settings: Settings, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """Without the time that is tagged, rows whose label became known later would teach as well, and that is named."""
    from evergreen.data.windows import training_window
    from evergreen.training.candidate import build_candidate

    spec = make_spec()
    first = make_version(spec, make_rows(100))
    observations = Observations(settings.lake_uri, spec)
    held = observations.find(_keys(range(50)))
    known = pd.Timestamp("2026-03-01", tz="UTC")
    labels = held.rows.select(["y", "_labelled_at"]).set_column(
        1, "_labelled_at", pa.array([known] * 50, pa.timestamp("us", "UTC"))
    )
    observations.set_labels(held, labels, np.arange(50) < 30, "late")
    now = known.to_pydatetime() - timedelta(days=1)
    snapshot = observations.snapshot()
    tags = dict(first.tags.raw) | {"decision_id": "at", "data_version": str(snapshot.version), "known": now.isoformat()}
    tags |= {"data_digest": snapshot.digest}
    window = training_window(spec, snapshot, now)
    candidate = build_candidate(
        Observations(settings.lake_uri, spec), registry, window, decision="at", params=None, tags=tags
    )
    version = registry.register(spec.name, candidate)
    assert rebuild(spec, HASH, settings, registry, version.number).equal
    registry.tag(version, "known", "")
    found = rebuild(spec, HASH, settings, registry, version.number)
    assert not found.equal
    named = {each.name: each for each in found.differences}
    assert (named["training rows"].then, named["training rows"].now) == ("56 rows", "80 rows, 30 of them others")
    assert "differ, by at most" in named["predictions"].now


def _keys(ids: Any) -> pa.Table:
    return pa.table({"id": pa.array(list(ids), pa.int64())})


def test_other_packages_are_named_and_do_not_stop_it(
    again: Make, registry: Registry, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on, and says whether the result is equal all the same; commit and machine are named as well.

    Where it is not, the figures of the search and the predictions say by how much.
    """
    packages = json.loads(version.tags.raw["packages"]) | {"numpy": "1.0"}
    registry.tag(version, "packages", json.dumps(packages))
    registry.tag(version, "git_commit", "f" * 40)
    registry.tag(version, "machine", "Plan9 vax")
    found = again(version)
    assert found.equal
    assert {(each.name, each.then) for each in found.differences} == {
        ("numpy", "1.0"),
        ("git commit", "f" * 12),
        ("machine", "Plan9 vax"),
    }
    real = module.fit

    def other(spec: ModelSpec, train: Any, weights: Any, **words: Any) -> Any:
        return real(spec, train, weights + 0.1, **words)

    monkeypatch.setattr(module, "fit", other)
    found = again(version)
    assert not found.equal
    assert found.stored != found.rebuilt
    names = [each.name for each in found.differences][-3:]
    assert names == ["search at model__alpha=0.1", "search at model__alpha=1.0", "predictions"]
    assert found.differences[-1].now.startswith("91 of them differ, by at most ")


def test_a_tampered_table_is_named(again: Make, settings: Settings, spec: ModelSpec, version: Version) -> None:
    """Nothing is trained on it: the table, its version and the file, or the digest of what is there, are told."""
    file = _files(settings, spec, version)[0]
    content = file.read_bytes()
    where = f"The table {settings.lake_uri}/toy/observations is damaged at version {version.tags.raw['data_version']}: "
    for wrong, said in (
        (None, f"{file.name} is missing."),
        (content[:100], f"{file.name} has 100 bytes, and was written with {len(content)}."),
        (content[:4] + bytes(200) + content[204:], f"{file.name} cannot be read ("),
        (_altered(file), "rows were altered. Their digest is "),
    ):
        file.unlink(missing_ok=True)
        if wrong is not None:
            file.write_bytes(wrong)
        if said.startswith("rows"):
            _say_size(settings, spec, file)
        found = again(version)
        assert (found.equal, found.rows, found.stored) == (False, 0, "")
        assert found.damage.startswith(where + said)
        assert "\n" not in found.damage


def _altered(file: Path) -> bytes:
    """The file with one target a billionth larger."""
    rows = pq.read_table(file)
    moved = pa.array([rows["y"][0].as_py() + 1e-9, *rows["y"].to_pylist()[1:]])
    sink = pa.BufferOutputStream()
    pq.write_table(rows.set_column(rows.column_names.index("y"), "y", moved), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _say_size(settings: Settings, spec: ModelSpec, file: Path) -> None:
    """Make the table's log say the size that a file has now."""
    for log in Path(settings.lake_uri, spec.name, "observations", "_delta_log").glob("*.json"):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            if line.get("add", {}).get("path") == file.name:
                line["add"]["size"] = file.stat().st_size
        log.write_text("\n".join(map(json.dumps, lines)))


def test_a_damaged_log_and_stored_pipeline_are_named(
    again: Make, registry: Registry, settings: Settings, spec: ModelSpec, version: Version
) -> None:
    """A commit that is missing from the table's log, and a pipeline that is not what was registered, are damage."""
    log = Path(settings.lake_uri, spec.name, "observations", "_delta_log")
    commit = log / f"{int(version.tags.raw['data_version']) + 1:020}.json"
    content = commit.read_bytes()
    commit.unlink()
    assert "toy/observations cannot be read" in again(version).damage
    commit.write_bytes(content)
    place = registry.stored.model_folder(version.model_id) / "model.skops"
    place.write_bytes(place.read_bytes() + b"x")
    assert "its sha256 differs" in again(version).damage


def test_what_cannot_be_asked(
    again: Make, registry: Registry, settings: Settings, spec: ModelSpec, version: Version
) -> None:
    """No such version, another model file, a version of somebody else's, one that was cleaned: one clear line each."""
    with pytest.raises(RegistryError, match="toy has no version 9; there are: 1"):
        again(9)
    commit = version.tags.raw["git_commit"]
    with pytest.raises(RefusedError, match="its hash was spec and is other now") as refused:
        again(version, hash="other")
    assert refused.value.fix.startswith(f"Bring back the file of commit {commit[:12]}: git restore --source ")
    with pytest.raises(RefusedError, match="outside of a git repository"):
        module._require_same_spec(
            replace(version, tags=VersionTags.read({**version.tags.raw, "git_commit": ""})), "other", Path("toy.py")
        )
    with pytest.raises(RefusedError, match=r"toy version 1 has no tag evergreen\.data_digest"):
        module._require_tags(replace(version, tags=VersionTags.read({"data_version": "1"})))
    registry.tag(version, "cleaned", "2026-01-01T00:00:00+00:00")
    assert again(version).equal
    for place in maintenance.places(registry, version):
        maintenance.discard(registry, place)
    with pytest.raises(RefusedError, match="toy version 1 was cleaned at 2026-01-01T00:00"):
        again(version)


def test_a_version_that_the_table_forgot(
    again: Make, registry: Registry, settings: Settings, spec: ModelSpec, version: Version
) -> None:
    """It is never taken for the newest one: its data is gone, and the revision that had it is told."""
    registry.tag(version, "data_version", "99")
    with pytest.raises(DataError, match=r"its data is gone: The table .* cannot be read at version 99: there is none"):
        again(version)
    registry.tag(version, "data_revision", "v1.2")
    with pytest.raises(DataError, match=r"DVC revision v1\.2"):
        again(version)
    # A table of an earlier Evergreen, of which Delta has deleted the log up to a checkpoint.
    table = Observations(settings.lake_uri, spec).table
    table.open().create_checkpoint()
    for log in sorted((Path(table.uri) / "_delta_log").glob("*.json"))[:-1]:
        log.unlink()
    registry.tag(version, "data_version", "1")
    with pytest.raises(DataError, match="cannot be read at version 1: there is none"):
        again(version)
    assert KEEP_LOG.items() <= table.open().metadata().configuration.items()


def test_digests_tell_every_bit() -> None:
    """A last digit, a probability, a label and the sign of a zero count; the objects that hold text do not."""

    def one(*values: Any, probability: Any = None, dtype: Any = "float64") -> str:
        given = None if probability is None else np.array(probability)
        return digest([Predictions(np.array(values, dtype=dtype), given, None)])

    assert one(1.0, 2.0) == one(1.0, 2.0) != one(1.0, np.nextafter(2.0, 3.0))
    assert one(0.0) != one(-0.0)
    assert one(float("nan")) == one(float("nan"))
    assert one("a", "bc", dtype=object) == one("a", "".join(["b", "c"]), dtype=object) != one("ab", "c", dtype=object)
    assert one(1, probability=[[0.1, 0.9]], dtype="int64") != one(1, probability=[[0.2, 0.8]], dtype="int64")


def test_only_probabilities_differ() -> None:
    """The same labels by other probabilities are told as such."""

    def one(probability: float) -> list[Predictions]:
        return [Predictions(np.array([1, 0]), np.array([[probability, 1 - probability]] * 2), (0, 1))]

    assert module._prediction_differences(one(0.1), one(0.1)) == ()
    assert module._prediction_differences(one(0.1), one(0.2)) == (
        Difference("probabilities", "2 rows", "the same labels with other probabilities"),
    )
