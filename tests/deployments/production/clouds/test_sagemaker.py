"""SageMaker, asked over its own protocol: made, updated, removed, and what a failure leaves."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.production.clouds import sagemaker
from deployments.production.clouds.sagemaker import delete, delete_plan, deploy, plan
from deployments.production.clouds.target import Served, Target
from evergreen.errors import EvergreenError
from evergreen.naming import cloud_tags
from tests.deployments.production.clouds.conftest import IMAGES, ROLE, Aws, Told
from tests.deployments.production.conftest import Shop

ENDPOINT = "scoring-toy"
PREDICTION = {"predictions": [1.0]}
MakeTarget = Callable[..., Target]


def _up(target: Target, told: Told, aws: Aws, *answers: object) -> dict[str, Any]:
    aws.answer(*(answers or (PREDICTION,)))
    return deploy(target, told, poll=0.01)


def _tags(client: Any, arn: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]}


def test_an_endpoint_is_made_waited_for_and_asked(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """Model, configuration and endpoint carry our tags, and the container is told who knows its clients."""
    target = make_target()
    done = _up(target, told, aws)
    name = done["serves"]
    assert aws.names() == {"endpoints": [ENDPOINT], "configs": [name], "models": [name]}
    client = aws.client("sagemaker")
    endpoint = client.describe_endpoint(EndpointName=ENDPOINT)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", name)
    model = client.describe_model(ModelName=name)
    assert model["ExecutionRoleArn"] == ROLE
    container = model["PrimaryContainer"]
    assert container["Image"] == f"{IMAGES}/mine:1"
    assert container["Environment"] == {"EVERGREEN_SERVING_ACCESS": "platform"}
    config = client.describe_endpoint_config(EndpointConfigName=name)
    variant = config["ProductionVariants"][0]
    assert (variant["ModelName"], variant["InstanceType"], variant["InitialInstanceCount"]) == (name, "ml.m5.large", 1)
    assert _tags(client, endpoint["EndpointArn"]) == cloud_tags("", "toy")
    for arn in (model["ModelArn"], config["EndpointConfigArn"]):
        assert _tags(client, arn) == cloud_tags("", "toy", 1)
    assert any("Creating" in line for line in told.waits)
    assert told.lines[-1] == "ask: the example row is answered with 1.0"


def test_the_same_again_changes_nothing(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """Nothing is made anew, and the endpoint is asked again."""
    first = _up(make_target(), told, aws)
    before = aws.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    told.lines.clear()
    assert deploy(make_target(), told, poll=0.01) == first
    after = aws.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    assert after["CreationTime"] == before["CreationTime"]
    assert [line.partition(":")[0] for line in told.lines] == ["endpoint", "ask"]


@pytest.mark.parametrize("changed", [{"number": 2}, {"image": f"{IMAGES}/mine:2"}, {"instance": "ml.c5.large"}])
def test_something_else_updates_the_endpoint(
    aws: Aws, shop: Shop, make_target: MakeTarget, told: Told, changed: dict[str, Any]
) -> None:
    """The endpoint stays, serves the new one, and what only the old one needed is gone."""
    shop.register(2.0)
    first = _up(make_target(), told, aws)
    arn = aws.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    second = _up(make_target(**changed), told, aws)
    name = second["serves"]
    assert name != first["serves"]
    endpoint = aws.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    assert (endpoint["EndpointArn"], endpoint["EndpointConfigName"]) == (arn, name)
    assert aws.names() == {"endpoints": [ENDPOINT], "configs": [name], "models": [name]}
    assert second["removed"] == [f"endpoint config {first['serves']}", f"model {first['serves']}"]
    assert any("Updating" in line for line in told.waits)


def test_an_endpoint_that_does_not_come_up_leaves_nothing(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """The reason is SageMaker's, and all three are removed again."""
    with pytest.raises(
        EvergreenError, match=r"it is Failed: The primary container did not pass.*Removed again: "
    ) as at:
        deploy(make_target(image=f"{IMAGES}/broken:1"), told, poll=0.01)
    assert "aws logs tail /aws/sagemaker/Endpoints/scoring-toy" in at.value.fix
    assert aws.names() == {"endpoints": [], "configs": [], "models": []}


def test_an_update_that_fails_leaves_what_served(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """The endpoint serves as before; the new model and configuration are removed again."""
    name = _up(make_target(), told, aws)["serves"]
    with pytest.raises(EvergreenError, match=rf"it still serves {name}: The primary container .*Removed again: "):
        deploy(make_target(image=f"{IMAGES}/broken:1"), told, poll=0.01)
    assert aws.names() == {"endpoints": [ENDPOINT], "configs": [name], "models": [name]}


def test_a_refusal_in_the_middle_leaves_nothing(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """No quota for the machine: the model that was made before is removed again."""
    with pytest.raises(EvergreenError, match=r"service limit.*Removed again: model scoring-toy-v1-"):
        deploy(make_target(instance="ml.p5.48xlarge"), told, poll=0.01)
    assert aws.names() == {"endpoints": [], "configs": [], "models": []}


def test_a_failed_endpoint_is_replaced(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """One that an interrupted call left as Failed, which SageMaker lets nobody update."""
    target = make_target(image=f"{IMAGES}/broken:1")
    client = aws.client("sagemaker")
    for call in ("model", "config", "endpoint"):
        made = sagemaker._calls(target)[call]
        getattr(client, made.operation)(**made.arguments)
    client.describe_endpoint(EndpointName=ENDPOINT)
    assert client.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] == "Failed"
    name = _up(make_target(), told, aws)["serves"]
    assert aws.names() == {"endpoints": [ENDPOINT], "configs": [name], "models": [name]}


def test_an_interrupted_call_is_gone_on_with(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """While SageMaker makes the same, it is waited for; while it makes another, nothing is done."""
    target, client = make_target(), aws.client("sagemaker")
    for call in ("model", "config", "endpoint"):
        made = sagemaker._calls(target)[call]
        getattr(client, made.operation)(**made.arguments)
    with pytest.raises(EvergreenError, match="is Creating: SageMaker takes no change"):
        deploy(make_target(image=f"{IMAGES}/mine:2"), told, poll=0.01)
    assert _up(target, told, aws)["endpoint"] == ENDPOINT


def test_a_deadline_removes_nothing(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """What takes too long may still come: the same command goes on waiting."""
    with pytest.raises(EvergreenError, match="still Creating after 0 s, and nothing was removed"):
        deploy(make_target(), told, deadline=0.0, poll=0.01)
    assert aws.names()["endpoints"] == [ENDPOINT]
    assert _up(make_target(), told, aws)["endpoint"] == ENDPOINT


@pytest.mark.parametrize("answer", [{"error": "no such column"}, {"predictions": []}, "body", [1.0]])
def test_an_answer_that_is_no_prediction_is_told(aws: Aws, make_target: MakeTarget, told: Told, answer: object) -> None:
    """The endpoint stays, for it may serve others; the message repeats what it said."""
    with pytest.raises(EvergreenError, match="is in service, and answers the example row with no prediction"):
        _up(make_target(), told, aws, answer)
    assert aws.names()["endpoints"] == [ENDPOINT]


@pytest.mark.parametrize(
    "tags", [{}, cloud_tags("staging", "toy"), cloud_tags("", "other"), {"evergreen-model": "toy"}]
)
def test_what_is_not_ours_is_left_alone(aws: Aws, make_target: MakeTarget, told: Told, tags: dict[str, str]) -> None:
    """An endpoint of this name without our tags, or with another environment's: neither updated nor removed."""
    target, client = make_target(), aws.client("sagemaker")
    for call in ("model", "config", "endpoint"):
        made = sagemaker._calls(target)[call]
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        getattr(client, made.operation)(**(dict(made.arguments) | {"Tags": listed}))
    client.describe_endpoint(EndpointName=ENDPOINT)
    before = aws.names()
    for act in (
        lambda: deploy(make_target(image=f"{IMAGES}/mine:2"), told, poll=0.01),
        lambda: delete(target.served, told, poll=0.01),
        lambda: delete_plan(target.served),
    ):
        with pytest.raises(EvergreenError, match="is not ours"):
            act()
    assert aws.names() == before
    client.delete_endpoint(EndpointName=ENDPOINT)
    assert delete(target.served, told, poll=0.01) == []
    assert aws.names() == before | {"endpoints": []}


def test_delete_removes_what_is_ours_and_no_more(aws: Aws, make_target: MakeTarget, told: Told) -> None:
    """Also what an interrupted call left; a model of a similar name, another's by its tags, stays."""
    target = make_target()
    name = _up(target, told, aws)["serves"]
    client = aws.client("sagemaker")
    left = sagemaker._calls(make_target(image=f"{IMAGES}/mine:2"))["model"]
    client.create_model(**left.arguments)
    client.create_model(**(dict(left.arguments) | {"ModelName": f"{ENDPOINT}-v7-00000000", "Tags": []}))
    client.create_model(**(dict(left.arguments) | {"ModelName": f"my-{ENDPOINT}"}))
    steps = delete_plan(target.served)
    assert steps[0].command.startswith("aws sagemaker delete-endpoint --cli-input-json")
    assert len(steps) == 4
    removed = delete(target.served, told, poll=0.01)
    assert removed == [
        f"endpoint {ENDPOINT}",
        f"endpoint config {name}",
        *(f"model {each}" for each in (name, left.arguments["ModelName"])),
    ]
    assert aws.names() == {"endpoints": [], "configs": [], "models": [f"{ENDPOINT}-v7-00000000", f"my-{ENDPOINT}"]}
    assert delete(Served(ENDPOINT, cloud_tags("", "toy")), told) == []


def test_the_image_is_built_and_pushed_by_docker(
    aws: Aws, make_target: MakeTarget, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, in the form that SageMaker reads, into a repository that is made; the password is no word."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    (programs / "docker").write_text(f'#!/bin/sh\necho "$@" >> {log}\ncase "$1" in login) cat >> {log};; esac\n')
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    target = make_target(image="", registry=IMAGES)
    done = _up(target, told, aws)
    assert done["image"] == target.uri and target.uri.startswith(f"{IMAGES}/{ENDPOINT}:v1-")
    build, login, *_, push = log.read_text().splitlines()
    assert build.split()[:3] == ["buildx", "build", "--platform=linux/amd64"]
    assert {"--provenance=false", "--output=type=docker", "--build-arg=RUN_AS=0:0", f"--tag={target.uri}"} <= set(
        build.split()
    )
    assert build.endswith(str(target.image.folder))
    assert login == f"login --username=AWS --password-stdin {IMAGES}"
    assert push.endswith(f"push {target.uri}")
    repositories = aws.client("ecr").describe_repositories()["repositories"]
    assert [each["repositoryName"] for each in repositories] == [ENDPOINT]
    # The repository is there now; a second version goes into it.
    deploy(make_target(image="", registry=IMAGES, instance="ml.c5.large"), told, poll=0.01)


def test_a_missing_docker_is_told_before_anything_is_done(
    aws: Aws, make_target: MakeTarget, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after a model was made."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EvergreenError, match=r"Not installed here: docker\. Nothing was done"):
        deploy(make_target(image="", registry=IMAGES), told)
    assert aws.names() == {"endpoints": [], "configs": [], "models": []}


def test_the_commands_of_the_plan_do_the_same(aws: Aws, make_target: MakeTarget) -> None:
    """By the AWS CLI, as the plan prints them; then there is nothing left to be made."""
    if shutil.which("aws") is None:
        pytest.skip("the AWS CLI is not installed")
    target = make_target()
    aws.answer(PREDICTION, PREDICTION)
    steps = plan(target)
    for step in steps:
        if step.command and "update-endpoint" not in step.command:
            done = subprocess.run(step.command, shell=True, capture_output=True, text=True, check=False, timeout=120)  # noqa: S602
            assert done.returncode == 0, (step.command, done.stderr)
    assert json.loads(done.stdout[: done.stdout.rindex("]}") + 2]) == PREDICTION
    assert aws.names()["endpoints"] == [ENDPOINT]
    again = Told()
    deploy(target, again, poll=0.01)
    assert [line.partition(":")[0] for line in again.lines] == ["endpoint", "ask"]


def test_what_boto3_lacks_is_told(make_target: MakeTarget, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """No region anywhere: one sentence, no traceback."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(EvergreenError, match="boto3 cannot ask AWS: You must specify a region"):
        deploy(make_target(), told)
