"""The files for Prometheus, Alertmanager and Grafana fit each other, and nothing that they start is open to others."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.stack.services import HOST, PAGES_PORT, SERVING_PORT
from evergreen.settings import PROJECT

FOLDER = PROJECT / "deployments" / "monitoring"
PROMTOOL, AMTOOL = shutil.which("promtool"), shutil.which("amtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
needs_amtool = pytest.mark.skipif(
    AMTOOL is None, reason="amtool is not installed: apt-get install prometheus-alertmanager"
)
PROVISIONED = FOLDER / "grafana" / "provisioning"


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


PROMETHEUS, ALERTMANAGER = read(FOLDER / "prometheus.yml"), read(FOLDER / "alertmanager.yml")
SERVICES = read(FOLDER / "compose.yaml")["services"]


def run(*words: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], cwd=FOLDER, capture_output=True, text=True, check=False)


@needs_promtool
def test_prometheus_reads_its_file() -> None:
    """With the rules that it names."""
    checked = run(PROMTOOL, "check", "config", "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_prometheus_reads_its_file_with_a_key(tmp_path: Path) -> None:
    """What is commented for a server that asks for one."""
    text = (FOLDER / "prometheus.yml").read_text()
    with_key = text.replace("    # authorization:", "    authorization:").replace("    #   cred", "      cred")
    (tmp_path / "prometheus.yml").write_text(with_key)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "serving.key").write_text("a key")
    serving = yaml.safe_load(with_key)["scrape_configs"][1]
    assert serving["authorization"] == {"credentials_file": "secrets/serving.key"}
    checked = run(PROMTOOL, "check", "config", str(tmp_path / "prometheus.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_both_places_are_scraped_where_the_stack_listens() -> None:
    """By 127.0.0.1, for the pages refuse another name; the path is Prometheus' own."""
    scraped = {job["job_name"]: job["static_configs"] for job in PROMETHEUS["scrape_configs"]}
    ports = {"evergreen-loop": PAGES_PORT, "evergreen-serving": SERVING_PORT}
    assert scraped == {name: [{"targets": [f"{HOST}:{port}"]}] for name, port in ports.items()}
    assert not any("metrics_path" in job for job in PROMETHEUS["scrape_configs"])
    assert PROMETHEUS["rule_files"] == ["rules/*.yml"]


@needs_amtool
def test_alertmanager_reads_its_file() -> None:
    """As it is, with receivers that tell nobody."""
    assert run(AMTOOL, "check-config", "alertmanager.yml").returncode == 0


@needs_amtool
def test_alertmanager_reads_its_file_with_receivers(tmp_path: Path) -> None:
    """Filled in as the comments say."""
    head, line, receivers = (FOLDER / "alertmanager.yml").read_text().partition("\nreceivers:")
    (tmp_path / "alertmanager.yml").write_text(head + line + receivers.replace("    # ", "    "))
    page, ticket = read(tmp_path / "alertmanager.yml")["receivers"]
    assert {*page, *ticket} == {"name", "webhook_configs", "slack_configs", "email_configs"}
    checked = run(AMTOOL, "check-config", str(tmp_path / "alertmanager.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_amtool
@pytest.mark.parametrize(("severity", "receiver"), [("page", "page"), ("ticket", "ticket"), ("misspelt", "ticket")])
def test_an_alert_goes_where_its_severity_says(severity: str, receiver: str) -> None:
    """And to somebody, whatever it says."""
    routed = run(AMTOOL, "config", "routes", "test", "--config.file=alertmanager.yml", f"severity={severity}")
    assert routed.stdout.strip() == receiver


def test_alerts_on_one_model_are_one_message() -> None:
    """Grouped by name and model; a page is told again sooner."""
    route = ALERTMANAGER["route"]
    assert route["group_by"] == ["alertname", "model"]
    named = {each["receiver"] for each in (route, *route["routes"])}
    assert named == {each["name"] for each in ALERTMANAGER["receivers"]}


def _listens(name: str, word: str) -> str:
    """What a service is told by an option or a variable."""
    service = SERVICES[name]
    options = dict(each.removeprefix("--").split("=", 1) for each in service.get("command", ()))
    return str({**options, **service.get("environment", {})}[word])


def test_everything_in_containers_listens_on_loopback_alone() -> None:
    """On the machine's own network no port is published, so each server has to be told its address."""
    assert {service["network_mode"] for service in SERVICES.values()} == {"host"}
    assert not any("ports" in service for service in SERVICES.values())
    assert _listens("prometheus", "web.listen-address").startswith(f"{HOST}:")
    assert _listens("alertmanager", "web.listen-address").startswith(f"{HOST}:")
    assert _listens("alertmanager", "cluster.listen-address") == ""
    assert _listens("grafana", "GF_SERVER_HTTP_ADDR") == HOST


def test_whoever_asks_another_asks_where_it_listens() -> None:
    """Prometheus the Alertmanager, and Grafana both."""
    (alertmanagers,) = PROMETHEUS["alerting"]["alertmanagers"]
    listens = {name: _listens(name, "web.listen-address") for name in ("prometheus", "alertmanager")}
    assert alertmanagers["static_configs"] == [{"targets": [listens["alertmanager"]]}]
    sources = {each["type"]: each for each in read(PROVISIONED / "datasources" / "evergreen.yaml")["datasources"]}
    assert {name: sources[name]["url"] for name in listens} == {name: f"http://{at}" for name, at in listens.items()}
    assert sources["prometheus"]["isDefault"]
    # Grafana's shortest window is four of these: with another one rates would be empty, or too coarse.
    assert sources["prometheus"]["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]


def test_what_is_mounted_exists_and_cannot_be_written() -> None:
    """Folders of the project read-only, and for what is kept a volume with a name."""
    kept = set(read(FOLDER / "compose.yaml")["volumes"])
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service["volumes"]]
    for source, _, *mode in mounts:
        if source.startswith("."):
            assert (FOLDER / source).is_dir()
            assert mode == ["ro"]
        else:
            assert source in kept
    assert {source for source, *_ in mounts if not source.startswith(".")} == kept


def test_every_file_that_a_container_is_told_is_mounted() -> None:
    """Its configuration, and Grafana's folder of dashboards, at the path where the mount brings it."""
    found = []
    for service in SERVICES.values():
        told = [
            *(each.partition("=")[2] for each in service.get("command", ())),
            *service.get("environment", {}).values(),
        ]
        for path in (each for each in told if each.startswith("/etc/")):
            source, target = next(m.split(":")[:2] for m in service["volumes"] if path.startswith(m.split(":")[1]))
            here = FOLDER / source / Path(path).relative_to(target)
            assert here.exists(), path
            found.append(here.resolve().relative_to(FOLDER).as_posix())
    assert sorted(found) == [
        "alertmanager.yml",
        "grafana",
        "grafana/fleet.json",
        "grafana/provisioning",
        "prometheus.yml",
    ]


def test_no_password_is_committed() -> None:
    """Grafana's has to be given, and without it nothing starts; nobody gets in without one or makes a login."""
    given = SERVICES["grafana"]["environment"]
    assert re.fullmatch(r"\$\{GRAFANA_PASSWORD:\?[a-z ]+\}", given["GF_SECURITY_ADMIN_PASSWORD"])
    assert given["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert "GF_AUTH_ANONYMOUS_ENABLED" not in given


def test_versions_are_pinned() -> None:
    """To a release each; the dashboards are built for that of Grafana."""
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in images.values())
    built_for = importlib.metadata.version("grafana-foundation-sdk").partition("!")[2]
    assert images["grafana"].partition(":")[2].split(".")[:2] == built_for.split(".")[:2]


def test_grafana_reads_the_dashboards_from_a_folder_that_it_is_told() -> None:
    """By a variable, for the folder lies elsewhere in a container; what is changed in the browser does not stay."""
    (provider,) = read(PROVISIONED / "dashboards" / "evergreen.yaml")["providers"]
    assert provider["options"]["path"] == "$DASHBOARDS"
    assert "DASHBOARDS" in SERVICES["grafana"]["environment"]
    assert provider["allowUiUpdates"] is False
