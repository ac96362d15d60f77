"""The verified copy of what is served, for the time when the registry is away, and for an image that needs none.

It is written after a version was verified, and read only if its own hash is still the one that was written beside it.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.errors import ArtifactError
from evergreen.registry.artifacts import PIPELINE, load_pipeline, packed, verify, verify_bytes
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.storage.atomic_write import staged_file, write_text
from evergreen.training.reference import REFERENCE

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

COPY = "copy.json"
"""The file of a copy's folder that says which version it is."""
GOLDEN_ROWS = 200
"""Rows of a version's reference on which its plan is compared and that warm it."""
_GOLDEN = "golden.parquet"
_OLD_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedCopy:
    """What was served last.

    Attributes:
        number: of the version.
        sha256: of the pipeline in the registry.
        pipeline: the fitted pipeline.
        golden: rows that it was trained on.
    """

    number: int
    sha256: str
    pipeline: Pipeline
    golden: pd.DataFrame


def write_copy(folder: Path, spec: ModelSpec, pipeline: Pipeline, golden: pd.DataFrame, version: Version) -> None:
    """Keep what a verified version needs to be served, in place of the former copy."""
    _write(folder, packed(pipeline, spec.file, spec.trusted), golden, version)


def copy_version(folder: Path, registry: Registry, version: Version, spec: ModelSpec) -> VerifiedCopy:
    """Copy a version as it is stored, byte by byte, and read the copy.

    Of the rows that it was trained on come the features of a few, and neither keys nor targets.

    Raises:
        ArtifactError: the version is not what was registered, or gone.
        ModelFileError: it holds a type that the model file does not trust.
    """
    import pandas as pd

    what, stored = version.label, registry.stored.pipeline_folder(version) / PIPELINE
    # What is written is the very bytes that are hashed.
    content = stored.read_bytes()
    verify_bytes(content, version.tags.sha256, stored, what)
    golden = pd.read_parquet(registry.files(version) / REFERENCE).head(GOLDEN_ROWS)
    _write(folder, content, golden[list(spec.features.all)], version)
    copy = read_copy(folder, spec)
    if copy is None:
        raise ArtifactError(f"{what}: {folder / COPY} is gone again.", "Leave the folder alone meanwhile.")
    return copy


def _write(folder: Path, stored: bytes, golden: pd.DataFrame, version: Version) -> None:
    rows = golden.to_parquet(index=False)
    digest = hashlib.sha256(stored).hexdigest()
    # A folder of its own for each, and the file that names it last: a reader finds the one or the other whole.
    place = folder / digest[:16]
    place.mkdir(parents=True, exist_ok=True)
    for name, content in ((PIPELINE, stored), (_GOLDEN, rows)):
        with staged_file(place / name) as part:
            part.write_bytes(content)
    facts = {
        "model": version.model,
        "number": version.number,
        "sha256": version.tags.sha256,
        "copy_sha256": digest,
        "golden_sha256": hashlib.sha256(rows).hexdigest(),
    }
    write_text(folder / COPY, json.dumps(facts))
    for other in folder.iterdir():
        # A younger one may be that of another process, which names it next.
        if other.is_dir() and other != place and time.time() - other.stat().st_mtime > _OLD_SECONDS:
            for file in other.iterdir():
                file.unlink(missing_ok=True)
            other.rmdir()


def read_copy(folder: Path, spec: ModelSpec) -> VerifiedCopy | None:
    """The copy; None if there is none.

    Raises:
        ArtifactError: it is not what was written, or of another model.
        ModelFileError: it holds a type that the model file does not trust.
    """
    import pandas as pd

    try:
        facts = json.loads((folder / COPY).read_text(encoding="utf-8"))
        number, sha256 = int(facts["number"]), str(facts["sha256"])
        digest, golden_digest = str(facts["copy_sha256"]), str(facts["golden_sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"{folder / COPY} cannot be read.", "Delete the folder; the registry is asked then."
        ) from None
    if facts.get("model", spec.name) != spec.name:
        raise ArtifactError(f"{folder} holds a version of {facts['model']}, not of {spec.name}.", "Take the right one.")
    place, what = folder / digest[:16], f"the copy of version {number}"
    pipeline = load_pipeline(place, digest, spec.trusted, what)
    verify(place / _GOLDEN, golden_digest, what)
    return VerifiedCopy(number, sha256, pipeline, pd.read_parquet(place / _GOLDEN))
