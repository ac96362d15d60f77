"""skops, imported without the array libraries that it does not need.

At its import skops lists the estimators of scikit-learn, which looks for them in every package that it has, also in
those that wrap Dask, PyTorch and CuPy. Whichever of these is installed would be imported whole: half a second for Dask,
several for PyTorch, in each command that stores or loads a pipeline.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from types import ModuleType

_ARRAY_LIBRARIES = ("cupy", "dask", "torch")
"""What scikit-learn wraps in its `externals.array_api_compat`; it goes without those that are not installed."""


def load_skops() -> ModuleType:
    """The module `skops.io`."""
    if "skops.io" in sys.modules:
        return sys.modules["skops.io"]
    hidden = _Hidden(threading.get_ident())
    sys.meta_path.insert(0, hidden)
    try:
        return import_module("skops.io")
    finally:
        sys.meta_path.remove(hidden)


class _Hidden(MetaPathFinder):
    """Finds the array libraries not to be installed, for the imports of one thread."""

    def __init__(self, thread: int) -> None:
        self._thread = thread

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> None:
        """Leave a module to the other finders.

        Raises:
            ModuleNotFoundError: it belongs to an array library.
        """
        if name.partition(".")[0] in _ARRAY_LIBRARIES and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
