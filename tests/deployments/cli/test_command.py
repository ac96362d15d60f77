"""The command starts by every name that it had, and its help fits a terminal of eighty columns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from deployments.cli.main import app
from evergreen.settings import PROJECT

OLD_SCRIPT = "import sys; sys.argv[1:] = ['--help']\nfrom deployments.cli import main\nsys.exit(main())"


@pytest.mark.parametrize("arguments", [("-m", "deployments.cli", "--help"), ("-c", OLD_SCRIPT)], ids=["module", "old"])
def test_the_command_starts(arguments: tuple[str, ...]) -> None:
    """As a module, and by the console script of version 0.1.0, which stays until the next `make install`."""
    done = subprocess.run([sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "retrain" in done.stdout


def _commands(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield names
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from _commands(sub, (*names, name))


@pytest.mark.parametrize("names", [*_commands(typer.main.get_command(app))], ids=" ".join)
def test_help_fits_eighty_columns(names: tuple[str, ...]) -> None:
    """No line is longer, no text is cut, and every command, argument and option says what it is for."""
    result = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "…" not in result.stdout
    command = typer.main.get_command(app)
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    assert not [parameter.name for parameter in command.params if not getattr(parameter, "help", "-")]
