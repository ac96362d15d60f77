"""The application as a client sees it: what is answered, what is refused, and that no fault brings it down."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.logs import JsonFormatter
from evergreen.spec import Serve
from serving import frame_worker
from serving.access import add_key, read_access
from serving.app import App
from serving.http import Limits
from serving.version import DIRECT_ROWS, ServedVersion
from tests.serving.conftest import ask, ask_once

PREDICT = "/models/toy/predict"
ROW = {"x": 1.0, "kind": "a"}
Make = Callable[..., Any]


@pytest.fixture
def app(make_app: Make, version: ServedVersion) -> App:
    return make_app(version)  # type: ignore[no-any-return]


def test_every_protocol_gives_the_same_prediction(app: App) -> None:
    """And names the version and the request."""
    plain = ask_once(app, PREDICT, ROW)
    assert plain.status == 200
    assert (plain.json["model"], plain.json["version"], plain.json["alias"]) == ("toy", 1, "champion")
    assert plain.headers["x-request-id"] == plain.json["request_id"]
    predicted = plain.json["prediction"]
    tensors = [
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]},
        {"name": "kind", "shape": [1], "datatype": "BYTES", "data": ["a"]},
    ]
    bodies: dict[str, Any] = {
        PREDICT: [ROW],
        "/invocations": {"dataframe_records": [ROW]},
        "/models/toy/invocations": {"inputs": {"x": [1.0], "kind": ["a"]}},
        "/v2/models/toy/infer": {"inputs": tensors},
        "/v2/models/toy/versions/1/infer": {"inputs": tensors},
    }
    for path, body in bodies.items():
        answer = ask_once(app, path, body)
        assert answer.status == 200, path
        found = answer.json.get("predictions") or answer.json["outputs"][0]["data"]
        assert found == [predicted], path
    csv = ask_once(app, "/invocations", b"kind,x\na,1.0\n", headers={"content-type": "text/csv; charset=utf-8"})
    assert csv.json["predictions"] == [predicted]


def test_a_frame_and_a_plan_give_the_same(app: App, version: ServedVersion, make_app: Make) -> None:
    """Values that have to be converted, many rows, and a version without a plan take the other way."""
    predicted = ask_once(app, PREDICT, ROW).json["prediction"]
    assert ask_once(app, PREDICT, {"x": "1.0", "kind": "a"}).json["prediction"] == pytest.approx(predicted, rel=1e-12)
    many = ask_once(app, PREDICT, [ROW] * (DIRECT_ROWS + 1)).json["predictions"]
    assert many == pytest.approx([predicted] * (DIRECT_ROWS + 1), rel=1e-12)
    slow = make_app(replace(version, plan=None, direct=None, not_compiled="planted"))
    assert ask_once(slow, PREDICT, ROW).json["prediction"] == pytest.approx(predicted, rel=1e-12)


def test_requests_that_wait_are_answered_together_each_with_its_own(
    make_app: Make, version: ServedVersion, frames: list[int]
) -> None:
    """Good and bad ones, of several shapes, at once: a bad row refuses its own request alone."""
    app = make_app(replace(version, plan=None, direct=None, not_compiled="planted"))
    bodies: list[Any] = [{"x": float(number), "kind": "ab"[number % 2]} for number in range(40)]
    bodies[7], bodies[11], bodies[13] = {"x": 900.0, "kind": "a"}, {"x": "2.5", "kind": "a"}, {"x": 1.0}
    bodies[17] = [{"x": 3.0, "kind": "a"}, {"x": 4.0, "kind": None}]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(ask(app, PREDICT, body) for body in bodies))

    answers = asyncio.run(all_at_once())
    assert [answer.status for answer in answers] == [422 if number in (7, 13) else 200 for number in range(40)]
    assert answers[7].json["error"]["rows"][0]["row"] == 0
    # The first one, the 35 of one shape that came meanwhile, a text for a number, and two rows of one request.
    assert sum(frames) == 39
    assert len(frames) <= 5
    for number in (0, 1, 5, 39):
        alone = ask_once(app, PREDICT, bodies[number]).json["prediction"]
        assert answers[number].json["prediction"] == pytest.approx(alone, rel=1e-12)


def test_requests_that_were_answered_together_are_kept_each_with_its_own_key(
    make_app: Make, version: ServedVersion
) -> None:
    """Also those after a request that was refused, whose row is not in the frame of the others."""
    app = make_app(replace(version, plan=None, direct=None, not_compiled="planted"))
    bodies = [{"x": float(number), "kind": "a", "id": number} for number in range(12)]
    bodies[4]["x"] = 900.0

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(ask(app, PREDICT, body) for body in bodies))

    answers = asyncio.run(all_at_once())
    app.parts.queue.write()
    kept = PredictionLog(app.parts.queue.lake, version.spec).table.read(("id", "run_id", "prediction"))
    wanted = {str(number): answer.json.get("prediction") for number, answer in enumerate(answers) if number != 4}
    assert dict(zip(kept["id"], kept["prediction"], strict=True)) == wanted
    assert kept["run_id"].is_unique


def test_clients_that_ask_again_and_again_share_frames(
    make_app: Make, version: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two halves, of which one came while the other was predicted, come together instead of taking turns."""
    frames: list[int] = []
    others_wait = threading.Event()
    predict = frame_worker.predict

    def count(pipeline: Any, spec: Any, rows: Any) -> Any:
        frames.append(len(rows))
        assert others_wait.wait(60)
        return predict(pipeline, spec, rows)

    monkeypatch.setattr(frame_worker, "predict", count)
    # However slow the machine is: all eight are there again before the wait ends.
    monkeypatch.setattr(frame_worker, "_GATHER", 1_000.0)
    app = make_app(replace(version, plan=None, direct=None, not_compiled="planted"))

    async def client(turns: int) -> None:
        for _ in range(turns):
            assert (await ask(app, PREDICT, ROW)).status == 200

    async def clients() -> None:
        first = [asyncio.create_task(client(6)) for _ in range(4)]
        while not frames:
            await asyncio.sleep(0.001)
        second = [asyncio.create_task(client(5)) for _ in range(4)]
        while app.parts.worker.waiting < len(second):
            await asyncio.sleep(0.001)
        others_wait.set()
        await asyncio.gather(*first, *second)

    asyncio.run(asyncio.wait_for(clients(), 60))
    assert frames == [4, 8, 8, 8, 8, 8]


def test_requests_are_kept(app: App, version: ServedVersion) -> None:
    """By either way, under the id that the client gave."""
    ask_once(app, PREDICT, ROW, headers={"x-request-id": "mine-1"})
    ask_once(app, PREDICT, {"x": "1.0", "kind": "a", "id": 4}, headers={"x-request-id": "mine-2"})
    ask_once(app, PREDICT, {"x": 900, "kind": "a"}, headers={"x-request-id": "refused"})
    app.parts.queue.write()
    log = RequestLog(app.parts.queue.lake, version.spec)
    rows = log.table.read(("request", "features", "key"))
    assert sorted(rows["request"]) == ["mine-1", "mine-2"]
    assert [json.loads(text) for text in rows["features"]] == [ROW, ROW]
    assert rows.set_index("request")["key"].isna().to_dict() == {"mine-1": True, "mine-2": False}


@pytest.mark.parametrize("given", ["", "x" * 200, "a\nb", "\u00e4"], ids=["none", "long", "line", "letters"])
def test_an_id_that_is_none_is_replaced(app: App, given: str) -> None:
    """It goes into logs and headers."""
    answer = ask_once(app, PREDICT, ROW, headers={"x-request-id": given} if given else {})
    assert answer.headers["x-request-id"] not in ("", given)


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("POST", PREDICT, {"x": 1.0, "kind": "a", "z": 1}, 422, "unknown_column"),
    ("POST", PREDICT, {"x": 1.0}, 422, "missing_column"),
    ("POST", PREDICT, {"x": 900.0, "kind": "a"}, 422, "invalid_rows"),
    ("POST", PREDICT, b"NaN", 400, "malformed"),
    ("POST", PREDICT, b'{"x": 1e999, "kind": "a"}', 400, "malformed"),
    ("POST", PREDICT, b"[" * 10_000 + b"]" * 10_000, 400, "malformed"),
    ("POST", PREDICT, [ROW] * 101, 413, "too_many_rows"),
    ("POST", PREDICT, b" " * 100_001, 413, "body_too_large"),
    ("GET", PREDICT, None, 405, "method"),
    ("POST", "/ping", None, 405, "method"),
    ("GET", "/models/other/predict", None, 404, "not_found"),
    ("POST", "/v2/models/toy/versions/7/infer", {}, 404, "not_found"),
    ("GET", "/v2/models/toy/versions/7", None, 404, "not_found"),
    ("GET", "/../../etc/passwd", None, 404, "not_found"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused_has_a_status_and_a_stable_code(
    make_app: Make, make_version: Make, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """And goes on answering the next one."""
    app = make_app(make_version(serve=Serve(max_rows=100)), limits=Limits(body_bytes=100_000))
    answer = ask_once(app, path, body, method=method)
    told = answer.json["detail"] if path.startswith("/v2") else answer.json["error"]
    assert (answer.status, told["code"]) == (status, code)
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert ask_once(app, PREDICT, ROW).status == 200


def test_the_open_inference_protocol_tells_a_fault_as_a_text(app: App) -> None:
    """As its clients read it, with the row and the column beside it."""
    tensors = [
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [900.0]},
        {"name": "kind", "shape": [1], "datatype": "BYTES", "data": ["a"]},
    ]
    told = ask_once(app, "/v2/models/toy/infer", {"inputs": tensors}).json
    assert told["error"] == "1 row breaks the contract; nothing was predicted."
    assert told["detail"]["rows"] == [{"row": 0, "column": "x", "reason": "in_range(-100, 100)"}]


def test_what_is_refused_is_counted_by_its_code(app: App) -> None:
    """Also a client that went away before its body was there."""

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    for body in (b"NaN", b"[", {"x": 900.0, "kind": "a"}):
        ask_once(app, PREDICT, body)
    assert asyncio.run(ask(app, PREDICT, ROW, receive=gone)).status == 0
    assert ask_once(app, PREDICT, ROW).status == 200
    refused = ask_once(app, "/v2", method="GET").json["parameters"]["refused"]
    assert refused == {"malformed": 2, "invalid_rows": 1, "went_away": 1}


def test_another_type_of_body_is_refused(app: App) -> None:
    """As curl sends it without a header."""
    answer = ask_once(app, PREDICT, ROW, headers={"content-type": "application/x-www-form-urlencoded"})
    assert (answer.status, "application/json" in answer.json["error"]["message"]) == (415, True)


def test_a_body_that_does_not_come_is_refused(make_app: Make, version: ServedVersion) -> None:
    """In parts that never end, or not at all."""
    app = make_app(version, limits=Limits(body_bytes=1000, body_seconds=0.05))

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def without_end() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    headers = {"content-length": ""}
    assert ask_once(app, PREDICT, headers=headers, receive=never).status == 408
    assert ask_once(app, PREDICT, headers=headers, receive=without_end).status == 413


def test_a_client_that_goes_away_ends_its_request_alone(app: App) -> None:
    """Nothing is answered or kept, and nothing is raised, of which the server would print a traceback."""

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert ask_once(app, PREDICT, receive=gone).status == 0
    assert app.parts.queue.waiting == 0
    assert ask_once(app, PREDICT, ROW).status == 200


class Broken:
    """A pipeline that fails with a value in its message."""

    classes_ = None

    def predict(self, rows: Any) -> Any:
        raise ValueError(f"value {rows['x'].iloc[0]}")


def test_a_pipeline_that_fails_shows_nothing_of_the_rows(make_app: Make, version: ServedVersion) -> None:
    """500 with a code, no traceback and no value."""
    app = make_app(replace(version, plan=None, direct=None, pipeline=Broken()))  # type: ignore[arg-type]
    answer = ask_once(app, PREDICT, {"x": 47.11, "kind": "a"})
    assert (answer.status, answer.json["error"]["code"]) == (500, "prediction_failed")
    assert b"47.11" not in answer.body
    assert b"Traceback" not in answer.body


def test_a_prediction_that_is_no_number_is_not_answered(make_app: Make, version: ServedVersion) -> None:
    """JSON would make null of it."""

    class Plan:
        def predict(self, _values: Any) -> Any:
            return float("nan"), None

    answer = ask_once(make_app(replace(version, plan=Plan())), PREDICT, ROW)  # type: ignore[arg-type]
    assert (answer.status, answer.json["error"]["code"]) == (500, "not_finite")


def test_an_unforeseen_failure_is_one_line(make_app: Make, version: ServedVersion, caplog: Any) -> None:
    """In the log without the rows and with the id of the request, and a 500 for the client."""

    class Plan:
        def predict(self, values: Any) -> Any:
            raise RuntimeError(f"unforeseen {values}")

    answer = ask_once(make_app(replace(version, plan=Plan())), PREDICT, {"x": 47.11, "kind": "a"})  # type: ignore[arg-type]
    assert (answer.status, answer.json["error"]["code"]) == (500, "internal")
    assert "47.11" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert json.loads(JsonFormatter().format(caplog.records[-1]))["request_id"] == answer.json["request_id"]


def test_health_follows_the_champion(app: App) -> None:
    """Alive without a champion, ready with one."""
    checks = ("/ping", "/health", "/v2/health/ready", "/v2/models/toy/ready")
    assert [ask_once(app, path, method="GET").status for path in checks] == [200] * 4
    app.parts.follower.models["toy"].current = None
    assert [ask_once(app, path, method="GET").status for path in checks] == [503] * 4
    assert ask_once(app, "/v2/health/live", method="GET").status == 200
    answer = ask_once(app, PREDICT, ROW)
    assert (answer.status, answer.json["error"]["code"]) == (503, "no_champion")


def test_frames_that_hang_are_told_and_make_it_unready(
    make_app: Make, version: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until they go on; a model that is compiled answers all the while."""
    go_on = threading.Event()
    predict = frame_worker.predict

    def hang(pipeline: Any, spec: Any, rows: Any) -> Any:
        assert go_on.wait(60)
        return predict(pipeline, spec, rows)

    monkeypatch.setattr(frame_worker, "predict", hang)
    slow = make_app(
        replace(version, plan=None, direct=None, not_compiled="planted"), limits=Limits(answer_seconds=0.05)
    )

    async def during_and_after() -> tuple[Any, list[int], list[int]]:
        answer = await ask(slow, PREDICT, ROW)
        checks = ("/ping", "/v2/health/ready", "/v2/models/toy/ready", "/v2/health/live")
        # The batch began a little later than the request, and is stuck that much later than the answer.
        while (await ask(slow, "/ping", method="GET")).status != 503:
            await asyncio.sleep(0.001)
        stuck = [(await ask(slow, path, method="GET")).status for path in checks]
        followed = slow.parts.follower.models["toy"]
        followed.current, as_frames = version, followed.current
        assert (await ask(slow, "/ping", method="GET")).status == 200
        assert (await ask(slow, PREDICT, ROW)).status == 200
        followed.current = as_frames
        go_on.set()
        while (await ask(slow, "/ping", method="GET")).status != 200:
            await asyncio.sleep(0.001)
        return answer, stuck, [(await ask(slow, path, method="GET")).status for path in checks]

    answer, stuck, after = asyncio.run(asyncio.wait_for(during_and_after(), 60))
    assert (answer.status, answer.json["error"]["code"]) == (503, "busy")
    assert (stuck, after) == ([503, 503, 503, 200], [200] * 4)


def test_metadata_say_how_a_model_is_served(app: App) -> None:
    """Its version, tensors, and whether it is compiled, stale, and kept."""
    body = ask_once(app, "/v2/models/toy", method="GET").json
    assert (body["versions"], [each["name"] for each in body["inputs"]]) == (["1"], ["x", "kind"])
    assert body["parameters"]["compiled"] is True
    assert body == ask_once(app, "/v2/models/toy/versions/1", method="GET").json
    assert ask_once(app, "/v2", method="GET").json["extensions"] == ["binary_tensor_data"]
    assert ask_once(app, "/version", method="GET").json == "0.1"


def test_keys_close_everything_but_health(make_app: Make, version: ServedVersion, tmp_path: Path) -> None:
    """A load balancer asks whether it is ready; nobody else asks anything."""
    key = add_key(tmp_path / "keys.txt", "shop")
    app = make_app(version, access=read_access(tmp_path / "keys.txt"))
    assert [ask_once(app, path, method="GET").status for path in ("/ping", "/v2/health/ready")] == [200, 200]
    assert [ask_once(app, path, method="GET").status for path in ("/v2/models/toy", "/openapi.json")] == [401, 401]
    # Nor which models there are.
    assert [ask_once(app, path, method="GET").status for path in ("/", "/models/other", PREDICT)] == [401, 401, 401]
    refused = ask_once(app, PREDICT, ROW)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert ask_once(app, PREDICT, ROW, headers={"x-api-key": key}).status == 200


def test_several_models_have_their_own_paths(make_app: Make, make_version: Make) -> None:
    """`/invocations` is for a server of one model."""
    app = make_app(make_version(name="one"), make_version(name="two", number=5))
    assert ask_once(app, "/models/two/predict", ROW).json["version"] == 5
    assert ask_once(app, "/invocations", {"inputs": [ROW]}).status == 404
    assert ask_once(app, "/models/one/invocations", {"inputs": [ROW]}).status == 200


def test_the_description_lists_every_route(app: App) -> None:
    """OpenAPI, with the columns of a row and an example that is answered."""
    paths = ask_once(app, "/openapi.json", method="GET").json["paths"]
    for path, methods in paths.items():
        for method in methods:
            assert ask_once(app, path, method=method.upper()).status != 404, path
    schema = paths[PREDICT]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
    assert schema["required"] == ["x", "kind"]
    assert ask_once(app, PREDICT, schema["examples"][0]).status == 200
