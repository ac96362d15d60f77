"""The commands that are run on the golden state, in cases that each get their own copy of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.golden.state import INPUTS


@dataclass(frozen=True)
class Command:
    """One command, run with `--json`.

    Attributes:
        words: as typed; `INPUTS` stands for the folder of inputs.
        volatile: paths in the answer whose value differs in each run and is not compared, such as `run_id`,
            `moves.-1.at` (the last one), `checks.latency.value` (the check of this name).
        file: a CSV file that the command writes into the state folder; its rows are part of the answer.
        stored_rows: the rows of `file` were predicted when the state was made, so that their run and time are compared.
    """

    words: str
    volatile: tuple[str, ...] = ()
    file: str = ""
    stored_rows: bool = False


@dataclass(frozen=True)
class Case:
    """Commands that are run one after the other on one copy of the state.

    Attributes:
        flows: the commands run flows and need a Prefect server. They measure anew, so that numbers are compared to nine
            digits: another processor may round the last digits in another way.
        before: changes the copy before the first command.
    """

    name: str
    commands: tuple[Command, ...]
    flows: bool = False
    before: Callable[[Path], None] = lambda _home: None


def _land(*folders: str) -> Callable[[Path], None]:
    """Copy the next files of some sources into the landing folder."""

    def copy(home: Path) -> None:
        for folder in folders:
            for file in (INPUTS / folder).iterdir():
                (home / "landing" / folder / file.name).write_bytes(file.read_bytes())

    return copy


def _add_trips(home: Path) -> None:
    """Add ten rows with their counts, and change an old row but not its watermark.

    A reading that goes on from the stored position does not see the changed row.
    """
    with closing(sqlite3.connect(home / "landing" / "trips.db")) as database, database:
        database.execute("UPDATE trips SET temp = 0.99 WHERE id = 3")
        for number in range(1000, 1010):
            database.execute("INSERT INTO trips VALUES (?, '2011-01-22 00:00:00', ?, 0.5)", (number, number - 1000))
            database.execute("INSERT INTO counts VALUES (?, 100, '2011-01-29 00:00:00+00:00')", (number,))


_SCORED = ("run_id", "rows_per_second")
_TRAINED = ("flow_run", "checks.latency.value", "checks.latency.reason", "checks.size.value", "checks.size.reason")

CASES = (
    Case(
        "bikes_as_it_stands",
        (
            Command("status golden_bikes"),
            Command("history golden_bikes"),
            Command("history golden_bikes --at 2011-04-25"),
            Command("history golden_bikes --at 2011-02-16T23:59:59+00:00"),
            Command("why golden_bikes --last 1000"),
            Command("why golden_bikes --last 3"),
            Command("why golden_bikes --at 2011-04-22 --last 5"),
            Command("rebuild golden_bikes 5"),
            Command("rebuild golden_bikes 6"),
        ),
    ),
    Case(
        "rush_as_it_stands",
        (
            Command("status golden_rush"),
            Command("history golden_rush"),
            Command("why golden_rush --last 1000"),
            Command("why golden_rush --at 2011-03-25 --last 4"),
            Command("rebuild golden_rush 2"),
            Command("rebuild golden_rush 3"),
        ),
    ),
    Case(
        "trips_as_it_stands",
        (
            Command("status golden_trips"),
            Command("history golden_trips"),
            Command("why golden_trips"),
        ),
    ),
    Case(
        "bikes_scored",
        (
            Command("score golden_bikes INPUTS/new_hours.csv out.csv", _SCORED, "out.csv"),
            Command("score golden_bikes INPUTS/new_hours.csv", _SCORED),
            Command("score golden_bikes INPUTS/scored_hours.csv out.csv", _SCORED, "out.csv", stored_rows=True),
            Command("score golden_bikes", _SCORED),
        ),
        flows=True,
    ),
    Case(
        "rush_scored",
        (
            Command("score golden_rush INPUTS/new_hours.csv out.csv", _SCORED, "out.csv"),
            Command("score golden_rush INPUTS/scored_hours.csv out.csv", _SCORED, "out.csv", stored_rows=True),
        ),
        flows=True,
    ),
    Case(
        "bikes_rolled_back",
        (
            Command("rollback golden_bikes --reason 'too many bikes' --by 'Alan Turing'"),
            Command("status golden_bikes", ("last_run",)),
            Command("history golden_bikes", ("moves.-1.at",)),
            Command("rollback golden_bikes --reason 'and again' --by 'Alan Turing'"),
            Command("rollback golden_bikes --reason 'once more' --by 'Alan Turing'"),
        ),
        flows=True,
    ),
    Case(
        "bikes_without_news",
        (
            Command("monitor golden_bikes --at 2011-05-26T02:00:00+00:00"),
            Command("retrain golden_bikes --reason schedule --at 2011-05-26T03:00:00+00:00", ("flow_run",)),
            Command("status golden_bikes", ("last_run",)),
        ),
        flows=True,
    ),
    Case(
        "bikes_a_week_later",
        (
            Command("monitor golden_bikes --at 2011-06-02"),
            Command("retrain golden_bikes --reason schedule --at 2011-06-02T01:00:00+00:00", _TRAINED),
        ),
        flows=True,
        before=_land("golden_bikes", "golden_bikes_labels"),
    ),
    Case(
        "rush_a_week_later",
        (
            Command("monitor golden_rush --at 2011-04-14"),
            Command("promote golden_rush --reason 'it waited long enough' --by 'Alan Turing'"),
            Command("status golden_rush", ("last_run", "last_drift.flow_run", "last_performance.flow_run")),
            Command("rollback golden_rush --reason 'too quiet' --to 1 --by 'Alan Turing'"),
        ),
        flows=True,
        before=_land("golden_rush"),
    ),
    Case(
        "rush_rejected",
        (
            Command("promote golden_rush --reject --reason 'too quiet' --by 'Alan Turing'"),
            Command("status golden_rush", ("last_run",)),
        ),
        flows=True,
    ),
    Case(
        "trips_read_on",
        (
            Command("monitor golden_trips --at 2011-01-31"),
            # Its id follows from the code of the model file, whose imports may change.
            Command("retrain golden_trips --reason schedule --at 2011-02-01", (*_TRAINED, "decision_id")),
        ),
        flows=True,
        before=_add_trips,
    ),
)
