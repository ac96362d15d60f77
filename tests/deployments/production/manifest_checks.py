"""Says what is wrong with the manifests, without a tool: each check returns a line for each fault that it finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evergreen.settings import Settings
from tests.deployments.production.manifests import (
    COMPONENT,
    Document,
    containers_of,
    name_of,
    of_kind,
    pod_of,
    strings_in,
    variables_of,
    workloads,
)

_OURS = "registry.example.org/evergreen"
_EXCUSED = re.compile(r"(CKV_K8S_\d+)=\S.{15,}")
"""A check of checkov's that does not count for a resource, and the reason."""
_PROBES = {"livenessProbe": "CKV_K8S_8", "readinessProbe": "CKV_K8S_9"}
_SECRET_WORDS = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|_KEY\b|_KEYS\b|_KEY_ID\b")


def find_faults(documents: Sequence[Document], page: str) -> list[str]:
    """All of them; `page` is the documentation, whose table lists the secrets."""
    return [
        *secret_faults(documents, page),
        *reference_faults(documents),
        *setting_faults(variables_of(documents)),
        *target_faults(documents),
        *container_faults(documents),
        *traffic_faults(documents),
    ]


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


def secret_faults(documents: Sequence[Document], page: str) -> list[str]:
    """Secrets that nobody makes, that nobody asks for, and those that are written out."""
    named, listed = named_secrets(documents), listed_secrets(page)
    faults = [f"secret {name}/{key} is not in the table" for name, key in sorted(named - listed)]
    faults += [f"secret {name}/{key} is listed and not used" for name, key in sorted(listed - named)]
    faults += [f"secret {name}/{key} is listed and not made" for name, key in sorted(listed ^ made_secrets(page))]
    faults += [f"{name_of(each)} is a Secret" for each in of_kind(documents, "Secret")]
    for key, value in strings_in(list(documents)):
        if isinstance(value, str) and re.search(r"://[^/\s@{]*:[^/\s@{]+@", value):
            faults.append(f"{key} holds a password")
        if key == "env" and isinstance(value, list):
            written = [each["name"] for each in value if "value" in each and "_STRING_SECRET_" not in each["name"]]
            faults += [f"{each} is written out" for each in written if _SECRET_WORDS.search(each)]
        if key == "data":
            faults += [f"{each} is in a ConfigMap" for each in value if _SECRET_WORDS.search(each)]
    return faults


def reference_faults(documents: Sequence[Document]) -> list[str]:
    """ConfigMaps and accounts that are named and not there."""
    maps = {name_of(each): set(each["data"]) for each in of_kind(documents, "ConfigMap")}
    accounts = {name_of(each) for each in of_kind(documents, "ServiceAccount")}
    faults = []
    for key, value in strings_in(list(documents)):
        if key in ("configMapRef", "configMapKeyRef", "configMap") and value["name"] not in maps:
            faults.append(f"there is no ConfigMap {value['name']}")
        if key == "configMapKeyRef" and value["key"] not in maps.get(value["name"], ()):
            faults.append(f"ConfigMap {value['name']} has no {value['key']}")
        if key == "serviceAccountName" and value not in accounts:
            faults.append(f"there is no ServiceAccount {value}")
    return faults


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
    """Who points at something that is not there."""
    return [
        *_service_faults(documents),
        *_ingress_faults(documents),
        *_policy_faults(documents),
        *_deployment_faults(documents),
        *_probe_faults(documents),
        *_binding_faults(documents),
    ]


def _service_faults(documents: Sequence[Document]) -> Iterator[str]:
    for each in of_kind(documents, "Service"):
        chosen = [one for labels, one in _pods(documents) if _selects(each["spec"]["selector"], labels)]
        if len(chosen) != 1:
            yield f"Service {name_of(each)} selects {len(chosen)} workloads"
        for port, one in [(port, one) for port in each["spec"]["ports"] for one in chosen]:
            if port["targetPort"] not in _ports(one):
                yield f"Service {name_of(each)}: {name_of(one)} has no port {port['targetPort']}"


def _ingress_faults(documents: Sequence[Document]) -> Iterator[str]:
    services = {name_of(each): each["spec"]["ports"] for each in of_kind(documents, "Service")}
    for each in of_kind(documents, "Ingress"):
        hosts = {rule["host"] for rule in each["spec"]["rules"]}
        if hosts != {host for one in each["spec"]["tls"] for host in one["hosts"]}:
            yield f"Ingress {name_of(each)}: a host has no certificate"
        for path in [path for rule in each["spec"]["rules"] for path in rule["http"]["paths"]]:
            backend = path["backend"]["service"]
            if backend["port"]["name"] not in {one["name"] for one in services.get(backend["name"], ())}:
                yield f"Ingress {name_of(each)}: there is no {backend['name']} {backend['port']['name']}"


def _policy_faults(documents: Sequence[Document]) -> Iterator[str]:
    """A policy on nothing, or one that names pods of the own namespace which are not there."""
    pods = _pods(documents)
    for each in of_kind(documents, "NetworkPolicy"):
        ways = (("ingress", "from"), ("egress", "to"))
        peers = [one for way, side in ways for rule in each["spec"].get(way, ()) for one in rule.get(side, ())]
        own = [one["podSelector"] for one in peers if "podSelector" in one and "namespaceSelector" not in one]
        for selector in (each["spec"]["podSelector"], *own):
            values = [one for found in selector.get("matchExpressions", ()) for one in found["values"]]
            for part in [{"matchLabels": {COMPONENT: one}} for one in values] or [selector]:
                if not any(_selects(part, labels) for labels, _ in pods):
                    yield f"NetworkPolicy {name_of(each)} selects nothing: {part}"


def _deployment_faults(documents: Sequence[Document]) -> Iterator[str]:
    deployments = {name_of(each): each for each in of_kind(documents, "Deployment")}
    for name, each in deployments.items():
        if not _selects(each["spec"]["selector"], pod_of(each)["metadata"]["labels"]):
            yield f"Deployment {name} does not select its own pods"
    for each in of_kind(documents, "PodDisruptionBudget"):
        if not any(_selects(each["spec"]["selector"], labels) for labels, _ in _pods(documents)):
            yield f"PodDisruptionBudget {name_of(each)} selects nothing"
    for each in of_kind(documents, "HorizontalPodAutoscaler"):
        if each["spec"]["scaleTargetRef"]["name"] not in deployments:
            yield f"HorizontalPodAutoscaler {name_of(each)} scales nothing"


def _probe_faults(documents: Sequence[Document]) -> Iterator[str]:
    for each, container in [(one, container) for one in workloads(documents) for container in containers_of(one)]:
        ports = {port["name"] for port in container.get("ports", ())}
        for probe in [value for key, value in container.items() if key.endswith("Probe")]:
            asked = probe.get("httpGet") or probe.get("tcpSocket")
            if asked and asked["port"] not in ports:
                yield f"{name_of(each)}: a probe asks port {asked['port']}"


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
        texts = each["metadata"].get("annotations", {}).values()
        excused = {found[1] for text in texts if (found := _EXCUSED.fullmatch(text))}
        what = [*_pod_faults(pod_of(each)["spec"], token="CKV_K8S_38" in excused)]
        volumes = {one["name"] for one in pod_of(each)["spec"]["volumes"]}
        probes = [probe for probe, check in _PROBES.items() if each["kind"] == "Deployment" and check not in excused]
        for container in containers_of(each):
            told = [*_container_faults(container, volumes), *(f"no {one}" for one in probes if one not in container)]
            what += [f"{container['name']}: {fault}" for fault in told]
        faults += [f"{each['kind']} {name_of(each)}: {fault}" for fault in what]
    return faults


def _pod_faults(spec: Document, *, token: bool) -> Iterator[str]:
    wanted = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    context = spec.get("securityContext", {})
    yield from (f"{key} is not {value}" for key, value in wanted.items() if context.get(key) != value)
    if spec.get("enableServiceLinks") is not False:
        yield "it has the variables of Services"
    if spec.get("automountServiceAccountToken") is not token:
        yield "it has a token of the cluster"
    yield from (f"{key} is on" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    for volume in spec["volumes"]:
        if "hostPath" in volume:
            yield "it mounts the host"
        if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
            yield f"{volume['name']} has no limit"


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
            if not _allowed(documents, labels, ("egress", "to"), aims, target):
                faults.append(f"{name_of(each)} may not ask {service}")
            if not _allowed(documents, aims, ("ingress", "from"), labels, target):
                faults.append(f"{service} may not be asked by {name_of(each)}")
    for each in of_kind(documents, "Ingress"):
        backend = each["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        listed = services[backend["name"]]["spec"]["ports"] if backend["name"] in services else ()
        for port in [one["port"] for one in listed if one["name"] == backend["port"]["name"]]:
            target, aims = _target(services[backend["name"]], port, pods)
            if not _allowed(documents, aims, ("ingress", "from"), None, target):
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
    way: tuple[str, str],
    other: Mapping[str, str] | None,
    port: int,
) -> bool:
    """Whether a policy on pods allows a way to or from others; None for the namespace of the ingress controller."""
    for each in of_kind(documents, "NetworkPolicy"):
        rules = each["spec"].get(way[0], ()) if _selects(each["spec"]["podSelector"], own) else ()
        for rule in [one for one in rules if port in {each.get("port") for each in one.get("ports", ())}]:
            if any(_is_peer(peer, other) for peer in rule.get(way[1], [{}])):
                return True
    return False


def _is_peer(peer: Document, other: Mapping[str, str] | None) -> bool:
    if other is None:
        controller = {"kubernetes.io/metadata.name": "ingress-nginx"}
        return "namespaceSelector" in peer and _selects(peer["namespaceSelector"], controller)
    return "namespaceSelector" not in peer and _selects(peer.get("podSelector", {}), other)
