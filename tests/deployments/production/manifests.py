"""Reads the manifests, and says what is wrong with them: each check returns a line for each fault that it finds.

The checks need no tool. They take the documents as they are in `base`, or as `kubectl kustomize` renders an overlay.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from evergreen.settings import Settings

PROJECT = Path(__file__).resolve().parents[3]
KUBERNETES = PROJECT / "deployments" / "production" / "kubernetes"
BASE = KUBERNETES / "base"
POOL, DOCKER_POOL = BASE / "pool.json", PROJECT / "deployments" / "production" / "docker" / "pool.json"
OVERLAYS = {name: KUBERNETES / "overlays" / name for name in ("dev", "staging", "prod")}
PAGE = PROJECT / "docs" / "kubernetes.md"
COMPONENT = "app.kubernetes.io/component"
Document = dict[str, Any]
_OURS, _POOL = "registry.example.org/evergreen", "work-pool"
_EXCUSED = re.compile(r"(CKV_K8S_\d+)=\S.{15,}")
"""A check of checkov's that does not count for a resource, and the reason."""
_PROBES = {"livenessProbe": "CKV_K8S_8", "readinessProbe": "CKV_K8S_9"}
_SECRET_WORDS = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|_KEY\b|_KEYS\b|_KEY_ID\b")


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


def listed_secrets(page: str) -> set[tuple[str, str]]:
    """The secrets and their keys that the page's table has."""
    return set(re.findall(r"^\| `([a-z-]+)` \| `([a-z_.-]+)` \|", page, flags=re.MULTILINE))


def made_secrets(page: str) -> set[tuple[str, str]]:
    """The secrets and their keys that the page's commands make."""
    found = set()
    for name, words in re.findall(r"kubectl create secret generic ([a-z-]+)((?:.|\\\n)*?)(?<!\\)\n", page):
        found |= {(name, key) for key in re.findall(r"--from-(?:literal|file)=([a-z_.-]+)", words)}
    for name in re.findall(r"kubectl create secret tls ([a-z-]+)", page):
        found |= {(name, "tls.crt"), (name, "tls.key")}
    return found


def named_secrets(documents: Sequence[Document]) -> set[tuple[str, str]]:
    """The secrets and keys that something refers to."""
    found: set[tuple[str, str]] = set()
    for key, value in strings_in(list(documents)):
        if key == "secretKeyRef":
            found.add((value["name"], value["key"]))
        if key == "secretRef":
            found.add((value["name"], "*"))
        if key == "secret" and isinstance(value, Mapping):
            found |= {(value["secretName"], each["key"]) for each in value.get("items", [{"key": "*"}])}
        if key == "tls":
            found |= {(each["secretName"], part) for each in value for part in ("tls.crt", "tls.key")}
    return found


def reference_faults(documents: Sequence[Document], page: str) -> list[str]:
    """What is referred to and is not there, and what is listed and nobody asks for."""
    named, listed = named_secrets(documents), listed_secrets(page)
    faults = [f"secret {name}/{key} is not in the table" for name, key in sorted(named - listed)]
    faults += [f"secret {name}/{key} is listed and not used" for name, key in sorted(listed - named)]
    faults += [f"secret {name}/{key} is listed and not made" for name, key in sorted(listed ^ made_secrets(page))]
    faults += [f"{name_of(each)} is a Secret" for each in of_kind(documents, "Secret")]
    maps = {name_of(each): set(each["data"]) for each in of_kind(documents, "ConfigMap")}
    accounts = {name_of(each) for each in of_kind(documents, "ServiceAccount")}
    for key, value in strings_in(list(documents)):
        if key in ("configMapRef", "configMapKeyRef", "configMap") and value["name"] not in maps:
            faults.append(f"there is no ConfigMap {value['name']}")
        if key == "configMapKeyRef" and value["key"] not in maps.get(value["name"], ()):
            faults.append(f"ConfigMap {value['name']} has no {value['key']}")
        if key == "serviceAccountName" and value not in accounts:
            faults.append(f"there is no ServiceAccount {value}")
        if isinstance(value, str) and re.search(r"://[^/\s@{]*:[^/\s@{]+@", value):
            faults.append(f"{key} holds a password")
        if key == "env" and isinstance(value, list):
            faults += [
                f"{each['name']} is written out"
                for each in value
                if _SECRET_WORDS.search(each["name"]) and "value" in each and "_STRING_SECRET_" not in each["name"]
            ]
        if key == "data":
            faults += [f"{each} is in a ConfigMap" for each in value if _SECRET_WORDS.search(each)]
    return faults


def variables_of(documents: Sequence[Document]) -> set[str]:
    """The names of all environment variables."""
    found = {name for each in of_kind(documents, "ConfigMap") for name in each["data"]}
    for each in workloads(documents):
        found |= {variable["name"] for container in containers_of(each) for variable in container.get("env", ())}
    return found


def setting_faults(names: set[str]) -> list[str]:
    """The EVERGREEN_ variables that are no setting."""
    known = {f"EVERGREEN_{name.upper()}" for name in Settings.model_fields}
    return [f"{name} is no setting" for name in sorted(names) if name.startswith("EVERGREEN_") and name not in known]


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if "matchLabels" not in selector and "matchExpressions" not in selector and selector:
        selector = {"matchLabels": selector}
    operators = {"In": lambda label, values: label in values, "NotIn": lambda label, values: label not in values}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        operators[each["operator"]](labels.get(each["key"]), each["values"])
        for each in selector.get("matchExpressions", ())
    )


def _pods(documents: Sequence[Document]) -> list[tuple[Mapping[str, str], Document]]:
    return [(pod_of(each)["metadata"]["labels"], each) for each in workloads(documents)]


def _ports(document: Document) -> dict[str | int, int]:
    """The ports of a workload by name and by number."""
    ports = [port for each in containers_of(document) for port in each.get("ports", ())]
    return {each["name"]: each["containerPort"] for each in ports} | {
        each["containerPort"]: each["containerPort"] for each in ports
    }


def target_faults(documents: Sequence[Document]) -> list[str]:
    """Who points at something that is not there: Services, ingresses, policies, budgets, autoscalers, probes, roles."""
    faults, pods = [], _pods(documents)
    services = {name_of(each): each["spec"]["ports"] for each in of_kind(documents, "Service")}
    for each in of_kind(documents, "Service"):
        chosen = [one for labels, one in pods if _selects(each["spec"]["selector"], labels)]
        faults += [] if len(chosen) == 1 else [f"Service {name_of(each)} selects {len(chosen)} workloads"]
        for port in each["spec"]["ports"]:
            faults += [
                f"Service {name_of(each)}: {name_of(one)} has no port {port['targetPort']}"
                for one in chosen
                if port["targetPort"] not in _ports(one)
            ]
    for each in of_kind(documents, "Ingress"):
        hosts = {rule["host"] for rule in each["spec"]["rules"]}
        if hosts != {host for one in each["spec"]["tls"] for host in one["hosts"]}:
            faults.append(f"Ingress {name_of(each)}: a host has no certificate")
        for path in [path for rule in each["spec"]["rules"] for path in rule["http"]["paths"]]:
            backend = path["backend"]["service"]
            if backend["port"]["name"] not in {one["name"] for one in services.get(backend["name"], ())}:
                faults.append(f"Ingress {name_of(each)}: there is no {backend['name']} {backend['port']['name']}")
    for each in of_kind(documents, "NetworkPolicy"):
        peers = [
            peer["podSelector"]
            for way, side in (("ingress", "from"), ("egress", "to"))
            for rule in each["spec"].get(way, ())
            for peer in rule.get(side, ())
            if "podSelector" in peer and "namespaceSelector" not in peer
        ]
        for selector in (each["spec"]["podSelector"], *peers):
            values = [one for found in selector.get("matchExpressions", ()) for one in found["values"]]
            for part in [{"matchLabels": {COMPONENT: one}} for one in values] or [selector]:
                if not any(_selects(part, labels) for labels, _ in pods):
                    faults.append(f"NetworkPolicy {name_of(each)} selects nothing: {part}")
    for each in of_kind(documents, "PodDisruptionBudget"):
        if not any(_selects(each["spec"]["selector"], labels) for labels, _ in pods):
            faults.append(f"PodDisruptionBudget {name_of(each)} selects nothing")
    deployments = {name_of(each) for each in of_kind(documents, "Deployment")}
    for each in of_kind(documents, "HorizontalPodAutoscaler"):
        if each["spec"]["scaleTargetRef"]["name"] not in deployments:
            faults.append(f"HorizontalPodAutoscaler {name_of(each)} scales nothing")
    for each in of_kind(documents, "Deployment"):
        if not _selects(each["spec"]["selector"], pod_of(each)["metadata"]["labels"]):
            faults.append(f"Deployment {name_of(each)} does not select its own pods")
    faults += [
        f"{name_of(one)}: {kind} asks port {probe[way]['port']}"
        for one in workloads(documents)
        for container in containers_of(one)
        for kind, probe in container.items()
        if kind.endswith("Probe")
        for way in ("httpGet", "tcpSocket")
        if way in probe and probe[way]["port"] not in {port["name"] for port in container.get("ports", ())}
    ]
    return faults + _binding_faults(documents)


def _binding_faults(documents: Sequence[Document]) -> list[str]:
    """A binding whose role or account is not there, or is another namespace's."""
    known = {(each["kind"], name_of(each)): each["metadata"].get("namespace") for each in documents}
    faults = []
    for each in of_kind(documents, "RoleBinding"):
        role, own = ("Role", each["roleRef"]["name"]), each["metadata"].get("namespace", "evergreen")
        faults += [] if role in known else [f"RoleBinding {name_of(each)}: there is no {role[1]}"]
        for subject in each["subjects"]:
            if (subject["kind"], subject["name"]) not in known or subject["namespace"] != own:
                faults.append(f"RoleBinding {name_of(each)}: {subject['name']} of {subject['namespace']} is nobody")
    return faults


def container_faults(documents: Sequence[Document]) -> list[str]:
    """A pod that may more than it needs, has no limit, is not probed, or cannot write where it has to."""
    faults = []
    for each in workloads(documents):
        metadata, spec = each["metadata"], pod_of(each)["spec"]
        excused = {found[1] for text in metadata.get("annotations", {}).values() if (found := _EXCUSED.fullmatch(text))}
        wanted = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
        context = spec.get("securityContext", {})
        what = [f"{key} is not {value}" for key, value in wanted.items() if context.get(key) != value]
        what += ["it has the variables of Services"] if spec.get("enableServiceLinks") is not False else []
        token = "CKV_K8S_38" in excused
        what += [] if spec.get("automountServiceAccountToken") is token else ["it has a token of the cluster"]
        what += [f"{key} is on" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
        sizes = {one["name"]: one["emptyDir"].get("sizeLimit") for one in spec.get("volumes", ()) if "emptyDir" in one}
        what += [f"{name} has no limit" for name, limit in sizes.items() if not limit]
        what += ["it mounts the host"] if any("hostPath" in one for one in spec.get("volumes", ())) else []
        for container in containers_of(each):
            named = container["name"]
            what += [
                f"{named}: {fault}" for fault in _container_faults(container, {one["name"] for one in spec["volumes"]})
            ]
            if each["kind"] == "Deployment":
                what += [
                    f"{named}: no {probe}"
                    for probe, check in _PROBES.items()
                    if probe not in container and check not in excused
                ]
        faults += [f"{each['kind']} {name_of(each)}: {fault}" for fault in what]
    return faults


def _container_faults(container: Document, volumes: set[str]) -> Iterator[str]:
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its file system can be written to"
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "it may become root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "it has capabilities"
    for kind in ("requests", "limits"):
        for what in ("cpu", "memory"):
            if not resources.get(kind, {}).get(what):
                yield f"no {kind} of {what}"
    mounts = {each["mountPath"]: each["name"] for each in container.get("volumeMounts", ())}
    if "/tmp" not in mounts:  # noqa: S108 - of the container
        yield "it cannot write to /tmp"
    if _OURS in container["image"] and "/state" not in mounts:
        yield "it cannot write to /state"
    yield from (f"there is no volume {name}" for name in mounts.values() if name not in volumes)
    if container["image"].endswith(":latest"):
        yield "its image is whatever is newest"


def _asked_addresses(document: Document, documents: Sequence[Document]) -> set[tuple[str, int]]:
    """The Services, with the port, that the variables of a workload name by `http://NAME:PORT`."""
    maps = {name_of(each): each["data"] for each in of_kind(documents, "ConfigMap")}
    values = []
    for container in containers_of(document):
        values += [each.get("value", "") for each in container.get("env", ())]
        for source in container.get("envFrom", ()):
            values += maps.get(source["configMapRef"]["name"], {}).values() if "configMapRef" in source else ()
    found = [re.match(r"http://([a-z-]+):(\d+)", str(value)) for value in values]
    return {(each[1], int(each[2])) for each in found if each}


def traffic_faults(documents: Sequence[Document]) -> list[str]:
    """What a workload is told to ask and the policies do not let it, and what an ingress may not reach."""
    pods, faults = _pods(documents), []
    services = {name_of(each): each for each in of_kind(documents, "Service")}
    for labels, each in pods:
        for service, port in sorted(_asked_addresses(each, documents)):
            if service not in services:
                faults.append(f"{name_of(each)} asks {service}, which is not there")
                continue
            target, aims = _target(services[service], port, pods)
            if not target:
                faults.append(f"{service} has nobody at port {port}")
            if not _allowed(documents, labels, "egress", "to", aims, target):
                faults.append(f"{name_of(each)} may not ask {service}")
            if not _allowed(documents, aims, "ingress", "from", labels, target):
                faults.append(f"{service} may not be asked by {name_of(each)}")
    for each in of_kind(documents, "Ingress"):
        backend = each["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        service = services.get(backend["name"])
        ports = (
            [one["port"] for one in service["spec"]["ports"] if one["name"] == backend["port"]["name"]]
            if service
            else []
        )
        if service and ports:
            target, aims = _target(service, ports[0], pods)
            if not _allowed(documents, aims, "ingress", "from", None, target):
                faults.append(f"{backend['name']} may not be asked by the ingress controller")
    return faults


def _target(service: Document, port: int, pods: Sequence[Any]) -> tuple[int, Mapping[str, str]]:
    """The port of the container behind a Service's port, and the labels of its pods."""
    chosen = [one for one in pods if _selects(service["spec"]["selector"], one[0])]
    if not chosen:
        return 0, {}
    labels, document = chosen[0]
    named = next((one["targetPort"] for one in service["spec"]["ports"] if one["port"] == port), 0)
    return _ports(document).get(named, 0), labels


def _allowed(
    documents: Sequence[Document],
    own: Mapping[str, str],
    way: str,
    side: str,
    other: Mapping[str, str] | None,
    port: int,
) -> bool:
    """Whether a policy on pods allows a way to or from others; None for the namespace of the ingress controller."""
    for each in of_kind(documents, "NetworkPolicy"):
        if not _selects(each["spec"]["podSelector"], own):
            continue
        for rule in each["spec"].get(way, ()):
            if port not in {one.get("port") for one in rule.get("ports", ())}:
                continue
            for peer in rule.get(side, [{}]):
                inside = "namespaceSelector" not in peer
                namespace = {"kubernetes.io/metadata.name": "ingress-nginx"}
                if (other is None and not inside and _selects(peer["namespaceSelector"], namespace)) or (
                    other is not None and inside and _selects(peer.get("podSelector", {}), other)
                ):
                    return True
    return False


def commands_of(documents: Sequence[Document]) -> set[tuple[str, ...]]:
    """The words that each container of Evergreen's or Prefect's image is started by."""
    found = set()
    for each in workloads(documents):
        for container in containers_of(each):
            words = (
                [*container.get("command", ()), *container.get("args", ())]
                if isinstance(container.get("args"), list)
                else []
            )
            if words:
                found.add(tuple(words))
    return found
