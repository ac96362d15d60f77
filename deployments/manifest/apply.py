"""`prefect.yaml` brought to a Prefect server or Prefect Cloud, without undoing what a person did there.

Prefect's own `prefect deploy --all` does the work. It deletes and makes anew every automation that a deployment owns:
one that was switched off is on again, and a cooldown starts from nothing. So only what differs from the server is
handed to it, and with it what is paused or switched off there and not ruled by the file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments.manifest.sync import PATH
from deployments.manifest.work_pool import POOL
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@dataclass(frozen=True, slots=True)
class Applied:
    """What was brought to the server.

    Attributes:
        made_pool: the work pool was not there.
        deployed: what was new or different.
        unchanged: what stood there as the file says, and was left alone.
        paused: schedules, and whole deployments, that a person paused: they stay so.
        off: automations of triggers that a person switched off: they stay so.
        strangers: deployments on the server with the tag `evergreen` that the file does not have; they go on.
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


def apply(path: Path = PATH) -> Applied:
    """Make the server's work pool and deployments what the file says; what stands there already is not touched.

    Raises:
        EvergreenError: the file is at fault, there is no server, or Prefect refuses a deployment.
    """
    from deployments.manifest.server_state import stands, switched_off

    document = _document(path)
    with _server() as client:
        made_pool = _make_pools(client, document)
        fresh: list[dict[str, Any]] = []
        unchanged: list[str] = []
        paused: list[str] = []
        off: list[str] = []
        for entry in document["deployments"]:
            found = stands(client, document, entry)
            kept = switched_off(client, found.deployment, entry)
            paused += kept.paused
            off += kept.off
            if found.same:
                unchanged.append(entry["name"])
            else:
                fresh.append(kept.entry)
        if fresh:
            _deploy(document | {"deployments": fresh})
        strangers = _strangers(client, document)
    deployed = tuple(str(entry["name"]) for entry in fresh)
    return Applied(made_pool, deployed, tuple(unchanged), tuple(paused), tuple(off), strangers)


def _document(path: Path) -> dict[str, Any]:
    """The file as Prefect reads it."""
    import yaml

    fix = f"Mend {path}; see docs/deployments.md."
    try:
        document = yaml.safe_load(path.read_bytes())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EvergreenError(f"{path.name} cannot be read: {error}.", fix) from None
    entries = document.get("deployments") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise EvergreenError(f"{path.name}: it has no deployments.", "Run: evergreen deployments sync")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise EvergreenError(f"{path.name}: deployments: the one at place {number} has no name.", fix)
    names = [entry["name"] for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EvergreenError(f"{path.name}: deployments: {twice[0]} is there twice.", fix)
    # Without the aliases of the file: what is done to one entry is not done to others.
    copied: dict[str, Any] = document | {"deployments": [deepcopy(entry) for entry in entries]}
    return copied


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        raise EvergreenError(
            "Deployments live on a Prefect server, and none is set.", "Run: evergreen up, or set PREFECT_API_URL."
        )
    try:
        with get_client(sync_client=True) as client:
            client.hello()
            yield client
    except httpx.TransportError as error:
        raise EvergreenError(
            f"The Prefect server at {url} does not answer ({type(error).__name__}).",
            "Start it: evergreen up; or set PREFECT_API_URL.",
        ) from None
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        if code not in (401, 403):
            raise
        raise EvergreenError(
            f"The Prefect server at {url} does not let us in ({code}).",
            "Set PREFECT_API_KEY or PREFECT_API_AUTH_STRING.",
        ) from None


def _make_pools(client: SyncPrefectClient, document: Mapping[str, Any]) -> bool:
    """Make Evergreen's own work pool where it is not there; a pool of another name is a person's to make."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    made = False
    for name in sorted({(entry.get("work_pool") or {}).get("name") or POOL for entry in document["deployments"]}):
        if "{{" in name:
            continue
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            if name != POOL:
                raise EvergreenError(
                    f"prefect.yaml: there is no work pool {name!r} on the server.",
                    f"Run: prefect work-pool create {name} --type TYPE",
                ) from None
            template = ProcessWorker.get_default_base_job_template()
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
            except ObjectAlreadyExists:
                continue
            made = True
    return made


def _deploy(document: Mapping[str, Any]) -> None:
    import yaml

    with tempfile.TemporaryDirectory(prefix="evergreen-deploy-") as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(dict(document), sort_keys=False))
        words = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        raise EvergreenError(
            f"Prefect refused a deployment: {' '.join(lines[-3:])[:500]}",
            "Mend prefect.yaml; `prefect deploy --all` tells more.",
        )


def _strangers(client: SyncPrefectClient, document: Mapping[str, Any]) -> tuple[str, ...]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["evergreen"]))
    known = {entry["name"] for entry in document["deployments"]}
    found = [one for one in client.read_deployments(deployment_filter=ours) if one.name not in known]
    return tuple(sorted(f"{client.read_flow(one.flow_id).name}/{one.name}" for one in found))
