"""What the server says of itself: a model's metadata, and the OpenAPI description of its routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evergreen.data.coercion import kind_of
from evergreen.naming import invocations_path, predict_path
from serving.admission.frames import brings_contract
from serving.champion import Followed
from serving.prediction_queue import PredictionQueue
from serving.protocols import open_inference
from serving.version import ServedVersion

if TYPE_CHECKING:
    from pandera.pandas import Column

_TYPES = {"number": "number", "integer": "integer", "flag": "boolean", "text": "string", "time": "string"}


def metadata(name: str, followed: Followed, queue: PredictionQueue, number: int | None = None) -> dict[str, Any]:
    """A model as the Open Inference Protocol describes it, and how it is served in `parameters`.

    Inputs and outputs are those of the version of that number; of the champion where it is None.
    """
    answering, challenger = followed.answering, followed.challenger
    version = next((each for each in answering if each.number == number), followed.current)
    parameters: dict[str, Any] = {"swaps": followed.swaps, "stale": followed.stale}
    if challenger is not None:
        parameters |= {"challenger": challenger.number, "challenger_share": followed.share}
        parameters |= {"challenger_slow_because": challenger.slow_because}
        parameters |= {"challenger_failures": followed.canary.failures}
        comparer = queue.comparer
        parameters |= {"rows_compared": comparer.compared[name], "rows_not_compared": comparer.not_compared[name]}
    parameters["challenger_problem"] = followed.canary.problem
    counts = queue.counts
    parameters |= {"rows_waiting": queue.waiting, "rows_kept": counts.kept, "rows_not_kept": counts.not_kept}
    parameters |= {"rows_without_key": counts.without_key, "log_problem": counts.problem}
    described: dict[str, Any] = {"name": name, "versions": [], "platform": "sklearn", "inputs": [], "outputs": []}
    if version is not None:
        parameters |= {"alias": version.alias, "compiled": version.plan is not None}
        parameters |= {"slow_because": version.slow_because, "loaded_at": version.loaded_at.isoformat()}
        described["versions"] = [str(each.number) for each in answering]
        described["inputs"] = open_inference.input_tensors(version)
        described["outputs"] = open_inference.output_tensors(version)
    return described | {"parameters": parameters}


def openapi(served: Mapping[str, ServedVersion | None], version: str, *, closed: bool) -> dict[str, Any]:
    """The routes as OpenAPI 3.1; `closed` says that a key is needed."""
    paths: dict[str, Any] = {
        "/ping": _get("Whether requests can be answered"),
        "/version": _get("The version of Evergreen"),
        "/v2": _get("The server, as the Open Inference Protocol describes it"),
        "/v2/health/live": _get("Whether the server lives"),
        "/v2/health/ready": _get("Whether requests can be answered"),
        "/metrics": _get("What the server counts, in the text format of Prometheus"),
    }
    for name, each in served.items():
        row = _row_schema(each)
        paths[predict_path(name)] = _post(
            f"Predict rows by the champion of {name}", {"anyOf": [row, {"type": "array", "minItems": 1, "items": row}]}
        )
        records = {"type": "object", "properties": {"dataframe_records": {"type": "array", "items": row}}}
        paths[invocations_path(name)] = _post("The same as MLflow's scoring server", records)
        tensors = {"type": "object", "properties": {"inputs": {"type": "array", "items": {"type": "object"}}}}
        paths[f"/v2/models/{name}/infer"] = _post("The same by the Open Inference Protocol", tensors)
        paths[f"/v2/models/{name}"] = _get(f"The version of {name} that answers, its inputs and outputs")
        paths[f"/v2/models/{name}/ready"] = _get(f"Whether {name} can be asked")
    if len(served) == 1:
        paths["/invocations"] = paths[invocations_path(next(iter(served)))]
    description: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Evergreen", "version": version},
        "paths": paths,
    }
    if closed:
        schemes = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
        description |= {"components": {"securitySchemes": schemes}, "security": [{"key": []}]}
    return description


def _get(summary: str) -> dict[str, Any]:
    answers = {"200": {"description": "Yes, or what was asked"}, "503": {"description": "Not yet"}}
    return {"get": {"summary": summary, "responses": answers | {"401": {"description": "A key is needed"}}}}


def _post(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    refusals = {
        "400": "Not in this form",
        "401": "A key is needed",
        "408": "The body did not come in time",
        "413": "Too large",
        "415": "Another type of body",
        "422": "Rows break the contract, told by row and column",
        "429": "The key asks too often",
        "503": "No champion yet, or too many requests wait",
    }
    answers = {status: {"description": text} for status, text in refusals.items()}
    answers["200"] = {"description": "The predictions, the version that made them, and the request's id"}
    return {"post": {"summary": summary, "requestBody": body, "responses": answers}}


def _row_schema(version: ServedVersion | None) -> dict[str, Any]:
    """A row as JSON schema; of a model whose `prepare` runs, nobody knows the columns."""
    if version is None or not brings_contract(version.spec):
        return {"type": "object", "minProperties": 1}
    columns, spec = version.schema.columns, version.spec
    names = dict.fromkeys((*spec.features.all, *spec.keys, *([spec.time] if spec.time else [])))
    properties = {name: _value_schema(columns[name]) for name in names}
    examples = {"examples": [version.example]} if version.example else {}
    return {"type": "object", "properties": properties, "required": list(spec.features.all)} | examples


def _value_schema(column: Column) -> dict[str, Any]:
    kind = kind_of(column.dtype)
    schema: dict[str, Any] = {"type": [_TYPES[kind], "null"] if column.nullable else _TYPES[kind]}
    return schema | ({"format": "date-time"} if kind == "time" else {})
