"""The deployments of `prefect.yaml` as one environment has them.

The file has the names without an environment, so that one file serves all. What an environment has otherwise, such as
other schedules, stands under `environments` at the end of it; Prefect does not look there.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from deployments.manifest.build_step import STEP
from evergreen import naming
from evergreen.errors import EvergreenError

KEY = "environments"
"""The key of prefect.yaml for what environments have otherwise: by environment, by deployment, by key."""
VARIABLE = "EVERGREEN_ENVIRONMENT"
_MATCHES = ("match", "match_related")


def of_environment(environment: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the environment's names, tags, pool and triggers, and with what it has otherwise.

    Raises:
        EvergreenError: `environments` has a mistake.
    """
    overlay = _overlay(environment, document)
    entries = [deepcopy(entry) | deepcopy(overlay.get(entry["name"], {})) for entry in document["deployments"]]
    owned = {key: value for key, value in document.items() if key != KEY} | {"deployments": entries}
    if not environment:
        return owned
    owned["deployments"] = [_named(environment, entry) for entry in entries]
    if owned.get("build"):
        owned["build"] = [_told(environment, step) for step in owned["build"]]
    return owned


def _overlay(environment: str, document: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What the environment has otherwise, by the name that a deployment has in the file; all of `KEY` is checked."""
    names = {entry["name"] for entry in document["deployments"]}
    environments = document.get(KEY) or {}
    fix = f"Write it as {KEY}: {{staging: {{NAME: {{schedules: []}}}}}}, with a NAME of deployments; or remove it."
    for each, changes in (environments if isinstance(environments, dict) else {"": None}).items():
        if not isinstance(each, str) or not naming.is_environment(each) or not isinstance(changes, dict):
            raise EvergreenError(f"prefect.yaml: {KEY}: {each!r} does not say what an environment has otherwise.", fix)
        for name, change in changes.items():
            if name not in names:
                raise EvergreenError(f"prefect.yaml: {KEY}.{each}: there is no deployment {name!r}.", fix)
            if not isinstance(change, dict) or "name" in change:
                raise EvergreenError(f"prefect.yaml: {KEY}.{each}.{name}: it changes keys, and not the name.", fix)
    found: Mapping[str, Mapping[str, Any]] = environments.get(environment, {})
    return found


def _named(environment: str, entry: dict[str, Any]) -> dict[str, Any]:
    """An entry under the environment's names; a pool, a tag and a resource that are not Evergreen's stay."""
    named = entry | {"name": naming.in_environment(environment, entry["name"])}
    own, tag = naming.tag(""), naming.tag(environment)
    named["tags"] = [tag if each == own else each for each in entry.get("tags") or []]
    pool = dict(entry.get("work_pool") or {})
    if pool.get("name", naming.work_pool("")) == naming.work_pool(""):
        pool["name"] = naming.work_pool(environment)
    job = dict(pool.get("job_variables") or {})
    # The run is of this environment, whatever the worker that takes it up was started with.
    job["env"] = dict(job.get("env") or {}) | {VARIABLE: environment}
    named["work_pool"] = pool | {"job_variables": job}
    if entry.get("triggers"):
        named["triggers"] = [_trigger(environment, each) for each in entry["triggers"]]
    return named


def _trigger(environment: str, trigger: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = _matching(environment, dict(trigger))
    return named | ({"name": naming.in_environment(environment, trigger["name"])} if trigger.get("name") else {})


def _matching(environment: str, part: Any, *, inside: bool = False) -> Any:
    """A trigger, compound ones too, that matches the environment's resources where it matched Evergreen's."""
    if isinstance(part, Mapping):
        return {key: _matching(environment, each, inside=inside or key in _MATCHES) for key, each in part.items()}
    if isinstance(part, list):
        return [_matching(environment, each, inside=inside) for each in part]
    if inside and isinstance(part, str):
        if part == naming.tag_resource(""):
            return naming.tag_resource(environment)
        if part.startswith(prefix := naming.model_resource("", "")):
            return naming.model_resource(environment, part.removeprefix(prefix))
    return part


def _told(environment: str, step: Any) -> Any:
    """Evergreen's build step, which refuses names that are not the environment's."""
    if isinstance(step, dict) and STEP in step:
        return step | {STEP: dict(step[STEP] or {}) | {"environment": environment}}
    return step
