"""The server as the one process of a container: `python -m serving.container serve`.

`evergreen image` writes the file that says which model it serves, and the folder of its version where one is pinned.
The word `serve` is what SageMaker starts a container with, and a model that SageMaker unpacks takes the place of the
one in the image.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings, load_settings
from evergreen.surroundings import prepare_environment, set_home_folder
from serving.options import Options, require_served
from serving.server import build, prepare_process, run
from serving.verified_copy import COPY

PORT = 8080
IMAGE = "image.json"
"""What is served: `model`, and `version`, which is null where the champion is followed."""
VERSION = "version"
"""The folder of the pinned version, beside it."""
UNPACKED = Path("/opt/ml/model")
"""Where SageMaker unpacks what is in a bucket."""

_LOG = logging.getLogger(__name__)


def read_options(
    words: Sequence[str], settings: Settings, folder: Path = PROJECT, unpacked: Path = UNPACKED
) -> Options:
    """How the container's words, its files and its variables say that it serves.

    Args:
        words: `serve`, and options.
        settings: of its variables.
        folder: of the image's files.
        unpacked: the folder whose version, if it holds one, counts before that of the image.

    Raises:
        EvergreenError: it follows the champion, and no variable says where the registry is.
    """
    parser = argparse.ArgumentParser(prog="serving.container", description="Serve the model of this image.")
    parser.add_argument("word", nargs="?", choices=["serve"], default="serve")
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - the container's own network; keys are asked for
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--workers", type=int, default=1, help="processes that share the port")
    parser.add_argument("--poll", type=float, default=1.0, help="seconds between two looks at the champion alias")
    given = parser.parse_args(words)
    image = json.loads((folder / IMAGE).read_text(encoding="utf-8"))
    pinned = "" if image["version"] is None else str(unpacked if (unpacked / COPY).exists() else folder / VERSION)
    if not pinned and not settings.tracking_uri.get_secret_value():
        raise EvergreenError(
            f"This image follows the champion of {image['model']}, and EVERGREEN_TRACKING_URI is not set.",
            "Set it to the registry's address, and EVERGREEN_LAKE to that of the lake.",
        )
    # A lake in the container would fill its disk, on some platforms its memory, and end with it.
    kept = bool(settings.lake)
    return Options((image["model"],), given.host, given.port, given.workers, given.poll, pinned, kept)


def main(words: Sequence[str]) -> int:
    """Serve until SIGTERM; returns the exit status, 2 where it cannot start."""
    try:
        prepare_environment(os.environ)
        settings = load_settings()
        set_home_folder(os.environ, settings.root)
        options = read_options(words, settings)
        require_served(options, settings)
        prepare_process(settings)
        app = build(options, settings) if options.workers == 1 else None
    except EvergreenError as error:
        print(error, file=sys.stderr)
        return 2
    if not options.kept:
        _LOG.warning("No answer is kept: EVERGREEN_LAKE says where the lake is.")
    _LOG.info("%s on port %d", ", ".join(options.models), options.port)
    run(options, app)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
