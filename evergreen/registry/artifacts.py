"""Files that a version is made of, and the check that they still are what was registered.

skops stores the pipeline. `evergreen.registry.trust` says which types it may hold; what the artifact says of itself
never counts, and nothing is opened before its hash was compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZipFile

from evergreen.errors import ArtifactError, EvergreenError, ModelFileError
from evergreen.registry.skops_io import load_skops
from evergreen.registry.trust import known_types, strange_types, untrusted

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PIPELINE = "model.skops"
JUDGED = "judged.skops"
"""The fit that the gates judge, among a version's other files, where it is not the one that is deployed."""
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


def size_mb(folder: Path) -> float:
    """Of all files below a folder, in megabytes of a million bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def verify(path: Path, expected: str, what: str) -> None:
    """Compare a file or folder with the hash that was recorded when it was registered.

    Raises:
        ArtifactError: it is gone, or it is not the same.
    """
    if not path.exists():
        raise ArtifactError(f"{what}: {path} is missing.", _FIX)
    if sha256(path) != expected:
        raise _differs(path, what)


def verify_bytes(content: bytes, expected: str, path: Path, what: str) -> None:
    """Compare what was read from a file with the hash that was recorded: the file itself may be swapped in between.

    Raises:
        ArtifactError: it is not the same.
    """
    if hashlib.sha256(content).hexdigest() != expected:
        raise _differs(path, what)


def load_pipeline(
    folder: Path,
    expected: str,
    trusted: Sequence[str],
    what: str,
    vouch: Callable[[Sequence[str]], None] | None = None,
    file: str = PIPELINE,
) -> Pipeline:
    """Load a stored pipeline after its hash was checked.

    What is loaded is the very bytes that were hashed: the file may be swapped in between.

    Args:
        folder: where it is.
        expected: the sha256 that was recorded.
        trusted: what the model file trusts beside skops' own list and `trust.KNOWN`.
        what: names it in messages.
        vouch: is asked about the types that are left, and raises where nobody vouches for them. Without it they are
            refused.
        file: its name in the folder.

    Raises:
        ArtifactError: the hash differs, or the file cannot be read.
        ModelFileError: it holds a type that nobody trusts.
    """
    skops = load_skops()
    from skops.io.exceptions import UntrustedTypesFoundException

    path = folder / file
    try:
        content = path.read_bytes()
    except OSError:
        raise ArtifactError(f"{what}: {path} is missing.", _FIX) from None
    verify_bytes(content, expected, path, what)
    accepted = [*known_types(), *trusted]
    try:
        try:
            loaded: Pipeline = skops.loads(content, trusted=accepted)
        except UntrustedTypesFoundException:
            strange = strange_types(skops.get_untrusted_types(data=content), trusted)
            if vouch is None:
                raise untrusted(what, strange, "the model file", "nobody else vouches for it") from None
            vouch(strange)
            loaded = skops.loads(content, trusted=[*accepted, *strange])
    except EvergreenError:
        raise
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"{what} cannot be loaded: {(error.name or 'a library').partition('.')[0]} is not installed here.",
            "Install it, or roll back to another version.",
        ) from None
    except Exception as error:
        raise ArtifactError(
            f"{what}: {path} cannot be read ({type(error).__name__}).", "Roll back or retrain."
        ) from None
    return loaded


def packed(pipeline: Pipeline, file: str, trusted: Sequence[str]) -> bytes:
    """A fitted pipeline as skops stores it; `file` names the model file.

    Raises:
        ModelFileError: it holds a type that neither `trust.KNOWN` nor the model file trusts, and could not be loaded
            again.
    """
    stored: bytes = load_skops().dumps(pipeline)
    require_storable(types_in(stored), file, trusted)
    return stored


def types_in(stored: bytes) -> tuple[str, ...]:
    """The types beyond skops' own list that a stored pipeline holds, sorted."""
    return tuple(sorted(load_skops().get_untrusted_types(data=stored)))


def require_storable(needed: Sequence[str], file: str, trusted: Sequence[str]) -> None:
    """Refuse types that could not be loaded again.

    Raises:
        ModelFileError: neither `trust.KNOWN` nor the model file trusts one of them.
    """
    strange = strange_types(needed, trusted)
    if strange:
        raise ModelFileError(
            f"{file}: trusted: the pipeline holds {', '.join(strange)}, and the file does not say that you trust "
            f"{'it' if len(strange) == 1 else 'them'}.",
            f"If you do, write in it: trusted={strange!r}",
        )


def _differs(path: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"{what}: {path} is not what was registered: its sha256 differs.", f"It was not loaded. {_FIX}"
    )
