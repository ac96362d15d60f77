"""The build step of prefect.yaml: where the code is."""

from __future__ import annotations

import sys
from pathlib import Path

from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT

_UNFIT = set("'\"$`\\")


def here() -> dict[str, str]:
    """A build step of prefect.yaml: the folder of this Python and that of this project.

    Raises:
        EvergreenError: a folder's name would have a meaning of its own in the command that starts a run.
    """
    found = {"bin": str(Path(sys.executable).parent), "project": str(PROJECT)}
    if strange := _UNFIT & set(found["bin"]):
        raise EvergreenError(
            f"{found['bin']} has a {min(strange)} in it, which the command of a run cannot hold.", "Move the project."
        )
    return found
