"""The command line.

Exit status: 0 if the command did its work, whatever it decided; 2 if the input has a mistake; 1 for anything else.

With `--json` there is one JSON object on stdout, and everything else is on stderr.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable, Mapping

import typer

from deployments.cli import (
    automations,
    backtest,
    backup,
    canary,
    clean,
    deploy,
    deployments,
    doctor,
    dossier,
    explain_file,
    flows,
    image,
    new,
    page,
    promote,
    rebuild,
    serve,
    stack,
    status,
    stream,
    why,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keep a scikit-learn model fresh: ingest, drift report, retrain, gates, promotion.",
)

PANELS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Make and run a model": (new.new, explain_file.explain_file, flows.retrain, flows.monitor, flows.score),
    "See what happened": (status.status, status.history, why.why, page.page, dossier.dossier),
    "Decide": (
        *(promote.promote, promote.rollback, promote.accept_loss, promote.adopt),
        *(canary.canary, backtest.backtest),
    ),
    "Serve online": (serve.serve, stream.stream, image.image, deploy.deploy),
    "Run on schedules and events": (stack.up, stack.down, stack.rehearse),
    "Maintain": (
        *(doctor.doctor, rebuild.rebuild_table, rebuild.rebuild, clean.clean),
        *(backup.backup, backup.restore),
    ),
}
"""The commands as `evergreen --help` lists them."""
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
for name, group in (("deployments", deployments.commands), ("automations", automations.commands)):
    app.add_typer(group, name=name, rich_help_panel="Run on schedules and events")


def main() -> None:
    """Run the `evergreen` command."""
    # The imports leave 600,000 objects, which stay. To look among them for what can go takes Python's cycle collector a
    # tenth of the time of a command. Arrays and frames are freed by reference counts, without it.
    gc.set_threshold(1_000_000, 20, 100)
    for output in (sys.stdout, sys.stderr):
        # A terminal that is not of UTF-8 gets a question mark for what it cannot show, not a traceback.
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")
    leaving = _Leaving()
    # What is registered first runs last.
    atexit.register(leaving.leave)
    try:
        app()
        leaving.status = 0
    except SystemExit as ended:
        leaving.status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        gc.freeze()


class _Leaving:
    """The end of the process, before Python takes itself apart.

    A thread of Arrow that reads a table in an object store may still give a file back then. It waits for an interpreter
    that is no more, and the process is aborted after it has done its work, once in thirty times beside a load.
    """

    def __init__(self) -> None:
        self.status = 1

    def leave(self) -> None:
        """Write out what was said, and end with the status of the command."""
        for output in (sys.stdout, sys.stderr):
            # Whoever read it may be gone.
            with contextlib.suppress(OSError, ValueError):
                output.flush()
        os._exit(self.status)
