"""Two hosts and the servers that they share: one is cut off in the middle of a retraining, and comes back.

The hosts are network namespaces, each with a worker. Prefect Server, with a login, is on PostgreSQL and Redis; MLflow,
with a login, on PostgreSQL; the lake and the files of versions are on an S3-compatible store.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from deployments.stack.services import SERVER, Ports, worker_name
from deployments.stack.services import environment as service_environment
from evergreen.settings import Settings
from evergreen.storage.kept_files import KeptFiles
from tests.live.clone import until
from tests.live.conftest import PROJECT, TOY, copy_project, free_port
from tests.servers import databases

__all__ = ["databases"]
pytestmark = pytest.mark.proof(name="hosts")
ADDRESS = "10.77.0.1"
LOGIN = "ann:planted-4711"
MLFLOW_USER, MLFLOW_PASSWORD = "admin", "planted-4713-long"
MODEL = "toy"
FIT_SECONDS = 25


@dataclass(frozen=True)
class Host:
    """A network namespace with a home of its own."""

    name: str
    home: Path
    project: Path
    surroundings: Mapping[str, str] = field(repr=False)

    def words(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]

    def evergreen(self, *words: str, timeout: float = 300) -> Any:
        """Run a command on this host; what it said."""
        done = subprocess.run(
            self.words(sys.executable, "-m", "deployments.cli", *words, "--json"),
            env={**self.surroundings}, cwd=self.project, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def cut_off(self, *, back: bool = False) -> None:
        """Pull the plug, or put it in again."""
        run("ip", "link", "set", f"v{self.name}", "up" if back else "down")
        if back:
            run("ip", "route", "replace", f"10.77.{1 + int(self.name[-1])}.0/24", "dev", f"v{self.name}")

    @property
    def worker(self) -> str:
        return worker_name(Settings(home=self.home))

    def land(self, name: str, rows: pd.DataFrame) -> None:
        """Put a batch where the model's source looks."""
        folder = self.home / "landing" / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        rows.to_csv(folder / f"{name}.csv", index=False)


@dataclass(frozen=True)
class Site:
    """Both hosts, and how the test asks the server."""

    hosts: tuple[Host, Host]
    api: str

    def ask(self, path: str, **body: Any) -> Any:
        """POST to Prefect's API where there is a body, GET otherwise."""
        user, word = LOGIN.split(":")
        method = "POST" if body else "GET"
        answer = httpx.request(method, f"{self.api}/{path}", json=body or None, auth=(user, word), timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self, flow: str, deployment: str) -> str:
        """Start a run of a deployment; its id."""
        found = self.ask(f"deployments/name/{flow}/{deployment}")["id"]
        return str(self.ask(f"deployments/{found}/create_flow_run", parameters={})["id"])

    def state(self, run_id: str) -> str:
        return str(self.ask(f"flow_runs/{run_id}")["state_type"])

    def who(self, run_id: str) -> Host | None:
        """The host whose worker took a run up."""
        lines = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run_id]}})
        text = "\n".join(line["message"] for line in lines)
        return next((host for host in self.hosts if f"Worker '{host.worker}' submitting" in text), None)

    def is_fitting(self, run_id: str) -> bool:
        tasks = self.ask("task_runs/filter", flow_runs={"id": {"any_": [run_id]}})
        return any(each["name"].startswith("fit") and each["state_type"] == "RUNNING" for each in tasks)


def run(*words: str, check: bool = True) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr


def serve(stack: ExitStack, words: list[str], env: Mapping[str, str], folder: Path, name: str) -> None:
    """Start a server that ends with the test; what it says is in a file."""
    log = stack.enter_context((folder / f"{name}.log").open("w"))
    process = subprocess.Popen(words, env={**env}, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    stack.callback(process.wait)
    stack.callback(process.terminate)


def is_up(url: str, auth: tuple[str, str] | None = None) -> Callable[[], bool]:
    return lambda: httpx.get(url, auth=auth, timeout=5).status_code == 200


@pytest.fixture
def site(tmp_path: Path, databases: dict[str, str]) -> Iterator[Site]:
    """All of it, up, with deployments and two workers."""
    mlflow = os.environ.get("EVERGREEN_TEST_MLFLOW") or shutil.which("mlflow")
    auth = subprocess.run([str(Path(str(mlflow)).with_name("python")), "-c", "import flask_wtf"], check=False)
    if auth.returncode:
        pytest.skip("MLflow's login needs mlflow[auth]: name its mlflow by EVERGREEN_TEST_MLFLOW")
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    pytest.importorskip("moto.server")
    project = tmp_path / "project"
    copy_project(project)
    shutil.rmtree(project / "models")
    shutil.copytree(PROJECT / "models", project / "models", ignore=shutil.ignore_patterns("*.pyc", "iris.py", "bike*"))
    slow = TOY.replace("    columns = ", f"    import time\n\n    time.sleep({FIT_SECONDS})\n    columns = ")
    (project / "models" / f"{MODEL}.py").write_text(slow)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "EVERGREEN_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    store, prefect, tracking = free_port(), free_port(), free_port()
    aws = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{ADDRESS}:{store}", "AWS_ALLOW_HTTP": "true",
        "MLFLOW_S3_ENDPOINT_URL": f"http://{ADDRESS}:{store}",
    }  # fmt: skip
    with ExitStack() as stack:
        run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        stack.callback(run, "ip", "addr", "delete", f"{ADDRESS}/32", "dev", "lo", check=False)
        shared = kept | aws | {
            "PREFECT_API_URL": f"http://{ADDRESS}:{prefect}/api", "PREFECT_API_AUTH_STRING": LOGIN,
            "EVERGREEN_TRACKING_URI": f"http://{ADDRESS}:{tracking}",
            "MLFLOW_TRACKING_USERNAME": MLFLOW_USER, "MLFLOW_TRACKING_PASSWORD": MLFLOW_PASSWORD,
            "EVERGREEN_LAKE": "s3://shop/lake", "EVERGREEN_REPORTS": "s3://shop/kept",
            "PYTHONPATH": str(project), "COLUMNS": "200",
            # What the hosts' own network cannot reach, they do not wait for.
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        }  # fmt: skip
        hosts = []
        for number in (0, 1):
            name, net = f"ev{number}", f"10.77.{1 + number}"
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "delete", name, check=False)
            run("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "addr", "add", f"{net}.1/24", "dev", f"v{name}")
            run("ip", "link", "set", f"v{name}", "up")
            inside = ("ip", "-n", name)
            run(*inside, "addr", "add", f"{net}.2/24", "dev", "eth0")
            run(*inside, "link", "set", "eth0", "up")
            run(*inside, "link", "set", "lo", "up")
            run(*inside, "route", "add", "default", "via", f"{net}.1")
            home = tmp_path / f"home-{number}"
            hosts.append(Host(name, home, project, shared | {"EVERGREEN_HOME": str(home)}))
        words = [sys.executable, "-m", "tests.object_store", "-H", "0.0.0.0", "-p", str(store)]  # noqa: S104
        serve(stack, words, kept | {"PYTHONPATH": str(PROJECT)}, tmp_path, "store")
        settings = Settings(home=tmp_path / "server", **databases)  # type: ignore[arg-type]
        variables = service_environment(SERVER, settings, Ports(prefect, tracking))
        serve(
            stack,
            [sys.executable, "-m", "deployments.stack.prefect_server", "--host", "0.0.0.0", "--port", str(prefect)],  # noqa: S104
            kept | variables | {"PREFECT_SERVER_API_AUTH_STRING": LOGIN, "PYTHONPATH": str(PROJECT)},
            tmp_path, "prefect",
        )  # fmt: skip
        config = tmp_path / "auth.ini"
        config.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{tmp_path}/auth.db\n"
            f"admin_username = {MLFLOW_USER}\nadmin_password = {MLFLOW_PASSWORD}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        until(is_up(f"http://127.0.0.1:{store}/moto-api/data.json"), "the store answers")
        httpx.put(f"http://127.0.0.1:{store}/shop").raise_for_status()
        serve(
            stack,
            [
                str(mlflow), "server", "--app-name", "basic-auth", "--host", "0.0.0.0", "--port", str(tracking),  # noqa: S104
                "--backend-store-uri", databases["tracking_uri"], "--artifacts-destination", "s3://shop/files",
                "--workers", "1", "--allowed-hosts", "*",
            ],
            kept | aws | {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "planted-4712"},
            tmp_path, "mlflow",
        )  # fmt: skip
        site = Site((hosts[0], hosts[1]), f"http://127.0.0.1:{prefect}/api")
        until(is_up(f"http://127.0.0.1:{prefect}/api/health"), "Prefect answers")
        until(is_up(f"http://127.0.0.1:{tracking}/health"), "MLflow answers")
        hosts[0].evergreen("deployments", "sync")
        hosts[0].evergreen("deployments", "apply")
        hosts[0].evergreen("automations", "sync")
        for host in hosts:
            stack.callback(subprocess.run, host.words(sys.executable, "-m", "deployments.cli", "down"),
                           env={**host.surroundings}, cwd=project, capture_output=True, check=False)  # fmt: skip
            host.evergreen("up", "--worker", "--detach")
        yield site


def test_one_is_cut_off_in_the_middle_of_a_retraining(
    site: Site, make_rows: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finishes it; the first changes nothing more when it is back; both tell the same."""
    for host in site.hosts:
        host.land("history", make_rows(240))
    first = site.start("retrain", f"retrain-{MODEL}")
    until(lambda: site.state(first) == "COMPLETED", "the first champion")
    for host in site.hosts:
        host.land("news", make_rows(240, start=240, slope=4.0))
    workers = site.ask("work_pools/evergreen/workers/filter", limit=10)
    assert sorted(each["name"] for each in workers) == sorted(host.worker for host in site.hosts)
    lost = site.start("retrain", f"retrain-{MODEL}")
    until(lambda: site.is_fitting(lost), "it fits")
    gone = until(lambda: site.who(lost), "its worker is known")
    (other,) = (host for host in site.hosts if host is not gone)
    gone.cut_off()
    began = time.monotonic()
    until(lambda: site.state(lost) in ("CRASHED", "FAILED"), "the server gives the run up", 400)
    print(f"the server gave the run up after {time.monotonic() - began:.0f} s")
    again = site.start("retrain", f"retrain-{MODEL}")
    until(lambda: site.state(again) not in ("SCHEDULED", "PENDING", "RUNNING"), "the other one ends it", 400)
    assert site.state(again) == "COMPLETED"
    assert site.who(again) is other
    print(f"the other host had finished it {time.monotonic() - began:.0f} s after the cut")
    told = other.evergreen("history", MODEL)
    gone.cut_off(back=True)
    until(lambda: not busy(gone), "what the first host had begun has ended", 400)
    assert other.evergreen("history", MODEL) == told
    assert gone.evergreen("history", MODEL) == told
    assert gone.evergreen("status", MODEL)["champion"] == other.evergreen("status", MODEL)["champion"]
    pages = {each["links"]["report"] for each in gone.evergreen("why", MODEL) if "report" in each["links"]}
    for name, value in gone.surroundings.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    assert pages
    assert pages <= {f"s3://shop/kept/{file.name}" for file in KeptFiles("s3://shop/kept").listing("reports")}
    print(json.dumps(told)[:2000])


def busy(host: Host) -> bool:
    """Whether a flow run still lives on a host."""
    done = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True, check=True)
    for process in done.stdout.split():
        place = Path("/proc") / process / "cmdline"
        if place.exists() and b"prefect.engine" in place.read_bytes():
            return True
    return False
