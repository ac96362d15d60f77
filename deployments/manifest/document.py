"""`prefect.yaml` as a text and as its meaning: every edit is made to both, and at the end the two have to agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from deployments.manifest import yaml_text
from deployments.manifest.build_step import require_current_steps
from deployments.manifest.entries import DEFAULTS, ENTRYPOINTS
from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.events import TRIGGER_EVENTS

_SYNCED_KEYS = ("expect", "match", "within")
"""The keys of a trigger that follow from the model file; the others belong to whoever wrote them."""
_ORDER = (
    *("name", "description", "entrypoint", "parameters", "version", "tags", "schedules"),
    *("concurrency_limit", "triggers", "work_pool"),
)


class ManifestDocument:
    """The file while it is edited.

    Attributes:
        changes: one line for each edit.
    """

    def __init__(self, text: str, path: Path) -> None:
        self._path = path
        self.changes: list[str] = []
        require_current_steps(text, path)
        try:
            self._data = yaml_text.load(text)
            self._written = yaml_text.YamlText(text)
        except ValueError as error:
            raise self._error(f"{error}.") from None
        if not isinstance(self._data, dict):
            raise self._error("it is not a mapping with a key `deployments`.")
        self._data["deployments"] = self._data.get("deployments") or []
        if not isinstance(self._data["deployments"], list):
            raise self._error("deployments: it is not a list.")
        # Copies, because entries share parts by YAML aliases, and an edit of one entry is not one of others.
        self._entries: list[Any] = [deepcopy(entry) for entry in self._data["deployments"]]
        self._data["deployments"] = self._entries
        self._shared: dict[str, Any] = {}
        for number, entry in enumerate(self._entries, start=1):
            triggers = entry.get("triggers") or [] if isinstance(entry, dict) else None
            if not isinstance(triggers, list) or not all(isinstance(trigger, dict) for trigger in triggers):
                raise self._error(f"deployments: entry {number} is not a deployment.")

    def find_orphans(self, models: set[str]) -> tuple[str, ...]:
        """The names of Evergreen's deployments whose model is none of these."""
        orphans = []
        for entry in self._entries:
            model = (entry.get("parameters") or {}).get("model")
            if entry.get("entrypoint") in ENTRYPOINTS and isinstance(model, str) and model not in models:
                orphans.append(str(entry.get("name")))
        return tuple(orphans)

    def bring_in(self, entry: dict[str, Any]) -> None:
        """Add an entry, or update the triggers of the one that has its name."""
        index = self._index(entry["name"])
        if index is None:
            self._add(entry)
        else:
            self._update_triggers(index, entry)

    def remove(self, name: str) -> None:
        """Remove an entry by its name."""
        index = self._index(name)
        if index is not None:
            self._written.remove(("deployments", index))
            del self._entries[index]
            self.changes.append(f"removed {name}")

    def require_agreement(self) -> str:
        """Check that the edited text means what the edits say, and return it, with line feeds alone as line breaks.

        Raises:
            EvergreenError: it does not, for instance where an edit would remove an anchor that other entries use.
        """
        try:
            text = self._written.text
            data = yaml_text.load(text)
        except ValueError:
            data = None
        if not isinstance(data, dict) or data | {"deployments": data.get("deployments") or []} != self._data:
            raise self.refusal()
        return text

    def refusal(self) -> EvergreenError:
        """The error for a file that cannot be edited without changing the meaning of something else."""
        return EvergreenError(
            f"{self._path.name}: it is written in a way that cannot be edited safely: nothing was changed.",
            f"Write that part in the plain form of docs/deployments.md, or edit it by hand: {'; '.join(self.changes)}.",
        )

    def _error(self, what: str) -> EvergreenError:
        fix = f"Fix {self._path}; `git diff` shows what changed, docs/deployments.md has an example."
        return EvergreenError(f"{self._path.name}: {what}", fix)

    def _index(self, name: str) -> int | None:
        return next((index for index, entry in enumerate(self._entries) if entry.get("name") == name), None)

    def _add(self, entry: dict[str, Any]) -> None:
        """Append an entry that shares version, limit and work pool with the file's others, by alias if possible."""
        siblings = [index for index, other in enumerate(self._entries) if other.get("entrypoint") in ENTRYPOINTS]
        meaning = entry | deepcopy(DEFAULTS)
        written = dict(meaning)
        for key in ("version", *DEFAULTS):
            having = [index for index in siblings if key in self._entries[index]]
            if having:
                meaning[key] = deepcopy(self._entries[having[-1]][key])
                written[key] = self._share(key, having[-1]) or meaning[key]
        order = [key for key in _ORDER if key in meaning]
        self._written.append(("deployments",), {key: written[key] for key in order}, apart=True)
        self._entries.append(meaning)
        self.changes.append(f"added {entry['name']}")

    def _share(self, key: str, index: int) -> Any:
        """The alias for a key of an entry; what is added later shares with what was added just before."""
        if key not in self._shared:
            self._shared[key] = self._written.shared(("deployments", index, key))
        return self._shared[key]

    def _update_triggers(self, index: int, entry: Mapping[str, Any]) -> None:
        """Make the triggers of an entry those that the model file asks for."""
        stored = self._entries[index]
        triggers: list[dict[str, Any]] = stored.get("triggers") or []
        expected = {trigger["name"]: trigger for trigger in entry.get("triggers", [])}
        path = ("deployments", index, "triggers")
        self._update_trigger_keys(path, triggers, expected)
        self._remove_triggers(path, triggers, expected, entry)
        if "triggers" in stored and stored["triggers"] is triggers and not triggers:
            del stored["triggers"]
        present = {trigger.get("name") for trigger in triggers}
        for trigger in [trigger for name, trigger in expected.items() if name not in present]:
            self.changes.append(f"added trigger {trigger['name']}")
            self._written.append(path, trigger)
            triggers.append(trigger)
            stored["triggers"] = triggers

    def _update_trigger_keys(
        self, path: yaml_text.Path, triggers: list[dict[str, Any]], expected: Mapping[str, Mapping[str, Any]]
    ) -> None:
        for index, trigger in enumerate(triggers):
            new = expected.get(trigger.get("name", ""), {})
            for key in [key for key in _SYNCED_KEYS if new and trigger.get(key) != new[key]]:
                before = json.dumps(trigger[key]) if key in trigger else "absent"
                self.changes.append(f"{trigger['name']}: {key} was {before}, is {json.dumps(new[key])}")
                self._written.put((*path, index, key), new[key])
                trigger[key] = new[key]

    def _remove_triggers(
        self,
        path: yaml_text.Path,
        triggers: list[dict[str, Any]],
        expected: Mapping[str, Mapping[str, Any]],
        entry: Mapping[str, Any],
    ) -> None:
        """Remove triggers of Evergreen's own names that the model file does not ask for."""
        flow, model = entry["entrypoint"].rpartition(".")[2], entry["parameters"]["model"]
        own = {naming.trigger("", flow, model, name): name for name in TRIGGER_EVENTS}
        for index in reversed(range(len(triggers))):
            name = triggers[index].get("name")
            if name in own and name not in expected:
                self.changes.append(f"removed trigger {name}: the model file does not name {own[name]}")
                self._written.remove((*path, index))
                del triggers[index]
