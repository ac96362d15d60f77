"""The models that ship. A user's own model file beside them, in prefect.yaml or not yet, is no part of these tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from evergreen.settings import PROJECT

MODELS = ("bike_demand", "iris")


def copy_shipped(folder: Path) -> Path:
    """Copy the shipped model files, and no other, into a new folder."""
    folder.mkdir()
    for name in MODELS:
        shutil.copy(PROJECT / "models" / f"{name}.py", folder)
    return folder
