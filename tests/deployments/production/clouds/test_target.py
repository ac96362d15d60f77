"""What the plans say of the image is true of the image: names, routes, requests; and the words of the command."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli.main import app as command_line
from deployments.production.clouds import azureml, sagemaker, vertex
from deployments.production.clouds.steps import require_prediction, run_tool, undo
from deployments.production.clouds.target import Target
from evergreen.errors import EvergreenError
from evergreen.verdicts import Verdict
from tests.deployments.production.clouds.conftest import IMAGES, ROLE, Aws, Told
from tests.deployments.production.conftest import Process, Shop, free_port

MakeTarget = Callable[..., Target]
Start = Callable[..., Process]


@pytest.fixture
def contained(tmp_path: Path, start: Start) -> Callable[[Target], Process]:
    """Start what the image of a target starts, with the variable that each plan sets."""

    def begin(target: Target) -> Process:
        place = tmp_path / "elsewhere"
        place.mkdir()
        port = free_port()
        variables = {"PYTHONPATH": str(target.image.folder / "app"), "EVERGREEN_HOME": str(tmp_path / "state")}
        words = [sys.executable, "-m", "serving.container", "serve", "--host", "127.0.0.1", "--port", str(port)]
        environment = variables | {"EVERGREEN_SERVING_ACCESS": "platform", "PATH": os.environ["PATH"]}
        return start(words, f"http://127.0.0.1:{port}", env=environment, cwd=place)

    return begin


def _azure_routes(target: Target) -> dict[str, str]:
    azureml.plan(target)
    document = yaml.safe_load((target.folder / "deployment.yml").read_text())
    return {name: route["path"] for name, route in document["environment"]["inference_config"].items()}


def _vertex_routes(target: Target) -> dict[str, str]:
    upload = next(step for step in vertex.plan(target) if "upload" in step.words)
    return dict(re.findall(r"--container-(health|predict)-route=(\S+)", upload.command))


def test_the_image_answers_where_the_plans_say(make_target: MakeTarget, contained: Callable[[Target], Process]) -> None:
    """Every route of every plan, asked of the server that the image starts; a wrong one is told from a right one."""
    target = make_target("azureml")
    process = contained(target)
    routes = _azure_routes(target)
    google = _vertex_routes(make_target("vertex"))
    # /ping and /invocations on 8080 are SageMaker's own.
    for health in ("/ping", routes["liveness_route"], routes["readiness_route"], google["health"]):
        assert process.ask(health)[0] == 200, health
    asked = {
        "/invocations": target.request("dataframe_records"),
        routes["scoring_route"]: (target.folder / "request.json").read_text(),
        google["predict"]: make_target("vertex").request("instances"),
    }
    for route, request in asked.items():
        status, answer, _ = process.ask(route, request.encode())
        assert status == 200
        require_prediction(answer, route)
    assert process.ask("/invocation", target.request("instances").encode())[0] == 404
    with pytest.raises(EvergreenError, match="no prediction"):
        require_prediction(process.ask("/invocations", {"instances": [{"x": "?"}]})[1], "it")


@pytest.mark.parametrize("platform", [sagemaker, azureml, vertex], ids=lambda platform: platform.__name__[-9:])
def test_a_plan_is_the_same_for_the_same(make_target: MakeTarget, platform: ModuleType) -> None:
    """The image that is built from the same has the same name, so that it is deployed once; a changed one has not."""
    options = {"image": "", "registry": f"https://{IMAGES}/"}
    target = make_target("cloud", **options)
    first = [step.command for step in platform.plan(target)]
    assert [step.command for step in platform.plan(make_target("cloud", **options))] == first
    assert not any("https://" in command for command in first)
    assert f"{IMAGES}/scoring-toy:v1-" in first[0]


def test_a_changed_file_is_another_image(shop: Shop, make_target: MakeTarget) -> None:
    """A model file that was edited is in the image, too."""
    options = {"image": "", "registry": IMAGES}
    first = make_target(**options).uri
    file = shop.settings.models / "toy.py"
    file.write_text(file.read_text() + "\n# another line\n")
    assert make_target(**options).uri != first


def test_only_what_passed_is_deployed(shop: Shop, make_target: MakeTarget) -> None:
    """And the image comes from one place."""
    failed = shop.register(2.0, Verdict.FAIL)
    with pytest.raises(EvergreenError, match="only what passed its gates is served"):
        make_target(number=failed.number)
    for image, registry in (("", ""), (f"{IMAGES}/mine:1", IMAGES)):
        with pytest.raises(EvergreenError, match="one of --registry and --image"):
            make_target(image=image, registry=registry)


def test_a_tool_is_heard_and_ended(told: Told) -> None:
    """What it says of its failure, how long it takes, and its end at the deadline."""
    speak = "import sys; sys.stderr.write('loading\\nERROR: (ai) no such model\\nmore\\n'); sys.exit(3)"
    with pytest.raises(EvergreenError, match=r"failed with status 3: ERROR: \(ai\) no such model more"):
        run_tool([sys.executable, "-c", speak], told)
    assert run_tool([sys.executable, "-c", "print(input())"], told, given="word\n") == "word\n"
    with pytest.raises(EvergreenError, match="has not ended after 0 s"):
        run_tool([sys.executable, "-c", "import time; time.sleep(600)"], told, deadline=0.0)
    assert told.waits
    assert undo([], told) == "What was there before is as it was."


def _run(*words: str) -> tuple[int, Any, str]:
    done = CliRunner().invoke(command_line, ["deploy", *words])
    return done.exit_code, done.stdout, done.output


@pytest.mark.usefixtures("shop")
def test_the_command_prints_the_plan_and_does_nothing(aws: Aws) -> None:
    """For people and as JSON; --yes does it, the same again with --delete undoes it."""
    words = ("sagemaker", "toy", "--image", f"{IMAGES}/mine:1", "--role", ROLE)
    status, shown, _ = _run(*words)
    assert status == 0, shown
    assert shown.startswith(
        "toy version 1 to SageMaker, endpoint scoring-toy:\n 1. Make the model, unless it is there\n"
    )
    assert "Nothing of this was done." in shown
    told = json.loads(_run(*words, "--json")[1])
    assert (told["done"], told["endpoint"], told["version"]) == (False, "scoring-toy", 1)
    assert told["steps"][0]["command"].startswith("aws sagemaker create-model --cli-input-json ")
    assert aws.names()["models"] == []
    aws.answer({"predictions": [1.0]})
    status, printed, output = _run(*words, "--yes", "--json")
    assert status == 0, output
    done = json.loads(printed)
    assert (done["done"], [done["serves"]]) == (True, aws.names()["models"])
    assert "delete-endpoint" in _run("sagemaker", "toy", "--delete")[1]
    assert aws.names()["endpoints"] == ["scoring-toy"]
    gone = json.loads(_run("sagemaker", "toy", "--delete", "--yes", "--json")[1])
    assert gone["removed"][0] == "endpoint scoring-toy"
    assert aws.names() == {"endpoints": [], "configs": [], "models": []}
    assert _run("sagemaker", "toy", "--delete")[1] == "Nothing of toy is on SageMaker.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sagemaker", "toy", "--image", "a/b:1"), "SageMaker runs a container as a role"),
        (("sagemaker", "toy", "--image", "a/b:1", "--role", "admin"), "--role admin is no ARN of a role"),
        (("vertex", "toy", "--image", "a/b:1", "--role", ROLE), "--role is for SageMaker, not for Vertex AI"),
        (("azureml", "toy"), "one of --registry and --image"),
        (("azureml", "nosuch", "--image", "a/b:1"), "nosuch"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_wrong_words_are_refused(words: tuple[str, ...], message: str) -> None:
    """One line each, exit status 2, and the error as JSON."""
    status, printed, output = _run(*words, "--json")
    assert status == 2
    assert message in json.loads(printed)["error"], output
