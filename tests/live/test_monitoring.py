"""A real Prometheus scrapes a live stack while a model goes through its loop; then every dashboard is asked."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pandas as pd
import pytest

import models
from deployments.monitoring.dashboards import FOLDER
from deployments.monitoring.expressions import worry
from deployments.stack.services import Ports, read_ports
from evergreen.naming import predict_path
from evergreen.runs.fleet import read_fleet
from tests.deployments.monitoring.queries import as_prometheus_is_asked, queries
from tests.deployments.monitoring.real_prometheus import needs_prometheus, running_prometheus
from tests.live.clone import API, Stack, until
from tests.live.conftest import SERVED, free_port

pytestmark = [pytest.mark.slow, needs_prometheus]
EMPTY = {
    "ALERTS": "no rules are loaded",
    "evergreen_canary_share_ratio": "no challenger is in its canary",
    "evergreen_serving_canary_failures_total": "no challenger can fail",
    "evergreen_decision_open_timestamp_seconds": "every decision has its answer, unless one came just now",
}
"""Series without a value here, and why: a query of these may be empty."""


@dataclass(frozen=True)
class Asked:
    """A Prometheus, asked over HTTP; times are those since it began."""

    url: str
    began: float

    def ask(self, path: str, **words: Any) -> list[dict[str, Any]]:
        """The series of an answer; fails where it is an error."""
        answer = API.get(f"{self.url}/api/v1/{path}", params=words)
        told = answer.json()
        assert told["status"] == "success", (words, told)
        found: list[dict[str, Any]] = told["data"]["result"]
        return found

    def now(self, expr: str) -> list[dict[str, Any]]:
        """As a number or a table asks."""
        return self.ask("query", query=expr)

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        """As a graph or an event asks."""
        return self.ask("query_range", query=expr, start=self.began, end=time.time(), step=5)

    def value(self, series: str) -> float:
        """Of one series of the model; NaN without one."""
        found = self.now(f'evergreen_{series}{{model="{SERVED}"}}')
        return float(found[0]["value"][1]) if found else math.nan


@pytest.fixture(scope="module")
def ports(stack: Stack) -> Ports:
    found = read_ports(stack.settings)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def prometheus(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """With the project's file, but for the ports, and each second; no rules lie beside it."""
    folder = tmp_path_factory.mktemp("prometheus")
    text = (FOLDER.parent / "prometheus.yml").read_text()
    changes = {"4300": str(ports.pages), "8000": str(ports.serving), "9093": str(free_port()), ": 15s": ": 1s"}
    for there, here in changes.items():
        assert there in text
        text = text.replace(there, here)
    with running_prometheus(folder, text) as url:
        yield Asked(url, time.time())


def ask_for_predictions(ports: Ports, rows: pd.DataFrame) -> None:
    """One request a row, and three that are refused: by the contract, for its form, and for its path."""
    plain = rows.drop(columns="y").assign(at=[f"{at:%Y-%m-%dT%H:%M:%S}Z" for at in rows["at"]])
    path = f"{ports.predictions}{predict_path(SERVED)}"
    for row in plain.to_dict("records"):
        assert API.post(path, json=row).status_code == httpx.codes.OK
    beyond = plain.iloc[0].to_dict() | {"x": 900.0}
    refused = [API.post(path, json=beyond), API.post(path, content=b"NaN"), API.post(f"{path}s", json=beyond)]
    assert all(answer.is_client_error for answer in refused)


@pytest.fixture(scope="module")
def looped(stack: Stack, ports: Ports, prometheus: Asked, make_rows: Callable[..., pd.DataFrame]) -> Mapping[str, Any]:
    """A first champion, requests, rows that drifted, a retraining by its event, and reports on the second champion."""

    def kept() -> float:
        found = prometheus.now("evergreen_serving_log_rows_kept_total")
        return float(found[0]["value"][1]) if found else 0.0

    stack.land(SERVED, "1-history", make_rows(240))
    stack.completed(stack.start("retrain", f"retrain-{SERVED}", reason="first champion"))
    until(lambda: prometheus.value("champion_version") == 1, "the first champion is told")
    until(lambda: prometheus.value("serving_ready") == 1, "it answers")
    drifted = make_rows(240, start=240, slope=8.0, shift=3.0)
    ask_for_predictions(ports, drifted)
    until(lambda: kept() >= 240, "what was answered is in the lake")
    stack.land(SERVED, "2-drifted", drifted)
    bad = make_rows(100, start=480, slope=8.0, shift=3.0)
    bad.loc[:2, "x"] = 900.0
    stack.land(SERVED, "3-some-bad", bad)
    stack.land(SERVED, "4-another-schema", bad.drop(columns="kind").assign(id=bad["id"] + 1000))
    stack.completed(stack.start("monitor", f"monitor-{SERVED}"))

    def by_event() -> list[dict[str, Any]]:
        return [run for run in stack.runs(f"retrain-{SERVED}") if run["parameters"]["reason"] == "drift"]

    stack.completed(until(by_event, "the automation starts a retrain")[0]["id"])
    until(lambda: prometheus.value("champion_version") == 2, "the second champion is told")
    until(lambda: prometheus.now('evergreen_serving_model_info{version="2", route="champion"}'), "it answers")
    more = make_rows(240, start=580, slope=8.0, shift=3.0)
    ask_for_predictions(ports, more)
    until(lambda: kept() >= 480, "what was answered is in the lake")
    stack.land(SERVED, "5-more", more)
    stack.completed(stack.start("monitor", f"monitor-{SERVED}"))
    return stack.evergreen("status", SERVED)


def has_value(found: list[dict[str, Any]]) -> bool:
    values = [pair[1] for series in found for pair in series.get("values", [series.get("value")])]
    return any(value != "NaN" for value in values)


def empty_queries(prometheus: Asked) -> dict[str, str]:
    """Of both dashboards, each query that finds nothing, with its panel; queries of an error fail."""
    found = {}
    for file in sorted(FOLDER.glob("*.json")):
        whole = json.loads(file.read_text())
        instant = {
            target["expr"] for panel in whole["panels"] for target in panel.get("targets", ()) if target["instant"]
        }
        events = {event["expr"] for event in whole["annotations"]["list"]}
        for title, expr in queries(whole):
            asked = as_prometheus_is_asked(expr, SERVED, "30s")
            answer = prometheus.now(asked) if expr in instant else prometheus.over_time(asked)
            if expr not in events and not has_value(answer):
                found[asked] = f"{file.stem}: {title}"
    return {expr: title for expr, title in found.items() if not any(series in expr for series in EMPTY)}


def test_every_panel_of_every_dashboard_shows_something(prometheus: Asked, looped: Mapping[str, Any]) -> None:
    """No query is an error, and each finds a value, but for what is listed with its reason."""
    assert looped["champion"] is not None
    deadline = time.monotonic() + 90
    while (empty := empty_queries(prometheus)) and time.monotonic() < deadline:
        # The next snapshot of the loop is ten seconds away, and takes its time on a busy machine.
        pass
    assert empty == {}


def test_the_table_sorts_as_status_does(stack: Stack, prometheus: Asked, looped: Mapping[str, Any]) -> None:
    """The worries that PromQL adds up are those of `evergreen status`, of every model."""
    names = models.names(stack.settings.models)

    def fleet() -> dict[str, int]:
        now = pd.Timestamp.now("UTC").to_pydatetime()
        load = models.load_spec
        lines = read_fleet(stack.settings, names, lambda name: load(name, folder=stack.settings.models), now=now)
        return {line.model: line.weight for line in lines}

    def counted() -> dict[str, int]:
        return {each["metric"]["model"]: int(each["value"][1]) for each in prometheus.now(worry())}

    until(lambda: counted() == fleet(), f"{counted()} become {fleet()}", 60)
    assert list(counted().values()) == sorted(counted().values(), reverse=True)


def test_what_happened_is_a_line_through_the_graphs(stack: Stack, prometheus: Asked, looped: Mapping[str, Any]) -> None:
    """The promotion, the retraining, and a rollback by hand."""
    stack.evergreen("rollback", SERVED, "--reason", "a test")
    whole = json.loads((FOLDER / "model.json").read_text())
    asked = {
        event["name"]: as_prometheus_is_asked(event["expr"], SERVED, "30s") for event in whole["annotations"]["list"]
    }
    until(lambda: prometheus.over_time(asked["Rollbacks"]), "the rollback is told", 60)
    found = {name: [each["metric"] for each in prometheus.over_time(expr)] for name, expr in asked.items()}
    assert found["Promotions"] == found["Rollbacks"] == [{"model": SERVED}]
    assert {"model": SERVED, "outcome": "promoted"} in found["Retrainings"]
    assert found["Canary steps"] == []


def test_grafana_finds_the_models(prometheus: Asked, looped: Mapping[str, Any]) -> None:
    """What a person can choose on the dashboard of a model."""
    names = API.get(f"{prometheus.url}/api/v1/label/model/values", params={"match[]": "evergreen_model_problem"}).json()
    assert SERVED in names["data"]
