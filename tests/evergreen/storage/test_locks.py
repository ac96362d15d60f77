"""One writer at a time; a dead one never stands in the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evergreen.errors import BusyError, EvergreenError
from evergreen.settings import Settings
from evergreen.storage.locks import open_locks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOLD = """
import sys
from datetime import UTC, datetime
from evergreen.storage.locks import open_locks
from evergreen.settings import load_settings
with open_locks(load_settings()).hold("toy", "retrain", wait=0, now=datetime(2026, 1, 1, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.readline()
"""


def _holder(environment: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def test_the_second_is_told_who_holds_it(settings: Settings, environment: dict[str, str]) -> None:
    """While another process holds the lock, one line names it and since when; afterwards the lock is free."""
    with _holder(environment) as process:
        with (
            pytest.raises(BusyError, match=rf"process {process.pid}, since 2026-01-01 00:00:00 UTC"),
            open_locks(settings).hold("toy", "retrain", wait=0, now=NOW),
        ):
            pass
        with (
            open_locks(settings).hold("other", "retrain", wait=0, now=NOW),
            open_locks(settings).hold("toy", "promotion", wait=0, now=NOW),
        ):
            pass
        process.communicate("go on\n", timeout=20)
    with open_locks(settings).hold("toy", "retrain", wait=0, now=NOW):
        pass


def test_a_killed_holder_does_not_block(settings: Settings, environment: dict[str, str]) -> None:
    """After kill -9 the next one has the lock at once, and is named as its holder."""
    with _holder(environment) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        with open_locks(settings).hold("toy", "retrain", wait=0, now=NOW):
            assert str(process.pid) not in (settings.root / "locks" / "toy.retrain.holder").read_text()


def test_the_lock_is_free_after_an_error(settings: Settings) -> None:
    """Whatever is raised within, the lock is given back and no holder is named."""
    with pytest.raises(ZeroDivisionError), open_locks(settings).hold("toy", "retrain", wait=0, now=NOW):
        raise ZeroDivisionError
    with open_locks(settings).hold("toy", "retrain", wait=0, now=NOW):
        pass
    assert not (settings.root / "locks" / "toy.retrain.holder").exists()


def test_it_can_be_held_again(settings: Settings) -> None:
    """One context manager can be entered twice, one after the other; nothing is held before and in between."""
    lock = open_locks(settings).hold("toy", "promotion", wait=0, now=NOW)
    for _ in range(2):
        with open_locks(settings).hold("toy", "promotion", wait=0, now=NOW):
            pass
        with lock, pytest.raises(BusyError), open_locks(settings).hold("toy", "promotion", wait=0, now=NOW):
            pass


def test_a_holder_that_cannot_be_named_still_holds(settings: Settings) -> None:
    """The name of the holder is only for the message: without it the lock holds all the same."""
    name = settings.root / "locks" / "toy.retrain.holder"
    name.mkdir(parents=True)
    with (
        open_locks(settings).hold("toy", "retrain", wait=0, now=NOW),
        pytest.raises(BusyError, match="another process"),
        open_locks(settings).hold("toy", "retrain", wait=0, now=NOW),
    ):
        pass


def test_nowhere_to_keep_the_lock_is_one_line(tmp_path: Path) -> None:
    """A state folder that cannot be made is told, not traced back."""
    (tmp_path / "home").write_text("a file")
    with (
        pytest.raises(EvergreenError, match="cannot be written") as caught,
        open_locks(Settings(home=tmp_path / "home")).hold("toy", "retrain", wait=0, now=NOW),
    ):
        pass
    assert caught.value.fix
