"""`prefect worker start`, with its folder for temporary files in the state folder.

Prefect's worker makes a folder `runner_storage` in the machine's folder for temporary files. Whoever comes first owns
it, and no other user of the machine can start a worker. The runs keep the machine's folder, because paths of sockets
have to be short.
"""

from __future__ import annotations

import shutil
import sys
import tempfile

from evergreen.logs import print_as_json
from evergreen.settings import load_settings


def main() -> None:
    """Run the Prefect command line with this folder."""
    from prefect.cli import app

    settings = load_settings()
    if settings.logs == "json":
        print_as_json("prefect.worker")
    folder = settings.stack
    # A worker that was stopped leaves an empty folder in it.
    shutil.rmtree(folder / "runner_storage", ignore_errors=True)
    tempfile.tempdir = str(folder)
    sys.argv[1:] = ["worker", "start", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
