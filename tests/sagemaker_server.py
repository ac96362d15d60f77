"""A server of moto's SageMaker with the call that it lacks, and with endpoints that take their time.

moto 5.2 has no UpdateEndpoint (it answers 500, not implemented), and its endpoints are in service at once. Here an
endpoint that is made or updated is Creating or Updating until somebody has looked at it once. One whose image is called
`broken` does not come up: a new one is Failed, an updated one serves what it served, both with a reason, as SageMaker
does it. What is asked and answered is held to AWS's own description by botocore at the client.
"""

from __future__ import annotations

from typing import Any

import moto.server
from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import AWSValidationException, ResourceInUseException, ValidationError
from moto.sagemaker.models import SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

REASON = "The primary container did not pass the ping health check."
_PENDING: dict[str, str] = {}
"""The configurations that endpoints are on their way to."""
_create, _describe, _config = (
    SageMakerModelBackend.create_endpoint,
    SageMakerModelBackend.describe_endpoint,
    SageMakerModelBackend.create_endpoint_config,
)


def _create_endpoint(self: Any, endpoint_name: str, endpoint_config_name: str, tags: Any) -> Any:
    if endpoint_name in self.endpoints:
        raise AWSValidationException(f"Cannot create already existing endpoint {endpoint_name}")
    endpoint = _create(self, endpoint_name, endpoint_config_name, tags)
    endpoint.endpoint_status = "Creating"
    _PENDING[endpoint.arn] = endpoint_config_name
    return endpoint


def _create_config(self: Any, **arguments: Any) -> Any:
    if arguments["endpoint_config_name"] in self.endpoint_configs:
        raise AWSValidationException("Cannot create already existing endpoint configuration")
    if any(variant["InstanceType"] == "ml.p5.48xlarge" for variant in arguments["production_variants"]):
        raise ResourceInUseException("The account-level service limit for endpoint usage is 0 Instances.")
    return _config(self, **arguments)


def _describe_endpoint(self: Any, endpoint_name: str) -> Any:
    answer = _describe(self, endpoint_name)
    endpoint = self.endpoints[endpoint_name]
    if wanted := _PENDING.pop(endpoint.arn, ""):
        variant = self.endpoint_configs[wanted].production_variants[0]
        broken = "broken" in self._models[variant["ModelName"]].primary_container["Image"]
        endpoint.failure_reason = REASON if broken else None
        endpoint.endpoint_status = "Failed" if broken and endpoint.endpoint_status == "Creating" else "InService"
        if not broken:
            endpoint.endpoint_config_name = wanted
    return answer


def _update_endpoint(self: Any) -> Any:
    name, config = self._get_param("EndpointName"), self._get_param("EndpointConfigName")
    backend = self.sagemaker_backend
    if name not in backend.endpoints or config not in backend.endpoint_configs:
        raise ValidationError(message=f"Could not find endpoint {name!r} or its configuration {config!r}.")
    endpoint = backend.endpoints[name]
    if endpoint.endpoint_status != "InService":
        raise AWSValidationException(f"Cannot update an endpoint that is {endpoint.endpoint_status}.")
    endpoint.endpoint_status = "Updating"
    _PENDING[endpoint.arn] = config
    return ActionResult({"EndpointArn": endpoint.arn})


if __name__ == "__main__":
    SageMakerModelBackend.create_endpoint = _create_endpoint  # type: ignore[method-assign]
    SageMakerModelBackend.create_endpoint_config = _create_config  # type: ignore[method-assign]
    SageMakerModelBackend.describe_endpoint = _describe_endpoint  # type: ignore[method-assign]
    SageMakerResponse.update_endpoint = _update_endpoint  # type: ignore[attr-defined]
    moto.server.main()
