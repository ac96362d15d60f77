"""Vertex AI, asked by the real gcloud: made, updated, removed, and what a failure leaves.

A service stands in its place, for it needs an account; where gcloud is not installed, its command reference stands for
it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from deployments.production.clouds.target import Target
from deployments.production.clouds.vertex import INSTANCE, delete, delete_plan, deploy, plan
from evergreen.errors import EvergreenError
from evergreen.naming import cloud_tags
from tests.deployments.production.clouds.conftest import Told
from tests.deployments.production.clouds.reference import complaints
from tests.deployments.production.clouds.vertex_service import PARENT, Vertex, handler
from tests.deployments.production.conftest import Shop

ENDPOINT = "scoring-toy"
REGISTRY = "europe-west1-docker.pkg.dev/shop/models"
MakeTarget = Callable[..., Target]


@pytest.fixture
def google_target(make_target: MakeTarget) -> MakeTarget:
    """A version on its way to Vertex AI."""

    def make(number: int | None = None, **options: str) -> Target:
        given = {"image": f"{REGISTRY}/mine:1", "instance": INSTANCE, "role": ""} | options
        return make_target("vertex", number, **given)

    return make


@pytest.fixture
def vertex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vertex]:
    """The service, which gcloud asks; the docker in front of the path takes all words."""
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker").write_text("#!/bin/sh\nexit 0\n")
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    made = Vertex()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "CONFIG": str(tmp_path / "gcloud"),
        "AUTH_DISABLE_CREDENTIALS": "true",
        "CORE_DISABLE_USAGE_REPORTING": "true",
        "COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CORE_PROJECT": "shop",
        "AI_REGION": "europe-west1",
        "API_ENDPOINT_OVERRIDES_AIPLATFORM": f"http://127.0.0.1:{server.server_port}/",
    }.items():
        monkeypatch.setenv(f"CLOUDSDK_{name}", value)
    yield made
    server.shutdown()
    server.server_close()
    thread.join(30)


def _deployed(vertex: Vertex) -> list[str]:
    return [each["model"].rpartition("/")[2] for each in vertex.endpoints[ENDPOINT].get("deployedModels", [])]


def test_the_commands_are_those_of_the_reference(google_target: MakeTarget) -> None:
    """Each command of gcloud in the plans, for making and for removing."""
    target = google_target(image="", registry=REGISTRY)
    steps = (*plan(target), *delete_plan(target.served))
    commands = [step.words for step in steps if step.words and step.words[0] == "gcloud"]
    assert len(commands) == 6
    assert [complaint for words in commands for complaint in complaints(words, "gcloud.json")] == []


@pytest.mark.parametrize(
    "command",
    [
        "gcloud ai models upload --display-name=a --container-image-uri=b --container-health=/ping",
        "gcloud ai models upload --display-name=a --container-health-route=/ping",
        "gcloud ai endpoint create --display-name=a",
    ],
)
def test_the_reference_refuses_a_planted_fault(command: str) -> None:
    """A flag that is none, a missing one, and a command that is none."""
    assert len(complaints(shlex.split(command), "gcloud.json")) == 1


@pytest.mark.proof(name="clouds")
def test_a_version_is_deployed_and_asked(vertex: Vertex, google_target: MakeTarget, told: Told) -> None:
    """Model and endpoint carry our labels; the same again makes nothing anew."""
    target = google_target(image="", registry=REGISTRY)
    name = deploy(target, told)["serves"]
    model, endpoint = vertex.models[name], vertex.endpoints[ENDPOINT]
    assert (model["labels"], endpoint["labels"]) == (cloud_tags("", "toy", 1), cloud_tags("", "toy"))
    container = model["containerSpec"]
    assert container["imageUri"] == target.uri and target.uri.startswith(f"{REGISTRY}/{ENDPOINT}:v1-")
    assert (container["healthRoute"], container["predictRoute"]) == ("/ping", "/invocations")
    assert container["ports"] == [{"containerPort": 8080}]
    assert container["env"] == [{"name": "EVERGREEN_SERVING_ACCESS", "value": "platform"}]
    assert _deployed(vertex) == [name]
    deployed = endpoint["deployedModels"][0]
    assert deployed["dedicatedResources"]["machineSpec"]["machineType"] == INSTANCE
    assert endpoint["trafficSplit"] == {deployed["id"]: 100}
    assert [set(body["instances"][0]) for body in vertex.asked] == [{"x", "kind"}]
    before = len(vertex.operations)
    deploy(target, told)
    assert len(vertex.operations) == before


@pytest.mark.proof(name="clouds")
def test_another_version_takes_the_place_of_the_first(
    vertex: Vertex, shop: Shop, google_target: MakeTarget, told: Told
) -> None:
    """All traffic at once; the former one is undeployed and removed after the new one has answered."""
    shop.register(2.0)
    first = deploy(google_target(), told)["serves"]
    second = deploy(google_target(2), told)
    assert second["removed"] == [f"model {first}"]
    assert (_deployed(vertex), list(vertex.models)) == ([second["serves"]], [second["serves"]])


@pytest.mark.proof(name="clouds")
def test_what_does_not_come_up_is_removed_again(
    vertex: Vertex, shop: Shop, google_target: MakeTarget, told: Told
) -> None:
    """A first one with its endpoint, a later one alone: what served goes on."""
    shop.register(2.0)
    with pytest.raises(EvergreenError, match=r"did not become healthy.*remove the endpoint\..*remove the model"):
        deploy(google_target(image=f"{REGISTRY}/broken:1"), told)
    assert (vertex.endpoints, vertex.models) == ({}, {})
    name = deploy(google_target(), told)["serves"]
    with pytest.raises(EvergreenError, match=r"not become healthy.*Done about it: remove the model scoring-toy-v2-"):
        deploy(google_target(2, image=f"{REGISTRY}/broken:1"), told)
    assert (_deployed(vertex), list(vertex.models)) == ([name], [name])


@pytest.mark.proof(name="clouds")
def test_an_answer_that_is_no_prediction_is_told(vertex: Vertex, google_target: MakeTarget, told: Told) -> None:
    """Nothing is removed then, for the endpoint serves."""
    vertex.answer = {"predictions": [], "error": "no such column"}
    with pytest.raises(EvergreenError, match="answers the example row with no prediction"):
        deploy(google_target(), told)
    assert len(vertex.models) == 1


@pytest.mark.proof(name="clouds")
@pytest.mark.parametrize("whose", ["endpoint", "model"])
def test_what_is_not_ours_is_left_alone(vertex: Vertex, google_target: MakeTarget, told: Told, whose: str) -> None:
    """An endpoint of this name, or a model of somebody else on ours."""
    labels = cloud_tags("staging" if whose == "endpoint" else "", "toy")
    stranger = {"id": "7", "model": f"{PARENT}/models/123"}
    vertex.endpoints[ENDPOINT] = {"name": f"{PARENT}/endpoints/{ENDPOINT}", "labels": labels}
    if whose == "model":
        vertex.endpoints[ENDPOINT]["deployedModels"] = [stranger]
    target = google_target()
    for act in (lambda: deploy(target, told), lambda: delete(target.served, told)):
        with pytest.raises(EvergreenError, match="not ours"):
            act()
    assert (vertex.operations, vertex.models) == ({}, {})


@pytest.mark.proof(name="clouds")
def test_delete_removes_what_is_ours_and_no_more(vertex: Vertex, google_target: MakeTarget, told: Told) -> None:
    """The endpoint after what is deployed on it, and our models; others stay."""
    target = google_target()
    name = deploy(target, told)["serves"]
    vertex.models["123"] = {"name": f"{PARENT}/models/123", "labels": cloud_tags("", "toy")}
    assert delete(target.served, told) == [f"endpoint {ENDPOINT}", f"model {name}"]
    assert (vertex.endpoints, list(vertex.models)) == ({}, ["123"])
    assert delete(target.served, told) == []


def test_missing_tools_are_told_before_anything_is_done(
    google_target: MakeTarget, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their names."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EvergreenError, match=r"Not installed here: docker, gcloud\. Nothing was done"):
        deploy(google_target(image="", registry=REGISTRY), told)
