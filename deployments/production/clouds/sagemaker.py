"""SageMaker: a model, an endpoint configuration and an endpoint, asked for by boto3.

MLflow has a client of its own for this (`mlflow deployments -t sagemaker`). It uploads an MLflow model to a bucket,
which our image neither needs nor reads, looks at no tag before it replaces or deletes an endpoint, and leaves model and
configuration behind where an update fails.

A model and a configuration cannot be changed: each deployment has its own, named for what they are made of.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deployments.production.clouds.steps import (
    DEADLINE,
    FailedStepError,
    Progress,
    Step,
    require_prediction,
    require_tools,
    run_tool,
)
from deployments.production.clouds.target import ACCESS, Served, Target, build_step, push_step, run_step
from evergreen.errors import EvergreenError
from evergreen.naming import is_cloud_version

INSTANCE = "ml.m5.large"
_VARIANT = "champion"
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_SETTLED = 30.0
"""Seconds after which an endpoint that still serves what it served is not going to be updated any more."""
_KINDS = ("endpoint_config", "model")
_POLL = 5.0
"""Seconds between two looks at an endpoint."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the platform's programming interface."""

    operation: str
    what: str
    arguments: Mapping[str, Any]
    service: str = "sagemaker"

    def step(self, when: str = "") -> Step:
        """The same by the AWS CLI."""
        words = ("aws", self.service, self.operation.replace("_", "-"))
        return Step(self.what, (*words, "--cli-input-json", json.dumps(self.arguments)), when)


def plan(target: Target) -> tuple[Step, ...]:
    """What is done, in its order."""
    calls, name, endpoint = _calls(target), _name(target), target.served.endpoint
    steps: list[Step] = []
    if target.registry:
        login = ("aws", "ecr", "get-login-password")
        steps += [
            _build(target),
            _repository(target).step("unless it is there"),
            Step("Log in to the registry", _login(target), before=login),
            push_step(target),
        ]
    steps += [
        calls["model"].step("unless it is there"),
        calls["config"].step("unless it is there"),
        calls["endpoint"].step("if there is none"),
        calls["update"].step("if it serves something else"),
        Step("Wait until it serves", ("aws", "sagemaker", "wait", "endpoint-in-service", "--endpoint-name", endpoint)),
    ]
    if target.image.example:
        steps.append(_invoke(target))
    return (*steps, Step(f"Remove what other versions left: models and configurations of {endpoint} but {name}", ()))


def deploy(target: Target, progress: Progress, *, deadline: float = DEADLINE, poll: float = _POLL) -> dict[str, Any]:
    """Carry the plan out, and return what is there then.

    Raises:
        EvergreenError: a tool or boto3 is missing, the endpoint is another's, SageMaker refused or failed, or it took
            too long. What a failure had begun is removed again, or named.
    """
    sagemaker = _client("sagemaker")
    require_tools(["docker"] if target.registry else [])
    with _reported():
        there = _require_own(sagemaker, target.served)
        name = _name(target)
        _require_settled(there, name)
        if target.registry:
            _push(target, progress)
        made: list[tuple[str, str]] = []
        try:
            _bring_up(sagemaker, target, there, made, progress, deadline=deadline, poll=poll)
        except FailedStepError as error:
            raise FailedStepError(f"{error.what} {_undo(sagemaker, target.served, made, poll)}", error.fix) from None
        _ask(target, progress)
        removed = _remove_versions(sagemaker, target.served, progress, but=name)
    return {"endpoint": target.served.endpoint, "serves": name, "image": target.uri, "removed": removed}


def delete(served: Served, progress: Progress, *, poll: float = _POLL) -> list[str]:
    """Remove the endpoint, and the models and configurations that are its own; returns their names.

    Raises:
        EvergreenError: the endpoint is another's, or SageMaker refused.
    """
    sagemaker = _client("sagemaker")
    with _reported():
        removed = []
        if there := _require_own(sagemaker, served):
            _remove(sagemaker, "endpoint", served.endpoint, poll)
            progress.done(f"endpoint: {there['EndpointName']} is removed")
            removed.append(f"endpoint {served.endpoint}")
        return removed + _remove_versions(sagemaker, served, progress)


def delete_plan(served: Served) -> tuple[Step, ...]:
    """What `delete` does: it looks what there is.

    Raises:
        EvergreenError: the endpoint is another's, or SageMaker refused.
    """
    sagemaker = _client("sagemaker")
    with _reported():
        there = _require_own(sagemaker, served)
        own = [(kind, name) for kind in _KINDS for name in _own(sagemaker, kind, served)]
        return tuple(_removal(*each).step() for each in [*([("endpoint", served.endpoint)] if there else []), *own])


def _name(target: Target) -> str:
    return target.name(target.role, *ACCESS)


def _calls(target: Target) -> dict[str, Call]:
    name, endpoint = _name(target), target.served.endpoint
    tags = [{"Key": key, "Value": value} for key, value in target.tags.items()]
    container = {"Image": target.uri, "Environment": {ACCESS[0]: ACCESS[1]}}
    variant = {
        "VariantName": _VARIANT,
        "ModelName": name,
        "InstanceType": target.instance,
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    model = {"ModelName": name, "ExecutionRoleArn": target.role, "PrimaryContainer": container, "Tags": tags}
    config = {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": tags}
    serving = {"EndpointName": endpoint, "EndpointConfigName": name}
    owner = [{"Key": key, "Value": value} for key, value in target.served.tags.items()]
    return {
        "model": Call("create_model", "Make the model", model),
        "config": Call("create_endpoint_config", "Make its endpoint configuration", config),
        "endpoint": Call("create_endpoint", "Make the endpoint", {**serving, "Tags": owner}),
        "update": Call("update_endpoint", "Let the endpoint serve it", serving),
    }


def _build(target: Target) -> Step:
    # SageMaker's documentation asks for containers that run as root.
    return build_step(target, "--build-arg=RUN_AS=0:0")


def _repository(target: Target) -> Call:
    name = target.uri.removeprefix(f"{target.registry}/").rpartition(":")[0]
    tags = [{"Key": key, "Value": value} for key, value in target.served.tags.items()]
    return Call("create_repository", "Make the repository of images", {"repositoryName": name, "tags": tags}, "ecr")


def _login(target: Target) -> tuple[str, ...]:
    return ("docker", "login", "--username=AWS", "--password-stdin", target.registry)


def _invoke(target: Target) -> Step:
    place = target.write("request.json", target.request("dataframe_records"))
    words = ("aws", "sagemaker-runtime", "invoke-endpoint", f"--endpoint-name={target.served.endpoint}")
    return Step("Ask it", (*words, "--content-type=application/json", f"--body=fileb://{place}", "/dev/stdout"))


def _client(service: str) -> Any:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise EvergreenError(
            "SageMaker is asked by boto3, which is not installed.", "Install it with: pip install 'evergreen[s3]'"
        ) from None
    try:
        return boto3.client(service)
    except (BotoCoreError, ValueError) as error:
        raise EvergreenError(
            f"boto3 cannot ask AWS: {error}", "Set AWS_DEFAULT_REGION, or a region in the profile of AWS_PROFILE."
        ) from None


@contextmanager
def _reported() -> Iterator[None]:
    """What AWS refuses as an error that a person can fix."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise EvergreenError(
            f"AWS refused: {error}", "Correct it, and run the command again: it continues from what is there."
        ) from None


def _listed(sagemaker: Any, kind: str, served: Served) -> Iterator[Mapping[str, Any]]:
    """All of a kind that have the endpoint's name in their own."""
    operation, key = {
        "endpoint": ("list_endpoints", "Endpoints"),
        "endpoint_config": ("list_endpoint_configs", "EndpointConfigs"),
        "model": ("list_models", "Models"),
    }[kind]
    for page in sagemaker.get_paginator(operation).paginate(NameContains=served.endpoint):
        yield from page[key]


def _is_own(sagemaker: Any, arn: str, served: Served) -> bool:
    tags = {tag["Key"]: tag["Value"] for page in _tag_pages(sagemaker, arn) for tag in page["Tags"]}
    return served.tags.items() <= tags.items()


def _tag_pages(sagemaker: Any, arn: str) -> Iterator[Mapping[str, Any]]:
    yield from sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)


def _own(sagemaker: Any, kind: str, served: Served) -> list[str]:
    """The names of the models or configurations that are this endpoint's and carry our tags."""
    prefix = {"endpoint_config": "EndpointConfig", "model": "Model"}[kind]
    return [
        each[f"{prefix}Name"]
        for each in list(_listed(sagemaker, kind, served))
        if is_cloud_version(served.endpoint, each[f"{prefix}Name"]) and _is_own(sagemaker, each[f"{prefix}Arn"], served)
    ]


def _require_own(sagemaker: Any, served: Served) -> Mapping[str, Any] | None:
    """The endpoint as it is; None where there is none.

    Raises:
        EvergreenError: it carries not our tags.
    """
    names = [each["EndpointName"] for each in _listed(sagemaker, "endpoint", served)]
    if served.endpoint not in names:
        return None
    there: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=served.endpoint)
    if not _is_own(sagemaker, there["EndpointArn"], served):
        wanted = ", ".join(f"{key}={value}" for key, value in served.tags.items())
        raise EvergreenError(
            f"The endpoint {served.endpoint} is not ours: it carries not the tags {wanted}. Nothing was changed.",
            "If it is yours to replace, remove it by hand, or give it these tags.",
        )
    return there


def _require_settled(there: Mapping[str, Any] | None, name: str) -> None:
    """Refuse an endpoint that SageMaker is bringing somewhere else: it takes no change until it is there."""
    status = there["EndpointStatus"] if there else ""
    if there and (status == "Deleting" or (status in _BUSY and there["EndpointConfigName"] != name)):
        raise EvergreenError(
            f"The endpoint {there['EndpointName']} is {status}: SageMaker takes no change until it is done.",
            "Run the command again later.",
        )


def _push(target: Target, progress: Progress) -> None:
    run_step(_build(target), progress)
    ecr, repository = _client("ecr"), _repository(target)
    try:
        ecr.create_repository(**repository.arguments)
        progress.done(f"ecr: the repository {repository.arguments['repositoryName']} is made")
    except ecr.exceptions.RepositoryAlreadyExistsException:
        pass
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    run_tool(_login(target), progress, given=base64.b64decode(token).decode().partition(":")[2])
    run_step(push_step(target), progress)


def _bring_up(
    sagemaker: Any,
    target: Target,
    there: Mapping[str, Any] | None,
    made: list[tuple[str, str]],
    progress: Progress,
    *,
    deadline: float,
    poll: float,
) -> None:
    """Make what is not there, and wait until the endpoint serves it; `made` is told what was made."""
    calls, name, endpoint = _calls(target), _name(target), target.served.endpoint
    for kind, part in (("model", "model"), ("endpoint_config", "config")):
        if name in _own(sagemaker, kind, target.served):
            continue
        _make(sagemaker, calls[part])
        made.append((kind, name))
        progress.done(f"{part}: {name} is made")
    if there and there["EndpointStatus"] in ("Failed", "UpdateRollbackFailed"):
        # SageMaker takes nothing but its removal.
        _remove(sagemaker, "endpoint", endpoint, poll)
        progress.done(f"endpoint: {endpoint} had failed, and is removed")
        there = None
    if there is None:
        _make(sagemaker, calls["endpoint"])
        made.append(("endpoint", endpoint))
    elif there["EndpointConfigName"] != name:
        _make(sagemaker, calls["update"])
    _wait(sagemaker, endpoint, name, progress, deadline=deadline, poll=poll)
    progress.done(f"endpoint: {endpoint} serves {name}")


def _make(sagemaker: Any, call: Call) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        getattr(sagemaker, call.operation)(**call.arguments)
    except (BotoCoreError, ClientError) as error:
        raise FailedStepError(f"AWS refused: {error}", "Correct it, and run the command again.") from None


def _wait(sagemaker: Any, endpoint: str, name: str, progress: Progress, *, deadline: float, poll: float) -> None:
    """Until the endpoint serves a configuration.

    Raises:
        FailedStepError: it failed, or went back to what it served.
        EvergreenError: it took too long.
    """
    began, moved = time.monotonic(), False
    while True:
        seen = sagemaker.describe_endpoint(EndpointName=endpoint)
        status, taken = seen["EndpointStatus"], time.monotonic() - began
        if status == "InService" and seen["EndpointConfigName"] == name:
            return
        moved = moved or status in _BUSY
        if status not in _BUSY and (status != "InService" or moved or taken > _SETTLED):
            reason = str(seen.get("FailureReason") or "SageMaker gives no reason").rstrip(".")
            still = f"it still serves {seen['EndpointConfigName']}" if status == "InService" else f"it is {status}"
            raise FailedStepError(
                f"The endpoint {endpoint} does not serve {name}, {still}: {reason}.",
                f"Its log has more: aws logs tail /aws/sagemaker/Endpoints/{endpoint}",
            )
        if taken > deadline:
            raise EvergreenError(
                f"The endpoint {endpoint} is still {status} after {deadline:.0f} s, and nothing was removed.",
                "Run the same command again: it goes on waiting.",
            )
        progress.waiting(f"{endpoint} is {status}, {taken:.0f} s")
        time.sleep(poll)


def _undo(sagemaker: Any, served: Served, made: Sequence[tuple[str, str]], poll: float) -> str:
    """Remove what was made, the last first; returns what is told of it."""
    from botocore.exceptions import BotoCoreError, ClientError

    gone, left = [], []
    for kind, name in reversed(made):
        try:
            if kind != "endpoint" and _is_used(sagemaker, served, name):
                left.append(f"{_word(kind)} {name}")
                continue
            _remove(sagemaker, kind, name, poll)
            gone.append(f"{_word(kind)} {name}")
        except (BotoCoreError, ClientError, EvergreenError) as error:
            left.append(f"{_word(kind)} {name} ({error})")
    removed = f"Removed again: {', '.join(gone)}." if gone else ""
    rest = f"Still there: {', '.join(left)}." if left else ""
    return f"{removed} {rest}".strip() or "Nothing was made."


def _is_used(sagemaker: Any, served: Served, name: str) -> bool:
    """Whether the endpoint is on a configuration."""
    there = _require_own(sagemaker, served)
    return there is not None and there["EndpointConfigName"] == name


def _word(kind: str) -> str:
    return kind.replace("_", " ")


def _removal(kind: str, name: str) -> Call:
    key = {"endpoint": "EndpointName", "endpoint_config": "EndpointConfigName", "model": "ModelName"}[kind]
    return Call(f"delete_{kind}", f"Remove the {_word(kind)} {name}", {key: name})


def _remove(sagemaker: Any, kind: str, name: str, poll: float = _POLL) -> None:
    """Remove one; of an endpoint, wait until it is gone."""
    call = _removal(kind, name)
    getattr(sagemaker, call.operation)(**call.arguments)
    began = time.monotonic()
    while kind == "endpoint" and any(
        each["EndpointName"] == name for each in _listed(sagemaker, kind, Served(name, {}))
    ):
        if time.monotonic() - began > DEADLINE:
            raise EvergreenError(f"The endpoint {name} is not gone after {DEADLINE:.0f} s.", "Run the command again.")
        time.sleep(poll)


def _remove_versions(sagemaker: Any, served: Served, progress: Progress, but: str = "") -> list[str]:
    """Remove the configurations and models of the endpoint that carry our tags; returns which."""
    removed = []
    for kind in _KINDS:
        for name in _own(sagemaker, kind, served):
            if name != but:
                _remove(sagemaker, kind, name)
                progress.done(f"remove: {_word(kind)} {name}")
                removed.append(f"{_word(kind)} {name}")
    return removed


def _ask(target: Target, progress: Progress) -> None:
    """Ask the endpoint for a prediction of the example row."""
    body = target.request("dataframe_records")
    if not body:
        return
    from botocore.exceptions import ClientError

    endpoint = target.served.endpoint
    try:
        told = (
            _client("sagemaker-runtime")
            .invoke_endpoint(
                EndpointName=endpoint, ContentType="application/json", Accept="application/json", Body=body.encode()
            )["Body"]
            .read()
        )
    except ClientError as error:
        raise EvergreenError(
            f"{endpoint} is in service, and did not answer the example row: {error}",
            f"Its log says why: aws logs tail /aws/sagemaker/Endpoints/{endpoint}",
        ) from None
    try:
        answer = json.loads(told)
    except ValueError:
        answer = told.decode(errors="replace")
    require_prediction(answer, f"{endpoint} is in service, and")
    progress.done(f"ask: the example row is answered with {answer['predictions'][0]}")
