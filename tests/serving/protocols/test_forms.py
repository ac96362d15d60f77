"""The forms in which rows come: each says what is wrong with a body that is none of its own."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serving.faults import RequestError
from serving.protocols import mlflow, open_inference, plain
from serving.protocols.call import Call
from serving.version import ServedVersion

JSON = "application/json"
NAMES = ("x", "kind")
ROWS = [{"x": 1.5, "kind": "a"}, {"x": None, "kind": "b"}]


def _plain(body: bytes, content_type: str = JSON) -> Call:
    return plain.read_call(content_type, body)


def _mlflow(body: bytes, content_type: str = JSON) -> Call:
    return mlflow.read_call(content_type, body, NAMES)


def _tensors(body: bytes, content_type: str = JSON) -> Call:
    return open_inference.read_call(content_type, body, {})


def test_an_object_is_a_row_and_a_list_is_rows() -> None:
    """What came alone is answered alone."""
    alone, many = _plain(json.dumps(ROWS[0]).encode()), _plain(json.dumps(ROWS).encode())
    assert (alone.rows, alone.single, alone.count) == ((ROWS[0],), True, 1)
    assert (many.rows, many.single, many.count) == (ROWS, False, 2)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["x", "kind"], "data": [[1.5, "a"], [None, "b"]]}},
        {"dataframe_split": {"columns": ["x", "kind"], "index": [0, 1], "data": [[1.5, "a"], [None, "b"]]}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"instances": [[1.5, "a"], [None, "b"]]},
        {"inputs": {"x": [1.5, None], "kind": ["a", "b"]}},
        {"inputs": {"x": [[1.5], [None]], "kind": [["a"], ["b"]]}},
        {"inputs": ROWS},
    ],
    ids=lambda body: f"{next(iter(body))} {type(next(iter(body.values()))).__name__}",
)
def test_the_four_forms_of_mlflow_are_the_same_rows(body: dict[str, Any]) -> None:
    """As MLflow's own server takes them."""
    assert list(_mlflow(json.dumps(body).encode()).rows) == ROWS


def test_csv_is_text() -> None:
    """Its cells are read like those of a file."""
    call = _mlflow(b"x,kind\n1.5,a\n,NA\n", "text/csv")
    assert call.frame is not None
    assert (call.written, call.count, call.frame.to_numpy().tolist()) == (True, 2, [["1.5", "a"], ["", "NA"]])


def _infer(**changes: Any) -> dict[str, Any]:
    tensors: list[Any] = [
        {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, None]},
        {"name": "kind", "shape": [2, 1], "datatype": "BYTES", "data": [["a"], ["b"]]},
    ]
    tensors[0] |= changes
    return {"id": "mine", "inputs": tensors}


def test_tensors_are_columns() -> None:
    """One for each column, a value for each row; the id is the client's."""
    call = _tensors(json.dumps(_infer()).encode())
    assert (list(call.rows), call.request_id) == (ROWS, "mine")


@pytest.mark.parametrize("given", ["", "x" * 200, "a\nb", 7, None, ["a"]], ids=str)
def test_an_id_of_a_body_that_is_none_is_left_aside(given: Any) -> None:
    """It goes into the lake and the answer."""
    assert _tensors(json.dumps(_infer() | {"id": given}).encode()).request_id == ""


def test_tensors_in_binary_form_are_the_same_rows() -> None:
    """Numbers as they lie in memory, texts with their lengths; NaN is a missing number."""
    parts = [np.array([1.5, np.nan]).tobytes(), b"".join(struct.pack("<I", 1) + text for text in (b"a", b"b"))]
    inputs: list[dict[str, Any]] = [
        {"name": "x", "shape": [2], "datatype": "FP64"},
        {"name": "kind", "shape": [2], "datatype": "BYTES"},
    ]
    for tensor, part in zip(inputs, parts, strict=True):
        tensor["parameters"] = {"binary_data_size": len(part)}
    head = json.dumps({"inputs": inputs}).encode()
    length = {open_inference.HEADER_LENGTH: str(len(head)).encode()}
    call = open_inference.read_call("application/octet-stream", head + b"".join(parts), length)
    assert list(call.rows) == ROWS
    with pytest.raises(RequestError, match="more bytes"):
        open_inference.read_call("application/octet-stream", head + parts[0], length)


DEEP = b"[" * 10_000 + b"]" * 10_000
MALFORMED: list[tuple[Callable[..., Call], Any, str]] = [
    *((read, body, "JSON") for read in (_plain, _mlflow, _tensors) for body in (b"", b"{", b"NaN", b"[1e999]", DEEP)),
    (_plain, [], "no row"),
    (_plain, {}, "list of JSON objects"),
    (_plain, 3, "list of JSON objects"),
    (_plain, [3], "Row 0"),
    (_plain, [{"x": 1}, {}], "Row 1"),
    (_mlflow, [], "one of dataframe_split"),
    (_mlflow, {}, "one of dataframe_split"),
    (_mlflow, {"inputs": ROWS, "instances": ROWS}, "one of dataframe_split"),
    (_mlflow, {"dataframe_split": [1]}, "columns"),
    (_mlflow, {"dataframe_split": {"columns": ["x"], "data": [[1, 2]]}}, "Row 0"),
    (_mlflow, {"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, "same name"),
    (_mlflow, {"dataframe_split": {"columns": ["x"], "data": []}}, "no row"),
    (_mlflow, {"instances": [[1.0]]}, "Row 0"),
    (_mlflow, {"instances": 4}, "list"),
    (_mlflow, {"inputs": {"x": [1], "kind": ["a", "b"]}}, "one length"),
    (_mlflow, {"inputs": {"x": []}}, "one length"),
    (_tensors, {}, "list of tensors"),
    (_tensors, {"inputs": [1]}, "no name"),
    (_tensors, _infer(datatype="FP128"), "datatype"),
    (_tensors, _infer(shape=[2, 2]), "shape"),
    (_tensors, _infer(shape=[3]), "2 values"),
    (_tensors, _infer(shape=[1], data=[1.0]), "as many values"),
    (_tensors, _infer(name="kind"), "Two tensors"),
    (_tensors, _infer(parameters={"binary_data_size": 99}), "more bytes"),
    (_tensors, _infer(data=None), "needs its values"),
    (_tensors, _infer(datatype=["FP64"]), "datatype"),
    (_tensors, _infer(data=7), "values"),
]


@pytest.mark.parametrize(("read", "body", "says"), MALFORMED, ids=lambda value: getattr(value, "__name__", None))
def test_a_body_in_another_form_is_refused_with_a_sentence(read: Callable[..., Call], body: Any, says: str) -> None:
    """400, whatever it holds: never an exception of a library."""
    with pytest.raises(RequestError, match=says) as refused:
        read(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (refused.value.status, refused.value.code, refused.value.message[-1]) == (400, "malformed", ".")


@pytest.mark.parametrize("read", [_plain, _mlflow, _tensors])
def test_another_type_of_body_is_refused(read: Callable[..., Call]) -> None:
    """415, with the types that are read."""
    for content_type in ("", "text/html", "application/x-www-form-urlencoded"):
        if read is _tensors and not content_type:
            # Triton's own client sends none.
            continue
        with pytest.raises(RequestError, match="application/json") as refused:
            read(b"{}", content_type)
        assert refused.value.status == 415


def test_answers_say_whose_they_are(version: ServedVersion) -> None:
    """In each form: the version, and the id of the request."""
    call, answers = Call(ROWS), [(1.0, None), (2.0, None)]
    for module in (plain, mlflow, open_inference):
        body = json.loads(module.write_answer(call, version, answers, "r-1"))  # type: ignore[attr-defined]
        assert "r-1" in (body.get("request_id"), body.get("id"))
        assert str(body.get("version", body.get("model_version"))) == "1"


def test_a_class_has_its_probability_by_name(make_version: Callable[..., ServedVersion]) -> None:
    """In the plain form by the name of the class, in the protocol's as a tensor of rows and classes."""
    from dataclasses import replace

    version = replace(make_version(), classes=("no", "yes"))
    answers: list[Any] = [("yes", (0.25, 0.75))]
    one = json.loads(plain.write_answer(Call((ROWS[0],), single=True), version, answers, "r"))
    assert (one["prediction"], one["probability"]) == ("yes", {"no": 0.25, "yes": 0.75})
    many = json.loads(plain.write_answer(Call((ROWS[0],)), version, answers, "r"))
    assert (many["predictions"], many["probabilities"]) == (["yes"], [{"no": 0.25, "yes": 0.75}])
    tensors = json.loads(open_inference.write_answer(Call((ROWS[0],)), version, answers, "r"))["outputs"]
    assert [(each["name"], each["datatype"], each["shape"]) for each in tensors] == [
        ("prediction", "BYTES", [1]),
        ("probability", "FP64", [1, 2]),
    ]
