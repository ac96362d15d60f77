"""The `evergreen` command, one file a command group; the only code that knows typer and rich."""

from __future__ import annotations


def main() -> None:
    """Run the `evergreen` command. Console scripts of version 0.1.0 call this, newer ones `deployments.cli.main`."""
    from deployments.cli.main import main as run

    run()
