"""The manifests: what they name is there, and each check refuses a fault that was planted.

What tools and a work pool make of them is in test_kubernetes_tools.py and test_pools.py.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from deployments.stack.services import SERVER, Ports
from deployments.stack.services import environment as service_environment
from evergreen import logs
from evergreen.settings import Settings
from tests.deployments.production.manifest_checks import find_faults, listed_secrets
from tests.deployments.production.manifests import (
    BASE,
    DOCKER_POOL,
    OVERLAYS,
    PAGE,
    POOL,
    PROJECT,
    name_of,
    of_kind,
    pod_of,
    read_base,
    with_run,
    workloads,
)
from tests.deployments.production.planted_manifests import PLANTED, container_of, of_name

TEXT = PAGE.read_text()


def test_nothing_is_wrong() -> None:
    """References, settings, targets, containers, and who may talk to whom."""
    assert find_faults(with_run(read_base()), TEXT) == []


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: str) -> None:
    """Each check has something that it refuses."""
    changed = deepcopy(with_run(read_base()))
    plant, told = PLANTED[planted]
    plant(changed)
    assert [each for each in find_faults(changed, TEXT) if told in each], find_faults(changed, TEXT)


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
    assert of_name(read_base(), "NetworkPolicy", "nothing")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_the_prefect_server_is_set_as_the_local_stack_sets_it() -> None:
    """With Redis and PostgreSQL: each variable is in the ConfigMap with that value, or in the secret."""
    settings = Settings(home=Path("/state"), prefect_database="postgresql+asyncpg://x", redis="redis://x")  # type: ignore[arg-type]
    wanted = service_environment(SERVER, settings, Ports(4200, 5000))
    documents = read_base()
    stored = of_name(documents, "ConfigMap", "prefect")["data"]
    for name in ("prefect", "prefect-services"):
        secret = {each["name"] for each in container_of(documents, name)["env"]}
        ours = {key: value for key, value in wanted.items() if key.startswith(("PREFECT_SERVER_", "PREFECT_REDIS_"))}
        assert {key: stored.get(key) for key in ours.keys() - secret} == {
            key: ours[key] for key in ours.keys() - secret
        }
        assert {value for key, value in ours.items() if key in secret} == {"postgresql+asyncpg://x", "redis://x"}


def test_the_lines_of_runs_are_json() -> None:
    """By the variables of docs/logs.md, in both pools."""
    stored = of_name(read_base(), "ConfigMap", "evergreen")["data"]
    docker = json.loads(DOCKER_POOL.read_text())["job_configuration"]["env"]
    assert logs.PREFECT.items() <= stored.items()
    assert logs.PREFECT.items() <= docker.items()


def test_the_pages_of_kustomize_are_yaml_without_a_blemish() -> None:
    """Every file is read, and every file of `base` is listed."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert {*listed["resources"], "kustomization.yaml", POOL.name} == {file.name for file in BASE.iterdir()}
    for name, folder in OVERLAYS.items():
        words = yaml.safe_load((folder / "kustomization.yaml").read_text())
        patches = {each["path"] for each in words["patches"]}
        assert {*patches, "kustomization.yaml"} == {file.name for file in folder.iterdir()}, name


def test_the_page_says_what_is_made() -> None:
    """Its table and its commands have the same secrets, and its commands name files that are there."""
    assert len(listed_secrets(TEXT)) == 17
    for path in re.findall(r"deployments/production/[\w./-]+", TEXT):
        assert (PROJECT / path).exists(), path
