"""Reads the manifests: as they are in `base`, and as `kubectl kustomize` renders an overlay."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[3]
KUBERNETES = PROJECT / "deployments" / "production" / "kubernetes"
BASE = KUBERNETES / "base"
POOL, DOCKER_POOL = BASE / "pool.json", PROJECT / "deployments" / "production" / "docker" / "pool.json"
OVERLAYS = {name: KUBERNETES / "overlays" / name for name in ("dev", "staging", "prod")}
PAGE = PROJECT / "docs" / "kubernetes.md"
COMPONENT = "app.kubernetes.io/component"
Document = dict[str, Any]
PREFECTS_KEYS = ("parallelism", "completions")
"""Prefect wants these in the pod of a Job, where Kubernetes does not know and drops them."""


def read_base() -> list[Document]:
    """What `base` has, with the ConfigMap that kustomize makes of the pool's file."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    files = [name for each in listed["configMapGenerator"] for name in each["files"]]
    made = {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": listed["configMapGenerator"][0]["name"]},
        "data": {name: (BASE / name).read_text() for name in files},
    }  # fmt: skip
    texts = [(BASE / name).read_text() for name in listed["resources"]]
    return [made, *(each for text in texts for each in yaml.safe_load_all(text))]


def find_kubectl() -> str | None:
    """The program that renders an overlay."""
    return shutil.which("kubectl")


def render(folder: Path) -> list[Document]:
    """An overlay as the cluster gets it."""
    done = subprocess.run([str(find_kubectl()), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(documents: Sequence[Document], *kinds: str) -> list[Document]:
    return [each for each in documents if each["kind"] in kinds]


def name_of(document: Document) -> str:
    return str(document["metadata"]["name"])


def job_of_run(pool: Path = POOL) -> Document:
    """The Job of a run as the pool has it, with the pod's frame that a manifest of Kubernetes has."""
    template = json.loads(pool.read_text())
    job: Document = template["job_configuration"]["job_manifest"]
    defaults = {name: each.get("default") for name, each in template["variables"]["properties"].items()}
    job["metadata"] = {"name": "run"}
    for each in containers_of(job):
        each["resources"] = {
            what: {key: defaults[value.strip("{ }")] for key, value in named.items()}
            for what, named in each["resources"].items()
        }
    return job


def with_run(documents: Sequence[Document]) -> list[Document]:
    """The documents, and the Job that the worker makes of a run, to which it hands its own Prefect server on."""
    job, worker = job_of_run(), next(each for each in of_kind(documents, "Deployment") if name_of(each) == "worker")
    handed = [each for each in containers_of(worker)[0]["env"] if each["name"].startswith("PREFECT_API_")]
    containers_of(job)[0]["env"] += handed
    return [*documents, job]


def pod_of(document: Document) -> Document:
    """The template of a workload's pods."""
    template: Document = document["spec"]["template"]
    return template


def workloads(documents: Sequence[Document]) -> list[Document]:
    return of_kind(documents, "Deployment", "Job")


def containers_of(document: Document) -> list[Document]:
    spec = pod_of(document)["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def strings_in(part: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at whatever depth."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            yield str(key), value
            yield from strings_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from strings_in(value)


def variables_of(documents: Sequence[Document]) -> set[str]:
    """The names of all environment variables."""
    found = {name for each in of_kind(documents, "ConfigMap") for name in each["data"]}
    for each in workloads(documents):
        found |= {variable["name"] for container in containers_of(each) for variable in container.get("env", ())}
    return found


def commands_of(documents: Sequence[Document]) -> set[tuple[str, ...]]:
    """The words that each container is started by; those of a run are the deployment's."""
    found = set()
    for container in [one for each in workloads(documents) for one in containers_of(each)]:
        words = [*container.get("command", ()), *container["args"]] if isinstance(container.get("args"), list) else []
        found |= {tuple(words)} if words else set()
        found |= {tuple(container["command"])} if "args" not in container else set()
    return found
