"""The processes of one session, and ending them.

A daemon and all that it starts are one session, whose number is not given away while one of them lives: so what belongs
to a stack is known for certain, also what a killed parent left behind.
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
    found = []
    for number in _numbers():
        try:
            fits = os.getsid(number) == session
        except OSError:
            continue
        if fits and number != os.getpid() and group in (None, group_of(number)):
            found.append(number)
    return found


def group_of(process: int) -> int | None:
    """The process group of a process; None where there is no such process."""
    try:
        return os.getpgid(process)
    except OSError:
        return None


def end(processes: Sequence[int]) -> None:
    """Ask processes to end, and end those that do not within some seconds."""
    for how, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 1)):
        _send(processes, how)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            processes = [number for number in processes if alive(number)]
            if not processes:
                return
            time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # One that ended and that nobody has asked after yet.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _send(processes: Sequence[int], how: signal.Signals) -> None:
    for number in processes:
        try:
            os.kill(number, how)
        except ProcessLookupError:
            continue


def _numbers() -> list[int]:
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        return [int(place.name) for place in proc.iterdir() if place.name.isdigit()]
    listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
    return [int(word) for word in listed.stdout.split()]
