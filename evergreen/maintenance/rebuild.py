"""Rebuild a past version from its tags, and check whether it predicts what the stored one predicts, to the bit.

The observations are read as they were at the version's Delta version, and their content is checked against the tagged
digest before anything is trained on it. The same search, seed and rows then give a pipeline, and both pipelines predict
the version's holdout and its reference. Where a version has a judged and a deployed fit, both are rebuilt. The stored
files themselves are not compared: skops writes the time and memory addresses into them, so that even one pipeline
stored twice gives two files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.snapshot import Snapshot
from evergreen.data.split import Split, split_window
from evergreen.data.windows import row_weights, training_window
from evergreen.errors import ArtifactError, DataError, EvergreenError, RefusedError
from evergreen.maintenance import delta_files
from evergreen.markdown import many
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.lineage import checked_out, machine, packages
from evergreen.registry.version import Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training.candidate import DEPLOYED, SEARCH, TRAINED, refit, stored_ids
from evergreen.training.fit import Fitted, fit
from evergreen.training.predict import labelled, predict
from evergreen.training.reference import REFERENCE

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from sklearn.pipeline import Pipeline

NEEDED = ("data_version", "data_digest", "spec_hash", "seed", "sha256", "files_sha256")
"""Tags without which a version cannot be rebuilt."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is different now from when the version was made; both values as text."""

    name: str
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of rebuilding a version.

    Attributes:
        model: name of the model.
        version: its number.
        equal: every prediction of the rebuilt pipeline is equal to the stored one's, byte by byte; so is every one of
            the judged fit, where another fit is deployed.
        damage: why the version could not be rebuilt although it should be possible: a file that is missing or altered,
            or rows that do not match the digest. Empty otherwise.
        differences: what is different now; there may be some although the predictions are equal.
        rows: how many rows both pipelines predicted: the version's holdout and its reference.
        stored: digest of the stored fits' predictions, 32 hex digits; empty if nothing was predicted.
        rebuilt: the same for the rebuilt fits.
        made_of: the tags that the version was made from, by name.
    """

    model: str
    version: int
    equal: bool
    damage: str
    differences: tuple[Difference, ...]
    rows: int
    stored: str
    rebuilt: str
    made_of: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The result as the command line prints it."""
        return asdict(self)


def rebuild(
    spec: ModelSpec,
    spec_hash: str,
    settings: Settings,
    registry: Registry,
    number: int,
    *,
    step: Callable[[str], None] = lambda _text: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rebuilt:
    """Rebuild a version and compare its predictions with those of the stored one.

    `step` is called with each step that is done, `progress` with the number of fits that are done and their total.

    Raises:
        RegistryError: there is no such version.
        RefusedError: the version was not made by Evergreen, or in another environment, was cleaned, or the model file
            has changed since.
        DataError: the table no longer has the version's rows.
        ModelFileError: the pipeline cannot be built or fitted.
    """
    version = registry.get(spec.name, number)
    _require_tags(version)
    _require_same_spec(version, spec_hash, spec.path or settings.models / f"{spec.name}.py")
    _require_files(version, registry)
    spec = spec.model_copy(update={"seed": version.tags.seed})
    observations = Observations(settings.lake_uri, spec)
    differences = _environment_differences(version)
    try:
        snapshot = _read_snapshot(observations, version)
        fits, files = [registry.load(version, spec)], registry.files(version)
        if spec.training.refit:
            fits.append(registry.load_judged(version, spec))
        step(f"stored: {version.label} is what was registered")
        _require_content(observations, snapshot.version, version)
        step(f"data: table version {snapshot.version} holds the rows that were tagged, {snapshot.rows:,}")
    except (ArtifactError, _DamagedError) as error:
        return _result(version, damage=str(error), differences=differences)
    frame, split = _read_rows(spec, observations, snapshot, version)
    train, holdout = (frame[rows].reset_index(drop=True) for rows in (split.train, split.holdout))
    params = json.loads(version.tags.params) if version.tags.params else None
    fitted = fit(spec, train, row_weights(spec, train), params=params, progress=progress)
    step(f"fit: trained again on {many(len(train), 'row')}")
    fits_now, learned = [fitted.pipeline], {TRAINED: train}
    if spec.training.refit:
        fits_now.insert(0, refit(spec, frame, fitted.params))
        learned[DEPLOYED] = frame
        step(f"refit: the deployed fit trained again on {many(len(frame), 'row')}")
    frames = [holdout, _read_reference(files)]
    stored, rebuilt = (
        [_predict_frames(pipeline, spec, frames) for pipeline in pipelines] for pipelines in (fits, fits_now)
    )
    rows, then, now = sum(map(len, frames)), digest([*chain(*stored)]), digest([*chain(*rebuilt)])
    step(f"compare: {many(rows, 'prediction')}{' of each fit' if len(fits) > 1 else ''}")
    differences += _training_differences(files, observations, learned, fitted)
    for name, before, after in zip(("", " of the judged fit"), stored, rebuilt, strict=False):
        differences += _prediction_differences(before, after, name)
    return _result(version, equal=then == now, differences=differences, rows=rows, stored=then, rebuilt=now)


def digest(predictions: Sequence[Predictions]) -> str:
    """The digest of every bit that was predicted, labels and probabilities, in order; 32 hex digits."""
    sha256 = hashlib.sha256()
    for prediction in predictions:
        for array in (prediction.values, prediction.probability):
            if array is None:
                continue
            # Labels of text are objects, whose bytes are addresses.
            content = "\n".join(map(str, array.tolist())).encode() if array.dtype == object else array.tobytes()
            sha256.update(f"{array.dtype}{array.shape}".encode() + content)
    return sha256.hexdigest()[:32]


class _DamagedError(EvergreenError):
    """Data is not what it was."""


def _result(
    version: Version,
    *,
    differences: tuple[Difference, ...],
    equal: bool = False,
    damage: str = "",
    rows: int = 0,
    stored: str = "",
    rebuilt: str = "",
) -> Rebuilt:
    names = (*NEEDED, "data_revision", "known", "params", "git_commit", "packages")
    made_of = {name: version.tags.raw[name] for name in names if version.tags.raw.get(name)}
    return Rebuilt(version.model, version.number, equal, damage, differences, rows, stored, rebuilt, made_of)


def _require_tags(version: Version) -> None:
    if version.tags.adopted_from:
        there, number = version.tags.adopted_from, version.tags.adopted_version
        raise RefusedError(
            f"{version.label} was carried over from {there}, version {number}: the rows that made it are there.",
            f"Rebuild it where EVERGREEN_ENVIRONMENT is {there}: evergreen rebuild {version.model} {number}",
        )
    missing = [name for name in NEEDED if not version.tags.raw.get(name)]
    if missing:
        raise RefusedError(
            f"{version.label} has no tag evergreen.{missing[0]}, so that it is not known what it was made from.",
            "Only versions that evergreen retrain registered can be rebuilt.",
        )


def _require_same_spec(version: Version, spec_hash: str, file: Path) -> None:
    if version.tags.spec_hash == spec_hash:
        return
    commit, dirty = version.tags.git_commit, version.tags.git_dirty
    fix = "The version was made outside of a git repository: restore the file yourself."
    if commit:
        fix = f"Bring back the file of commit {commit[:12]}: git restore --source {commit[:12]} {file}"
        fix += " (there were uncommitted changes on top of that commit, which it lacks)." if dirty else ""
    raise RefusedError(
        f"{file} is not what {version.label} was made from: its hash was {version.tags.spec_hash} and is "
        f"{spec_hash} now.",
        fix,
    )


def _require_files(version: Version, registry: Registry) -> None:
    cleaned = version.tags.cleaned or ""
    if maintenance.gone(registry, version):
        raise RefusedError(
            f"{version.label} was cleaned at {cleaned[:16]}: its files are gone, and so may be its data.",
            f"Choose a newer one: evergreen history {version.model}",
        )


def _read_snapshot(observations: Observations, version: Version) -> Snapshot:
    try:
        return observations.snapshot(version.tags.data_version)
    except DataError as error:
        revision = version.tags.data_revision
        raise DataError(
            f"{version.label} cannot be rebuilt because its data is gone: {error.what}",
            f"Its rows are those of DVC revision {revision}." if revision else "Restore the table from a backup.",
        ) from None
    except EvergreenError as error:
        raise _DamagedError(error.what, error.fix) from None


def _require_content(observations: Observations, table_version: int, version: Version) -> None:
    """Refuse rows that are not those that the version was trained on, and name the damaged files."""
    table = observations.table
    where = f"The table {table.uri} is damaged at version {table_version}"
    damage, measured = delta_files.damage(table, table_version), ""
    try:
        measured = "" if damage else observations.measure(table_version)
    except EvergreenError as error:
        damage = delta_files.damage(table, table_version, read=True) or (error.what,)
    if damage:
        more = f", and {len(damage) - 3} more files" if len(damage) > 3 else ""
        raise _DamagedError(f"{where}: {'; '.join(damage[:3])}{more}.", "Restore it from a backup.")
    if measured != version.tags.data_digest:
        raise _DamagedError(
            f"{where}: rows were altered. Their digest is {measured}, and {version.label} was trained on "
            f"{version.tags.data_digest}.",
            "Restore the table from a backup.",
        )


def _read_rows(
    spec: ModelSpec, observations: Observations, snapshot: Snapshot, version: Version
) -> tuple[pd.DataFrame, Split]:
    """The labelled rows of the window and which of them are the holdout, chosen as they were then."""
    as_of = version.tags.known
    window = training_window(spec, snapshot, datetime.fromisoformat(as_of) if as_of else None)
    frame = labelled(spec, window.read(observations))
    return frame, split_window(observations, frame)


def _read_reference(files: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(files / REFERENCE)


def _predict_frames(pipeline: Pipeline, spec: ModelSpec, frames: Sequence[pd.DataFrame]) -> list[Predictions]:
    return [predict(pipeline, spec, frame) for frame in frames if len(frame)]


def _environment_differences(version: Version) -> tuple[Difference, ...]:
    """Packages, machine and commit that have changed since."""
    then = version.tags.packages
    now = packages()
    pairs = [(name, then[name], now.get(name, "none")) for name in then]
    pairs += [("machine", version.tags.machine or machine(), machine())]
    commit = version.tags.git_commit
    pairs += [("git commit", commit[:12], checked_out()[0][:12] or "none")] if commit else []
    return tuple(Difference(*pair) for pair in pairs if pair[1] != pair[2])


def _training_differences(
    files: Path, observations: Observations, learned: Mapping[str, pd.DataFrame], fitted: Fitted
) -> tuple[Difference, ...]:
    """Training rows, by the file that has them, and scores of the search that have changed since."""
    differences = []
    for file, frame in learned.items():
        ids, stored = observations.ids(frame), stored_ids(files / file)
        if not np.array_equal(ids, stored):
            now = f"{many(len(ids), 'row')}, {len(np.setdiff1d(ids, stored))} of them others"
            name = "training rows" if file == TRAINED else "rows of the deployed fit"
            differences.append(Difference(name, many(len(stored), "row"), now))
    stored_scores = json.loads((files / SEARCH).read_text())["tried"]
    for name in {**stored_scores, **fitted.tried}:
        before, after = stored_scores.get(name), fitted.tried.get(name)
        if before != after and not (_is_nan(before) and _is_nan(after)):
            differences.append(Difference(f"search at {name}", str(before), str(after)))
    return tuple(differences)


def _is_nan(value: float | None) -> bool:
    return value is not None and np.isnan(value)


def _prediction_differences(
    stored: Sequence[Predictions], rebuilt: Sequence[Predictions], of: str = ""
) -> tuple[Difference, ...]:
    """How many predictions differ, and by how much; `of` names the fit."""
    if digest(stored) == digest(rebuilt):
        return ()
    then, now = (np.concatenate([frame.values for frame in frames]) for frames in (stored, rebuilt))
    differ = int((then != now).sum())
    if not differ:
        return (Difference(f"probabilities{of}", many(len(then), "row"), "the same labels with other probabilities"),)
    largest = f", by at most {np.nanmax(np.abs(then - now)):.3g}" if then.dtype.kind == "f" == now.dtype.kind else ""
    return (Difference(f"predictions{of}", many(len(then), "row"), f"{differ} of them differ{largest}"),)
