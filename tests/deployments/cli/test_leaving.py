"""The process of a command ends with its status, and takes nothing apart before that."""

from __future__ import annotations

import subprocess
import sys

import pytest

from evergreen.settings import PROJECT

COMMAND = """
import atexit, sys

class Reader:
    def __del__(self):
        print("taken apart", file=sys.stderr, flush=True)

def closed():
    print("closed", file=sys.stderr)

sys.argv[1:] = {words!r}
kept = Reader()
from deployments.cli.main import app, main

@app.command()
def broken() -> None:
    raise ValueError("planted")

@app.command()
def registers() -> None:
    atexit.register(closed)
    print("said")

main()
"""


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["registers"], 0, "said\n", "closed\n"),
        (["nonsense"], 2, "", "No such command"),
        (["broken"], 1, "", "ValueError: planted"),
    ],
)
def test_a_command_ends_before_python_takes_itself_apart(words: list[str], status: int, out: str, err: str) -> None:
    """What it said is all there, also in a pipe, and what was to be closed is; the status is the command's."""
    script = COMMAND.format(words=words)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (status, out)
    assert err in done.stderr
    assert "taken apart" not in done.stderr
