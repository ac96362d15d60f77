"""What goes and what stays: nothing that a rebuild of a kept version needs, and nothing without being told."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.data.windows import training_window
from evergreen.errors import ArtifactError, BusyError, EvergreenError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.promotions import Move, Promotions
from evergreen.maintenance import retention
from evergreen.maintenance.clean import clean
from evergreen.maintenance.rebuild import rebuild
from evergreen.maintenance.retention import Kind, Plan, Retention, plan
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION, PREVIOUS, Candidate, Version
from evergreen.runs.history import Run, Runs
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.locks import open_locks
from evergreen.training.candidate import build_candidate
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
LATER = timedelta(days=60)


@pytest.fixture
def spec(make_spec: Make) -> ModelSpec:
    """The toy model."""
    made: ModelSpec = make_spec()
    return made


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of tables may go at once: Delta counts by the computer's own clock."""
    monkeypatch.setattr(retention, "GRACE_HOURS", 0)


def _now() -> datetime:
    return datetime.now(UTC)


def _named(made: Plan, kind: Kind) -> list[str]:
    return [item.name for item in made.going if item.kind == kind]


def _everything(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_size for file in folder.rglob("*") if file.is_file() and "lock" not in file.name}


def _promoted(settings: Settings, number: int, at: datetime, before: int | None) -> None:
    for phase in ("intent", "done"):
        move = Move(f"move-{number}", at, "promote", phase, before, number, "why", f"d{number}", "test")  # type: ignore[arg-type]
        Promotions(settings.lake_uri, "toy").write(move)


@pytest.mark.usefixtures("soon")
def test_three_promotions_ago_is_rebuilt_after_cleaning(
    registry: Registry,
    settings: Settings,
    spec: ModelSpec,
    make_rows: Make,
    make_version: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of five champions the oldest goes; killed in the middle and run again, the others still are what they were.

    Each batch replaces rows that the version before was trained on, so that the newest table has them no more.
    """
    registry.client  # noqa: B018 - opened, so that looking does not
    for number in range(1, 6):
        version = make_version(spec, make_rows(60, start=20 * number, seed=number), f"b{number}")
        registry.conclude(version, Verdict.PASS, "fine", {})
        registry.set_alias("toy", CHAMPION, number)
        _promoted(settings, number, _now(), number - 1 or None)
    registry.set_alias("toy", PREVIOUS, 4)
    observations = Observations(settings.lake_uri, spec)
    digest, policy = observations.snapshot().digest, Retention(days=0, keep=4)
    before = _everything(settings.root)
    looked = plan(settings, registry, spec, policy, now=_now())
    assert _everything(settings.root) == before
    assert _named(looked, "version") == ["version 1"]
    assert _named(looked, "table") == ["observations"]
    assert {kept.name: kept.why for kept in looked.kept if kept.kind == "version"} == {
        "version 2": "it is one of the newest 4",
        "version 3": "it is one of the newest 4",
        "version 4": "it is previous",
        "version 5": "it is champion",
    }
    files = {path for path in before if "observations/part" in path}

    with monkeypatch.context() as killed:
        killed.setattr(maintenance, "discard", _killed)
        with pytest.raises(KeyboardInterrupt):
            clean(settings, registry, spec, policy, now=_now())
    assert registry.get("toy", 1).tags.cleaned is not None
    assert rebuild(spec, "spec", settings, registry, 1).equal
    told: list[str] = []
    done = clean(settings, registry, spec, policy, now=_now(), step=told.append)
    assert _named(done, "version") == ["version 1"]
    assert done.bytes > 10_000
    assert [line.partition(":")[0] for line in told] == ["version", "table"]
    assert len(files - set(_everything(settings.root))) == 1

    for number in range(2, 6):
        found = rebuild(spec, "spec", settings, registry, number)
        assert (found.equal, found.differences) == (True, ())
    with pytest.raises(ArtifactError, match="toy version 1 was cleaned at"):
        registry.load(registry.get("toy", 1), spec)
    opened = observations.table.open()
    assert observations.table.commit_metadata(opened)["digest"] == observations.snapshot().digest == digest
    observations.land(make_rows(10, start=200), "more", "more", now=_now())
    assert observations.measure(observations.snapshot().version) == observations.snapshot().digest
    last = plan(settings, registry, spec, policy, now=_now())
    assert (last.going, last.bytes) == ((), 0)
    assert "version 1" not in [kept.name for kept in last.kept]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_why_a_version_stays(
    registry: Registry, settings: Settings, spec: ModelSpec, make_rows: Make, make_version: Make
) -> None:
    """An alias of whoever's, the log within the time, gates that have not answered, count and age: each is told."""
    first: Version = make_version(spec, make_rows(60))
    facts = first.tags.raw
    hashes = (facts[name] for name in ("sha256", "files_sha256", "state_sha256"))
    stored = Candidate(first.run_id, first.model_id, *hashes, 1.0, {"decision_id": "d"})
    made = [first, *(registry.register("toy", stored) for _ in range(6))]
    for version in (*made[:4], *made[5:]):
        registry.conclude(version, Verdict.FAIL, "no", {})
    registry.set_alias("toy", "canary", 2)
    now = _now() + LATER
    _promoted(settings, 3, now - timedelta(days=40), None)
    _promoted(settings, 4, now - timedelta(days=10), 3)

    def looked(**policy: int) -> tuple[list[str], dict[str, str]]:
        found = plan(settings, registry, spec, Retention(**policy), now=now)
        return _named(found, "version"), {kept.name[-1]: kept.why for kept in found.kept if kept.kind == "version"}

    gone, kept = looked(days=30, keep=1)
    assert gone == ["version 1", "version 6"]
    assert kept == {
        "2": "it is canary",
        "3": "it was in production, or replaced, within 30 days",
        "4": "it was in production, or replaced, within 30 days",
        "5": "its gates have not run yet",
        "7": "it is one of the newest 1",
    }
    assert looked(days=30, keep=10)[0] == []
    gone, kept = looked(days=90, keep=0)
    assert (gone, kept["1"]) == ([], "it is not 90 days old")


def test_what_a_killed_run_stored_goes(
    registry: Registry, settings: Settings, spec: ModelSpec, make_rows: Make, make_version: Make
) -> None:
    """A candidate that was never registered, when it is old enough; the runs of versions and of people stay."""
    version = make_version(spec, make_rows(60))
    observations = Observations(settings.lake_uri, spec)
    window = training_window(spec, observations.snapshot())
    build_candidate(
        Observations(settings.lake_uri, spec),
        registry,
        window,
        decision="lost",
        params=None,
        tags={"decision_id": "lost"},
    )
    experiment = registry.client.get_experiment_by_name("toy").experiment_id
    own = registry.client.create_run(experiment)
    registry.client.log_text(own.info.run_id, "mine", "notes.txt")
    assert plan(settings, registry, spec, Retention(), now=_now()).going == ()
    gone = clean(settings, registry, spec, Retention(), now=_now() + LATER)
    assert [item.kind for item in gone.going] == ["leftover", "leftover"]
    assert registry.client.list_artifacts(own.info.run_id)
    assert registry.load(version, spec)
    assert plan(settings, registry, spec, Retention(), now=_now() + LATER).going == ()


def _report(settings: Settings, name: str, days: int) -> Path:
    folder = settings.root / naming.report_folder("toy", name)
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("x" * 1000)
    os.utime(folder / "report.html", ((_now() - timedelta(days=days)).timestamp(),) * 2)
    return folder


def test_reports_by_age_and_count(registry: Registry, settings: Settings, spec: ModelSpec) -> None:
    """Old ones beyond the newest go, what is no report stays; pieces of a killed scoring go whatever their age."""
    old, older, new = (_report(settings, name, days) for name, days in (("a", 40), ("b", 50), ("c", 2)))
    other = settings.root / naming.report_folder("toy", "mine")
    other.mkdir()
    scratch = settings.root / "scratch" / "toy"
    scratch.mkdir(parents=True)
    (scratch / "piece.arrow").write_bytes(b"123")
    found = plan(settings, registry, spec, Retention(keep=2), now=_now())
    assert [(item.kind, item.name, item.bytes) for item in found.going] == [
        ("report", "b", 1000),
        ("scratch", str(scratch), 3),
    ]
    clean(settings, registry, spec, Retention(keep=0), now=_now())
    assert [folder.exists() for folder in (old, older, new, other, scratch)] == [False, False, True, True, False]


def test_refused_batches_go_only_when_asked(registry: Registry, settings: Settings, spec: ModelSpec) -> None:
    """Their files by the time of the refusal; the record of it stays, and so do rows that are kept in the record.

    Records hold a file's name, and formerly its path. An input that was refused for scoring is its owner's.
    """
    import pandas as pd

    folder = settings.root / "quarantine" / "toy"
    folder.mkdir(parents=True)
    files = [folder / name for name in ("old.csv", "new.csv")]
    table = quarantine_table(settings.lake_uri, "toy")
    files += [folder / "older.csv", settings.root / "input.csv"]
    for file, days in zip(files, (50, 5, 60, 60), strict=True):
        file.write_text("a,b\n")
        place = f"quarantine/toy/{file.name}" if file.name == "older.csv" else str(file)
        record = {"batch": file.name, "origin": file.name, "row": -1, "reason": "bad", "payload": place}
        record |= {"contract": "c", "at": pd.Timestamp(_now() - timedelta(days=days))}
        table.append(pd.DataFrame([record, record | {"row": 3, "payload": '{"a": 1}'}]), file.name)
    assert plan(settings, registry, spec, Retention(days=0, keep=0), now=_now()).going == ()
    gone = clean(settings, registry, spec, Retention(quarantine_days=30), now=_now())
    expected = [("quarantine", "old.csv", 4), ("quarantine", "older.csv", 4)]
    assert [(item.kind, item.name, item.bytes) for item in gone.going] == expected
    assert [file.exists() for file in files] == [False, True, False, True]
    assert len(table.read()) == 8


@pytest.mark.parametrize("what", ["retrain", "score"])
def test_a_running_retrain_loses_nothing(registry: Registry, settings: Settings, spec: ModelSpec, what: str) -> None:
    """While the model is trained or scored, cleaning refuses and does nothing; looking is allowed."""
    old = _report(settings, "a", 40)
    with open_locks(settings).hold("toy", what, wait=0, now=_now()):
        with pytest.raises(BusyError, match=f"Another {what} of toy is running"):
            clean(settings, registry, spec, Retention(keep=0), now=_now())
        assert _named(plan(settings, registry, spec, Retention(keep=0), now=_now()), "report") == ["a"]
    assert old.exists()


def test_what_cannot_be_deleted_is_told(
    registry: Registry, settings: Settings, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the operating system keeps is one line with its name, not a silent success."""
    unlink = Path.unlink

    def refuse(path: Path, **words: bool) -> None:
        if path.name == "report.html":
            raise PermissionError(13, "Permission denied")
        unlink(path, **words)

    old = _report(settings, "a", 40)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(EvergreenError, match=f"{old}/report.html cannot be deleted: Permission denied"):
        clean(settings, registry, spec, Retention(keep=0), now=_now())


@pytest.mark.usefixtures("soon")
def test_small_files_of_every_table_are_joined(
    registry: Registry, settings: Settings, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run is a file of its own; after a cleaning they are one, which holds the same rows."""
    monkeypatch.setattr(retention, "SMALL_FILES", 3)
    runs = Runs(settings.lake_uri, "toy")
    every = [Run("monitor", f"run-{number}", LATER + _now(), 4.0, 200, 1.5, "PASS") for number in range(4)]
    for run in every:
        runs.record(run)
    policy = Retention(days=0)
    assert plan(settings, registry, spec, policy, now=_now()).small == 4
    assert len(runs.table.open().file_uris()) == 4
    assert clean(settings, registry, spec, policy, now=_now()).small == 4
    assert len(runs.table.open().file_uris()) == 1
    assert {run.flow_run for run in runs.newest(12)} == {run.flow_run for run in every}
    assert clean(settings, registry, spec, policy, now=_now()).small == 0


@pytest.mark.usefixtures("soon")
def test_small_files_are_joined_and_earlier_versions_keep_theirs(
    registry: Registry,
    settings: Settings,
    spec: ModelSpec,
    make_rows: Make,
    make_version: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Joining changes no row and no digest, and the version that was trained on the small files is rebuilt."""
    monkeypatch.setattr(retention, "SMALL_FILES", 3)
    observations = Observations(settings.lake_uri, spec)
    for number in range(3):
        observations.land(make_rows(20, start=20 * number), f"b{number}", "b", now=_now())
    make_version(spec, make_rows(20, start=60), "last")
    before = observations.snapshot()
    policy = Retention(days=0, keep=1)
    assert clean(settings, registry, spec, policy, now=_now()).small == 4
    after = observations.snapshot()
    assert len(observations.table.open().file_uris()) == 1
    assert (after.digest, after.rows, after.next_row) == (before.digest, before.rows, before.next_row)
    assert observations.table.commit_metadata(observations.table.open())["digest"] == before.digest
    assert clean(settings, registry, spec, policy, now=_now()).going == ()
    assert rebuild(spec, "spec", settings, registry, 1).equal
