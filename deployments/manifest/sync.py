"""`prefect.yaml` kept in step with `models/`: what is missing is added, what a person wrote stays, to the byte.

Of what is there already only three keys of a trigger are touched: those that follow from the model file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import models
from deployments.manifest import yaml_text
from deployments.manifest.work_pool import POOL
from evergreen.errors import EvergreenError
from evergreen.events import GROUNDS, REHEARSAL
from evergreen.naming import dashed
from evergreen.settings import PROJECT, Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.atomic_write import write_text

PATH = PROJECT / "prefect.yaml"
COMMAND = "python -m prefect.engine"
_KEPT = ("expect", "match", "within")
"""What a trigger takes from the model file; the rest of it is a person's."""
LIMIT = {"limit": 1, "collision_strategy": "CANCEL_NEW"}
_FLOWS = ("flows.monitor.monitor", "flows.retrain.retrain", "flows.score.score")
_ORDER = (
    *("name", "description", "entrypoint", "parameters", "version", "tags", "schedules"),
    *("concurrency_limit", "triggers", "work_pool"),
)


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did, or with `check` would do.

    Attributes:
        changes: one line each.
        orphans: deployments of models that are not there any more, left as they are.
    """

    path: str
    changes: tuple[str, ...]
    orphans: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self) | {"changed": bool(self.changes)}


def sync(settings: Settings, path: Path = PATH, *, check: bool = False, prune: bool = False) -> Synced:
    """Bring every model's deployments into the file; `check` writes nothing, `prune` takes out those of lost models.

    Raises:
        EvergreenError: the file or a model file is at fault.
    """
    text = _read(path)
    manifest = _Manifest(text.replace("\r\n", "\n"), path)
    specs = [models.load(name, settings.models).spec for name in models.names(settings.models)]
    orphans = manifest.orphans({spec.name for spec in specs})
    try:
        for spec in specs:
            for wanted in (_monitor(spec), _retrain(spec), _score(spec)):
                _bring_in(manifest, wanted)
        if prune:
            for name in orphans:
                manifest.take_out(name)
        found = yaml_text.load(manifest.text)
    except ValueError:
        found = None
    if not manifest.means(found):
        raise manifest.refusal()
    if manifest.changes and not check:
        write_text(path, manifest.text.replace("\n", "\r\n") if "\r\n" in text else manifest.text)
    return Synced(str(path), tuple(manifest.changes), () if prune else orphans)


def _monitor(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": dashed("monitor", spec.name),
        "description": "Hourly look at what came since the champion was trained.",
        "entrypoint": "flows.monitor.monitor",
        "parameters": {"model": spec.name},
        "tags": ["evergreen", spec.name, "monitor"],
        "schedules": [{"cron": f"{_minute(spec)} * * * *", "timezone": "UTC", "slug": "hourly"}],
    }


def _retrain(spec: ModelSpec) -> dict[str, Any]:
    weekly = {"cron": f"{_minute(spec)} 3 * * 1", "timezone": "UTC", "slug": "weekly"}
    triggers = [_trigger(spec, ground) for ground in spec.retraining.triggers]
    return {
        "name": dashed("retrain", spec.name),
        "description": "Weekly retrain; does nothing when nothing is new.",
        "entrypoint": "flows.retrain.retrain",
        "parameters": {"model": spec.name},
        "tags": ["evergreen", spec.name, "retrain"],
        "schedules": [weekly | {"parameters": {"reason": "schedule"}}],
    } | ({"triggers": triggers} if triggers else {})


def _score(spec: ModelSpec) -> dict[str, Any]:
    # Half an hour apart from the monitor run, so that the two do not load the machine at once.
    hourly = {"cron": f"{(_minute(spec) + 30) % 60} * * * *", "timezone": "UTC", "slug": "hourly"}
    return {
        "name": dashed("score", spec.name),
        "description": "Hourly predictions for the rows that have none yet.",
        "entrypoint": "flows.score.score",
        "parameters": {"model": spec.name},
        "tags": ["evergreen", spec.name, "score"],
        "schedules": [hourly],
    }


def _minute(spec: ModelSpec) -> int:
    """The same for a model at all times, and another for the next: not everything starts on the hour."""
    return zlib.crc32(spec.name.encode()) % 60


def _trigger(spec: ModelSpec, ground: str) -> dict[str, Any]:
    """Starts the retrain on the event; a key that an event lacks is null, and not the end of the run."""
    parameters = {
        "model": spec.name,
        "reason": ground,
        "decision_id": "{{ event.payload.decision_id | default(none) }}",
        "event_id": "{{ event.id | string }}",
    }
    return {
        "type": "event",
        "name": f"{dashed('retrain', spec.name)}-on-{ground}",
        "posture": "Reactive",
        "expect": [GROUNDS[ground]],
        "match": {"prefect.resource.id": f"evergreen.model.{spec.name}"},
        "for_each": ["prefect.resource.id", REHEARSAL],
        "threshold": 1,
        "within": int(spec.retraining.cooldown.total_seconds()),
        "parameters": parameters,
    }


class _Manifest:
    """The file's text, and beside it what it is to mean: each edit is made to both, and in the end the two agree."""

    def __init__(self, text: str, path: Path) -> None:
        self.text, self.path = text, path
        self.changes: list[str] = []
        try:
            self.data = yaml_text.load(text)
        except ValueError as error:
            raise self._fault(f"{error}.") from None
        if not isinstance(self.data, dict):
            raise self._fault("it is not a mapping with a key `deployments`.")
        self.data["deployments"] = self.data.get("deployments") or []
        if not isinstance(self.data["deployments"], list):
            raise self._fault("deployments: it is not a list.")
        # Without the aliases of the file: an edit of one entry is not one of others.
        self.deployments: list[Any] = [deepcopy(one) for one in self.data["deployments"]]
        self.data["deployments"] = self.deployments
        for number, one in enumerate(self.deployments, start=1):
            triggers = one.get("triggers") or [] if isinstance(one, dict) else None
            if not isinstance(triggers, list) or not all(isinstance(trigger, dict) for trigger in triggers):
                raise self._fault(f"deployments: the one at place {number} is not a deployment.")

    def _fault(self, what: str) -> EvergreenError:
        fix = f"Mend {self.path}; `git diff` shows what changed, docs/deployments.md how it looks."
        return EvergreenError(f"{self.path.name}: {what}", fix)

    def place(self, name: str) -> int | None:
        return next((place for place, one in enumerate(self.deployments) if one.get("name") == name), None)

    def orphans(self, known: set[str]) -> tuple[str, ...]:
        """Deployments of ours, for a model that is not there any more."""
        found = []
        for one in self.deployments:
            model = (one.get("parameters") or {}).get("model")
            if one.get("entrypoint") in _FLOWS and isinstance(model, str) and model not in known:
                found.append(str(one.get("name")))
        return tuple(found)

    def add(self, wanted: dict[str, Any]) -> None:
        """With the version, limit and work pool of the file's others, by alias where there is an anchor."""
        ours = [place for place, one in enumerate(self.deployments) if one.get("entrypoint") in _FLOWS]
        whole = wanted | {
            "concurrency_limit": LIMIT,
            "work_pool": {"name": POOL, "job_variables": {"command": COMMAND}},
        }
        written = dict(whole)
        for key in ("version", "concurrency_limit", "work_pool"):
            known = [place for place in ours if key in self.deployments[place]]
            if known:
                whole[key] = deepcopy(self.deployments[known[-1]][key])
                written[key] = yaml_text.shared(self.text, ("deployments", known[-1], key))
        order = [key for key in _ORDER if key in whole]
        self.text = yaml_text.append(self.text, ("deployments",), {key: written[key] for key in order}, apart=True)
        self.deployments.append(whole)
        self.changes.append(f"added {wanted['name']}")

    def take_out(self, name: str) -> None:
        place = self.place(name)
        if place is not None:
            self.text = yaml_text.remove(self.text, ("deployments", place))
            del self.deployments[place]
            self.changes.append(f"took out {name}")

    def means(self, found: Any) -> bool:
        """Whether a text that was edited means what it is to mean."""
        return isinstance(found, dict) and found | {"deployments": found.get("deployments") or []} == self.data

    def refusal(self) -> EvergreenError:
        """Such as where an anchor would go that others use."""
        return EvergreenError(
            f"{self.path.name}: it is written in a way that cannot be edited here without harm: nothing was changed.",
            f"Write that part in the plain form of docs/deployments.md, or do it by hand: {'; '.join(self.changes)}.",
        )


def _bring_in(manifest: _Manifest, wanted: dict[str, Any]) -> None:
    place = manifest.place(wanted["name"])
    if place is None:
        manifest.add(wanted)
    else:
        _keep_triggers(manifest, place, wanted)


def _keep_triggers(manifest: _Manifest, place: int, wanted: Mapping[str, Any]) -> None:
    """Bring a deployment's triggers in step with `retrain_on` and `cooldown`."""
    entry, path = manifest.deployments[place], ("deployments", place, "triggers")
    triggers: list[dict[str, Any]] = entry.get("triggers") or []
    asked = {one["name"]: one for one in wanted.get("triggers", [])}
    ours = {f"{wanted['name']}-on-{ground}": ground for ground in GROUNDS}
    for index, one in enumerate(triggers):
        fresh = asked.get(one.get("name", ""), {})
        for key in [key for key in _KEPT if fresh and one.get(key) != fresh[key]]:
            was = json.dumps(one[key]) if key in one else "absent"
            manifest.changes.append(f"{one['name']}: {key} was {was}, is {json.dumps(fresh[key])}")
            manifest.text = yaml_text.put(manifest.text, (*path, index, key), fresh[key])
            one[key] = fresh[key]
    for index in reversed(range(len(triggers))):
        name = triggers[index].get("name")
        if name in ours and name not in asked:
            manifest.changes.append(f"took out trigger {name}: retrain_on does not ask for {ours[name]}")
            manifest.text = yaml_text.remove(manifest.text, (*path, index))
            del triggers[index]
    if "triggers" in entry and entry["triggers"] is triggers and not triggers:
        del entry["triggers"]
    present = {one.get("name") for one in triggers}
    for fresh in [one for name, one in asked.items() if name not in present]:
        manifest.changes.append(f"added trigger {fresh['name']}")
        manifest.text = yaml_text.append(manifest.text, path, fresh)
        triggers.append(fresh)
        entry["triggers"] = triggers


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise EvergreenError(f"{path} cannot be read: {error}.", f"git checkout {path.name} brings it back.") from None
