"""Files written beside their place: the old one or the new one, whole, with the mode it had, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evergreen.naming import PART_PREFIX
from evergreen.sources import Folder
from evergreen.storage.atomic_write import staged_file, write_text


def test_the_file_takes_its_place_in_one_step(tmp_path: Path) -> None:
    """Until the end the old file is there whole; afterwards the new one, and nothing beside it."""
    path = tmp_path / "page.html"
    path.write_text("old")
    with staged_file(path) as part:
        part.write_text("ha")
        assert path.read_text() == "old"
        part.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def fail_halfway(path: Path, fault: BaseException) -> None:
    with staged_file(path) as part:
        part.write_text("half")
        raise fault


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """An error within, or an interruption, leaves the old file and no half of a new one."""
    path = tmp_path / "page.html"
    path.write_text("old")
    for fault in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(fault)):
            fail_halfway(path, fault)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


def test_text_is_written_to_the_byte(tmp_path: Path) -> None:
    """Line ends of any system and every sign stay as they are."""
    path = tmp_path / "text"
    text = "a\r\nb\nc\u2028 d \N{GRINNING FACE}"
    for durable in (True, False):
        write_text(path, text, durable=durable)
        assert path.read_bytes().decode() == text


def test_mode_and_link_stay(tmp_path: Path) -> None:
    """A file keeps its mode, a link its target; a new file gets the mode that the user's mask gives."""
    path, link, fresh = tmp_path / "real", tmp_path / "link", tmp_path / "fresh"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_text(link, "new")
    assert (link.is_symlink(), path.read_text(), path.stat().st_mode & 0o777) == (True, "new", 0o640)
    mask = os.umask(0o027)
    try:
        write_text(fresh, "new")
    finally:
        os.umask(mask)
    assert fresh.stat().st_mode & 0o777 == 0o640


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    """Of ten that write the same new file at once one is there, whole; the others are told."""
    path, start, refused = tmp_path / "model.py", threading.Barrier(10), []

    def write(text: str) -> None:
        try:
            with staged_file(path, new=True) as part:
                part.write_text(text)
                start.wait()
        except FileExistsError:
            refused.append(text)

    threads = [threading.Thread(target=write, args=(str(number) * 1000,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (left,) = {str(number) * 1000 for number in range(10)} - set(refused)
    assert path.read_text() == left
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_or_a_place_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    """Which the caller tells in its own words; nothing is left."""
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "no" / "file", tmp_path / ("n" * 300)):
        with pytest.raises(OSError, match=r"\[Errno \d+\]"):
            write_text(path, "new")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_process_leaves_is_no_row_of_a_source(tmp_path: Path) -> None:
    """The old file is there, and the half of the new one has a name that a folder of batches passes over."""
    folder = tmp_path / "landing"
    folder.mkdir()
    (folder / "a.csv").write_text("x\n1\n")
    script = (
        "import os, sys, pathlib; from evergreen.storage.atomic_write import staged_file\n"
        "with staged_file(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('x'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder / "a.csv")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "a.csv").read_text() == "x\n1\n"
    assert sorted(path.name.startswith(PART_PREFIX) for path in folder.iterdir()) == [False, True]
    assert [file.name for file in Folder("landing").files(tmp_path)] == ["a.csv"]
