"""What SageMaker has for an endpoint, asked for and removed by boto3: nothing that carries not our tags is ours."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deployments.production.clouds.steps import DEADLINE, Step
from deployments.production.clouds.target import Served
from evergreen.errors import EvergreenError
from evergreen.naming import is_cloud_version

KINDS = ("endpoint_config", "model")
"""What is made for a version of an endpoint, the user of the other first."""
POLL = 5.0
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


def make_client(service: str) -> Any:
    """A client of boto3.

    Raises:
        EvergreenError: boto3 is not installed, or knows no region.
    """
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
def report_refusals() -> Iterator[None]:
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


def list_own(sagemaker: Any, kind: str, served: Served) -> list[str]:
    """The names of the models or configurations that are this endpoint's and carry our tags."""
    prefix = {"endpoint_config": "EndpointConfig", "model": "Model"}[kind]
    return [
        each[f"{prefix}Name"]
        for each in list(_listed(sagemaker, kind, served))
        if is_cloud_version(served.endpoint, each[f"{prefix}Name"]) and _is_own(sagemaker, each[f"{prefix}Arn"], served)
    ]


def require_own(sagemaker: Any, served: Served) -> Mapping[str, Any] | None:
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


def removal(kind: str, name: str) -> Call:
    """The call that removes one."""
    key = {"endpoint": "EndpointName", "endpoint_config": "EndpointConfigName", "model": "ModelName"}[kind]
    return Call(f"delete_{kind}", f"Remove the {kind_word(kind)} {name}", {key: name})


def remove(sagemaker: Any, kind: str, name: str, poll: float = POLL) -> None:
    """Remove one; of an endpoint, wait until it is gone."""
    call = removal(kind, name)
    getattr(sagemaker, call.operation)(**call.arguments)
    began = time.monotonic()
    while kind == "endpoint" and any(
        each["EndpointName"] == name for each in _listed(sagemaker, kind, Served(name, {}))
    ):
        if time.monotonic() - began > DEADLINE:
            raise EvergreenError(f"The endpoint {name} is not gone after {DEADLINE:.0f} s.", "Run the command again.")
        time.sleep(poll)


def kind_word(kind: str) -> str:
    """A kind as a person says it."""
    return kind.replace("_", " ")
