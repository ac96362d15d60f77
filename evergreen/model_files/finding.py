"""Which files of a folder are model files: those of the folder and of the folders in it, by the name of the model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from evergreen.errors import ModelFileError
from evergreen.spec.model import NAME
from evergreen.spec.place import shown

_SUFFIX = ".py"
_PASSED_OVER = (".", "_")
"""A folder whose name begins so is not looked into; a file whose name begins so is no name of a model."""


def find_files(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """The path of every model file of a folder by the name of its model, sorted; more than one is one too many.

    A model's name is the name of its file, whatever folder it lies in. A link to a folder is not followed, so that no
    way leads in a circle. A path is absolute, and a text, because of hundreds of models this is asked for each.
    """
    found: dict[str, list[str]] = {}
    for place, inner, files in os.walk(folder.absolute()):
        inner[:] = sorted(name for name in inner if not name.startswith(_PASSED_OVER))
        for file in sorted(files):
            name = file.removesuffix(_SUFFIX)
            if name != file and NAME.fullmatch(name):
                found.setdefault(name, []).append(f"{place}{os.sep}{file}")
    return {name: tuple(found[name]) for name in sorted(found)}


def only_file(name: str, files: Sequence[str]) -> Path:
    """The file of a model.

    Raises:
        ModelFileError: there are several.
    """
    if len(files) > 1:
        places = " and ".join(shown(file) for file in files)
        raise ModelFileError(
            f"The model {name} has {len(files)} files: {places}.",
            "A model is called like its file, and no other one may be. Rename or remove all but one.",
        )
    return Path(files[0])
