"""Two machines with one registry and one lake: of processes that move at once, none loses what another did."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

import models
from evergreen.decision import Decision
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry.approval import recorded_approval
from evergreen.registry.client import Registry
from evergreen.registry.version import CHALLENGER, Candidate, Version
from evergreen.settings import Settings
from evergreen.verdicts import Verdict
from tests.details import detail_of
from tests.evergreen.conftest import Store
from tests.faults.test_crash import MODELS, PROJECT, rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Racers:
    """Processes, as many on each machine, and what they share."""

    def __init__(self, base: Path, place: str, server: str, database: Path, processes: int) -> None:
        self.base = base
        shutil.copy(database, base / "mlflow.db")
        uri = SecretStr(f"sqlite:///{base / 'mlflow.db'}")
        shared = {"lake": f"{place}/lake", "artifacts": f"{place}/files", "models": MODELS, "tracking_uri": uri}
        self.machines = tuple(Settings(home=base / name, **shared) for name in ("one", "other"))
        self.settings = self.machines[0]
        self.spec = models.load("toy", MODELS).spec
        self.registry = Registry(self.settings)
        self.log = Promotions(self.settings.lake_uri, "toy")
        self.ledger = Decisions(self.settings.lake_uri, "toy")
        half = processes // 2
        self.processes = [self._start(settings, server) for settings in self.machines * half]
        self._races = 0

    def _start(self, settings: Settings, server: str) -> subprocess.Popen[str]:
        around = os.environ | {
            "EVERGREEN_HOME": str(settings.root),
            "EVERGREEN_LAKE": settings.lake,
            "EVERGREEN_ARTIFACTS": settings.artifacts,
            "EVERGREEN_TRACKING_URI": settings.tracking,
            "EVERGREEN_MODELS": str(MODELS),
            "PREFECT_HOME": str(settings.root / "prefect"),
            "PREFECT_API_URL": server,
            "PYTHONPATH": str(PROJECT),
        }
        words = [sys.executable, "-m", "tests.evergreen.registry.racer"]
        return subprocess.Popen(words, env=around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.processes)

    def close(self) -> None:
        """End them."""
        for process in self.processes:
            process.kill()
            process.communicate()

    def race(self, moves: Sequence[str], versions: Sequence[int]) -> list[str]:
        """Let all of them move at once; what each told."""
        self._races += 1
        go = self.base / f"go-{self._races}"
        for process, move, version in zip(self.processes, moves, versions, strict=True):
            assert process.stdin is not None
            print(json.dumps({"move": move, "version": version, "go": str(go)}), file=process.stdin, flush=True)
        for process in self.processes:
            assert self._line(process, "ready") == "ready"
        go.touch()
        return [self._line(process, "TOLD ").removeprefix("TOLD ") for process in self.processes]

    def _line(self, process: subprocess.Popen[str], beginning: str) -> str:
        """The next line that a racer means for us; a flow may print others."""
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(beginning):
                return line.strip()
        raise AssertionError(f"a racer ended with {process.wait(20)}")

    def land(self, name: str, start: int) -> None:
        """Put a file into the landing folder of each machine."""
        for settings in self.machines:
            folder = settings.landing / "toy"
            folder.mkdir(parents=True, exist_ok=True)
            rows(start, shift=4 * (start // 300 % 2)).to_csv(folder / name, index=False)
            os.utime(folder / name, (1_700_000_000, 1_700_000_000))

    def passed(self, decision: str) -> Version:
        """One more version like the champion, which passed its gates against the present one."""
        champion = self.champion
        tags = {**champion.tags.raw, "decision_id": decision, "compared_with": str(champion.number)}
        made = ("sha256", "files_sha256", "state_sha256", "size_mb", "trusted", "model_id", "judged_sha256")
        facts = champion.tags
        candidate = Candidate(
            champion.run_id,
            champion.model_id,
            *(facts.sha256, facts.files_sha256, facts.state_sha256, facts.size_mb),
            {key: value for key, value in tags.items() if key not in made and not key.startswith("model_")},
            trusted=facts.trusted or (),
            judged_sha256=facts.judged_sha256,
        )
        version = self.registry.register("toy", candidate)
        return self.registry.conclude(version, Verdict.PASS, "", {})

    @property
    def champion(self) -> Version:
        """The version that the alias names."""
        champion = self.registry.champion("toy")
        assert champion is not None
        return champion

    def require_linear(self) -> None:
        """Refuse a log with a gap, with two lines in one place, or that tells another story than the alias."""
        done = self.log.done()
        assert [move.before for move in done[1:]] == [move.after for move in done[:-1]]
        lines = sorted(self.log.table.read()["line"])
        assert lines == list(range(1, len(lines) + 1))
        assert self.log.open() is None
        assert self.champion.number == self.log.champion() == done[-1].after


@pytest.fixture
def racers(
    request: pytest.FixtureRequest, tmp_path: Path, prefect_server: str, empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Racers]:  # fmt: skip
    """On an object store or in a shared folder, with a first champion."""
    kind, processes = request.param
    if kind == "s3":
        store: Store = request.getfixturevalue("s3")
        # The server of this test has no certificate.
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", store.url)
    place = f"s3://shop/{tmp_path.name}" if kind == "s3" else str(tmp_path / "shared")
    racers = Racers(tmp_path, place, prefect_server, empty_database, processes)
    try:
        racers.land("a.csv", 0)
        yield racers
    finally:
        racers.close()


# A registry of two thousand versions is slow: two hundred rounds are eight times twenty-five.
PROOFS = [(f"folder-{part}", "folder", 25) for part in range(8)] + [("s3", "s3", 5)]


@pytest.mark.parametrize(
    ("racers", "rounds"),
    [
        pytest.param(("folder", 2), 1, marks=pytest.mark.slow),
        *(
            pytest.param((kind, 4), rounds, marks=pytest.mark.proof(name="machines"), id=name)
            for name, kind, rounds in PROOFS
        ),
    ],
    indirect=["racers"],
)
def test_processes_of_two_machines(racers: Racers, rounds: int) -> None:
    """They retrain, promote, roll back and answer a question at once, again and again: no update is lost."""
    told: dict[str, int] = {}
    for number in range(rounds):
        for name, race in (
            ("retrain", _retrain),
            ("promote", _promote),
            ("roll back", _roll_back),
            ("answer", _answer),
        ):
            race(racers, number)
            racers.require_linear()
            told[name] = told.get(name, 0) + 1
    print(", ".join(f"{count} races to {name}" for name, count in told.items()) + ": no update was lost.")


def _retrain(racers: Racers, number: int) -> None:
    """One of them does; the others find it at work, or done."""
    before = racers.registry.versions("toy")
    racers.land(f"b{number}.csv", 300 * (number + 1))
    outcomes = racers.race(["retrain"] * racers.count, [0] * racers.count)
    made = [each for each in racers.registry.versions("toy") if each.number not in {old.number for old in before}]
    assert len(made) == 1, outcomes
    assert made[0].status in ("PASSED", "FAILED", "INCONCLUSIVE")
    assert sum(outcome in ("promoted", "rejected", "inconclusive") for outcome in outcomes) == 1, outcomes
    decided = [each.id for each in racers.ledger.all("retrain")]
    assert len(set(decided)) == len(decided)
    assert decided.count(made[0].tags.decision_id) == 1


def _promote(racers: Racers, number: int) -> None:
    """Candidates that were judged against one champion: one of them takes its place."""
    versions = [racers.passed(f"promote-{number}-{place}").number for place in range(racers.count)]
    outcomes = racers.race(["promote"] * racers.count, versions)
    refused = ["RefusedError"] * (racers.count - 1)
    assert sorted(each.split(":")[0] for each in outcomes) == [*refused, "moved"], outcomes
    assert racers.champion.number == versions[outcomes.index("moved")]


def _roll_back(racers: Racers, number: int) -> None:
    """Each to a version of its own: all of them are done, one after another."""
    versions = [racers.passed(f"rollback-{number}-{place}").number for place in range(racers.count)]
    before = len(racers.log.done())
    assert racers.race(["rollback"] * racers.count, versions) == ["moved"] * racers.count
    assert sorted(move.after or 0 for move in racers.log.done()[before:]) == versions


def _answer(racers: Racers, number: int) -> None:
    """As many approve as reject: the first word counts, all are told the same, and that is what was done."""
    version = racers.passed(decision := f"answer-{number}")
    racers.registry.set_alias("toy", CHALLENGER, version.number)
    detail = replace(detail_of("retrain"), outcome="awaiting-approval", version=version.number, decision_id=decision)
    question = Decision(
        decision, "retrain", NOW, "awaiting-approval", version.number, 1, "digest", "better", detail, ""
    )
    racers.ledger.record(question)
    former = racers.champion.number
    moves = ["approve", "reject"] * (racers.count // 2)
    outcomes = racers.race(moves if number % 2 else moves[::-1], [version.number] * racers.count)
    recorded = recorded_approval(racers.ledger, decision)
    assert recorded is not None
    assert outcomes == [recorded.outcome] * racers.count
    declined = racers.registry.get("toy", version.number).tags.declined is not None
    promoted = racers.champion.number == version.number
    assert (promoted, declined) == (recorded.outcome == "promoted", recorded.outcome == "rejected")
    assert racers.champion.number in (former, version.number)
    assert racers.registry.by_alias("toy", CHALLENGER) is None
