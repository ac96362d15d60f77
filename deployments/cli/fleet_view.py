"""What `evergreen status` without a name reads and shows: every model in one table, the most worrying first."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from textwrap import wrap

from rich.markup import escape
from rich.text import Text

import models
from deployments.cli import console
from deployments.cli.console import coloured
from evergreen.markdown import many, number
from evergreen.runs.fleet import FleetLine, describe_age, read_fleet
from evergreen.settings import Settings

HEADER = ("model", "champion", "drift", "performance", "open", "protected")
_GAP = 2
_INDENT = 4


def read_lines(settings: Settings, now: datetime) -> tuple[FleetLine, ...]:
    """One line for each model file, as it stands at `now`."""
    load = partial(models.load_spec, folder=settings.models)
    # Nothing that is made here is thrown away before the command ends: looking for it takes a fifth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return read_fleet(settings, models.names(settings.models), load, now=now)
    finally:
        if collecting:
            gc.enable()


def show_fleet(lines: Sequence[FleetLine], now: datetime) -> None:
    """Print a row of figures for each model, and below it what there is to worry about and what is not protected.

    The sentences stand in lines of their own, so that they are read at 80 columns; so does a name that is too long.
    """
    if not lines:
        console.out.print("There is no model yet. Write a model file: evergreen new NAME --csv FILE --target COLUMN")
        return
    worrying = sum(bool(line.worries) for line in lines)
    console.out.print(f"[bold]{many(len(lines), 'model')}[/], {worrying} with worries, the most worrying first.")
    rows = [_cells(line, now) for line in lines]
    cells = [[Text(name, "dim") for name in HEADER], *([Text.from_markup(cell) for cell in row] for row in rows)]
    widths = [max(row[place].cell_len for row in cells) for place in range(1, len(HEADER))]
    room = console.out.width - sum(widths) - _GAP * len(widths)
    first = max((row[0].cell_len for row in cells if row[0].cell_len <= room), default=0)
    _print_row(cells[0], [first, *widths])
    for line, row in zip(lines, cells[1:], strict=True):
        if line.problem:
            _print(row[0])
            _print_sentences(f"problem: {line.problem}", "red")
        else:
            _print_row(row, [first, *widths])
            _print_sentences(" ".join(line.worries))
        _print_sentences(line.rest, "dim")


def _cells(line: FleetLine, now: datetime) -> list[str]:
    age = describe_age(line.since, now)
    value = "" if line.value is None else f" {number(line.value)}"
    return [
        f"[bold]{escape(line.model)}[/]",
        "none" if line.champion is None else f"v{line.champion}{f', {age}' if age else ''}",
        coloured(line.drift) if line.drift else "none",
        f"{coloured(line.performance)}{value}" if line.performance else "none",
        "" if line.problem else str(line.open),
        line.protection.score if line.protection else "",
    ]


def _print_row(row: Sequence[Text], widths: Sequence[int]) -> None:
    name, *others = row
    if name.cell_len > widths[0]:
        _print(name)
        name = Text()
    line = Text()
    for cell, width in zip((name, *others), widths, strict=True):
        line.append_text(cell).append(" " * (width - cell.cell_len + _GAP))
    line.rstrip()
    _print(line)


def _print_sentences(sentences: str, style: str = "") -> None:
    """Sentences below a row, wrapped at words; a path that is longer than a line is not broken."""
    room = max(console.out.width - _INDENT, 20)
    for part in wrap(sentences, room, break_long_words=False, break_on_hyphens=False):
        _print(Text(" " * _INDENT).append(part, style))


def _print(text: Text) -> None:
    console.out.print(text, soft_wrap=True)
