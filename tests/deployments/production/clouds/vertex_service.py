"""A service that stands where Vertex AI's stands, for the real `gcloud` to ask: endpoints, models, predictions.

It speaks the REST of aiplatform v1 as gcloud asks it. A model whose image is called `broken` is not deployed, as Vertex
AI's is not that does not become healthy.
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

PARENT = "projects/shop/locations/europe-west1"
_TYPE = "type.googleapis.com/google.cloud.aiplatform.v1"


class Vertex:
    """What there is, and what the next prediction is."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Any] = {}
        self.models: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.answer: Any = {"predictions": [1.0]}
        self.asked: list[Any] = []

    def act(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """The status and the document of a request."""
        found = re.fullmatch(rf"/v1/{PARENT}/(\w+)(?:/([\w.-]+))?(?::(\w+))?", path)
        assert found is not None, path
        kind, name, verb = found.groups()
        if kind == "operations":
            return 200, self.operations[name]
        if verb == "predict":
            self.asked.append(body)
            return 200, self.answer
        return self._look(method, kind, name) or self._change(kind, name, verb, query, body)

    def _look(self, method: str, kind: str, name: str) -> tuple[int, Any] | None:
        """Show or remove; None where something else is asked."""
        things = self.endpoints if kind == "endpoints" else self.models
        if name and name not in things:
            return 404, _error(404, f"{name} is not found")
        if method == "GET":
            return 200, things[name] if name else {kind: list(things.values())}
        if method == "DELETE":
            if things[name].get("deployedModels"):
                return 400, _error(400, "the endpoint has deployed models")
            del things[name]
            return 200, self._operation(
                "DeleteOperationMetadata", {"@type": "type.googleapis.com/google.protobuf.Empty"}
            )
        return None

    def _change(self, kind: str, name: str, verb: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if verb == "predict":
            self.asked.append(body)
            return 200, self.answer
        if verb == "upload":
            name = body["modelId"]
            known = {"name": f"{PARENT}/models/{name}", "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"]}
            self.models[name] = body["model"] | known
            answer = {"@type": f"{_TYPE}.UploadModelResponse", "model": f"{PARENT}/models/{name}"}
            return 200, self._operation("UploadModelOperationMetadata", answer)
        if verb == "deployModel":
            deployed = body["deployedModel"] | {"id": str(100 + len(self.operations))}
            model = self.models[deployed["model"].rpartition("/")[2]]
            if "broken" in model["containerSpec"]["imageUri"]:
                return 200, self._operation("DeployModelOperationMetadata", None, "The model did not become healthy.")
            self.endpoints[name].setdefault("deployedModels", []).append(deployed)
            split = body.get("trafficSplit", {})
            self.endpoints[name]["trafficSplit"] = {key.replace("0", deployed["id"], 1): split[key] for key in split}
            answer = {"@type": f"{_TYPE}.DeployModelResponse", "deployedModel": deployed}
            return 200, self._operation("DeployModelOperationMetadata", answer)
        if verb == "undeployModel":
            endpoint, gone = self.endpoints[name], body["deployedModelId"]
            endpoint["deployedModels"] = [each for each in endpoint["deployedModels"] if each["id"] != gone]
            return 200, self._operation("UndeployModelOperationMetadata", {"@type": f"{_TYPE}.UndeployModelResponse"})
        name = query["endpointId"][0]
        self.endpoints[name] = body | {"name": f"{PARENT}/endpoints/{name}"}
        answer = {"@type": f"{_TYPE}.Endpoint", "name": f"{PARENT}/endpoints/{name}"}
        return 200, self._operation("CreateEndpointOperationMetadata", answer)

    def _operation(self, metadata: str, response: Any, error: str = "") -> Any:
        number = str(len(self.operations) + 1)
        operation = {
            "name": f"{PARENT}/operations/{number}",
            "metadata": {"@type": f"{_TYPE}.{metadata}"},
            "done": True,
        }
        operation |= {"error": {"code": 9, "message": error}} if error else {"response": response}
        self.operations[number] = operation
        return operation


def _error(code: int, message: str) -> Any:
    return {"error": {"code": code, "message": message, "status": "FAILED"}}


def handler(vertex: Vertex) -> type[BaseHTTPRequestHandler]:
    """The handler of a server of this service."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            place = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status, document = vertex.act(self.command, place.path, parse_qs(place.query), body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815 - the names of the base class

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
