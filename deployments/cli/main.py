"""The command line.

Exit status: 0 the command did its work, whatever it decided; 2 the input is at fault; 1 anything else.

With `--json` there is one JSON object on stdout and everything else is on stderr.
"""

from __future__ import annotations

import gc

import typer

from deployments.cli import (
    automations,
    backtest,
    deployments,
    doctor,
    dossier,
    flows,
    new,
    page,
    promote,
    rebuild,
    stack,
    status,
    why,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keep a scikit-learn model fresh: ingest, drift report, retrain, gates, promotion.",
)

app.add_typer(deployments.commands, name="deployments")
app.add_typer(automations.commands, name="automations")
for command in (
    new.new,
    flows.retrain,
    flows.monitor,
    flows.score,
    promote.promote,
    promote.rollback,
    backtest.backtest,
    status.status,
    status.history,
    why.why,
    page.page,
    dossier.dossier,
    rebuild.rebuild,
    rebuild.clean,
    stack.up,
    stack.down,
    stack.rehearse,
    doctor.doctor,
):
    app.command()(command)


def main() -> None:
    """The `evergreen` command."""
    # Python's cycle collector walks again and again through what the imports leave behind, and twice more at the exit:
    # 2 of the 12 seconds of a retraining. Arrays and frames are freed by reference counts, without it.
    gc.set_threshold(100_000, 20, 100)
    try:
        app()
    finally:
        gc.freeze()
