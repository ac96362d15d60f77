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
from collections.abc import Mapping, Sequence
from typing import Any

from deployments.production.clouds.sagemaker_things import (
    KINDS,
    POLL,
    Call,
    kind_word,
    list_own,
    make_client,
    removal,
    remove,
    report_refusals,
    require_own,
)
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

INSTANCE = "ml.m5.large"
_VARIANT = "champion"
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_SETTLED = 30.0
"""Seconds after which an endpoint that still serves what it served is not going to be updated any more."""


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


def deploy(target: Target, progress: Progress, *, deadline: float = DEADLINE, poll: float = POLL) -> dict[str, Any]:
    """Carry the plan out, and return what is there then.

    Raises:
        EvergreenError: a tool or boto3 is missing, the endpoint is another's, SageMaker refused or failed, or it took
            too long. What a failure had begun is removed again, or named.
    """
    sagemaker = make_client("sagemaker")
    require_tools(["docker"] if target.registry else [])
    with report_refusals():
        there = require_own(sagemaker, target.served)
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


def delete(served: Served, progress: Progress, *, poll: float = POLL) -> list[str]:
    """Remove the endpoint, and the models and configurations that are its own; returns their names.

    Raises:
        EvergreenError: the endpoint is another's, or SageMaker refused.
    """
    sagemaker = make_client("sagemaker")
    with report_refusals():
        removed = []
        if there := require_own(sagemaker, served):
            remove(sagemaker, "endpoint", served.endpoint, poll)
            progress.done(f"endpoint: {there['EndpointName']} is removed")
            removed.append(f"endpoint {served.endpoint}")
        return removed + _remove_versions(sagemaker, served, progress)


def delete_plan(served: Served) -> tuple[Step, ...]:
    """What `delete` does: it looks what there is.

    Raises:
        EvergreenError: the endpoint is another's, or SageMaker refused.
    """
    sagemaker = make_client("sagemaker")
    with report_refusals():
        there = require_own(sagemaker, served)
        own = [(kind, name) for kind in KINDS for name in list_own(sagemaker, kind, served)]
        return tuple(removal(*each).step() for each in [*([("endpoint", served.endpoint)] if there else []), *own])


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
    ecr, repository = make_client("ecr"), _repository(target)
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
        if name in list_own(sagemaker, kind, target.served):
            continue
        _make(sagemaker, calls[part])
        made.append((kind, name))
        progress.done(f"{part}: {name} is made")
    if there and there["EndpointStatus"] in ("Failed", "UpdateRollbackFailed"):
        # SageMaker takes nothing but its removal.
        remove(sagemaker, "endpoint", endpoint, poll)
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
                left.append(f"{kind_word(kind)} {name}")
                continue
            remove(sagemaker, kind, name, poll)
            gone.append(f"{kind_word(kind)} {name}")
        except (BotoCoreError, ClientError, EvergreenError) as error:
            left.append(f"{kind_word(kind)} {name} ({error})")
    removed = f"Removed again: {', '.join(gone)}." if gone else ""
    rest = f"Still there: {', '.join(left)}." if left else ""
    return f"{removed} {rest}".strip() or "Nothing was made."


def _is_used(sagemaker: Any, served: Served, name: str) -> bool:
    """Whether the endpoint is on a configuration."""
    there = require_own(sagemaker, served)
    return there is not None and there["EndpointConfigName"] == name


def _remove_versions(sagemaker: Any, served: Served, progress: Progress, but: str = "") -> list[str]:
    """Remove the configurations and models of the endpoint that carry our tags; returns which."""
    removed = []
    for kind in KINDS:
        for name in list_own(sagemaker, kind, served):
            if name != but:
                remove(sagemaker, kind, name)
                progress.done(f"remove: {kind_word(kind)} {name}")
                removed.append(f"{kind_word(kind)} {name}")
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
            make_client("sagemaker-runtime")
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
