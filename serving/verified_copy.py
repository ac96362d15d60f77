"""The verified copy of what is served, for the time when the registry is away.

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
from evergreen.registry.artifacts import PIPELINE, load_pipeline, packed, verify
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.storage.atomic_write import staged_file, write_text

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

_GOLDEN, _FACTS = "golden.parquet", "copy.json"
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
    stored = packed(pipeline, spec.file, spec.trusted)
    rows = golden.to_parquet(index=False)
    digest = hashlib.sha256(stored).hexdigest()
    # A folder of its own for each, and the file that names it last: a reader finds the one or the other whole.
    place = folder / digest[:16]
    place.mkdir(parents=True, exist_ok=True)
    for name, content in ((PIPELINE, stored), (_GOLDEN, rows)):
        with staged_file(place / name) as part:
            part.write_bytes(content)
    facts = {
        "number": version.number,
        "sha256": version.tags.sha256,
        "copy_sha256": digest,
        "golden_sha256": hashlib.sha256(rows).hexdigest(),
    }
    write_text(folder / _FACTS, json.dumps(facts))
    for other in folder.iterdir():
        # A younger one may be that of another process, which names it next.
        if other.is_dir() and other != place and time.time() - other.stat().st_mtime > _OLD_SECONDS:
            for file in other.iterdir():
                file.unlink(missing_ok=True)
            other.rmdir()


def read_copy(folder: Path, spec: ModelSpec) -> VerifiedCopy | None:
    """The copy; None if there is none.

    Raises:
        ArtifactError: it is not what was written.
        ModelFileError: it holds a type that the model file does not trust.
    """
    import pandas as pd

    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        number, sha256 = int(facts["number"]), str(facts["sha256"])
        digest, golden_digest = str(facts["copy_sha256"]), str(facts["golden_sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"{folder / _FACTS} cannot be read.", "Delete the folder; the registry is asked then."
        ) from None
    place, what = folder / digest[:16], f"the copy of version {number}"
    pipeline = load_pipeline(place, digest, spec.trusted, what)
    verify(place / _GOLDEN, golden_digest, what)
    return VerifiedCopy(number, sha256, pipeline, pd.read_parquet(place / _GOLDEN))
