"""Files that a version is made of, and the check that they still are what was registered.

skops stores the pipeline. Its own list of safe types is widened only by the model file's `trusted`, never by what the
artifact says of itself, and nothing is opened before its hash was compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZipFile

from evergreen.errors import ArtifactError, ModelFileError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PIPELINE = "model.skops"
_FIX = "Restore it from a backup, or roll back to another version."


def sha256(path: Path) -> str:
    """Of a file, or of every file below a folder with its name; 64 hex digits."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(path).as_posix()}:{sha256(file)}" for file in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def state_sha256(path: Path) -> str:
    """Of what a stored pipeline is and was fitted to: the same for equal ones, 64 hex digits.

    Their files differ: skops names objects by their addresses in memory, and a zip file holds the time.
    """

    def hashes(file: Path | IO[bytes]) -> dict[str, str]:
        with ZipFile(file) as stored:
            contents = {name: stored.read(name) for name in stored.namelist()}
        return {
            # A sparse matrix is a zip file of its own.
            name: str(hashes(BytesIO(content))) if name.endswith(".npz") else hashlib.sha256(content).hexdigest()
            for name, content in contents.items()
        }

    def plain(node: dict[str, Any]) -> dict[str, Any]:
        file = node.get("file")
        return {**node, "__id__": 0, "file": actual.get(file, file) if isinstance(file, str) else file}

    actual = hashes(path)
    with ZipFile(path) as stored:
        schema = json.loads(stored.read("schema.json"), object_hook=plain)
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def verify(path: Path, expected: str, what: str) -> None:
    """Compare a file or folder with the hash that was recorded when it was registered.

    Raises:
        ArtifactError: it is gone, or it is not the same.
    """
    if not path.exists():
        raise ArtifactError(f"{what}: {path} is missing.", _FIX)
    if sha256(path) != expected:
        raise _differs(path, what)


def load_pipeline(folder: Path, expected: str, trusted: Sequence[str], what: str) -> Pipeline:
    """Load a stored pipeline after its hash was checked.

    What is loaded is the very bytes that were hashed: the file may be swapped in between.

    Raises:
        ArtifactError: the hash differs, or the file cannot be read.
        ModelFileError: it holds a type that neither skops nor the model file trusts.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    path = folder / PIPELINE
    try:
        content = path.read_bytes()
    except OSError:
        raise ArtifactError(f"{what}: {path} is missing.", _FIX) from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise _differs(path, what)
    try:
        loaded: Pipeline = skops.io.loads(content, trusted=list(trusted))
    except UntrustedTypesFoundException as error:
        raise ModelFileError(f"{what}: trusted: {error}", "Add the types that you trust to the model file.") from None
    except Exception as error:
        raise ArtifactError(
            f"{what}: {path} cannot be read ({type(error).__name__}).", "Roll back or retrain."
        ) from None
    return loaded


def packed(pipeline: Pipeline, model: str, trusted: Sequence[str]) -> bytes:
    """A fitted pipeline as skops stores it.

    Raises:
        ModelFileError: it holds a type that neither skops nor the model file trusts, and could not be loaded again.
    """
    import skops.io

    stored: bytes = skops.io.dumps(pipeline)
    strange = sorted(set(skops.io.get_untrusted_types(data=stored)) - set(trusted))
    if strange:
        raise ModelFileError(
            f"models/{model}.py: trusted: the pipeline holds {', '.join(strange)}.",
            f"If you trust them, add trusted={tuple(strange)!r} to the model file.",
        )
    return stored


def _differs(path: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"{what}: {path} is not what was registered: its sha256 differs.", f"It was not loaded. {_FIX}"
    )
