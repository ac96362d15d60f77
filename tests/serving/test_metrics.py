"""What Prometheus reads: the right figures, by names that it expects, and nothing of what clients sent."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from evergreen.settings import Settings
from evergreen.spec import Serve
from serving.access import add_key, read_access
from serving.app import App
from serving.options import Options
from serving.request_counts import BUCKETS, FORMER, RequestCounts
from serving.server import build
from serving.version import ServedVersion
from tests.series import Series
from tests.serving.conftest import Home, as_utc, ask, ask_once, open_canary

PREDICT = "/models/toy/predict"
INFER = "/v2/models/toy/versions/{}/infer"
ROW = {"x": 1.0, "kind": "a"}
AS_TEXT = {"x": "1.0", "kind": "a"}
SECRET = "planted-0815"
PROMTOOL = shutil.which("promtool")
Make = Callable[..., Any]


@pytest.fixture
def app(make_app: Make, version: ServedVersion) -> App:
    return make_app(version)  # type: ignore[no-any-return]


@pytest.fixture
def challenger(make_version: Make) -> ServedVersion:
    version: ServedVersion = make_version(number=2, slope=30.0)
    return replace(version, alias="challenger")


def scrape(app: App) -> str:
    answer = ask_once(app, "/metrics", method="GET")
    assert answer.status == 200
    return answer.body.decode()


def tensors(x: float) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "x", "shape": [1], "datatype": "FP64", "data": [x]},
            {"name": "kind", "shape": [1], "datatype": "BYTES", "data": ["a"]},
        ]
    }


def test_requests_are_counted_by_version_way_and_code(app: App) -> None:
    """Answers and what a version refuses beside each other; rows by whether a plan or a frame answered.

    A version is there before its first request.
    """
    before = Series(scrape(app))
    assert before.all("serving_requests_total") == {("ok", "toy", "champion", "1"): 0}
    assert before.value("serving_request_duration_seconds_count", model="toy", route="champion") == 0
    assert before.value("serving_requests_in_flight") == 0
    for body in (ROW, [ROW, ROW], AS_TEXT, {"x": 900.0, "kind": "a"}, {"x": 1.0}, b"NaN", [ROW] * 10_001):
        ask_once(app, PREDICT, body)
    ask_once(app, INFER.format(1), tensors(1.0))
    series = Series(scrape(app))
    # Sorted by the labels' names: code, model, route, version.
    champion = ("toy", "champion", "1")
    codes = {"ok": 4, "invalid_rows": 1, "missing_column": 1, "malformed": 1, "too_many_rows": 1}
    assert series.all("serving_requests_total") == {(code, *champion): count for code, count in codes.items()}
    assert series.all("serving_rows_total") == {(*champion, "plan"): 4, (*champion, "frame"): 1}
    assert set(series.all("serving_refusals_total").values()) == {0}
    assert series.value("serving_requests_in_flight") == 0


def test_what_met_no_version_is_counted_apart(make_app: Make, version: ServedVersion, tmp_path: Path) -> None:
    """Another path or method, no key, a client that went away, and no champion: each request is in one of the two."""
    key = {"x-api-key": add_key(tmp_path / "keys.txt", "shop")}
    app = make_app(version, access=read_access(tmp_path / "keys.txt"))

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    ask_once(app, PREDICT, ROW)
    ask_once(app, "/models/other/predict", ROW, headers=key)
    ask_once(app, INFER.format(7), tensors(1.0), headers=key)
    ask_once(app, PREDICT, method="GET", headers=key)
    ask_once(app, PREDICT, ROW, headers=key, receive=gone)
    ask_once(app, PREDICT, b"NaN", headers=key)
    app.parts.follower.models["toy"].current = None
    ask_once(app, PREDICT, ROW, headers=key)
    assert ask_once(app, "/metrics", method="GET").status == 401
    app.parts.access.clients.clear()
    series = Series(scrape(app))
    apart = {"unauthorized": 2, "not_found": 2, "method": 1, "went_away": 1, "no_champion": 1, "malformed": 0}
    assert series.all("serving_refusals_total") == {(code,): count for code, count in apart.items()}
    assert series.all("serving_requests_total") == {
        ("ok", "toy", "champion", "1"): 0,
        ("malformed", "toy", "champion", "1"): 1,
    }
    assert series.all("serving_ready") == {("toy",): 0}
    assert series.all("serving_model_info") == {}


def test_durations_are_a_histogram(app: App) -> None:
    """Of what was answered; the buckets add up, and each bound is within its bucket."""
    version = app.parts.follower.models["toy"].current
    assert version is not None
    for seconds in (0.00005, BUCKETS[0], 0.004, 99.0):
        app.counts.count_answer(version, 1, seconds, as_frame=False)
    series = Series(scrape(app))
    name, labels = "serving_request_duration_seconds", {"model": "toy", "route": "champion"}
    bounds = (*map(str, BUCKETS), "+Inf")
    found = [series.value(f"{name}_bucket", **labels, le=bound) for bound in bounds]
    assert found == [2 if float(bound) < 0.005 else 3 if bound != "+Inf" else 4 for bound in bounds]
    assert series.value(f"{name}_count", **labels) == 4
    assert series.value(f"{name}_sum", **labels) == pytest.approx(99.00415)
    ask_once(app, PREDICT, ROW)
    ask_once(app, PREDICT, b"NaN")
    assert Series(scrape(app)).value(f"{name}_count", **labels) == 5


def test_a_request_is_in_flight_until_it_is_answered(app: App) -> None:
    """Also while its body is awaited."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> dict[str, Any]:
        began.set()
        await go_on.wait()
        return {"type": "http.request", "body": b'{"x": 1.0, "kind": "a"}', "more_body": False}

    async def during() -> tuple[bytes, int]:
        asked = asyncio.create_task(ask(app, PREDICT, receive=body))
        await began.wait()
        seen = (await ask(app, "/metrics", method="GET")).body
        go_on.set()
        return seen, (await asked).status

    seen, status = asyncio.run(asyncio.wait_for(during(), 60))
    assert b"\nevergreen_serving_requests_in_flight 1.0\n" in seen
    assert (status, Series(scrape(app)).value("serving_requests_in_flight")) == (200, 0)


def test_a_canary_is_told(app: App, challenger: ServedVersion) -> None:
    """Both versions have their own series; what the challenger failed is the champion's answer, and counted."""
    assert Series(scrape(app)).all("serving_canary_share_ratio") == {("toy",): 0}
    open_canary(app, challenger, 100)
    ask_once(app, PREDICT, [ROW, ROW])
    ask_once(app, INFER.format(1), tensors(1.0))
    # Both refuse it: the champion has the last word.
    ask_once(app, PREDICT, {"x": 900.0, "kind": "a"})
    app.parts.queue.write()
    series = Series(scrape(app))
    assert series.all("serving_requests_total") == {
        ("ok", "toy", "challenger", "2"): 1,
        ("ok", "toy", "champion", "1"): 1,
        ("invalid_rows", "toy", "champion", "1"): 1,
    }
    assert series.value("serving_rows_total", model="toy", version="2", route="challenger", way="plan") == 2
    assert set(series.all("serving_model_info")) == {("toy", "champion", "1"), ("toy", "challenger", "2")}
    assert series.all("serving_canary_share_ratio") == {("toy",): 1}
    assert series.all("serving_canary_rows_compared_total") == {("toy",): 3}
    assert series.all("serving_canary_rows_not_compared_total") == {("toy",): 0}
    assert series.all("serving_canary_failures_total") == {}

    class Fails:
        def predict(self, _values: Any) -> Any:
            raise RuntimeError(SECRET)

    open_canary(app, replace(challenger, plan=Fails()), 100)  # type: ignore[arg-type]
    assert ask_once(app, PREDICT, ROW).json["alias"] == "champion"
    failed = Series(scrape(app))
    assert failed.all("serving_canary_failures_total") == {("RuntimeError", "toy"): 1}
    assert failed.value("serving_requests_total", model="toy", version="1", route="champion", code="ok") == 2
    assert failed.value("serving_requests_total", model="toy", version="2", route="challenger", code="ok") == 1


def test_a_swap_is_told(served_home: Settings, make_rows: Make) -> None:
    """The former version keeps what it counted, and tells nothing else; without the registry it is stale."""
    home = Home(served_home, as_utc(make_rows(100)))
    server = build(Options(("toy",)), served_home)
    server.parts.follower.look()
    empty = Series(scrape(server))
    assert (empty.all("serving_ready"), empty.all("serving_champion_swaps_total")) == ({("toy",): 0}, {("toy",): 0})
    assert (empty.all("serving_stale"), empty.all("serving_model_loaded_timestamp_seconds")) == ({("toy",): 1}, {})
    first = home.register(1.0)
    home.promote(first)
    server.parts.follower.look()
    ask_once(server, PREDICT, ROW)
    second = home.register(2.0)
    home.promote(second)
    server.parts.follower.look()
    ask_once(server, PREDICT, ROW)
    ask_once(server, PREDICT, ROW)
    series = Series(scrape(server))
    assert series.all("serving_champion_swaps_total") == {("toy",): 2}
    assert (series.all("serving_ready"), series.all("serving_stale")) == ({("toy",): 1}, {("toy",): 0})
    place = "toy", "champion"
    assert series.all("serving_requests_total") == {("ok", *place, str(first)): 1, ("ok", *place, str(second)): 2}
    assert series.all("serving_model_info") == series.all("serving_compiled") == {(*place, str(second)): 1}
    current = server.parts.follower.models["toy"].current
    assert current is not None
    loaded = series.all("serving_model_loaded_timestamp_seconds")
    assert loaded == {("toy",): pytest.approx(current.loaded_at.timestamp())}
    home.registry.drop_alias("toy", "champion")
    server.parts.follower.look()
    assert Series(scrape(server)).all("serving_stale") == {("toy",): 1}


def test_a_version_that_is_not_compiled_is_told(make_app: Make, version: ServedVersion) -> None:
    """Its rows are predicted as frames."""
    app = make_app(replace(version, plan=None, direct=None, not_compiled="planted"))
    ask_once(app, PREDICT, ROW)
    series = Series(scrape(app))
    assert series.all("serving_compiled") == {("toy", "champion", "1"): 0}
    assert series.all("serving_rows_total") == {
        ("toy", "champion", "1", "frame"): 1,
        ("toy", "champion", "1", "plan"): 0,
    }


def test_former_versions_do_not_pile_up(app: App, version: ServedVersion) -> None:
    """The newest stay, and whoever answers now, however long ago it began."""
    counts = RequestCounts(app.parts.follower.models)
    for number in range(1, 3 * FORMER):
        counts.count_answer(replace(version, number=number), 1, 0.001, as_frame=False)
        counts.count_answer(version, 1, 0.001, as_frame=False)
    kept = [number for _, number, _ in counts.versions]
    assert kept == [1, *range(2 * FORMER - 1, 3 * FORMER)]
    assert counts.versions["toy", 1, "champion"].answered == 3 * FORMER
    assert sum(counts.durations["toy", "champion"].buckets) == 2 * (3 * FORMER - 1)


def test_the_log_is_told(make_app: Make, version: ServedVersion) -> None:
    """Rows that wait, that are kept, and that are lost because there was no place."""
    app = make_app(version)
    app.parts.queue.most_rows = 3
    ask_once(app, PREDICT, [ROW, ROW])
    ask_once(app, PREDICT, [ROW, ROW])
    names = ("log_rows_waiting", "log_rows_kept_total", "log_rows_lost_total", "log_failures_total")
    assert [Series(scrape(app)).value(f"serving_{name}") for name in names] == [2, 0, 2, 0]
    app.parts.queue.write()
    assert [Series(scrape(app)).value(f"serving_{name}") for name in names] == [0, 2, 2, 0]
    Path(app.parts.queue.lake).rename(Path(app.parts.queue.lake).with_name("away"))
    Path(app.parts.queue.lake).write_text("no folder")
    ask_once(app, PREDICT, ROW)
    app.parts.queue.write()
    assert [Series(scrape(app)).value(f"serving_{name}") for name in names] == [1, 2, 2, 1]


def busy(app: App) -> App:
    """An application of which every series has a value, and that was sent the secret in every place."""
    headers = {"x-request-id": SECRET, "x-route-key": SECRET, "user-agent": SECRET}
    for body in ({"x": 1.0, "kind": SECRET}, {SECRET: 1.0}, AS_TEXT | {"id": SECRET}, SECRET.encode(), ROW):
        ask_once(app, PREDICT, body, headers=headers)
    ask_once(app, PREDICT, ROW, headers={"content-type": SECRET})
    ask_once(app, f"/models/{SECRET}/predict", ROW)
    ask_once(app, f"/v2/models/toy/versions/{SECRET}/infer", ROW)
    ask_once(app, f"/{SECRET}", method="GET")
    ask_once(app, PREDICT, ROW, method=SECRET)
    return app


def test_nothing_that_a_client_sent_is_told(app: App, challenger: ServedVersion) -> None:
    """Neither a value of a row nor a column, an id, a header, a method or a path; labels are of these names alone."""

    class Fails:
        def predict(self, _values: Any) -> Any:
            raise RuntimeError(SECRET)

    open_canary(app, replace(challenger, plan=Fails()), 100)  # type: ignore[arg-type]
    busy(app)
    assert app.counts.refused
    assert SECRET not in scrape(app)
    labels = {name for sample in Series(scrape(app)).samples for name in sample.labels}
    assert labels == {"model", "version", "route", "code", "way", "le"}


def test_names_follow_the_conventions_of_prometheus(app: App, challenger: ServedVersion) -> None:
    """Counters end in _total, times are seconds; the series of the process have their usual names."""
    open_canary(app, challenger, 50)
    families = Series(scrape(busy(app))).families
    assert len({family.name for family in families}) == len(families)
    process = {family.name for family in families if not family.name.startswith("evergreen_")}
    assert all(name.startswith("process_") for name in process)
    for family in families:
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert all(sample.name.endswith("_total") for sample in family.samples if family.type == "counter")
        assert "_total" not in family.name
    units = {family.name: family.name.rpartition("_")[2] for family in families if family.type == "histogram"}
    assert set(units.values()) == {"seconds"}


def test_the_documentation_lists_every_series(app: App) -> None:
    """By its name and labels, and none that is not there."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text()
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(evergreen_\w+)(?:\{([\w,]+)\})?` \|", section, flags=re.MULTILINE))
    text = scrape(app)
    assert sorted(listed) == sorted(re.findall(r"^# TYPE (evergreen_\w+) ", text, flags=re.MULTILINE))
    for sample in Series(scrape(busy(app))).samples:
        name = sample.name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        if name in listed:
            assert sorted(sample.labels.keys() - {"le"}) == sorted(filter(None, listed[name].split(",")))


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_has_nothing_to_say(app: App, challenger: ServedVersion) -> None:
    """Its own check of names, types and texts."""
    open_canary(app, challenger, 50)
    assert PROMTOOL is not None
    text = scrape(busy(app))
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_two_applications_of_one_process_count_apart(make_app: Make, make_version: Make) -> None:
    """And neither is in the registry that the library shares."""
    one, two = make_app(make_version(name="one")), make_app(make_version(name="two", serve=Serve()))
    ask_once(one, "/models/one/predict", ROW)
    assert Series(scrape(one)).all("serving_requests_total") == {("ok", "one", "champion", "1"): 1}
    assert Series(scrape(two)).all("serving_requests_total") == {("ok", "two", "champion", "1"): 0}
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("evergreen")]


def test_it_is_sent_as_prometheus_expects(app: App) -> None:
    """By the type of the text format, to GET and HEAD alone, and listed among the routes."""
    answer = ask_once(app, "/metrics", method="GET")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert [ask_once(app, "/metrics", method=method).status for method in ("HEAD", "POST")] == [200, 405]
    assert "/metrics" in ask_once(app, "/openapi.json", method="GET").json["paths"]
    assert Series(scrape(app)).all("build_info") == {("0.1",): 1}


def test_a_key_is_needed_where_the_server_has_one(make_app: Make, version: ServedVersion, tmp_path: Path) -> None:
    """As Prometheus sends it with `authorization`; without keys, what comes through a proxy is refused as elsewhere."""
    key = add_key(tmp_path / "keys.txt", "prometheus")
    closed = make_app(version, access=read_access(tmp_path / "keys.txt"))
    assert ask_once(closed, "/metrics", method="GET").status == 401
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert ask_once(closed, "/metrics", method="GET", headers=headers).status == 200
    assert ask_once(make_app(version), "/metrics", method="GET", headers={"x-forwarded-for": "10.0.0.1"}).status == 401
