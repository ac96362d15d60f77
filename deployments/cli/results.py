"""Stdout is for the result alone while a command prints JSON.

A model file may print, an estimator with `verbose=1` does, boosters do so from C, and processes that a fit starts have
the same stdout. All of that goes to stderr meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

_results: list[TextIO] = []
"""Where results go instead of `sys.stdout`; empty where nothing else is kept from it."""


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """Send everything but `print_result_text` that is written to stdout to stderr."""
    stdout = sys.stdout
    stdout.flush()
    try:
        number, other = stdout.fileno(), sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        # Neither is a file, as in a test: then nothing but Python writes to it.
        number = other = -1
    kept = -1 if number < 0 else os.dup(number)
    results = stdout if kept < 0 else os.fdopen(kept, "w", encoding=stdout.encoding, errors=stdout.errors)
    if kept >= 0:
        os.dup2(other, number)
    _results.append(results)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()
        if kept >= 0:
            os.dup2(kept, number)
            with suppress(BrokenPipeError):
                results.close()


def print_result_text(text: str) -> None:
    """Print to the stdout that the command was started with."""
    # Whoever read it may be gone.
    with suppress(BrokenPipeError):
        print(text, file=_results[-1] if _results else sys.stdout, flush=True)
