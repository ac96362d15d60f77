"""Keep `prefect.yaml` in step with `models/`: add what is missing, keep what a person wrote, to the byte.

In what exists already, only three keys of a trigger are changed: those that follow from the model file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import models
from deployments.manifest.document import ManifestDocument
from deployments.manifest.entries import entries_of
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings
from evergreen.storage.atomic_write import write_text

PATH = PROJECT / "prefect.yaml"


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync changed, or with `check` would change.

    Attributes:
        path: the file.
        changes: one line each.
        orphans: deployments of models that do not exist any more, left as they are.
    """

    path: str
    changes: tuple[str, ...]
    orphans: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self) | {"changed": bool(self.changes)}


def sync(settings: Settings, path: Path = PATH, *, check: bool = False, prune: bool = False) -> Synced:
    """Bring every model's deployments into the file.

    Args:
        settings: say where the model files are.
        path: the file.
        check: write nothing.
        prune: remove the deployments of models that do not exist any more.

    Raises:
        EvergreenError: the file or a model file has a mistake.
    """
    text = _read(path)
    document = ManifestDocument(text.replace("\r\n", "\n"), path)
    specs = [models.load_spec(name, settings.models) for name in models.names(settings.models)]
    orphans = document.find_orphans({spec.name for spec in specs})
    try:
        for entry in [entry for spec in specs for entry in entries_of(spec)]:
            document.bring_in(entry)
        for name in orphans if prune else ():
            document.remove(name)
    except ValueError:
        raise document.refusal() from None
    if document.changes:
        edited = document.require_agreement()
        if not check:
            write_text(path, edited.replace("\n", "\r\n") if "\r\n" in text else edited)
    return Synced(str(path), tuple(document.changes), () if prune else orphans)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise EvergreenError(f"{path} cannot be read: {error}.", f"Restore it: git checkout {path.name}") from None
