"""The dashboards: made by the script, of series that are there, and none that is there is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard, units

from deployments.monitoring.dashboards import FOLDER, dashboards
from deployments.monitoring.expressions import VERDICTS, worries
from deployments.monitoring.fleet_dashboard import WORRY_WORDS
from deployments.monitoring.panels import VERDICT
from evergreen.naming import METRIC_PREFIX
from evergreen.runs.fleet import WORRIES
from evergreen.runs.loop_metrics import FAMILIES
from evergreen.settings import Settings
from evergreen.verdicts import Verdict
from serving.version import ServedVersion
from tests.deployments.monitoring.exposed import labels_of, loop_labels
from tests.deployments.monitoring.queries import as_prometheus_is_asked, queries
from tests.serving.conftest import make_app, make_version, open_canary, version
from tests.serving.test_metrics import busy

__all__ = ["make_app", "make_version", "version"]

Make = Callable[..., Any]
MADE = {file.name: json.loads(text) for file, text in dashboards().items()}
OF_OTHERS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity", "model"}}
"""Prometheus' own series."""
OF_PROCESSES = {name: {"job", "instance"} for name in ("process_resident_memory_bytes", "process_cpu_seconds_total")}
NOT_SHOWN = ("process_",)
"""Not in a dashboard: of a process, the file handles, the virtual memory and the start tell nobody what to do."""


def panels(name: str) -> list[dict[str, Any]]:
    """The panels of a dashboard that are no heading."""
    return [panel for panel in MADE[name]["panels"] if panel["type"] != "row"]


class _Fails:
    """A plan that predicts nothing, so that the champion answers."""

    def predict(self, _values: Any) -> Any:
        raise RuntimeError


@pytest.fixture
def exposed(make_app: Make, version: ServedVersion, make_version: Make, settings: Settings) -> Mapping[str, set[str]]:
    """The labels of each series that Evergreen tells Prometheus, by its name."""
    app = make_app(version)
    open_canary(app, replace(make_version(number=2), alias="challenger", plan=_Fails()), 100)
    busy(app)
    found = dict(labels_of(app.metrics.collect()))
    return loop_labels(settings) | found


def test_the_committed_dashboards_are_those_of_the_script() -> None:
    """Run `python -m deployments.monitoring.dashboards` after a change; no other file lies beside them."""
    assert {file: file.read_text() for file in FOLDER.glob("*.json")} == dashboards()


@pytest.mark.parametrize("name", MADE)
def test_grafana_knows_every_field(name: str) -> None:
    """Read by the types of Grafana's library and written again nothing is lost, but what Prometheus' plugin shows of
    events."""
    register_default_plugins()
    again = json.loads(json.dumps(dashboard.Dashboard.from_json(MADE[name]), cls=JSONEncoder))
    lost = dict(_lost(MADE[name], again))
    assert {path.rpartition("/")[2] for path in lost} == {"titleFormat", "textFormat", "tagKeys"}
    assert all(path.startswith("/annotations/") for path in lost)


def _lost(told: Any, again: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(told, dict) and isinstance(again, dict):
        for key, value in told.items():
            yield from _lost(value, again[key], f"{path}/{key}") if key in again else [(f"{path}/{key}", value)]
    elif isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        for place, (one, other) in enumerate(zip(told, again, strict=True)):
            yield from _lost(one, other, f"{path}/{place}")
    elif told != again:
        yield path, told


def used(expr: str) -> Iterator[tuple[str, set[str]]]:
    """The series of a query, and the labels by which each is chosen."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expr), lambda node: found.append(node))
    for node in found:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            yield str(selector.name), {matcher.name for matcher in selector.matchers.matchers}


def grouped(expr: str) -> set[str]:
    """The labels that a query adds up by or joins on."""
    words = re.findall(r"\b(?:by|on|without|ignoring|group_left) \(([\w, ]*)\)", expr)
    return {label.strip() for each in words for label in each.split(",")}


@pytest.mark.parametrize("name", MADE)
def test_every_query_is_of_series_and_labels_that_are_there(name: str, exposed: Mapping[str, set[str]]) -> None:
    """It is PromQL; each series is one that Evergreen tells, chosen and added up by labels that it has."""
    known = exposed | OF_OTHERS | OF_PROCESSES
    for what, expr in queries(MADE[name]):
        chosen = list(used(as_prometheus_is_asked(expr)))
        assert chosen, what
        for series, labels in chosen:
            assert series in known, what
            assert labels <= known[series], what
        assert grouped(expr) <= set().union(*(known[series] for series, _ in chosen)) | {"job"}, what


def test_every_series_is_in_a_dashboard(exposed: Mapping[str, set[str]]) -> None:
    """Whatever Evergreen tells is shown to somebody; of a histogram the buckets are enough."""
    exprs = [as_prometheus_is_asked(expr) for whole in MADE.values() for _, expr in queries(whole)]
    shown = {series for expr in exprs for series, _ in used(expr)}
    histograms = {name.removesuffix("_bucket") for name in exposed if name.endswith("_bucket")}
    parts = {name + end for name in histograms for end in ("_count", "_sum")}
    wanted = {name for name in exposed if not name.startswith(NOT_SHOWN)} - parts
    assert wanted - shown == set()


@pytest.mark.parametrize("name", MADE)
def test_a_label_in_the_name_of_a_line_is_one_that_the_query_leaves(name: str) -> None:
    """`{{model}}` is empty where a query adds up over the models."""
    for panel in panels(name):
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")):
                plain = target["expr"].startswith(("process_", "rate(process_"))
                assert plain or label in grouped(target["expr"]), panel["title"]


@pytest.mark.parametrize("name", MADE)
def test_panels_fill_the_page_and_none_lies_over_another(name: str) -> None:
    """Each has a number of its own, which links to it keep."""
    places = [panel["gridPos"] for panel in MADE[name]["panels"]]
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart or above
    assert max(place["x"] + place["w"] for place in places) == 24
    assert sum(place["w"] * place["h"] for place in places) == 24 * max(place["y"] + place["h"] for place in places)
    numbers = [panel["id"] for panel in MADE[name]["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", MADE)
def test_every_panel_says_what_a_bad_value_means(name: str) -> None:
    """In a sentence, under a title of its own within its question; and it has a unit that Grafana knows."""
    known = {value for key, value in vars(units).items() if isinstance(value, str) and not key.startswith("_")}
    question, seen = "", set()
    for panel in MADE[name]["panels"]:
        if panel["type"] == "row":
            question = panel["title"]
            continue
        assert panel["description"].endswith(".")
        assert (question, panel["title"]) not in seen
        seen.add((question, panel["title"]))
        assert panel["fieldConfig"]["defaults"]["unit"] in known


@pytest.mark.parametrize("name", MADE)
def test_times_are_in_the_unit_that_grafana_expects(name: str) -> None:
    """A time is told in seconds, and Grafana counts milliseconds; everything else that is a time is made an age."""
    for panel in panels(name):
        if panel["type"] == "table":
            continue
        ago = panel["fieldConfig"]["defaults"]["unit"] == "dateTimeFromNow"
        for target in panel["targets"]:
            assert target["expr"].endswith("* 1000") == ago, panel["title"]
            assert ago or "timestamp" not in target["expr"] or "time()" in target["expr"], panel["title"]


def test_a_column_of_the_table_is_in_its_unit() -> None:
    """The same holds for the columns: each has the name of its query's letter, and the unit of that name."""
    (table,) = [panel for panel in panels("fleet.json") if panel["type"] == "table" and len(panel["targets"]) > 1]
    names = table["transformations"][1]["options"]["renameByName"]
    units_of = {
        made["matcher"]["options"]: {each["id"]: each["value"] for each in made["properties"]}.get("unit")
        for made in table["fieldConfig"]["overrides"]
    }
    for target in table["targets"]:
        unit = units_of[names[f"Value #{target['refId']}"]]
        assert target["expr"].endswith("* 1000") == (unit == "dateTimeFromNow")


@pytest.mark.parametrize("name", MADE)
def test_every_query_asks_the_chosen_prometheus(name: str) -> None:
    """The data source is a variable, and each query of a panel has a letter of its own."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert next(each["name"] for each in MADE[name]["templating"]["list"]) == "datasource"
    for panel in panels(name):
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters)) and all(letters)


def test_the_dashboard_of_a_model_is_of_one_model() -> None:
    """Whatever has a model is chosen by the variable; what has none is shared by all."""
    for _, expr in queries(MADE["model.json"]):
        for series, labels in used(as_prometheus_is_asked(expr)):
            name = series.removeprefix(METRIC_PREFIX)
            assert ("model" in labels) == (name in FAMILIES or (name.startswith("serving_") and not _shared(name))), (
                name
            )


def _shared(name: str) -> bool:
    """Of the server of predictions, what is not counted by model."""
    return name.startswith("serving_log_") or name in (
        "serving_refusals_total",
        "serving_requests_in_flight",
        "serving_frame_requests_waiting",
    )


def test_every_worry_of_the_page_of_all_models_is_counted() -> None:
    """And the table has a word for each; the weights are those by which `evergreen status` sorts."""
    assert tuple(worries()) == WORRIES
    assert tuple(WORRY_WORDS) == WORRIES
    assert set(VERDICTS) == set(Verdict)
    assert {word: number for number, (word, _) in VERDICT.items()} == VERDICTS


def test_the_link_to_a_model_leads_to_its_dashboard() -> None:
    """By the name that the other dashboard has."""
    assert f'"/d/{MADE["model.json"]["uid"]}?var-model=' in json.dumps(MADE["fleet.json"])
