"""Azure ML: what is sent fits its schema and its command reference; made, updated, removed, and what a failure leaves.

`az ml` cannot be installed from a package index, and needs an account: a program stands in its place, which knows the
reference and nothing else.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from deployments.production.clouds.azureml import INSTANCE, delete, delete_plan, deploy, plan
from deployments.production.clouds.target import Target
from evergreen.errors import EvergreenError
from evergreen.naming import cloud_tags
from tests.deployments.production.clouds.conftest import PROJECT, Told
from tests.deployments.production.clouds.reference import PLACE, complaints
from tests.deployments.production.clouds.standing_az import STATE
from tests.deployments.production.conftest import Shop

ENDPOINT = "scoring-toy"
SCHEMAS = json.loads((PLACE / "azureml.json").read_text())
MakeTarget = Callable[..., Target]


@pytest.fixture
def azure_target(make_target: MakeTarget) -> MakeTarget:
    """A version on its way to Azure ML."""

    def make(number: int | None = None, **options: str) -> Target:
        given = {"image": "shop.azurecr.io/mine:1", "instance": INSTANCE, "role": ""} | options
        return make_target("azureml", number, **given)

    return make


@dataclass
class Standing:
    """What the program that stands for az has, and was told."""

    place: Path

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.place.read_text()) if self.place.exists() else {"said": [], "endpoints": {}}  # type: ignore[no-any-return]

    def keep(self, **changes: Any) -> None:
        self.place.write_text(json.dumps(self.state | changes))

    def names(self) -> dict[str, list[str]]:
        return {name: list(endpoint["deployments"]) for name, endpoint in self.state["endpoints"].items()}

    def acts(self) -> list[str]:
        said = [" ".join(words[1:3]) for words in self.state["said"]]
        return [words for words in said if not words.endswith("list")]


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Standing:
    """A program called az, first on the path, and a docker that takes all words."""
    programs = tmp_path / "bin"
    programs.mkdir()
    words = f"{sys.executable} -m tests.deployments.production.clouds.standing_az"
    (programs / "az").write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {words} "$@"\n')
    (programs / "docker").write_text("#!/bin/sh\nexit 0\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(STATE, str(tmp_path / "az.json"))
    return Standing(tmp_path / "az.json")


def test_the_files_fit_the_schema(azure_target: MakeTarget) -> None:
    """Endpoint and deployment, with the routes that the image has."""
    target = azure_target()
    plan(target)
    deployment = yaml.safe_load((target.folder / "deployment.yml").read_text())
    endpoint = yaml.safe_load((target.folder / "endpoint.yml").read_text())
    Draft202012Validator(SCHEMAS["deployment"]).validate(deployment)
    Draft202012Validator(SCHEMAS["endpoint"]).validate(endpoint)
    assert endpoint["tags"] == cloud_tags("", "toy")
    assert deployment["tags"] == cloud_tags("", "toy", 1)
    assert deployment["environment"]["image"] == "shop.azurecr.io/mine:1"
    assert deployment["environment_variables"] == {"EVERGREEN_SERVING_ACCESS": "platform"}


@pytest.mark.parametrize(
    "fault",
    [
        lambda document: document.update(name="v3"),
        lambda document: document.update(instances=1),
        lambda document: document.pop("instance_type"),
        lambda document: document["environment"]["inference_config"].pop("scoring_route"),
        lambda document: document["environment"]["inference_config"]["scoring_route"].update(path="invocations"),
        lambda document: document["environment_variables"].update(PORT=8080),
    ],
)
def test_the_schema_refuses_a_planted_fault(azure_target: MakeTarget, fault: Callable[[Any], None]) -> None:
    """A name that is too short, a key that is none, a missing one, a path without its slash, a number as a text."""
    target = azure_target()
    plan(target)
    document = yaml.safe_load((target.folder / "deployment.yml").read_text())
    fault(document)
    assert not Draft202012Validator(SCHEMAS["deployment"]).is_valid(document)


def test_azure_s_own_library_reads_the_files(azure_target: MakeTarget) -> None:
    """`azure-ai-ml`, which `az ml` is made of; where it is not installed the schema above stands for it."""
    library = pytest.importorskip("azure.ai.ml", reason="azure-ai-ml is not installed")
    target = azure_target()
    plan(target)
    deployment = library.load_online_deployment(target.folder / "deployment.yml")
    assert deployment.environment.inference_config["scoringRoute"] == {"port": 8080, "path": "/invocations"}
    assert library.load_online_endpoint(target.folder / "endpoint.yml").name == ENDPOINT


def test_the_commands_are_those_of_the_reference(azure_target: MakeTarget) -> None:
    """Each command of az in the plans, for making and for removing."""
    target = azure_target(image="", registry="shop.azurecr.io")
    steps = (*plan(target), *delete_plan(target.served))
    commands = [step.words for step in steps if step.words and step.words[0] == "az"]
    assert len(commands) == 7
    assert [complaint for words in commands for complaint in complaints(words, "az.json")] == []


@pytest.mark.parametrize(
    "command",
    [
        "az ml online-endpoint create --file=a.yml --all-traffic",
        "az ml online-deployment delete --name=v3 --yes",
        "az ml online-endpoints list",
    ],
)
def test_the_reference_refuses_a_planted_fault(command: str) -> None:
    """A flag of another command, a missing one, and a command that is none."""
    assert len(complaints(shlex.split(command), "az.json")) == 1


def test_a_version_is_asked_before_it_has_traffic(az: Standing, azure_target: MakeTarget, told: Told) -> None:
    """Endpoint, deployment, the example row, and only then the traffic."""
    done = deploy(azure_target(image="", registry="shop.azurecr.io"), told)
    assert az.acts() == [
        *("login --name=shop", "online-endpoint create", "online-deployment create"),
        *("online-endpoint invoke", "online-endpoint update"),
    ]
    assert (done["serves"], az.names()) == ("version-1", {ENDPOINT: ["version-1"]})
    assert az.state["endpoints"][ENDPOINT]["traffic"] == {"version-1": 100}


def test_another_version_takes_the_place_of_the_first(
    az: Standing, shop: Shop, azure_target: MakeTarget, told: Told
) -> None:
    """Beside it first; the old deployment is removed last. The same version again is updated where it is."""
    shop.register(2.0)
    deploy(azure_target(), told)
    assert deploy(azure_target(2), told)["removed"] == ["deployment version-1"]
    assert az.names() == {ENDPOINT: ["version-2"]}
    deploy(azure_target(2, image="shop.azurecr.io/mine:2"), told)
    document = az.state["endpoints"][ENDPOINT]["deployments"]["version-2"]
    assert document["environment"]["image"] == "shop.azurecr.io/mine:2"
    assert az.acts().count("online-endpoint create") == 1


def test_what_does_not_come_up_is_removed_again(az: Standing, shop: Shop, azure_target: MakeTarget, told: Told) -> None:
    """A first one with its endpoint, a later one alone: what served has all traffic as before."""
    shop.register(2.0)
    with pytest.raises(EvergreenError, match=r"container has crashed.*Done about it: remove the endpoint"):
        deploy(azure_target(image="shop.azurecr.io/broken:1"), told)
    assert az.names() == {}
    deploy(azure_target(), told)
    with pytest.raises(EvergreenError, match=r"container has crashed.*Done about it: remove the deployment version-2"):
        deploy(azure_target(2, image="shop.azurecr.io/broken:1"), told)
    assert az.state["endpoints"][ENDPOINT]["traffic"] == {"version-1": 100}
    assert az.names() == {ENDPOINT: ["version-1"]}


@pytest.mark.parametrize("answer", [{"error": "x"}, {"predictions": []}, "not json"])
def test_what_answers_no_prediction_gets_no_traffic(
    az: Standing, shop: Shop, azure_target: MakeTarget, told: Told, answer: object
) -> None:
    """It is removed again."""
    shop.register(2.0)
    deploy(azure_target(), told)
    az.keep(answer=answer)
    with pytest.raises(EvergreenError, match="version-2 answers the example row with no prediction"):
        deploy(azure_target(2), told)
    assert (az.names(), az.state["endpoints"][ENDPOINT]["traffic"]) == ({ENDPOINT: ["version-1"]}, {"version-1": 100})


@pytest.mark.parametrize("whose", ["endpoint", "deployment"])
def test_what_is_not_ours_is_left_alone(az: Standing, azure_target: MakeTarget, told: Told, whose: str) -> None:
    """An endpoint of this name, or a deployment of somebody else below ours."""
    target = azure_target()
    deploy(target, told)
    state = az.state
    endpoint = state["endpoints"][ENDPOINT]
    (endpoint if whose == "endpoint" else endpoint["deployments"]["version-1"])["tags"] = cloud_tags("staging", "toy")
    az.keep(**state)
    for act in (lambda: deploy(target, told), lambda: delete(target.served, told)):
        with pytest.raises(EvergreenError, match="is not ours"):
            act()
    assert az.state["endpoints"] == state["endpoints"]


def test_delete_removes_the_endpoint(az: Standing, azure_target: MakeTarget, told: Told) -> None:
    """With all below it; where there is none nothing is done."""
    target = azure_target()
    assert delete(target.served, told) == []
    deploy(target, told)
    assert delete(target.served, told) == [f"endpoint {ENDPOINT}", "deployment version-1"]
    assert az.names() == {}


def test_missing_tools_are_told_before_anything_is_done(
    azure_target: MakeTarget, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their names."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EvergreenError, match=r"Not installed here: docker, az\. Nothing was done"):
        deploy(azure_target(image="", registry="shop.azurecr.io"), told)
