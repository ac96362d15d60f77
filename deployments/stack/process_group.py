"""Find and end the processes of one session.

A daemon and everything that it starts form one session. Its number is not used again while one of them lives, so it is
certain which processes belong to a stack, even those that a killed parent left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_GRACE_SECONDS = 5


def members(session: int, group: int | None = None) -> list[int]:
    """The living processes of a session, or of one process group of it; never this process."""
    processes = []
    for number in _all_processes():
        try:
            in_session = os.getsid(number) == session
        except OSError:
            continue
        if in_session and number != os.getpid() and group in (None, group_of(number)):
            processes.append(number)
    return processes


def group_of(process: int) -> int | None:
    """The process group of a process; None if there is no such process."""
    try:
        return os.getpgid(process)
    except OSError:
        return None


def end(processes: Sequence[int]) -> None:
    """Ask processes to end, and kill those that have not ended after five seconds."""
    for kind, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 1)):
        _send(processes, kind)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            processes = [number for number in processes if is_alive(number)]
            if not processes:
                return
            time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A process that has ended stays in state Z until its parent asks for its status.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _send(processes: Sequence[int], kind: signal.Signals) -> None:
    for number in processes:
        try:
            os.kill(number, kind)
        except ProcessLookupError:
            continue


def _all_processes() -> list[int]:
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]
    listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
    return [int(word) for word in listed.stdout.split()]
