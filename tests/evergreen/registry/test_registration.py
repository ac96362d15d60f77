"""One version for one decision, also where the lock was lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from evergreen.errors import BusyError
from evergreen.registry.client import Registry
from evergreen.registry.registration import register_once
from evergreen.registry.version import Candidate, Version
from evergreen.settings import Settings

Register = Callable[..., Version]


class Lock:
    """A lock that is lost after so many looks."""

    def __init__(self, good: int) -> None:
        self.good = good

    def require(self) -> None:
        self.good -= 1
        if self.good < 0:
            raise BusyError("It was taken for dead.", "")


@pytest.fixture
def candidate(
    settings: Settings, make_spec: Callable[..., Any], make_rows: Callable[..., Any], make_version: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Candidate:  # fmt: skip
    """Stored, and not registered."""
    kept: list[Candidate] = []
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "register", lambda _self, _model, candidate: kept.append(candidate))
        make_version(make_spec(), make_rows(60))
    return kept[0]


def register(settings: Settings, candidate: Candidate, lock: Lock) -> Version:
    return register_once(Registry(settings), "toy", candidate, require_held=lock.require)


def numbers(settings: Settings) -> list[int]:
    return [version.number for version in Registry(settings).versions("toy")]


def test_a_decision_has_one_version(settings: Settings, candidate: Candidate) -> None:
    """Registered twice, such as after an attempt that timed out, it is the same one."""
    first = register(settings, candidate, Lock(9))
    assert register(settings, candidate, Lock(9)).number == first.number
    assert first.status == "PENDING"
    assert numbers(settings) == [first.number]


def test_other_code_for_the_same_decision_makes_another_version(settings: Settings, candidate: Candidate) -> None:
    """The model file was changed since."""
    register(settings, candidate, Lock(9))
    changed = replace(candidate, tags={**candidate.tags, "spec_hash": "changed"})
    register(settings, changed, Lock(9))
    assert numbers(settings) == [1, 2]


def test_without_the_lock_nothing_is_registered(settings: Settings, candidate: Candidate) -> None:
    """Not even looked up."""
    with pytest.raises(BusyError):
        register(settings, candidate, Lock(0))
    assert not numbers(settings)


def test_what_was_registered_as_the_lock_was_lost_is_left_to_its_holder(
    settings: Settings, candidate: Candidate
) -> None:
    """The only version of its decision: whoever has the lock takes it up."""
    with pytest.raises(BusyError):
        register(settings, candidate, Lock(1))
    assert numbers(settings) == [1]
    assert register(settings, candidate, Lock(9)).number == 1


def test_a_second_version_that_was_registered_without_the_lock_is_taken_back(
    settings: Settings, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder registered its own between the look and the write of the one that stood still."""
    registry, write = Registry(settings), Registry.register

    def overtaken(self: Registry, model: str, own: Candidate) -> Version:
        write(registry, model, own)
        return write(self, model, own)

    monkeypatch.setattr(Registry, "register", overtaken)
    with pytest.raises(BusyError):
        register(settings, candidate, Lock(1))
    assert numbers(settings) == [1]
