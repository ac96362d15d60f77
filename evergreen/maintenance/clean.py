"""Bound the disk: delete what a plan lists, under the model's locks.

A version keeps its number, its tags, its card and the decisions about it for ever; only its files are deleted. Every
step may be done twice, so that the next run completes one that was killed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime

from evergreen.errors import EvergreenError
from evergreen.maintenance import delta_files
from evergreen.maintenance.retention import (
    OBSERVATIONS,
    Kind,
    Plan,
    Retention,
    observations_of,
    plan,
    retention_hours,
    small_files,
    table_of,
)
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import CLEANED
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.kept_files import KeptFiles
from evergreen.storage.locks import open_locks

_WAIT_SECONDS = 30.0


def clean(
    settings: Settings,
    registry: Registry,
    spec: ModelSpec,
    retention: Retention,
    *,
    now: datetime,
    step: Callable[[str], None] = lambda _text: None,
) -> Plan:
    """Plan under the model's locks, so that no run loses what it works on, and carry out the plan; returns the plan.

    Raises:
        BusyError: the model is being trained or scored; nothing was done.
    """
    locks = open_locks(settings)
    with ExitStack() as stack:
        for purpose, wait in (("retrain", 0.0), ("score", 0.0), ("promotion", _WAIT_SECONDS)):
            stack.enter_context(locks.hold(spec.name, purpose, wait=wait, now=now))
        cleaning = plan(settings, registry, spec, retention, now=now)
        carry_out(settings, registry, cleaning, step=step)
        return cleaning


def carry_out(
    settings: Settings, registry: Registry, cleaning: Plan, *, step: Callable[[str], None] = lambda _text: None
) -> None:
    """Delete what a plan lists, under the model's locks; `step` is called with each thing that is gone."""
    files = KeptFiles(settings.report_place)
    for item in cleaning.going:
        if item.kind == "version":
            # Tagged first, so that a version whose files are half deleted is never taken for a damaged one.
            registry.tag(registry.get(cleaning.model, item.number or 0), CLEANED, cleaning.now.isoformat())
        for place in item.places:
            _delete(registry, files, item.kind, place)
        if item.kind == "table":
            keep = cleaning.versions if item.name == OBSERVATIONS else ()
            table = table_of(settings, cleaning.model, item.name)
            delta_files.vacuum(table, retention_hours(cleaning.retention), keep)
        step(f"{item.kind}: {item.name}, {item.bytes / 1e6:.2f} MB: {item.why}")
    observations = observations_of(settings, cleaning.model)
    for name, count in small_files(settings, cleaning.model).items():
        delta_files.compact(table_of(settings, cleaning.model, name))
        step(f"compact: {count} small files of {name} are merged")
    if observations.exists():
        commits = delta_files.forget(observations, cleaning.retention.days, cleaning.versions, now=cleaning.now)
        if commits:
            step(f"log: {commits} commits of the observations that no kept version needs are forgotten")


def _delete(registry: Registry, files: KeptFiles, kind: Kind, place: str) -> None:
    if kind in ("version", "leftover"):
        maintenance.discard(registry, place)
        return
    if kind in ("report", "quarantine"):
        files.delete(place)
        return
    try:
        shutil.rmtree(place)
    except FileNotFoundError:
        return
    except OSError as error:
        raise EvergreenError(
            f"{place} cannot be deleted: {error.strerror or error}.", "Fix its owner or mode, then run it again."
        ) from None
