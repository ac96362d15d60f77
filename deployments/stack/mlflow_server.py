"""`mlflow server`; where logs are JSON, what its command prints is, too. Its server logs by `mlflow_logs.yaml`."""

from __future__ import annotations

import runpy
import sys

from evergreen.logs import print_as_json
from evergreen.settings import load_settings


def main() -> None:
    """Run MLflow's command line."""
    if load_settings().logs == "json":
        print_as_json("mlflow", errors=True)
    sys.argv[1:] = ["server", *sys.argv[1:]]
    runpy.run_module("mlflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
