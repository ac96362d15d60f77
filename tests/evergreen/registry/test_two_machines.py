"""Two homes with one registry and one lake, as two machines have them: the champion moves once, whoever moves it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.verdicts import Verdict
from tests.evergreen.conftest import Store

Make = Callable[..., Any]
MODELS = Path(__file__).resolve().parents[2] / "faults" / "models"

MOVER = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from evergreen.errors import EvergreenError
from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.registry.promotion import promote, roll_back
from evergreen.settings import load_settings
from evergreen.storage.locks import open_locks
import models
settings, folder, number, name = load_settings(), Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
spec, registry = models.load("toy", settings.models).spec, Registry(settings)
log, version = Promotions(settings.lake_uri, "toy"), registry.get("toy", number)
for move in ("promote", "rollback"):
    print("ready", flush=True)
    while not (folder / move).exists():
        time.sleep(0.001)
    now = datetime.now(UTC)
    words = dict(reason="race", by=name, now=now, lock=open_locks(settings).hold("toy", "promotion", wait=60, now=now))
    try:
        if move == "promote":
            promote(spec, registry, log, version, **words)
        else:
            roll_back(spec, registry, log, number, **words)
        print("moved", flush=True)
    except EvergreenError as error:
        print(f"refused: {error.what}", flush=True)
"""


@pytest.fixture
def machines(tmp_path: Path, s3: Store, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, ...]:
    """Two homes; what both need is in an object store and in one database."""
    # The server of this test has no certificate.
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.url)
    (tmp_path / "shared.db").write_bytes(empty_database.read_bytes())
    place = f"s3://shop/{tmp_path.name}"
    shared = {"lake": f"{place}/lake", "artifacts": f"{place}/files", "models": MODELS}
    uri = SecretStr(f"sqlite:///{tmp_path / 'shared.db'}")
    return tuple(Settings(home=tmp_path / name, tracking_uri=uri, **shared) for name in ("one", "other"))


@pytest.fixture
def rivals(
    machines: tuple[Settings, ...], environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[list[int]], list[subprocess.Popen[str]]]]:
    """Start a process for each version, every second one on the other machine."""
    running: list[subprocess.Popen[str]] = []

    def start(numbers: list[int]) -> list[subprocess.Popen[str]]:
        for place, number in enumerate(numbers):
            settings = machines[place % len(machines)]
            around = environment | {
                "EVERGREEN_HOME": str(settings.root),
                "EVERGREEN_LAKE": settings.lake,
                "EVERGREEN_ARTIFACTS": settings.artifacts,
                "EVERGREEN_TRACKING_URI": settings.tracking,
                "EVERGREEN_MODELS": str(MODELS),
            }
            words = [sys.executable, "-c", MOVER, str(tmp_path), str(number), f"process {place}"]
            running.append(subprocess.Popen(words, env=around, stdout=subprocess.PIPE, text=True))
        return running

    yield start
    for process in running:
        process.kill()
        process.communicate()


def race(rivals: list[subprocess.Popen[str]], go: Path) -> list[str]:
    """Let all of them move the champion at once; what each told."""
    lines = [process.stdout for process in rivals if process.stdout is not None]
    assert [line.readline() for line in lines] == ["ready\n"] * len(rivals)
    go.touch()
    return [line.readline().strip() for line in lines]


@pytest.mark.slow
def test_of_rivals_on_two_machines_one_moves_the_champion(
    machines: tuple[Settings, ...], rivals: Callable[[list[int]], list[subprocess.Popen[str]]], tmp_path: Path,
    make_spec: Make, make_rows: Make, make_version: Make,
) -> None:  # fmt: skip
    """Four candidates that were judged against none: one is promoted. Then all roll back: no update is lost."""
    registry, log = Registry(machines[0]), Promotions(machines[0].lake_uri, "toy")
    numbers = [make_version(make_spec(), make_rows(60), home=machines[0]).number for _ in range(4)]
    for number in numbers:
        registry.conclude(registry.get("toy", number), Verdict.PASS, "", {})
    running = rivals(numbers)
    told = race(running, tmp_path / "promote")
    assert sorted(each.split(":")[0] for each in told) == ["moved", "refused", "refused", "refused"], told
    told = race(running, tmp_path / "rollback")
    moved = [number for number, each in zip(numbers, told, strict=True) if each == "moved"]
    assert len(moved) >= 3, told
    done = log.done()
    assert sorted(move.after for move in done[1:] if move.after) == sorted(moved)
    assert [move.before for move in done[1:]] == [move.after for move in done[:-1]]
    lines = sorted(log.table.read()["line"])
    assert lines == list(range(1, len(lines) + 1))
    champion = registry.champion("toy")
    assert champion is not None
    assert champion.number == log.champion() == done[-1].after
