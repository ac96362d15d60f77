"""A machine that is cut off in the middle of a retraining: another one finishes it, and the first changes nothing more.

Two homes have one registry and one lake in common. The first is stopped at a named step until its leases are over; the
second retrains; then the first goes on from where it stood.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_crash import Driver, rows

PATIENCE = 60


class Machines:
    """Two of them, and the state that they share."""

    def __init__(self, base: Path, server: str, database: Path) -> None:
        self.base, self.shared = base, base / "shared"
        self.shared.mkdir()
        shutil.copy(database, self.shared / "mlflow.db")
        more = {
            "EVERGREEN_LAKE": str(self.shared / "lake"),
            "EVERGREEN_ARTIFACTS": str(self.shared / "files"),
            "EVERGREEN_TRACKING_URI": f"sqlite:///{self.shared / 'mlflow.db'}",
            "LEASE_SECONDS": "1",
        }
        self.first, self.second = (Driver(base / name, server, **more) for name in ("one", "other"))

    def keep(self, name: str) -> None:
        """Put the shared state and the first machine's own aside."""
        shutil.copytree(self.shared, self.base / name)
        self.first.keep(name)

    def start_from(self, name: str) -> None:
        """Take a state that was put aside."""
        shutil.rmtree(self.shared)
        shutil.copytree(self.base / name, self.shared)
        self.first.start_from(name)

    def take_over(self) -> dict[str, Any]:
        """The second machine retrains as soon as the first is taken for dead."""
        deadline = time.monotonic() + PATIENCE
        while True:
            told = self.second.run().told
            assert told is not None
            if told.get("type") != "BusyError":
                return told
            assert time.monotonic() < deadline, told


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, prefect_server: str, empty_database: Path) -> Iterator[Machines]:
    """With a first champion, and data that it was not trained on."""
    machines = Machines(tmp_path_factory.mktemp("cut-off"), prefect_server, empty_database)
    try:
        machines.first.land("a.csv", rows(0))
        assert machines.first.finish()["outcome"] == "promoted"
        machines.first.land("b.csv", rows(300, shift=4))
        machines.keep("next")
        assert machines.first.finish()["outcome"] == "promoted"
        machines.keep("next-end")
        yield machines
    finally:
        machines.first.close()
        machines.second.close()


@pytest.mark.proof(name="machines")
@pytest.mark.parametrize(
    "point",
    [
        *("fit:before", "register:before", "register:after", "gate:after", "gate-status:before", "gate-status:after"),
        *("challenger:before", "intent:before", "intent:after", "champion:before", "champion:after", "done:before"),
        *("record-retrain:before", "announce:before"),
    ],
)
def test_the_second_machine_finishes_and_the_first_changes_nothing(machines: Machines, point: str) -> None:
    """Whatever the first was about to write: one version for the decision, one promotion, the state of one machine."""
    machines.start_from("next-end")
    expected = machines.second.state
    machines.start_from("next")
    stopped = machines.first.run(point=point, how="SIGSTOP")
    assert stopped.signal == signal.SIGSTOP, f"{point} was never reached: {stopped.told}"
    taken = machines.take_over()
    assert "error" not in taken, taken["trace"]
    assert machines.second.state == expected
    late = machines.first.go_on().told
    assert late is not None
    assert machines.second.state == expected
    # What it had left to do changes nothing that was decided, or it is told that it was taken for dead.
    assert late.get("type") in (None, "BusyError"), late.get("trace")
    if point.startswith(("fit", "register", "gate:")):
        assert "was taken for dead" in late["error"]
