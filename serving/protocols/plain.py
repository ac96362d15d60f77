"""`POST /models/NAME/predict`: a JSON object is a row, a list of them are rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.protocols.call import Call, parse_json, require_objects, require_type
from serving.version import Answer, ServedVersion

JSON_TYPE = "application/json"


def read_call(content_type: str, body: bytes) -> Call:
    """The rows of a request.

    Raises:
        RequestError: it is in another form.
    """
    if content_type != JSON_TYPE:
        require_type(content_type, JSON_TYPE)
    rows = parse_json(body)
    if rows.__class__ is dict and rows:
        return Call((rows,), single=True)
    return Call(require_objects(rows))


def write_answer(call: Call, version: ServedVersion, answers: Sequence[Answer], request_id: str) -> bytes:
    """The answer as JSON: `prediction` for one row, `predictions` for a list."""
    import orjson

    body: dict[str, Any] = {
        "model": version.spec.name,
        "version": version.number,
        "alias": version.alias,
        "request_id": request_id,
    }
    if call.single:
        prediction, shares = answers[0]
        body["prediction"] = prediction
        if shares is not None:
            body["probability"] = _by_class(version, shares)
    else:
        body["predictions"] = [prediction for prediction, _ in answers]
        if answers[0][1] is not None:
            body["probabilities"] = [_by_class(version, shares) for _, shares in answers if shares is not None]
    return orjson.dumps(body)


def _by_class(version: ServedVersion, shares: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(map(str, version.classes or ()), shares, strict=True))
