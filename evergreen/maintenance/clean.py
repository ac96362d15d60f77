"""Bounding the disk: what a plan says is deleted, under the model's locks.

A version keeps its number, its tags, its card and what was decided about it for ever; what goes is its files. Every
step may be made twice, so that a run that was killed is finished by the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from evergreen.errors import EvergreenError
from evergreen.maintenance import delta_files
from evergreen.maintenance.retention import OBSERVATIONS, Kind, Plan, Policy, hours, observations_of, plan, table_of
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import CLEANED
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.locks import open_locks

_WAIT_SECONDS = 30.0


def clean(
    settings: Settings,
    registry: Registry,
    spec: ModelSpec,
    policy: Policy,
    *,
    now: datetime,
    step: Callable[[str], None] = lambda _what: None,
) -> Plan:
    """Plan under the model's locks, so that no run loses what it works on, and carry it out; returns what went.

    Raises:
        BusyError: the model is being trained or scored; nothing was done.
    """
    with ExitStack() as stack:
        for what, wait in (("retrain", 0.0), ("score", 0.0), ("promotion", _WAIT_SECONDS)):
            stack.enter_context(open_locks(settings).hold(spec.name, what, wait=wait, now=now))
        made = plan(settings, registry, spec, policy, now=now)
        carry_out(settings, registry, made, step=step)
        return made


def carry_out(
    settings: Settings, registry: Registry, made: Plan, *, step: Callable[[str], None] = lambda _what: None
) -> None:
    """Delete what a plan says, under the model's locks; `step` is told each thing that is gone."""
    for item in made.going:
        if item.kind == "version":
            # First, so that a version whose files are half gone is never taken for a damaged one.
            registry.tag(registry.get(made.model, item.number or 0), CLEANED, made.now.isoformat())
        for place in item.places:
            _delete(registry, item.kind, place)
        if item.kind == "table":
            keep = made.versions if item.name == OBSERVATIONS else ()
            delta_files.vacuum(table_of(settings, made.model, item.name), hours(made.policy), keep)
        step(f"{item.kind}: {item.name}, {item.bytes / 1e6:.2f} MB: {item.why}")
    observations = observations_of(settings, made.model)
    if made.small:
        delta_files.compact(observations)
        step(f"join: {made.small} small files of the observations")
    if observations.exists():
        forgotten = delta_files.forget(observations, made.policy.days, made.versions, now=made.now)
        if forgotten:
            step(f"log: {forgotten} commits of the observations that no kept version needs are forgotten")


def _delete(registry: Registry, kind: Kind, place: str) -> None:
    if kind in ("version", "leftover"):
        maintenance.discard(registry, place)
        return
    try:
        if Path(place).is_dir():
            shutil.rmtree(place)
        else:
            Path(place).unlink(missing_ok=True)
    except OSError as error:
        raise EvergreenError(
            f"{place} cannot be deleted: {error.strerror or error}.", "Mend its owner or mode, then run it again."
        ) from None
