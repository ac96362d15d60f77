"""Azure ML: a managed online endpoint with a deployment for each version, asked for by `az ml`.

The new version is asked for a prediction before it gets any traffic. Resource group and workspace are the defaults of
`az` (`az configure --defaults group=... workspace=...`).
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from deployments.production.clouds.steps import (
    FailedStepError,
    Progress,
    Step,
    read_json,
    require_prediction,
    require_tools,
    undo,
)
from deployments.production.clouds.target import (
    ACCESS,
    ALIVE,
    HEALTH,
    PORT,
    PREDICT,
    Served,
    Target,
    build_step,
    push_step,
    run_step,
)
from evergreen.errors import EvergreenError
from evergreen.naming import cloud_deployment

INSTANCE = "Standard_DS3_v2"
"""Azure's documentation recommends no smaller one."""
_SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
_ENDPOINT, _DEPLOYMENT = ("az", "ml", "online-endpoint"), ("az", "ml", "online-deployment")
_JSON = ("--output=json",)


def plan(target: Target) -> tuple[Step, ...]:
    """What is done, in its order; writes the files that the commands name."""
    name, version = target.served.endpoint, cloud_deployment(target.version)
    steps: list[Step] = []
    if target.registry:
        steps += [build_step(target), _login(target), push_step(target)]
    steps += [_create_endpoint(target), *_deploy_steps(target)]
    if target.image.example:
        steps.append(_invoke(target))
    return (
        *steps,
        _give_traffic(name, version),
        Step(f"Remove the deployments of other versions below {name}", ()),
    )


def deploy(target: Target, progress: Progress) -> dict[str, Any]:
    """Carry the plan out, and return what is there then.

    Raises:
        EvergreenError: a tool is missing, the endpoint is another's, or a command failed. What a failure had begun is
            removed again, or named.
    """
    require_tools(["docker", "az"] if target.registry else ["az"])
    name, version = target.served.endpoint, cloud_deployment(target.version)
    there = _require_own(target.served, progress)
    if target.registry:
        for step in (build_step(target), _login(target), push_step(target)):
            run_step(step, progress)
    before = _own_deployments(target.served, progress) if there else []
    made: list[Step] = []
    try:
        if not there:
            # Removing the endpoint removes what is below it.
            made.append(_remove_endpoint(target.served))
            run_step(_create_endpoint(target), progress)
        elif version not in before:
            made.append(_remove_deployment(target.served, version))
        create, update = _deploy_steps(target)
        run_step(update if version in before else create, progress)
        _ask(target, progress)
        run_step(_give_traffic(name, version), progress)
    except FailedStepError as error:
        raise FailedStepError(f"{error.what} {undo(made, progress)}", error.fix) from None
    removed = []
    for other in before:
        if other != version:
            run_step(_remove_deployment(target.served, other), progress)
            removed.append(f"deployment {other}")
    return {"endpoint": name, "serves": version, "image": target.uri, "removed": removed}


def delete(served: Served, progress: Progress) -> list[str]:
    """Remove the endpoint and what is below it; returns what was removed.

    Raises:
        EvergreenError: az is missing, the endpoint or a deployment below it is another's, or a command failed.
    """
    require_tools(["az"])
    if not _require_own(served, progress):
        return []
    own = _own_deployments(served, progress)
    run_step(_remove_endpoint(served), progress)
    return [f"endpoint {served.endpoint}", *(f"deployment {name}" for name in own)]


def delete_plan(served: Served) -> tuple[Step, ...]:
    """What `delete` does, if all that is there is ours."""
    return (_remove_endpoint(served),)


def _login(target: Target) -> Step:
    return Step("Log in to the registry", ("az", "acr", "login", f"--name={target.registry.partition('.')[0]}"))


def _create_endpoint(target: Target) -> Step:
    document = {
        "$schema": f"{_SCHEMAS}/managedOnlineEndpoint.schema.json",
        "name": target.served.endpoint,
        "auth_mode": "key",
        "tags": dict(target.served.tags),
    }
    place = target.write("endpoint.yml", yaml.safe_dump(document, sort_keys=False))
    return Step("Make the endpoint", (*_ENDPOINT, "create", f"--file={place}"), "if there is none")


def _deploy_steps(target: Target) -> tuple[Step, Step]:
    """Create a deployment that is not there, and update one that is."""
    routes = {"liveness_route": ALIVE, "readiness_route": HEALTH, "scoring_route": PREDICT}
    document = {
        "$schema": f"{_SCHEMAS}/managedOnlineDeployment.schema.json",
        "name": cloud_deployment(target.version),
        "endpoint_name": target.served.endpoint,
        "environment": {
            "image": target.uri,
            "inference_config": {route: {"port": PORT, "path": path} for route, path in routes.items()},
        },
        "environment_variables": {ACCESS[0]: ACCESS[1]},
        "instance_type": target.instance,
        "instance_count": 1,
        "tags": dict(target.tags),
    }
    place = target.write("deployment.yml", yaml.safe_dump(document, sort_keys=False))
    words = (f"--file={place}",)
    return (
        Step("Make the deployment", (*_DEPLOYMENT, "create", *words), "if there is none of this version"),
        Step("Update the deployment", (*_DEPLOYMENT, "update", *words), "if there is one"),
    )


def _invoke(target: Target) -> Step:
    place = target.write("request.json", target.request("dataframe_records"))
    words = (f"--name={target.served.endpoint}", f"--deployment-name={cloud_deployment(target.version)}")
    return Step("Ask it, before it has traffic", (*_ENDPOINT, "invoke", *words, f"--request-file={place}", *_JSON))


def _give_traffic(name: str, version: str) -> Step:
    return Step("Give it all traffic", (*_ENDPOINT, "update", f"--name={name}", f"--traffic={version}=100"))


def _remove_endpoint(served: Served) -> Step:
    words = (*_ENDPOINT, "delete", f"--name={served.endpoint}", "--yes")
    return Step("Remove the endpoint, and all below it", words)


def _remove_deployment(served: Served, version: str) -> Step:
    words = (*_DEPLOYMENT, "delete", f"--name={version}", f"--endpoint-name={served.endpoint}", "--yes")
    return Step(f"Remove the deployment {version}", words)


def _require_own(served: Served, progress: Progress) -> bool:
    """Whether the endpoint is there.

    Raises:
        EvergreenError: it is, and carries not our tags.
    """
    for endpoint in read_json((*_ENDPOINT, "list", *_JSON), progress):
        if endpoint["name"] == served.endpoint:
            _require_tags(f"The endpoint {served.endpoint}", endpoint, served)
            return True
    return False


def _own_deployments(served: Served, progress: Progress) -> list[str]:
    """The names of the deployments below the endpoint.

    Raises:
        EvergreenError: one of them carries not our tags: it would be removed with the endpoint, or lose its traffic.
    """
    found = read_json((*_DEPLOYMENT, "list", f"--endpoint-name={served.endpoint}", *_JSON), progress)
    for deployment in found:
        _require_tags(f"The deployment {deployment['name']} below {served.endpoint}", deployment, served)
    return [deployment["name"] for deployment in found]


def _require_tags(what: str, document: dict[str, Any], served: Served) -> None:
    if not served.tags.items() <= (document.get("tags") or {}).items():
        wanted = ", ".join(f"{key}={value}" for key, value in served.tags.items())
        raise EvergreenError(
            f"{what} is not ours: it carries not the tags {wanted}. Nothing was changed.",
            "If it is yours to replace, remove it by hand, or give it these tags.",
        )


def _ask(target: Target, progress: Progress) -> None:
    if target.image.example:
        step = _invoke(target)
        answer = read_json(step.words, progress)
        require_prediction(_body(answer), cloud_deployment(target.version))
        progress.done("ask: the example row is answered")


def _body(answer: Any) -> Any:
    """The body of an answer, which az prints as one text."""
    try:
        return json.loads(answer) if isinstance(answer, str) else answer
    except ValueError:
        return answer
