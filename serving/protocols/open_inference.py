"""`POST /v2/models/NAME/infer`, the Open Inference Protocol: a tensor for each column, as JSON or in binary form.

https://github.com/kserve/open-inference-protocol and, for the binary form, Triton's extension `binary_tensor_data`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evergreen.data.coercion import kind_of
from serving.faults import malformed
from serving.protocols.call import Call, is_request_id, parse_json, require_type
from serving.version import Answer, ServedVersion

HEADER_LENGTH = b"inference-header-content-length"
NAME, EXTENSIONS = "evergreen", ["binary_tensor_data"]
_NUMBERS = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    "BOOL": "|b1",
}
_BYTES = "BYTES"


def read_call(content_type: str, body: bytes, headers: Mapping[bytes, bytes]) -> Call:
    """The rows of a request.

    Raises:
        RequestError: it is in another form.
    """
    if content_type:
        # Triton's own client sends none.
        require_type(content_type, "application/json", "application/octet-stream")
    length = headers.get(HEADER_LENGTH, b"")
    if length and not (length.isdigit() and int(length) <= len(body)):
        raise malformed("Inference-Header-Content-Length is not a length within the body.")
    end = int(length) if length else len(body)
    given = parse_json(body[:end])
    inputs = given.get("inputs") if isinstance(given, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise malformed("The body has to be a JSON object with inputs, a list of tensors.")
    tensors, rest = {}, memoryview(body)[end:]
    for tensor in inputs:
        name, values, rest = _values(tensor, rest)
        if name in tensors:
            raise malformed(f"Two tensors have the name {name!r}.")
        tensors[name] = values
    if len({len(values) for values in tensors.values()}) != 1:
        raise malformed("Every tensor needs as many values as the others: one for each row.")
    rows = [dict(zip(tensors, row, strict=True)) for row in zip(*tensors.values(), strict=True)]
    if not rows:
        raise malformed("There is no row in it.")
    request_id = given.get("id")
    return Call(rows, request_id=request_id if is_request_id(request_id) else "")


def _values(tensor: Any, rest: memoryview) -> tuple[str, list[Any], memoryview]:
    """The name of a tensor, a value for each row, and what is left of the binary part."""
    name = tensor.get("name") if isinstance(tensor, dict) else None
    if not isinstance(name, str):
        raise malformed("A tensor has no name: it has to be the column's.")
    kind, shape = tensor.get("datatype"), tensor.get("shape")
    if not isinstance(kind, str) or (kind not in _NUMBERS and kind != _BYTES):
        raise malformed(f"Tensor {name!r} has no datatype of the protocol.")
    sound = isinstance(shape, list) and shape and all(type(size) is int and size >= 0 for size in shape)
    if not sound or shape[1:] not in ([], [1]):
        raise malformed(f"Tensor {name!r} needs the shape [rows] or [rows, 1].")
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        data = tensor.get("data")
        if not isinstance(data, list):
            raise malformed(f"Tensor {name!r} needs its values as data, a list.")
        values = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in data]
    elif type(size) is not int or not 0 <= size <= len(rest):
        raise malformed(f"Tensor {name!r} needs more bytes than the body has.")
    else:
        values, rest = _unpack(name, kind, rest[:size]), rest[size:]
    if len(values) != shape[0]:
        raise malformed(f"Tensor {name!r} has {len(values)} values, and its shape says {shape[0]}.")
    return name, values, rest


def _unpack(name: str, kind: str, part: memoryview) -> list[Any]:
    if kind != _BYTES:
        number = np.dtype(_NUMBERS[kind])
        if len(part) % number.itemsize:
            raise malformed(f"Tensor {name!r} is not a whole number of {kind} values.")
        numbers = np.frombuffer(part, number)
        # A tensor of numbers has no other word for what is missing.
        return [None if gone else value for value, gone in zip(numbers.tolist(), np.isnan(numbers), strict=True)]
    texts, place = [], 0
    try:
        while place < len(part):
            (length,) = struct.unpack_from("<I", part, place)
            text = bytes(part[place + 4 : place + 4 + length])
            if len(text) != length:
                raise struct.error
            texts.append(text.decode())
            place += 4 + length
    except (struct.error, UnicodeDecodeError):
        raise malformed(f"Tensor {name!r} is not a sequence of lengths and texts in UTF-8.") from None
    return texts


def write_answer(call: Call, version: ServedVersion, answers: Sequence[Answer], request_id: str) -> bytes:
    """The answer: a tensor of predictions, and one of probabilities where there are any."""
    import orjson

    predictions = [prediction for prediction, _ in answers]
    outputs: list[dict[str, Any]] = [
        {"name": "prediction", "shape": [call.count], "datatype": prediction_type(version), "data": predictions}
    ]
    if answers[0][1] is not None:
        shares = [share for _, row in answers for share in row or ()]
        shape = [call.count, len(version.classes or ())]
        outputs.append({"name": "probability", "shape": shape, "datatype": "FP64", "data": shares})
    whose = {"model_name": version.spec.name, "model_version": str(version.number), "id": request_id}
    return orjson.dumps({**whose, "parameters": {"alias": version.alias}, "outputs": outputs})


def prediction_type(version: ServedVersion) -> str:
    """The protocol's name of the type of a prediction."""
    if version.classes is None:
        return "FP64"
    return "INT64" if all(type(each) is int for each in version.classes) else _BYTES


def input_tensors(version: ServedVersion) -> list[dict[str, Any]]:
    """The tensors that a request needs, as the model's metadata lists them."""
    types = {"number": "FP64", "integer": "INT64", "flag": "BOOL", "text": _BYTES, "time": _BYTES}
    columns = version.schema.columns
    return [
        {"name": name, "datatype": types[kind_of(columns[name].dtype)], "shape": [-1]}
        for name in version.spec.features.all
    ]


def output_tensors(version: ServedVersion) -> list[dict[str, Any]]:
    """The tensors of an answer, as the model's metadata lists them."""
    outputs = [{"name": "prediction", "datatype": prediction_type(version), "shape": [-1]}]
    if version.classes is not None and hasattr(version.pipeline, "predict_proba"):
        outputs.append({"name": "probability", "datatype": "FP64", "shape": [-1, len(version.classes)]})
    return outputs
