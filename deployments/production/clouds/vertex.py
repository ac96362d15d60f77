"""Vertex AI: a model and an endpoint that it is deployed to, asked for by `gcloud ai`.

Project and region are the properties of `gcloud` (`gcloud config set project ...`, `gcloud config set ai/region ...`).
A deployed model gets all traffic as soon as Vertex AI finds it healthy, and not before; the former one is removed after
the new one has answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
from evergreen.naming import is_cloud_version

INSTANCE = "n1-standard-2"
_MODELS, _ENDPOINTS = ("gcloud", "ai", "models"), ("gcloud", "ai", "endpoints")
_JSON = ("--format=json", "--quiet")


def plan(target: Target) -> tuple[Step, ...]:
    """What is done, in its order; writes the file that the commands name."""
    steps: list[Step] = []
    if target.registry:
        steps += [build_step(target), _login(target), push_step(target)]
    steps += [_upload(target), _create_endpoint(target), _deploy_model(target)]
    if target.image.example:
        steps.append(_predict(target))
    return (*steps, Step(f"Undeploy and remove the models of other versions of {target.served.endpoint}", ()))


def deploy(target: Target, progress: Progress) -> dict[str, Any]:
    """Carry the plan out, and return what is there then.

    Raises:
        EvergreenError: a tool is missing, the endpoint is another's, or a command failed. What a failure had begun is
            removed again, or named.
    """
    require_tools(["docker", "gcloud"] if target.registry else ["gcloud"])
    served, name = target.served, target.name(*ACCESS)
    there = _require_own(served, progress)
    if target.registry:
        for step in (build_step(target), _login(target), push_step(target)):
            run_step(step, progress)
    made: list[Step] = []
    try:
        if name not in _own_models(served, progress):
            made.append(_remove_model(name))
            run_step(_upload(target), progress)
        if there is None:
            made.append(_remove_endpoint(served))
            run_step(_create_endpoint(target), progress)
        if name not in _deployed(there).values():
            run_step(_deploy_model(target), progress)
    except FailedStepError as error:
        raise FailedStepError(f"{error.what} {undo(made, progress)}", error.fix) from None
    if target.image.example:
        require_prediction(read_json((*_predict(target).words, *_JSON), progress), served.endpoint)
        progress.done("ask: the example row is answered")
    removed = _remove_versions(served, _deployed(there), progress, but=name)
    return {"endpoint": served.endpoint, "serves": name, "image": target.uri, "removed": removed}


def delete(served: Served, progress: Progress) -> list[str]:
    """Remove the endpoint, and the models that are its own; returns what was removed.

    Raises:
        EvergreenError: gcloud is missing, the endpoint is another's, or a command failed.
    """
    require_tools(["gcloud"])
    there, removed = _require_own(served, progress), []
    if there is not None:
        for step in (*_undeploy(served, _deployed(there)), _remove_endpoint(served)):
            run_step(step, progress)
        removed.append(f"endpoint {served.endpoint}")
    return removed + _remove_versions(served, {}, progress)


def delete_plan(served: Served) -> tuple[Step, ...]:
    """What `delete` does, as far as it is known without a look."""
    return (
        Step(f"Undeploy the models of {served.endpoint}", ()),
        _remove_endpoint(served),
        Step(f"Remove the models of {served.endpoint} that carry our labels", ()),
    )


def _login(target: Target) -> Step:
    return Step("Let docker into the registry", ("gcloud", "auth", "configure-docker", target.registry, "--quiet"))


def _upload(target: Target) -> Step:
    name = target.name(*ACCESS)
    words = (
        *(f"--model-id={name}", f"--display-name={name}", f"--container-image-uri={target.uri}"),
        *(f"--container-ports={PORT}", f"--container-health-route={HEALTH}", f"--container-predict-route={PREDICT}"),
        *(f"--container-env-vars={ACCESS[0]}={ACCESS[1]}", f"--labels={_labels(target.tags)}", "--quiet"),
    )
    return Step("Make the model", (*_MODELS, "upload", *words), "unless it is there")


def _create_endpoint(target: Target) -> Step:
    name, labels = target.served.endpoint, _labels(target.served.tags)
    words = (f"--endpoint-id={name}", f"--display-name={name}", f"--labels={labels}", "--quiet")
    return Step("Make the endpoint", (*_ENDPOINTS, "create", *words), "if there is none")


def _deploy_model(target: Target) -> Step:
    name = target.name(*ACCESS)
    words = (
        *(target.served.endpoint, f"--model={name}", f"--display-name={name}", f"--machine-type={target.instance}"),
        # 0 is the model that is deployed by this command.
        *("--min-replica-count=1", "--max-replica-count=1", "--traffic-split=0=100", "--quiet"),
    )
    return Step("Deploy it, with all traffic", (*_ENDPOINTS, "deploy-model", *words), "unless it is deployed")


def _predict(target: Target) -> Step:
    place = target.write("request.json", target.request("instances"))
    return Step("Ask it", (*_ENDPOINTS, "predict", target.served.endpoint, f"--json-request={place}"))


def _undeploy(served: Served, ids: Iterable[str]) -> list[Step]:
    words = (*_ENDPOINTS, "undeploy-model", served.endpoint)
    return [Step(f"Undeploy {number}", (*words, f"--deployed-model-id={number}", "--quiet")) for number in ids]


def _remove_endpoint(served: Served) -> Step:
    return Step("Remove the endpoint", (*_ENDPOINTS, "delete", served.endpoint, "--quiet"))


def _remove_model(name: str) -> Step:
    return Step(f"Remove the model {name}", (*_MODELS, "delete", name, "--quiet"))


def _labels(tags: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in tags.items())


def _last(name: str) -> str:
    """The identifier at the end of the name of a resource."""
    return name.rpartition("/")[2]


def _require_own(served: Served, progress: Progress) -> dict[str, Any] | None:
    """The endpoint as it is; None where there is none.

    Raises:
        EvergreenError: it is there, and it, or a model on it, is not ours.
    """
    for endpoint in read_json((*_ENDPOINTS, "list", *_JSON), progress):
        if _last(endpoint["name"]) == served.endpoint:
            if not served.tags.items() <= (endpoint.get("labels") or {}).items():
                raise EvergreenError(
                    f"The endpoint {served.endpoint} is not ours: it carries not the labels {_labels(served.tags)}. "
                    "Nothing was changed.",
                    "If it is yours to replace, remove it by hand, or give it these labels.",
                )
            _require_own_models(served, endpoint)
            return dict(endpoint)
    return None


def _require_own_models(served: Served, endpoint: dict[str, Any]) -> None:
    """Refuse an endpoint with a model of somebody else on it, which would lose its traffic."""
    others = [model for model in _deployed(endpoint).values() if not is_cloud_version(served.endpoint, model)]
    if others:
        raise EvergreenError(
            f"On the endpoint {served.endpoint} is a model that is not ours: {', '.join(others)}. Nothing was changed.",
            "Undeploy it by hand, if it is yours to remove.",
        )


def _deployed(endpoint: dict[str, Any] | None) -> dict[str, str]:
    """The models on the endpoint, each by the identifier of its deployment."""
    found = (endpoint or {}).get("deployedModels") or []
    return {each["id"]: _last(each["model"]).partition("@")[0] for each in found}


def _own_models(served: Served, progress: Progress) -> list[str]:
    """The models of this endpoint that carry our labels."""
    return [
        _last(model["name"]).partition("@")[0]
        for model in read_json((*_MODELS, "list", *_JSON), progress)
        if served.tags.items() <= (model.get("labels") or {}).items()
        and is_cloud_version(served.endpoint, _last(model["name"]).partition("@")[0])
    ]


def _remove_versions(served: Served, deployed: dict[str, str], progress: Progress, but: str = "") -> list[str]:
    """Undeploy and remove the models of other versions; returns which."""
    for step in _undeploy(served, [number for number, model in deployed.items() if model != but]):
        run_step(step, progress)
    removed = [name for name in _own_models(served, progress) if name != but]
    for name in removed:
        run_step(_remove_model(name), progress)
    return [f"model {name}" for name in removed]
