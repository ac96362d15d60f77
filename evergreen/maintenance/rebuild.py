"""A past version made again from its tags, and whether it predicts what the stored one predicts, to the bit.

The observations are read as they were at the version's Delta version, and their content is held to the digest that was
tagged before anything is trained on it. Then the same search, seed and rows give a pipeline, and both predict the rows
that judged the version and those of its reference. The stored files themselves are not compared: skops writes the time
and memory addresses into them, so that even one pipeline stored twice gives two files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import holdout_mask, training_window, weights
from evergreen.errors import ArtifactError, DataError, EvergreenError, RefusedError
from evergreen.maintenance import delta_files
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.lineage import checked_out, machine, packages
from evergreen.registry.version import Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training.candidate import SEARCH, TRAINED
from evergreen.training.fit import Fitted, fit
from evergreen.training.predict import labelled, predict
from evergreen.training.reference import REFERENCE

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from sklearn.pipeline import Pipeline

NEEDED = ("data_version", "data_digest", "spec_hash", "seed", "sha256", "files_sha256")
"""Tags without which nothing can be made again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not now what it was when the version was made, both as text."""

    name: str
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of making a version again.

    Attributes:
        equal: every prediction of the rebuilt pipeline has the bytes of the stored one's.
        damage: why it could not be made again although nothing was asked wrongly: a file that is gone or altered, rows
            that are not those of the digest. Empty otherwise.
        differences: what is not as it was; there may be some although the predictions are equal.
        rows: how many rows both predicted: the version's holdout and its reference.
        stored: digest of the stored pipeline's predictions, 32 hex digits; empty where it predicted nothing.
        rebuilt: the same of the rebuilt pipeline.
        made_of: the tags that it was made from, by name.
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
        """As the command line prints it."""
        return asdict(self)


def rebuild(
    spec: ModelSpec,
    spec_hash: str,
    settings: Settings,
    registry: Registry,
    number: int,
    *,
    step: Callable[[str], None] = lambda _what: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rebuilt:
    """Make a version again and compare what it predicts.

    `step` is told each step when it is done, `progress` how many fits of the search are done.

    Raises:
        RegistryError: there is no such version.
        RefusedError: it was not made by Evergreen, was cleaned, or the model file is another one now.
        DataError: the table does not go back to the version's rows any more.
        ModelFileError: the pipeline cannot be built or fitted.
    """
    version = registry.get(spec.name, number)
    _require_tags(version)
    _require_same_spec(version, spec_hash)
    _require_files(version, registry)
    spec = spec.model_copy(update={"seed": version.tags.seed})
    observations = Observations(settings.lake_uri, spec)
    differences = _surroundings(version)
    try:
        snapshot = _snapshot(observations, version)
        pipeline, files = registry.load(version, spec), registry.files(version)
        step(f"stored: {version.label} is what was registered")
        _require_content(observations, snapshot.version, version)
        step(f"data: the {snapshot.rows} rows of table version {snapshot.version} are those that were tagged")
    except (ArtifactError, _DamagedError) as error:
        return _told(version, damage=str(error), differences=differences)
    train, held = _rows(spec, observations, snapshot, version)
    params = json.loads(version.tags.params) if version.tags.params else None
    fitted = fit(spec, train, weights(spec, train), params=params, progress=progress)
    step(f"fit: trained again on {len(train)} rows")
    rows = [held, _reference(files)]
    stored, again = _predictions(pipeline, spec, rows), _predictions(fitted.pipeline, spec, rows)
    count, then, now = sum(map(len, rows)), digest(stored), digest(again)
    step(f"compare: {count} predictions")
    differences += _training(files, observations, train, fitted) + _predicted(stored, again)
    return _told(version, equal=then == now, differences=differences, rows=count, stored=then, rebuilt=now)


def digest(predictions: Sequence[Predictions]) -> str:
    """Of every bit that was predicted, labels and probabilities, in order; 32 hex digits."""
    total = hashlib.sha256()
    for found in predictions:
        for part in (found.values, found.probability):
            if part is None:
                continue
            # Labels of text are objects, whose bytes are addresses.
            plain = "\n".join(map(str, part.tolist())).encode() if part.dtype == object else part.tobytes()
            total.update(f"{part.dtype}{part.shape}".encode() + plain)
    return total.hexdigest()[:32]


class _DamagedError(EvergreenError):
    """Data that is not what it was."""


def _told(
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
    absent = [name for name in NEEDED if not version.tags.raw.get(name)]
    if absent:
        raise RefusedError(
            f"{version.label} has no tag evergreen.{absent[0]}: it does not say what it was made of.",
            "Only versions that evergreen retrain registered can be rebuilt.",
        )


def _require_same_spec(version: Version, spec_hash: str) -> None:
    if version.tags.spec_hash == spec_hash:
        return
    commit, dirty = version.tags.git_commit, version.tags.git_dirty
    file = f"models/{version.model}.py"
    fix = "It was made outside of a git repository: put the file back as it was."
    if commit:
        fix = f"Bring back the file of commit {commit[:12]}: git restore --source {commit[:12]} {file}"
        fix += " (there were changes on top of that commit that it does not have)." if dirty else ""
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


def _snapshot(observations: Observations, version: Version) -> Snapshot:
    try:
        return observations.snapshot(version.tags.data_version)
    except DataError as error:
        revision = version.tags.data_revision
        raise DataError(
            f"{version.label} cannot be rebuilt, its data is gone: {error.what}",
            f"Its rows are those of DVC revision {revision}." if revision else "Restore the table from a backup.",
        ) from None
    except EvergreenError as error:
        raise _DamagedError(error.what, error.fix) from None


def _require_content(observations: Observations, at: int, version: Version) -> None:
    """Refuse rows that are not those that the version was trained on, and name the files that are at fault."""
    table = observations.table
    where = f"The table {table.uri} is damaged at version {at}"
    damage, measured = delta_files.damage(table, at), ""
    try:
        measured = "" if damage else observations.measured(at)
    except EvergreenError as error:
        damage = delta_files.damage(table, at, read=True) or (error.what,)
    if damage:
        more = f", and {len(damage) - 3} more files" if len(damage) > 3 else ""
        raise _DamagedError(f"{where}: {'; '.join(damage[:3])}{more}.", "Restore it from a backup.")
    if measured != version.tags.data_digest:
        raise _DamagedError(
            f"{where}: rows were altered, for their digest is {measured}, and {version.label} was trained on "
            f"{version.tags.data_digest}.",
            "Restore the table from a backup.",
        )


def _rows(
    spec: ModelSpec, observations: Observations, snapshot: Snapshot, version: Version
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The training rows and the holdout, chosen as they were then."""
    known = version.tags.known
    window = training_window(spec, snapshot, datetime.fromisoformat(known) if known else None)
    frame = labelled(spec, window.read(observations))
    mask = holdout_mask(spec, frame)
    return frame[~mask].reset_index(drop=True), frame[mask].reset_index(drop=True)


def _reference(files: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(files / REFERENCE)


def _predictions(pipeline: Pipeline, spec: ModelSpec, frames: Sequence[pd.DataFrame]) -> list[Predictions]:
    return [predict(pipeline, spec, frame) for frame in frames if len(frame)]


def _surroundings(version: Version) -> tuple[Difference, ...]:
    """Packages, machine and commit that are not those of then."""
    then = version.tags.packages
    now = packages()
    pairs = [(name, then[name], now.get(name, "none")) for name in then]
    pairs += [("machine", version.tags.machine or machine(), machine())]
    commit = version.tags.git_commit
    pairs += [("git commit", commit[:12], checked_out()[0][:12] or "none")] if commit else []
    return tuple(Difference(*pair) for pair in pairs if pair[1] != pair[2])


def _training(files: Path, observations: Observations, train: pd.DataFrame, fitted: Fitted) -> tuple[Difference, ...]:
    """Training rows and the search's figures that are not those of then."""
    import pandas as pd

    found = []
    ids, stored = observations.ids(train), pd.read_parquet(files / TRAINED)["id"].to_numpy(dtype=np.uint64)
    if not np.array_equal(ids, stored):
        others = len(np.setdiff1d(ids, stored))
        found.append(Difference("training rows", f"{len(stored)} rows", f"{len(ids)} rows, {others} of them others"))
    tried = json.loads((files / SEARCH).read_text())["tried"]
    for name in {**tried, **fitted.tried}:
        then, now = tried.get(name), fitted.tried.get(name)
        if then != now and not (_nan(then) and _nan(now)):
            found.append(Difference(f"search at {name}", str(then), str(now)))
    return tuple(found)


def _nan(value: float | None) -> bool:
    return value is not None and np.isnan(value)


def _predicted(stored: Sequence[Predictions], again: Sequence[Predictions]) -> tuple[Difference, ...]:
    """How many predictions differ, and by how much."""
    if digest(stored) == digest(again):
        return ()
    then, now = (np.concatenate([found.values for found in each]) for each in (stored, again))
    differ = int((then != now).sum())
    if not differ:
        return (Difference("probabilities", f"{len(then)} rows", "the same labels by other probabilities"),)
    largest = f", by at most {np.nanmax(np.abs(then - now)):.3g}" if then.dtype.kind == "f" == now.dtype.kind else ""
    return (Difference("predictions", f"{len(then)} rows", f"{differ} of them differ{largest}"),)
