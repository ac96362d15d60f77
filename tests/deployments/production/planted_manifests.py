"""Faults that are planted into the manifests, each with what the check that refuses it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.deployments.production.manifests import COMPONENT, Document, containers_of, name_of, pod_of


def of_name(documents: Sequence[Document], kind: str, name: str) -> Document:
    """The document of a kind and name."""
    return next(each for each in documents if (each["kind"], name_of(each)) == (kind, name))


def container_of(documents: Sequence[Document], name: str) -> Document:
    """The first container of a Deployment."""
    return containers_of(of_name(documents, "Deployment", name))[0]


def settings_of(documents: Sequence[Document]) -> Document:
    """The settings of Evergreen."""
    data: Document = of_name(documents, "ConfigMap", "evergreen")["data"]
    return data


def pod(documents: Sequence[Document], name: str, kind: str = "Deployment") -> Document:
    """What the pods of a workload are."""
    spec: Document = pod_of(of_name(documents, kind, name))["spec"]
    return spec


def rule_of(documents: Sequence[Document], name: str) -> Document:
    """What a policy says."""
    spec: Document = of_name(documents, "NetworkPolicy", name)["spec"]
    return spec


def askers(documents: Sequence[Document]) -> list[str]:
    """The workloads that may ask Prefect."""
    peer = rule_of(documents, "prefect")["ingress"][0]["from"][0]
    found: list[str] = peer["podSelector"]["matchExpressions"][0]["values"]
    return found


def backend(documents: Sequence[Document]) -> Document:
    """Where the ingress of predictions leads."""
    paths = of_name(documents, "Ingress", "serving")["spec"]["rules"][0]["http"]["paths"]
    found: Document = paths[0]["backend"]["service"]
    return found


Plant = Callable[[list[Document]], Any]
PLANTED: dict[str, tuple[Plant, str]] = {
    "a secret that nobody makes": (
        lambda all: container_of(all, "mlflow")["env"][0]["valueFrom"]["secretKeyRef"].update(key="url"),
        "mlflow/url is not",
    ),
    "a secret that nobody asks for": (
        lambda all: container_of(all, "serving")["env"].pop(0),
        "serving/keys is listed and not used",
    ),
    "a secret in the repository": (
        lambda all: all.append({"kind": "Secret", "metadata": {"name": "mine"}}),
        "mine is a Secret",
    ),
    "a password in a URL": (
        lambda all: settings_of(all).update(EVERGREEN_LAKE="pg://ann:planted@host/x"),
        "holds a password",
    ),
    "a password among the variables": (
        lambda all: container_of(all, "worker")["env"].append({"name": "PREFECT_API_AUTH_STRING", "value": "a:b"}),
        "PREFECT_API_AUTH_STRING is written out",
    ),
    "a password in a ConfigMap": (
        lambda all: settings_of(all).update({"MLFLOW_TRACKING_PASSWORD": "planted"}),
        "MLFLOW_TRACKING_PASSWORD is in a ConfigMap",
    ),
    "a ConfigMap that is not there": (
        lambda all: container_of(all, "pages")["envFrom"][0]["configMapRef"].update(name="settings"),
        "no ConfigMap settings",
    ),
    "an account that is not there": (
        lambda all: pod(all, "run", "Job").update(serviceAccountName="admin"),
        "no ServiceAccount admin",
    ),
    "a setting that is none": (
        lambda all: settings_of(all).update(EVERGREEN_LAEK="x"),
        "EVERGREEN_LAEK is no setting",
    ),
    "a Service of nothing": (
        lambda all: of_name(all, "Service", "mlflow")["spec"]["selector"].update({COMPONENT: "ml"}),
        "Service mlflow selects 0",
    ),
    "a Service of another port": (
        lambda all: of_name(all, "Service", "pages")["spec"]["ports"][1].update(targetPort="prometheus"),
        "pages has no port prometheus",
    ),
    "an ingress to nowhere": (
        lambda all: backend(all).update(name="predictions"),
        "there is no predictions http",
    ),
    "a host without a certificate": (
        lambda all: of_name(all, "Ingress", "mlflow")["spec"]["tls"][0].update(hosts=["other.example.org"]),
        "no certificate",
    ),
    "a policy of nothing": (
        lambda all: rule_of(all, "run")["podSelector"]["matchLabels"].update({COMPONENT: "runs"}),
        "NetworkPolicy run selects nothing",
    ),
    "a policy that names one who is not there": (
        lambda all: askers(all).append("ui"),
        "NetworkPolicy prefect selects nothing",
    ),
    "a way out that is missing": (
        lambda all: rule_of(all, "serving")["egress"].pop(0),
        "serving may not ask mlflow",
    ),
    "a way in that is missing": (
        lambda all: askers(all).remove("run"),
        "prefect may not be asked by run",
    ),
    "a way in from outside that is missing": (
        lambda all: rule_of(all, "pages")["ingress"].pop(0),
        "pages may not be asked by the ingress controller",
    ),
    "a server that is not there": (
        lambda all: settings_of(all).update(EVERGREEN_TRACKING_URI="http://mlfow:5000"),
        "asks mlfow, which is not there",
    ),
    "a server at another port": (
        lambda all: settings_of(all).update(EVERGREEN_TRACKING_URI="http://mlflow:8080"),
        "mlflow has nobody at port 8080",
    ),
    "a probe of another port": (
        lambda all: container_of(all, "serving")["livenessProbe"]["httpGet"].update(port="live"),
        "asks port live",
    ),
    "a server that is not probed": (
        lambda all: container_of(all, "mlflow").pop("livenessProbe"),
        "no livenessProbe",
    ),
    "an exception without a reason": (
        lambda all: of_name(all, "Deployment", "prefect-services")["metadata"]["annotations"].update(
            {"checkov.io/skip1": "CKV_K8S_8"}
        ),
        "prefect-services: services: no livenessProbe",
    ),
    "a budget for nothing": (
        lambda all: of_name(all, "PodDisruptionBudget", "serving")["spec"].update(
            selector={"matchLabels": {COMPONENT: "x"}}
        ),
        "PodDisruptionBudget serving selects nothing",
    ),
    "an autoscaler of nothing": (
        lambda all: of_name(all, "HorizontalPodAutoscaler", "serving")["spec"]["scaleTargetRef"].update(name="x"),
        "HorizontalPodAutoscaler serving scales nothing",
    ),
    "root": (
        lambda all: pod(all, "run", "Job")["securityContext"].update(runAsUser=0),
        "runAsUser is not 10001",
    ),
    "a disk to write to": (
        lambda all: container_of(all, "prefect")["securityContext"].update(readOnlyRootFilesystem=False),
        "file system can be written to",
    ),
    "a capability": (
        lambda all: container_of(all, "worker")["securityContext"].update(capabilities={"add": ["NET_ADMIN"]}),
        "it has capabilities",
    ),
    "no bound on memory": (
        lambda all: container_of(all, "pages")["resources"]["limits"].pop("memory"),
        "no limits of memory",
    ),
    "a token of the cluster": (
        lambda all: pod(all, "serving").update(automountServiceAccountToken=True),
        "token of the cluster",
    ),
    "variables of Services": (
        lambda all: pod(all, "mlflow").pop("enableServiceLinks"),
        "variables of Services",
    ),
    "nowhere to write": (
        lambda all: container_of(all, "mlflow").update(volumeMounts=[]),
        "cannot write to /tmp",
    ),
    "a folder of the machine": (
        lambda all: pod(all, "run", "Job")["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "mounts the host",
    ),
    "the account of another namespace": (
        lambda all: of_name(all, "RoleBinding", "worker")["subjects"][0].update(namespace="default"),
        "worker of default is nobody",
    ),
}
"""By what is planted: how, and what is said of it."""
