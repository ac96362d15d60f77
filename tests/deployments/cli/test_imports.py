"""A command loads only what it needs: the help of all of them is no reason to load an engine, or the settings."""

from __future__ import annotations

import subprocess
import sys

from evergreen.settings import PROJECT

ENGINES = ("pandas", "pyarrow", "deltalake", "scipy", "sklearn", "skops", "mlflow", "sqlalchemy", "evidently")
HEAVY = ("pydantic", "numpy", "pandas", "pyarrow", "sklearn", "mlflow", "prefect", "evidently", "yaml", "filelock")


def test_the_command_line_loads_no_library() -> None:
    """Of those that take a tenth of a second or more, typer's and rich's alone."""
    code = f"import sys, deployments.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_flows_load_no_engine() -> None:
    """Each of them imports what others need, too: a step that is not reached costs nothing."""
    flows = "flows.retrain, flows.monitor, flows.score, flows.canary, flows.promote"
    code = f"import sys, {flows}; print([name for name in {ENGINES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
