"""Bring `prefect.yaml` to a Prefect server or Prefect Cloud, without undoing what a person did there.

What the server has afterwards is what Prefect's own `prefect deploy --all` leaves there. But that deletes and creates
again every automation that a deployment owns: one that was switched off is on again, and its cooldown starts again. So
only the entries that differ are sent, and with them what a person paused or switched off and the file leaves open.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments.connection import open_client, read_deployments, read_json_pages
from deployments.manifest.build_step import require_current_steps
from deployments.manifest.environment import of_environment
from deployments.manifest.sync import PATH
from evergreen.errors import EvergreenError
from evergreen.naming import DEPLOY_FOLDER_PREFIX, work_pool
from evergreen.settings import PROJECT

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@dataclass(frozen=True, slots=True)
class Applied:
    """What was brought to the server.

    Attributes:
        made_pool: the work pool did not exist and was created.
        deployed: what was new or different.
        unchanged: what was already as the file says, and was left alone.
        paused: schedules, and whole deployments, that a person paused: they stay paused.
        off: automations of triggers that a person switched off: they stay off.
        strangers: deployments with Evergreen's tag that the file does not have; they are left alone.
    """

    made_pool: bool
    deployed: tuple[str, ...]
    unchanged: tuple[str, ...]
    paused: tuple[str, ...]
    off: tuple[str, ...]
    strangers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


def apply(environment: str, path: Path = PATH) -> Applied:
    """Make the environment's work pool and deployments what the file says; what is already so is not touched.

    Raises:
        EvergreenError: the file has a mistake, there is no server, or Prefect refuses a deployment.
    """
    from deployments.manifest.send import is_sendable, send
    from deployments.manifest.server_state import preserve_pauses, read_states

    document = of_environment(environment, read_document(path))
    with open_client("Deployments") as client:
        made_pool = _create_pool(client, environment, document)
        tagged = read_deployments(client, environment)
        states = read_states(client, document, tagged)
        kept = [preserve_pauses(state, entry) for state, entry in zip(states, document["deployments"], strict=True)]
        changed = [(state, each) for state, each in zip(states, kept, strict=True) if not state.current]
        flow_ids: dict[str, str] = {}
        for state, each in changed:
            if is_sendable(client, state):
                send(client, state, preserve_pauses(state, state.rendered or each.entry).entry, flow_ids)
        others = [each.entry for state, each in changed if not is_sendable(client, state)]
        if others:
            _deploy(environment, document | {"deployments": others})
        strangers = _find_strangers(client, document, tagged)
    return Applied(
        made_pool=made_pool,
        deployed=tuple(str(each.entry["name"]) for _, each in changed),
        unchanged=tuple(str(each.entry["name"]) for state, each in zip(states, kept, strict=True) if state.current),
        paused=tuple(name for each in kept for name in each.paused),
        off=tuple(name for each in kept for name in each.off),
        strangers=strangers,
    )


def read_document(path: Path = PATH) -> dict[str, Any]:
    """Read the file as Prefect does.

    Raises:
        EvergreenError: it cannot be read, has no deployments, or names one twice.
    """
    import yaml

    fix = f"Fix {path}; see docs/deployments.md."
    try:
        text = path.read_bytes().decode()
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EvergreenError(f"{path.name} cannot be read: {error}.", fix) from None
    entries = document.get("deployments") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise EvergreenError(f"{path.name}: it has no deployments.", "Run: evergreen deployments sync")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise EvergreenError(f"{path.name}: deployments: entry {number} has no name.", fix)
    names = [entry["name"] for entry in entries]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise EvergreenError(f"{path.name}: deployments: {repeated[0]} is there twice.", fix)
    require_current_steps(text, path)
    # Copies, because entries share parts by YAML aliases, and a change of one entry is not one of others.
    copied: dict[str, Any] = document | {"deployments": [deepcopy(entry) for entry in entries]}
    return copied


def _create_pool(client: SyncPrefectClient, environment: str, document: Mapping[str, Any]) -> bool:
    """Create the environment's own work pool if it does not exist; returns whether it did.

    Raises:
        EvergreenError: a work pool of another name does not exist: that one is a person's to create.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    created, own = False, work_pool(environment)
    for name in sorted({(entry.get("work_pool") or {}).get("name") or own for entry in document["deployments"]}):
        if "{{" in name:
            continue
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            if name != own:
                raise EvergreenError(
                    f"prefect.yaml: there is no work pool {name!r} on the server.",
                    f"Run: prefect work-pool create {name} --type TYPE",
                ) from None
            template = ProcessWorker.get_default_base_job_template()
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
            except ObjectAlreadyExists:
                continue
            created = True
    return created


def _deploy(environment: str, document: Mapping[str, Any]) -> None:
    import yaml

    from deployments.manifest.send import refusal

    with tempfile.TemporaryDirectory(prefix=DEPLOY_FOLDER_PREFIX) as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(dict(document), sort_keys=False))
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line.strip() for line in (result.stdout + "\n" + result.stderr).splitlines() if line.strip()]
        more = "" if environment else "; prefect deploy --all shows the whole message"
        raise refusal(" ".join(lines[-3:])[:500], more)


def _find_strangers(
    client: SyncPrefectClient, document: Mapping[str, Any], tagged: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    names = {entry["name"] for entry in document["deployments"]}
    strangers = [deployment for deployment in tagged if deployment["name"] not in names]
    if not strangers:
        return ()
    wanted = sorted({each["flow_id"] for each in strangers})
    flows = {flow["id"]: flow["name"] for flow in read_json_pages(client, "flows", {"id": {"any_": wanted}})}
    return tuple(sorted(f"{flows[each['flow_id']]}/{each['name']}" for each in strangers))
