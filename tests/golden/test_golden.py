"""A state folder that commit 6801be8 wrote is still read, and the commands answer what they answered then.

The folder is `state.tar.xz`: months of three models of the simulator's bikes, made by `make.py`. The answers of that
commit are in `answers/`. Neither is made anew for a change of the code. What may change beside the code: the imports of
`models/golden_trips.py`, and `REWORDED` in `answers.py` for sentences that get other words.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.golden import state as golden_state
from tests.golden.answers import ask, differences
from tests.golden.cases import CASES, Case, Command

KINDS = set("data drift performance shadow suppressed reconciled retrain approval escalation".split())
TAGS = set(
    """
    champion_mae checks cleaned compared_with data_digest data_end data_revision data_rows data_start data_version
    decision_id declined declined_by described event_id files_sha256 flow_run git_commit git_dirty holdout_mae
    holdout_rows judgement known learned_end machine model_id next_row packages params reason rolled_back seed sha256
    size_mb spec_hash state_sha256
    """.split()
)


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder as it was packed; no test writes into it."""
    folder = tmp_path_factory.mktemp("golden")
    golden_state.unpack(folder)
    return folder


@pytest.fixture
def state(golden: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the state folder, as `EVERGREEN_HOME` and as the working folder."""
    shutil.copytree(golden, home, dirs_exist_ok=True)
    golden_state.relocate(home)
    monkeypatch.setenv("EVERGREEN_MODELS", str(golden_state.MODELS))
    monkeypatch.chdir(home)
    return home


def _cases(*, flows: bool) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in CASES if case.flows is flows]


@pytest.mark.parametrize("case", _cases(flows=False))
def test_commands_that_only_read_answer_the_same(case: Case, state: Path) -> None:
    """Status, history and why, also with `--at`, answer the same; a rebuilt version is equal to the bit."""
    assert differences(case, ask(case, state)) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", _cases(flows=True))
def test_commands_that_run_flows_answer_the_same(case: Case, in_process: None, state: Path) -> None:
    """Score, rollback, promote, monitor and retrain continue where that commit stopped."""
    assert differences(case, ask(case, state)) == []


@pytest.mark.slow
def test_a_question_that_was_answered_before_keeps_its_answer(in_process: None, state: Path) -> None:
    """A monitor of rows that the stored reports have judged, of a model with a policy, gives their answer again."""
    again = Command("monitor golden_rush --at 2011-04-07T02:00:00+00:00")
    first, second = ask(Case("", (again, again), flows=True), state)
    assert first["status"] == second["status"] == 0, first
    assert first["told"]["decision_id"] == second["told"]["decision_id"]


def _change_registry(home: Path, change: str) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        assert database.execute(change).rowcount == 1


def _change_table(home: Path, table: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    place = home / "lake" / "golden_bikes" / table
    rows = DeltaTable(place).to_pyarrow_table()
    changed = [change(row) for row in rows.to_pylist()]
    assert sum(one != other for one, other in zip(rows.to_pylist(), changed, strict=True)) == 1
    write_deltalake(place, pa.Table.from_pylist(changed, rows.schema), mode="overwrite")


def _plant_champion(home: Path) -> None:
    _change_registry(home, "UPDATE registered_model_aliases SET version = 7 WHERE alias = 'champion' AND version = 9")


def _lose_params(home: Path) -> None:
    _change_registry(
        home, "DELETE FROM model_version_tags WHERE version = 5 AND key = 'evergreen.params' AND value LIKE '{%'"
    )


def _plant_move(home: Path) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"after": 4} if (row["after"], row["action"], row["phase"]) == (6, "promote", "done") else row

    _change_table(home, "promotions", change)


def _plant_detail(home: Path) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"detail": row["detail"].replace('"final": true', '"final": false')}

    _change_table(home, "decisions", lambda row: change(row) if row["kind"] == "shadow" else row)


@pytest.mark.parametrize(
    ("plant", "command", "line"),
    [
        (_plant_champion, "status golden_bikes", ".told.champion was 9 and is 7"),
        (_lose_params, "rebuild golden_bikes 5", ".told.equal was True and is False"),
        (_plant_move, "history golden_bikes", ".told.moves.1.champion was 6 and is 4"),
        (_plant_detail, "why golden_bikes --last 1000", ".detail.final was True and is False"),
    ],
    ids=["registry", "tags", "promotions", "decisions"],
)
def test_a_different_answer_fails(plant: Callable[[Path], None], command: str, line: str, state: Path) -> None:
    """A change in the registry, a version's tags, the promotions or the decisions is found, and its place is named."""
    case = next(case for case in CASES if case.name == "bikes_as_it_stands")
    one = replace(case, commands=tuple(asked for asked in case.commands if asked.words == command))
    plant(state)
    assert any(line in found for found in differences(one, ask(one, state)))


def test_the_state_holds_everything_that_was_stored(golden: Path) -> None:
    """Every table, every kind of decision, every phase of a move and every tag of a version is in the state."""
    lake = golden / "lake"
    rows = {
        name: [row for table in lake.glob(f"*/{name}") for row in DeltaTable(table).to_pyarrow_table().to_pylist()]
        for name in "decisions drift labels_waiting observations predictions promotions quarantine runs".split()
    }
    assert all(rows.values())
    assert {row["kind"] for row in rows["decisions"]} == KINDS
    assert {(row["action"], row["phase"]) for row in rows["promotions"]} == {
        *(("promote", phase) for phase in ("intent", "done", "aborted")),
        *(("rollback", phase) for phase in ("intent", "done")),
    }
    with closing(sqlite3.connect(golden / "mlflow.db")) as database:
        told = database.execute("SELECT DISTINCT key, value FROM model_version_tags WHERE value != ''").fetchall()
    assert {f"evergreen.{tag}" for tag in TAGS} <= {key for key, _ in told}
    statuses = {value for key, value in told if key == "model_validation_status"}
    assert statuses == {"PASSED", "FAILED", "INCONCLUSIVE", "PENDING"}
