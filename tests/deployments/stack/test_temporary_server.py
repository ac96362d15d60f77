"""A command without a Prefect server has one of its own, which ends with it, and stores what it was sent."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deployments.stack import prefect_home, temporary_server
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings

HOLD = """
import sys
from pathlib import Path
from deployments.stack import temporary_server
temporary_server.start(Path(sys.argv[1]), migrated=False)
print(temporary_server._started[0].process.pid, flush=True)
print(temporary_server.wait(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def without_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No server is set, none was started, and none stays."""
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(temporary_server, "_started", [])
    yield
    for server in temporary_server._started:
        server.stop()
        temporary_server.atexit.unregister(server.stop)


def _gone(pid: int) -> bool:
    """Whether a process has ended, within a deadline."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


def _runs(home: Path) -> dict[str, list[tuple[str, int]]]:
    """How many flow runs and task runs are in each state."""
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        query = "SELECT state_type, count(*) FROM {} GROUP BY state_type"
        return {table: database.execute(query.format(table)).fetchall() for table in ("flow_run", "task_run")}


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "done"])
def test_it_ends_with_the_command(tmp_path: Path, end: signal.Signals | None) -> None:
    """Whatever ends the command ends the server."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
    ) as command:  # fmt: skip
        assert command.stdin is not None
        assert command.stdout is not None
        pid = int(command.stdout.readline())
        assert command.stdout.readline() == b"True\n"
        if end is None:
            command.stdin.close()
        else:
            command.send_signal(end)
        command.wait(60)
        assert _gone(pid)


def test_one_that_cannot_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the log, in which is why; a command that has another server waits for none."""
    assert not temporary_server.wait()
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+nonsense:///x.db")
    temporary_server.start(tmp_path, migrated=False)
    with pytest.raises(EvergreenError, match="temporary server ended") as failed:
        temporary_server.wait()
    assert "evergreen up" in failed.value.fix
    log = tmp_path / "temporary-server.log"
    assert str(log) in failed.value.what
    assert "nonsense" in log.read_text()


def test_one_that_does_not_answer_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is Prefect's own setting."""
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "0.05")
    temporary_server.start(tmp_path, migrated=False)
    with pytest.raises(EvergreenError, match="did not answer within"):
        temporary_server.wait()
    temporary_server._started[0].process.kill()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("prefect/profiles.toml", 'active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'),
        ("prefect.toml", '[api]\nurl = "http://127.0.0.1:9/api"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://127.0.0.1:9/api"\n'),
        (".env", "PREFECT_API_URL=http://127.0.0.1:9/api\n"),
    ],
)
def test_a_server_that_a_file_names(settings: Settings, monkeypatch: pytest.MonkeyPatch, file: str, text: str) -> None:
    """Prefect reads it, so that none is started."""
    path = settings.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    monkeypatch.chdir(settings.root)
    prefect_home.start_server(settings)
    assert not temporary_server._started


@pytest.mark.slow
def test_two_commands_at_a_time_in_a_fresh_home(tmp_path: Path) -> None:
    """Both end well, and both runs and all their task runs, thirteen each, are stored with their ends.

    The home that they make is their owner's alone.
    """
    home = tmp_path / "home"
    environment = os.environ | {"EVERGREEN_HOME": str(home)}
    words = [sys.executable, "-m", "deployments.cli", "monitor", "iris", "--json"]
    commands = [
        subprocess.Popen(words, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [command.communicate(timeout=300)[1] for command in commands]
    for command, errors in zip(commands, ends, strict=True):
        assert command.returncode == 0, errors
        assert "a temporary Prefect server started" in errors
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert _runs(home) == {"flow_run": [("COMPLETED", 2)], "task_run": [("COMPLETED", 26)]}
    assert not (home / "prefect" / "memo_store.toml").exists(), "a server that stays registers the block types"
