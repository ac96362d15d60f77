"""What programs say of the manifests: kubectl, which renders the overlays, linters, nginx, and those that are started.

Each test is skipped where its program is absent; EVERGREEN_TEST_TOOLS names a folder that has more of them.
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from deployments.cli.main import app
from evergreen import naming
from tests.deployments.production.conftest import Process, free_port
from tests.deployments.production.manifest_checks import find_faults
from tests.deployments.production.manifests import (
    OVERLAYS,
    PAGE,
    PREFECTS_KEYS,
    PROJECT,
    Document,
    commands_of,
    containers_of,
    find_kubectl,
    name_of,
    of_kind,
    pod_of,
    read_base,
    render,
    with_run,
)
from tests.deployments.production.planted_manifests import container_of, pod, settings_of

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


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> tuple[str, list[Document]]:
    """An overlay by its name, as kubectl renders it."""
    if find_kubectl() is None:
        pytest.skip("kubectl is not installed")
    return request.param, render(OVERLAYS[request.param])


def test_nothing_is_wrong_in_an_overlay(overlay: tuple[str, list[Document]]) -> None:
    """What holds of `base` holds of what the cluster gets."""
    assert find_faults(with_run(overlay[1]), PAGE.read_text()) == []


def test_every_command_of_evergreen_exists() -> None:
    """With its options."""
    commands = [words for words in commands_of(with_run(read_base())) if words[0] == "evergreen"]
    assert len(commands) == 2
    assert [_unknown_to_evergreen(words) for words in commands] == [[], []]
    assert _unknown_to_evergreen(("evergreen", "page", "--server")) == ["--server"]


def _options(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def _unknown_to_evergreen(words: Sequence[str]) -> list[str]:
    command: Any = typer.main.get_command(app)
    known = {flag for each in command.commands[words[1]].params for flag in each.opts}
    return [each for each in _options(words) if each not in known]


@pytest.mark.slow
def test_every_command_of_prefect_and_mlflow_exists() -> None:
    """By the help of each program."""
    commands = [words for words in commands_of(with_run(read_base())) if words[0] not in ("evergreen", "nginx")]
    assert {words[0] for words in commands} == {"prefect", "mlflow", "python"}
    if find_spec("flask_wtf") is None:
        # MLflow's logins need mlflow[auth].
        commands = [words for words in commands if words[0] != "python"]
    for words in commands:
        assert _unknown(words) == [], words
    assert _unknown(("prefect", "server", "start", "--without-services")) == ["--without-services"]
    assert _unknown(("mlflow", "server", "--app", "basic-auth")) == ["--app"]


def _unknown(words: Sequence[str]) -> list[str]:
    """The options that a program's help does not have; fails where there is no such command."""
    words = words[2:] if words[0] == "python" else words
    first = next((place for place, word in enumerate(words) if word.startswith(("--", "$"))), len(words))
    done = subprocess.run(
        [sys.executable, "-m", *words[:first], "--help"],
        capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [each for each in _options(words) if not re.search(rf"{each}(?![\w-])", done.stdout)]


def test_an_overlay_names_one_environment(overlay: tuple[str, list[Document]]) -> None:
    """In settings, pool, namespace and hosts; and its runs have the image of everything else."""
    name, documents = overlay
    assert settings_of(documents)["EVERGREEN_ENVIRONMENT"] == name
    assert naming.is_environment(name)
    worker = {each["name"]: each.get("value") for each in container_of(documents, "worker")["env"]}
    assert worker["WORK_POOL"] == naming.work_pool(name)
    assert worker["JOB_IMAGE"] == container_of(documents, "serving")["image"]
    assert {each["metadata"].get("namespace", f"evergreen-{name}") for each in documents} == {f"evergreen-{name}"}
    assert name_of(of_kind(documents, "Namespace")[0]) == f"evergreen-{name}"
    hosts = {rule["host"] for each in of_kind(documents, "Ingress") for rule in each["spec"]["rules"]}
    assert hosts == {f"{each}.{name}.example.org" for each in ("prefect", "mlflow", "pages", "predictions")}
    values = [value for each in of_kind(documents, "ConfigMap") for value in each["data"].values()]
    assert {host for value in values for host in re.findall(r"[a-z]+\.[a-z]+\.example\.org", value)} < hosts
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
    """The documents, of which the Job of a run is filled in as the worker does, without what Kubernetes drops."""
    known = deepcopy(list(documents))
    job = next(each for each in known if (each["kind"], name_of(each)) == ("Job", "run"))
    job["spec"] |= {"backoffLimit": 0, "ttlSecondsAfterFinished": 3600}
    containers_of(job)[0].update(args=["python"], imagePullPolicy="IfNotPresent", image="x:1")
    for key in PREFECTS_KEYS:
        del pod_of(job)["spec"][key]
    return known


def test_the_schema_of_kubernetes_accepts_it(overlay: tuple[str, list[Document]], tmp_path: Path) -> None:
    """Each document, strictly: a key that does not exist is refused."""
    known = _as_kubernetes_knows_it(with_run(overlay[1]))
    done = _validate(_write(tmp_path, known))
    assert done.returncode == 0, done.stdout + done.stderr
    container_of(known, "mlflow")["livenesProbe"] = {}
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
    pod(planted, "mlflow")["hostNetwork"] = True
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


def test_nginx_asks_who_wants_the_pages(tmp_path: Path, start: Callable[..., Process]) -> None:
    """The real nginx with the manifest's configuration: pages with a login, metrics alone on the other port."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    pages, plain, metrics = free_port(), free_port(), free_port()
    text = next(each["data"]["nginx.conf"] for each in of_kind(read_base(), "ConfigMap") if name_of(each) == "pages")
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
