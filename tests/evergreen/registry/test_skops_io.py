from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from evergreen.settings import PROJECT

TRUSTED = "from skops.io._trusted_types import SKLEARN_ESTIMATOR_TYPE_NAMES as names"
LOAD = "from evergreen.registry.skops_io import load_skops; load_skops()"
TELL = """
import json, sys
loaded = sorted({"cupy", "dask", "torch"} & set(sys.modules))
print(json.dumps([names, loaded, [type(finder).__name__ for finder in sys.meta_path]]))
"""


def _run(path: Path, code: str) -> Any:
    """The JSON that a fresh process prints, which looks for modules in `path`, too."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(path), str(PROJECT)))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_array_libraries_are_left_alone(tmp_path: Path) -> None:
    """No array library is imported, the estimators that skops trusts are the same, and later imports find all."""
    for name in ("cupy", "dask", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "array.py").write_text("")
    plain = _run(tmp_path, "\n".join(("import skops.io", TRUSTED, TELL)))
    ours = _run(tmp_path, "\n".join((LOAD, TRUSTED, TELL)))
    assert plain[1] == ["cupy", "dask", "torch"], "skops alone imports them: without this there is nothing to hide"
    assert ours[1] == []
    assert ours[0] == plain[0]
    assert ours[2] == plain[2]
    assert _run(tmp_path, "\n".join((LOAD, TRUSTED, "import dask.array, torch, cupy", TELL)))[1] == plain[1]
