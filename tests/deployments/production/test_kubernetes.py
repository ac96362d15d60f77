"""The manifests: what they name is there, what they start exists, and each check refuses a fault that was planted.

What a work pool does with them is test_pools.py. Where kubectl is, the overlays are rendered and held to all of it again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from deployments.cli.main import app
from deployments.stack.services import SERVER, Ports
from deployments.stack.services import environment as service_environment
from evergreen import logs, naming
from evergreen.settings import Settings
from tests.deployments.production.conftest import Process, free_port
from tests.deployments.production.manifests import (
    BASE,
    DOCKER_POOL,
    OVERLAYS,
    PAGE,
    POOL,
    PROJECT,
    Document,
    commands_of,
    container_faults,
    containers_of,
    find_kubectl,
    listed_secrets,
    name_of,
    of_kind,
    pod_of,
    read_base,
    reference_faults,
    render,
    setting_faults,
    target_faults,
    traffic_faults,
    variables_of,
    with_run,
    workloads,
)

TEXT = PAGE.read_text()
EXCEPTIONS = {
    # A tag of a release stays what it is; who pushes again under one says imagePullPolicy: Always.
    "CKV_K8S_15": "Image Pull Policy should be Always",
    # Prefect, MLflow and Evergreen read these from the environment alone.
    "CKV_K8S_35": "Prefer using secrets as files over secrets as environment variables",
    # The digest of an image that a team builds is known to that team alone; kustomize takes it as `digest`.
    "CKV_K8S_43": "Image should use digest",
}
"""Checks of checkov's that do not count here, each with its reason; those of one resource stand in its annotations."""
BY_OVERLAY = (
    r"^Deployment/(prefect|mlflow)\.spec\.replicas$",
    r"^HorizontalPodAutoscaler/serving\.spec\.(min|max)Replicas$",
    r"\.image$",
    r"^Deployment/worker\..*\.JOB_IMAGE\.value$",
)
"""Where overlays differ beside the name of the environment."""


@pytest.fixture(scope="module", params=["base", *OVERLAYS])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """The manifests of `base`, and of each overlay as kubectl renders it."""
    if request.param == "base":
        return with_run(read_base())
    if find_kubectl() is None:
        pytest.skip("kubectl is not installed")
    return with_run(render(OVERLAYS[request.param]))


def _faults(documents: Sequence[Document]) -> list[str]:
    return [
        *reference_faults(documents, TEXT),
        *setting_faults(variables_of(documents)),
        *target_faults(documents),
        *container_faults(documents),
        *traffic_faults(documents),
    ]


def test_nothing_is_wrong(documents: list[Document]) -> None:
    """References, settings, targets, containers, and who may talk to whom."""
    assert _faults(documents) == []


def _get(documents: Sequence[Document], kind: str, name: str) -> Document:
    return next(each for each in documents if (each["kind"], name_of(each)) == (kind, name))


def _container(documents: Sequence[Document], name: str) -> Document:
    return containers_of(_get(documents, "Deployment", name))[0]


def _rule(documents: Sequence[Document], name: str) -> Document:
    spec: Document = _get(documents, "NetworkPolicy", name)["spec"]
    return spec


PLANTED: dict[str, tuple[Callable[[list[Document]], Any], str]] = {
    "a secret that nobody makes": (
        lambda all: _container(all, "mlflow")["env"][0]["valueFrom"]["secretKeyRef"].update(key="url"), "mlflow/url is not",
    ),
    "a secret that nobody asks for": (
        lambda all: _container(all, "serving")["env"].pop(0), "serving/keys is listed and not used",
    ),
    "a secret in the repository": (
        lambda all: all.append({"kind": "Secret", "metadata": {"name": "mine"}}), "mine is a Secret",
    ),
    "a password in a URL": (
        lambda all: _get(all, "ConfigMap", "evergreen")["data"].update(EVERGREEN_LAKE="pg://ann:planted@host/x"),
        "holds a password",
    ),
    "a password among the variables": (
        lambda all: _container(all, "worker")["env"].append({"name": "PREFECT_API_AUTH_STRING", "value": "a:b"}),
        "PREFECT_API_AUTH_STRING is written out",
    ),
    "a ConfigMap that is not there": (
        lambda all: _container(all, "pages")["envFrom"][0]["configMapRef"].update(name="settings"), "no ConfigMap settings",
    ),
    "a setting that is none": (
        lambda all: _get(all, "ConfigMap", "evergreen")["data"].update(EVERGREEN_LAEK="x"), "EVERGREEN_LAEK is no setting",
    ),
    "a Service of nothing": (
        lambda all: _get(all, "Service", "mlflow")["spec"]["selector"].update({"app.kubernetes.io/component": "ml"}),
        "Service mlflow selects 0",
    ),
    "a Service of another port": (
        lambda all: _get(all, "Service", "pages")["spec"]["ports"][1].update(targetPort="prometheus"),
        "pages has no port prometheus",
    ),
    "an ingress to nowhere": (
        lambda all: _get(all, "Ingress", "serving")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(
            name="predictions"
        ), "there is no predictions http",
    ),
    "a host without a certificate": (
        lambda all: _get(all, "Ingress", "mlflow")["spec"]["tls"][0].update(hosts=["other.example.org"]), "no certificate",
    ),
    "a policy of nothing": (
        lambda all: _rule(all, "run")["podSelector"]["matchLabels"].update({"app.kubernetes.io/component": "runs"}),
        "NetworkPolicy run selects nothing",
    ),
    "a policy that names one who is not there": (
        lambda all: _rule(all, "prefect")["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"].append(
            "ui"
        ), "NetworkPolicy prefect selects nothing",
    ),
    "a way out that is missing": (lambda all: _rule(all, "serving")["egress"].pop(0), "serving may not ask mlflow"),
    "a way in that is missing": (
        lambda all: _rule(all, "prefect")["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0].update(
            values=["worker"]
        ), "prefect may not be asked by run",
    ),
    "a way in from outside that is missing": (
        lambda all: _rule(all, "pages")["ingress"].pop(0), "pages may not be asked by the ingress controller",
    ),
    "a server at another port": (
        lambda all: _get(all, "ConfigMap", "evergreen")["data"].update(EVERGREEN_TRACKING_URI="http://mlfow:5000"),
        "asks mlfow, which is not there",
    ),
    "a probe of another port": (
        lambda all: _container(all, "serving")["livenessProbe"]["httpGet"].update(port="live"), "asks port live",
    ),
    "a server that is not probed": (lambda all: _container(all, "mlflow").pop("livenessProbe"), "no livenessProbe"),
    "an exception without a reason": (
        lambda all: _get(all, "Deployment", "prefect-services")["metadata"]["annotations"].update(
            {"checkov.io/skip1": "CKV_K8S_8"}
        ), "prefect-services: services: no livenessProbe",
    ),
    "root": (
        lambda all: pod_of(_get(all, "Job", "run"))["spec"]["securityContext"].update(runAsUser=0), "runAsUser is not 10001",
    ),
    "a disk to write to": (
        lambda all: _container(all, "prefect")["securityContext"].update(readOnlyRootFilesystem=False),
        "file system can be written to",
    ),
    "a capability": (
        lambda all: _container(all, "worker")["securityContext"].update(capabilities={"add": ["NET_ADMIN"]}),
        "it has capabilities",
    ),
    "no bound on memory": (
        lambda all: _container(all, "pages")["resources"]["limits"].pop("memory"), "no limits of memory",
    ),
    "a token of the cluster": (
        lambda all: pod_of(_get(all, "Deployment", "serving"))["spec"].update(automountServiceAccountToken=True),
        "token of the cluster",
    ),
    "variables of Services": (
        lambda all: pod_of(_get(all, "Deployment", "mlflow"))["spec"].pop("enableServiceLinks"), "variables of Services",
    ),
    "nowhere to write": (
        lambda all: _container(all, "mlflow").update(volumeMounts=[]), "cannot write to /tmp",
    ),
    "a folder of the machine": (
        lambda all: pod_of(_get(all, "Job", "run"))["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "mounts the host",
    ),
    "the account of another namespace": (
        lambda all: _get(all, "RoleBinding", "worker")["subjects"][0].update(namespace="default"),
        "worker of default is nobody",
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: str) -> None:
    """Each check has something that it refuses."""
    changed = deepcopy(with_run(read_base()))
    plant, told = PLANTED[planted]
    plant(changed)
    assert [each for each in _faults(changed) if told in each], _faults(changed)


def test_the_worker_alone_may_ask_the_cluster_and_little() -> None:
    """Jobs to make and end, pods and their logs to read; no secret."""
    documents = read_base()
    rules = {
        resource: set(rule["verbs"])
        for each in of_kind(documents, "Role", "ClusterRole")
        for rule in each["rules"]
        for resource in rule["resources"]
    }
    looks = {"get", "list", "watch"}
    assert rules == {"jobs": looks | {"create", "delete"}, "pods": looks, "pods/log": {"get"}}
    assert [name_of(each) for each in of_kind(documents, "RoleBinding", "ClusterRoleBinding")] == ["worker"]
    users = {name_of(each): pod_of(each)["spec"]["serviceAccountName"] for each in workloads(with_run(documents))}
    assert {name for name, account in users.items() if account != "evergreen"} == {"worker"}


def test_everybody_is_denied_first() -> None:
    """A policy without a rule for all pods, in both directions."""
    assert _get(read_base(), "NetworkPolicy", "nothing")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_the_prefect_server_is_set_as_the_local_stack_sets_it() -> None:
    """With Redis and PostgreSQL: each variable is in the ConfigMap with that value, or in the secret."""
    settings = Settings(home=Path("/state"), prefect_database="postgresql+asyncpg://x", redis="redis://x")  # type: ignore[arg-type]
    wanted = service_environment(SERVER, settings, Ports(4200, 5000))
    documents = read_base()
    stored = _get(documents, "ConfigMap", "prefect")["data"]
    for name in ("prefect", "prefect-services"):
        secret = {each["name"] for each in _container(documents, name)["env"]}
        ours = {key: value for key, value in wanted.items() if key.startswith(("PREFECT_SERVER_", "PREFECT_REDIS_"))}
        assert {key: stored.get(key) for key in ours.keys() - secret} == {
            key: ours[key] for key in ours.keys() - secret
        }
        assert {value for key, value in ours.items() if key in secret} == {"postgresql+asyncpg://x", "redis://x"}


def test_the_lines_of_runs_are_json() -> None:
    """By the variables of docs/logs.md, in both pools."""
    stored = _get(read_base(), "ConfigMap", "evergreen")["data"]
    docker = json.loads(DOCKER_POOL.read_text())["job_configuration"]["env"]
    assert logs.PREFECT.items() <= stored.items()
    assert logs.PREFECT.items() <= docker.items()


def test_every_command_exists() -> None:
    """Each program's own help knows the words and the options."""
    commands = {words for words in commands_of(with_run(read_base())) if words[0] != "nginx"}
    assert {words[0] for words in commands} == {"evergreen", "prefect", "mlflow", "python"}
    for words in commands:
        assert _unknown(words) == [], words
    assert _unknown(("prefect", "server", "start", "--without-services")) == ["--without-services"]
    assert _unknown(("evergreen", "page", "--server")) == ["--server"]
    assert _unknown(("mlflow", "server", "--app", "basic-auth")) == ["--app"]


def _unknown(words: Sequence[str]) -> list[str]:
    """The options of a command that its help does not have; fails where there is no such command."""
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    if words[0] == "evergreen":
        command: Any = typer.main.get_command(app).commands[words[1]]  # type: ignore[attr-defined]
        return [each for each in options if each not in {flag for one in command.params for flag in one.opts}]
    if words[1:3] == ("-m", "mlflow.server.auth") and not _has("flask_wtf"):
        return []
    first = next(
        (place for place, word in enumerate(words) if word.startswith("--") or word.startswith("$")), len(words)
    )
    module = [words[2]] if words[0] == "python" else [words[0]]
    rest = words[3:first] if words[0] == "python" else words[1:first]
    done = subprocess.run(
        [sys.executable, "-m", *module, *rest, "--help"],
        capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [each for each in options if not re.search(rf"{each}(?![\w-])", done.stdout)]


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_names_one_environment(name: str) -> None:
    """In settings, pool, namespace and hosts; and its runs have the image of everything else."""
    if find_kubectl() is None:
        pytest.skip("kubectl is not installed")
    documents = render(OVERLAYS[name])
    stored = _get(documents, "ConfigMap", "evergreen")["data"]
    assert stored["EVERGREEN_ENVIRONMENT"] == name
    assert naming.is_environment(name)
    pool = {each["name"]: each.get("value") for each in _container(documents, "worker")["env"]}
    assert pool["WORK_POOL"] == naming.work_pool(name)
    assert pool["JOB_IMAGE"] == _container(documents, "serving")["image"]
    assert {each["metadata"].get("namespace", f"evergreen-{name}") for each in documents} == {f"evergreen-{name}"}
    assert name_of(of_kind(documents, "Namespace")[0]) == f"evergreen-{name}"
    hosts = {rule["host"] for each in of_kind(documents, "Ingress") for rule in each["spec"]["rules"]}
    assert hosts == {f"{each}.{name}.example.org" for each in ("prefect", "mlflow", "pages", "predictions")}
    addresses = [value for each in of_kind(documents, "ConfigMap") for value in each["data"].values()]
    assert {host for value in addresses for host in re.findall(r"[a-z]+\.[a-z]+\.example\.org", value)} < hosts
    assert "set-by-the-overlay" not in yaml.safe_dump_all(documents)


def test_overlays_differ_in_what_is_said_alone() -> None:
    """The environment's name, the image, and how many; everything else is alike."""
    if find_kubectl() is None:
        pytest.skip("kubectl is not installed")
    flat = {name: _flatten(render(folder), name) for name, folder in OVERLAYS.items()}
    assert _differences(flat["dev"], flat["prod"]) == set()
    assert _differences(flat["staging"], flat["prod"]) == set()
    planted = dict(flat["prod"]) | {"Deployment/mlflow.spec.template.spec.enableServiceLinks": True}
    assert _differences(flat["dev"], planted) == {"Deployment/mlflow.spec.template.spec.enableServiceLinks"}


def _flatten(documents: Sequence[Document], name: str) -> dict[str, Any]:
    """Every value by its place, with NAME for the environment."""
    found: dict[str, Any] = {}

    def walk(place: str, part: Any) -> None:
        if isinstance(part, dict):
            for key, value in part.items():
                walk(f"{place}.{key}", value)
        elif isinstance(part, list):
            for number, value in enumerate(part):
                walk(f"{place}.{value.get('name', number) if isinstance(value, dict) else number}", value)
        else:
            found[place] = re.sub(rf"(^|[-.]){name}(?=$|[./,])", r"\1NAME", part) if isinstance(part, str) else part

    for each in documents:
        label = re.sub(rf"-{name}$", "-NAME", name_of(each))
        walk(f"{each['kind']}/{label}", each)
    return found


def _differences(first: dict[str, Any], second: dict[str, Any]) -> set[str]:
    places = {place for place in first.keys() | second.keys() if first.get(place) != second.get(place)}
    return {place for place in places if not any(re.search(each, place) for each in BY_OVERLAY)}


def _require(tool: str) -> str:
    found = shutil.which(tool, path=os.pathsep.join([os.environ.get("EVERGREEN_TEST_TOOLS", ""), os.environ["PATH"]]))
    return found or pytest.skip(f"{tool} is not installed; EVERGREEN_TEST_TOOLS names a folder that has it")


def _write(folder: Path, documents: Sequence[Document]) -> Path:
    file = folder / "all.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return file


def _validate(file: Path) -> subprocess.CompletedProcess[str]:
    words = [_require("kubernetes-validate"), "--strict", "--quiet", str(file)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def _as_kubernetes_knows_it(documents: Sequence[Document]) -> list[Document]:
    """Without two keys that Prefect asks for in a pod, where Kubernetes drops them: `base` alone has such a Job."""
    known = deepcopy(list(documents))
    for each in known:
        for key in ("parallelism", "completions") if each["kind"] == "Job" and name_of(each) == "run" else ():
            del pod_of(each)["spec"][key]
        for container in containers_of(each) if each["kind"] == "Job" else ():
            if container.get("args") == "{{ command }}":
                container.update(args=["python"], imagePullPolicy="IfNotPresent", image="x:1")
        if name_of(each) == "run" and each["kind"] == "Job":
            each["spec"] |= {"backoffLimit": 0, "ttlSecondsAfterFinished": 3600}
    return known


def test_the_schema_of_kubernetes_accepts_it(documents: list[Document], tmp_path: Path) -> None:
    """Each document, strictly: a key that does not exist is refused."""
    known = _as_kubernetes_knows_it(documents)
    done = _validate(_write(tmp_path, known))
    assert done.returncode == 0, done.stdout + done.stderr
    _container(known, "mlflow")["livenesProbe"] = {}
    assert _validate(_write(tmp_path, known)).returncode != 0


@pytest.mark.slow
def test_checkov_finds_nothing(tmp_path: Path) -> None:
    """But for the exceptions, each with its reason; none of these is there for nothing."""
    if find_kubectl() is None:
        pytest.skip("kubectl is not installed")
    documents = with_run(render(OVERLAYS["prod"]))
    for each in documents:
        each["metadata"].setdefault("namespace", "evergreen-prod")
    failed = _checkov(_write(tmp_path, _as_kubernetes_knows_it(documents)))
    assert {check for check, _ in failed} == EXCEPTIONS.keys(), failed
    planted = _as_kubernetes_knows_it(documents)
    pod_of(_get(planted, "Deployment", "mlflow"))["spec"]["hostNetwork"] = True
    assert ("CKV_K8S_19", "mlflow") in _checkov(_write(tmp_path, planted))


def _checkov(file: Path) -> set[tuple[str, str]]:
    """The checks that failed, and of what."""
    words = [
        _require("checkov"),
        "--file",
        str(file),
        "--framework",
        "kubernetes",
        "--output",
        "json",
        "--skip-download",
    ]
    done = subprocess.run(
        [*words, "--quiet", "--compact"], capture_output=True, text=True, check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["summary"]["parsing_errors"] == 0
    return {(each["check_id"], each["resource"].rpartition(".")[2]) for each in told["results"]["failed_checks"]}


def test_the_pages_of_kustomize_are_yaml_without_a_blemish() -> None:
    """Every file is read, and every file of `base` is listed."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert {*listed["resources"], "kustomization.yaml", POOL.name} == {file.name for file in BASE.iterdir()}
    for name, folder in OVERLAYS.items():
        words = yaml.safe_load((folder / "kustomization.yaml").read_text())
        patches = {each["path"] for each in words["patches"]}
        assert {*patches, "kustomization.yaml"} == {file.name for file in folder.iterdir()}, name


def test_nginx_asks_who_wants_the_pages(tmp_path: Path, start: Callable[..., Process]) -> None:
    """The real nginx with the manifest's configuration: pages with a login, metrics alone on the other port."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    pages, plain, metrics = free_port(), free_port(), free_port()
    text = _get(read_base(), "ConfigMap", "pages")["data"]["nginx.conf"]
    (tmp_path / "users").write_text("ann:{PLAIN}planted\n")
    changes = {
        "/tmp/": f"{tmp_path}/", "/etc/login": str(tmp_path), "127.0.0.1:4300": f"127.0.0.1:{pages}",  # noqa: S108
        "listen 8080": f"listen 127.0.0.1:{plain}", "listen 9090": f"listen 127.0.0.1:{metrics}",
    }  # fmt: skip
    for there, here in changes.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "nginx.conf").write_text(("user root;\n" if os.geteuid() == 0 else "") + text)
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "EVERGREEN_HOME": str(tmp_path / "home")}
    serve = [sys.executable, "-m", "deployments.cli", "page", "--serve", "--port", str(pages)]
    start(serve, f"http://127.0.0.1:{pages}", env=environment, cwd=PROJECT, ready="/health")
    words = [nginx, "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
    proxy = start(words, f"http://127.0.0.1:{metrics}", ready="/health")
    assert "evergreen_build_info" in proxy.ask("/metrics")[1]
    assert proxy.ask("/")[0] == 404
    proxy.url = f"http://127.0.0.1:{plain}"
    assert proxy.ask("/")[0] == 401
    assert proxy.ask("/metrics")[0] == 401
    assert proxy.ask("/", Authorization="Basic YW5uOndyb25n")[0] == 401
    status, page, _ = proxy.ask("/", Authorization="Basic YW5uOnBsYW50ZWQ=")
    assert (status, "<html" in page) == (200, True)


def test_the_page_says_what_is_made() -> None:
    """Its table and its commands have the same secrets, and its commands name files that are there."""
    assert len(listed_secrets(TEXT)) == 17
    for path in re.findall(r"deployments/production/[\w./-]+", TEXT):
        assert (PROJECT / path).exists() or path.endswith("Dockerfile"), path
