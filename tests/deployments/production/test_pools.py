"""The work pools on a real Prefect server with a login: what `evergreen deployments apply` and workers make of them.

The workers are Prefect's own, of prefect-kubernetes and prefect-docker, in an environment beside the project's: name
its `bin` by EVERGREEN_TEST_WORKERS. There is no cluster: what stands in its place answers the worker as the API of
Kubernetes does, and runs the container of a Job as a process of this machine, with the Job's own words and variables.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.stack.services import SERVER, Ports
from deployments.stack.services import environment as service_environment
from evergreen import naming
from evergreen.settings import Settings
from evergreen.storage.database_template import place
from evergreen.storage.schema_revision import PREFECT
from tests.deployments.production.conftest import Process, free_port
from tests.deployments.production.manifests import (
    DOCKER_POOL,
    OVERLAYS,
    POOL,
    PREFECTS_KEYS,
    PROJECT,
    Document,
    containers_of,
    name_of,
    of_kind,
    read_base,
)
from tests.live.clone import until

pytestmark = pytest.mark.slow
LOGIN = "ann:planted-4711"
NAMESPACE, IMAGE = "evergreen-prod", "registry.example.org/evergreen:v0.1.0"
SECRETS = {
    ("prefect", "login"): LOGIN,
    **{
        (name, key): f"planted-{name}-{key}"
        for name, key in (("mlflow-login", "username"), ("mlflow-login", "password"))
    },
    **{(name, key): f"planted-{name}-{key}" for name, key in (("store", "id"), ("store", "key"))},
}
RENDER = """
import asyncio, json, sys
from docker.models.containers import _create_container_args
from prefect.client.orchestration import get_client
from prefect_docker.worker import DockerWorker, DockerWorkerJobConfiguration

async def main(pool, deployment):
    async with get_client() as client:
        found = await client.read_deployment_by_name(deployment)
        run = await client.create_flow_run_from_deployment(found.id)
        template = (await client.read_work_pool(pool)).base_job_template
        made = await DockerWorkerJobConfiguration.from_template_and_values(template, found.job_variables, client=client)
        made.prepare_for_flow_run(run, found)
        # For an address of this machine Docker itself would be asked.
        made.env["PREFECT_API_URL"] = "https://prefect.example.org/api"
        words = DockerWorker._build_container_settings(None, None, made)
    print(json.dumps(_create_container_args({**words, "version": "1.41"})))

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Server:
    """A Prefect server with a login, and how an environment on it is asked."""

    folder: Path
    api: str
    surroundings: dict[str, str] = field(repr=False)

    def ask(self, path: str, **body: Any) -> Any:
        """POST to the API where there is a body, GET otherwise."""
        user, word = LOGIN.split(":")
        method = "POST" if body else "GET"
        answer = httpx.request(method, f"{self.api}/{path}", json=body or None, auth=(user, word), timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run(self, *words: str, **more: str) -> str:
        """A command of this installation, with more variables; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *words], env=self.surroundings | more, cwd=PROJECT, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def create_pool(self, environment: str, kind: str, file: Path, *words: str) -> None:
        name = naming.work_pool(environment)
        self.run("prefect", "work-pool", "create", name, "--type", kind, "--base-job-template", str(file), *words)

    def apply(self, environment: str) -> dict[str, Any]:
        words = ("deployments.cli", "deployments", "apply", "--json")
        told: dict[str, Any] = json.loads(self.run(*words, EVERGREEN_ENVIRONMENT=environment))
        return told

    def start_run(self, environment: str) -> str:
        """A run of the reconciler; its id."""
        found = self.ask(f"deployments/name/reconcile/{environment}-reconcile")["id"]
        return str(self.ask(f"deployments/{found}/create_flow_run", parameters={})["id"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It is up, for all tests: each has an environment of its own."""
    folder, port = tmp_path_factory.mktemp("pools"), free_port()
    settings = Settings(home=folder / "server")
    settings.prefect_home.mkdir(parents=True)
    place(PREFECT, settings.prefect_home / "prefect.db")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "EVERGREEN_"))}
    api = f"http://127.0.0.1:{port}/api"
    own = service_environment(SERVER, settings, Ports(prefect=port, mlflow=free_port()))
    words = [sys.executable, "-m", "deployments.stack.prefect_server", "--host", "127.0.0.1", "--port", str(port)]
    environment = kept | own | {"PREFECT_SERVER_API_AUTH_STRING": LOGIN, "PYTHONPATH": str(PROJECT)}
    asked = {
        "PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": LOGIN, "PREFECT_HOME": str(folder / "client"),
        "EVERGREEN_HOME": str(folder / "home"), "PYTHONPATH": str(PROJECT), "COLUMNS": "200",
    }  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(words, env=environment, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: httpx.get(f"{api}/health", timeout=5).status_code == 200, "Prefect answers", 300)
            yield Server(folder, api, kept | asked)
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.parametrize(("kind", "file"), [("kubernetes", POOL), ("docker", DOCKER_POOL)])
def test_the_server_takes_the_pool_and_the_deployments_go_into_it(server: Server, kind: str, file: Path) -> None:
    """`prefect work-pool create`, then `evergreen deployments apply`, which makes none of its own."""
    server.create_pool(kind, kind, file)
    first = server.apply(kind)
    assert (first["made_pool"], len(first["deployed"]), first["strangers"]) == (False, 9, [])
    pool = server.ask(f"work_pools/evergreen-{kind}")
    assert (pool["type"], pool["base_job_template"]) == (kind, json.loads(file.read_text()))
    found = server.ask("deployments/filter", deployments={"tags": {"all_": [f"evergreen-{kind}"]}})
    assert {each["work_pool_name"] for each in found} == {f"evergreen-{kind}"}
    planted = json.loads(file.read_text())
    planted["job_configuration"]["name"] = "{{ picture }}"
    (server.folder / "planted.json").write_text(json.dumps(planted))
    with pytest.raises(AssertionError, match="picture"):
        server.create_pool(kind, kind, server.folder / "planted.json", "--overwrite")


def _workers(program: str) -> str:
    folder = os.environ.get("EVERGREEN_TEST_WORKERS", "")
    found = Path(folder) / program
    if not folder or not found.exists():
        pytest.skip("EVERGREEN_TEST_WORKERS names no bin folder with prefect-kubernetes and prefect-docker")
    return str(found)


class Cluster(ThreadingHTTPServer):
    """Stands in the place of a cluster: stores the Jobs that it is sent, and runs the containers that it is told to."""

    daemon_threads = True

    def __init__(self, folder: Path, maps: Mapping[str, Mapping[str, str]]) -> None:
        self.jobs: list[tuple[str, Document]] = []
        self.folder, self.maps = folder, maps
        super().__init__(("127.0.0.1", 0), _Api)

    @property
    def kubeconfig(self) -> Path:
        """The file by which a client finds it."""
        file = self.folder / "kubeconfig"
        cluster = {"name": "own", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
        context = {"name": "own", "context": {"cluster": "own", "user": "own"}}
        users = [{"name": "own", "user": {}}]
        whole = {"clusters": [cluster], "contexts": [context], "users": users, "current-context": "own"}
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config"} | whole))
        return file

    def job_of(self, run: str) -> Document | None:
        """The Job of a flow run."""
        return next((job for _, job in self.jobs if job["metadata"]["labels"]["prefect.io/flow-run-id"] == run), None)

    def variables(self, container: Document) -> dict[str, str]:
        """What the container finds in its environment."""
        found: dict[str, str] = {}
        for each in container["envFrom"]:
            found |= self.maps[each["configMapRef"]["name"]]
        for each in container["env"]:
            reference = each.get("valueFrom", {}).get("secretKeyRef")
            found[each["name"]] = SECRETS[reference["name"], reference["key"]] if reference else each["value"]
        return found

    def run_container(self, job: Document, surroundings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run what the Job's container runs, and wait for its end."""
        (container,) = containers_of(job)
        return subprocess.run(
            container["args"], env={**surroundings, **self.variables(container)}, cwd=PROJECT, capture_output=True,
            text=True, timeout=300, check=False,
        )  # fmt: skip


class _Api(BaseHTTPRequestHandler):
    server: Cluster

    def do_POST(self) -> None:
        """Store a Job, and answer with it."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body.get("kind") != "Job":
            self.send_error(403)
            return
        body["metadata"] |= {"name": f"{body['metadata']['generateName']}{len(self.server.jobs)}", "uid": "1"}
        self.server.jobs.append((self.path, body))
        answer = json.dumps(body).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """It answers; the settings of its runs are of this machine."""
    data = next(each["data"] for each in of_kind(read_base(), "ConfigMap") if name_of(each) == "evergreen")
    places = {
        "EVERGREEN_ENVIRONMENT": "prod", "EVERGREEN_LAKE": str(tmp_path / "lake"),
        "EVERGREEN_REPORTS": str(tmp_path / "reports"), "EVERGREEN_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }  # fmt: skip
    with Cluster(tmp_path, {"evergreen": data | places}) as cluster:
        thread = threading.Thread(target=cluster.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield cluster
        cluster.shutdown()
        thread.join()


def _await_job(server: Server, cluster: Cluster, worker: Process, environment: str) -> tuple[str, Document]:
    """Bring the deployments into the worker's pool and start a run; its id, and the Job that the worker makes of it."""
    pool = {"name": {"any_": [naming.work_pool(environment)]}}

    def lives(what: Any) -> Any:
        assert worker.popen.poll() is None, "".join(worker.lines)
        return what

    until(lambda: lives(server.ask("work_pools/filter", work_pools=pool)), "the worker has made the pool", 180)
    assert server.apply(environment)["made_pool"] is False
    run = server.start_run(environment)
    return run, until(lambda: lives(cluster.job_of(run)), "there is a Job", 180)


def _start_worker(
    server: Server, cluster: Cluster, start: Callable[..., Process], container: Document, environment: str
) -> Process:
    """The worker by the words and variables of its manifest; only addresses, folders and the pool's file are others."""
    health, pool = free_port(), naming.work_pool(environment)
    given = {"WORK_POOL": pool, "JOB_IMAGE": IMAGE, "PREFECT_API_URL": server.api}
    for each in container["env"]:
        source = each.get("valueFrom", {})
        if "secretKeyRef" in source:
            given[each["name"]] = SECRETS[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            given[each["name"]] = NAMESPACE
        else:
            given.setdefault(each["name"], each["value"])
    given |= {
        "PREFECT_HOME": str(server.folder / "worker"), "HOME": str(server.folder),
        "KUBECONFIG": str(cluster.kubeconfig),
        # The observer watches pods, of which there are none.
        "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED": "false",
        "PREFECT_WORKER_WEBSERVER_PORT": str(health), "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
    }  # fmt: skip
    words = [*container["command"], *container["args"]]
    words = [each.replace("$(WORK_POOL)", pool).replace("/etc/work-pool/pool.json", str(POOL)) for each in words]
    program = _workers(words[0])
    variables = {"PATH": os.pathsep.join([str(Path(program).parent), os.environ["PATH"]])} | given
    path = container["livenessProbe"]["httpGet"]["path"]
    return start([program, *words[1:]], f"http://127.0.0.1:{health}", ready=path, env=variables, cwd=server.folder)


def _worker_container() -> Document:
    deployment = next(each for each in of_kind(read_base(), "Deployment") if name_of(each) == "worker")
    return containers_of(deployment)[0]


def test_a_run_becomes_a_job_that_runs(
    server: Server, cluster: Cluster, start: Callable[..., Process], tmp_path: Path
) -> None:
    """The worker makes the pool and, of a run, a Job by it: our image, secrets by name; its container ends the run."""
    worker = _start_worker(server, cluster, start, _worker_container(), "prod")
    run, job = _await_job(server, cluster, worker, "prod")
    assert server.ask("work_pools/evergreen-prod")["base_job_template"] == json.loads(POOL.read_text())
    _check_job(cluster, job, tmp_path)
    surroundings = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "PYTHONPATH": str(PROJECT),
        "HOME": str(tmp_path), "EVERGREEN_HOME": str(tmp_path / "state"),
    }  # fmt: skip
    done = cluster.run_container(job, surroundings)
    assert done.returncode == 0, done.stdout + done.stderr
    state = server.ask(f"flow_runs/{run}")
    assert state["state_type"] == "COMPLETED", done.stdout + done.stderr
    assert "planted" not in done.stdout + done.stderr
    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    assert run in {line.get("flow_run") for line in lines}


def _check_job(cluster: Cluster, job: Document, folder: Path) -> None:
    """What the cluster was sent."""
    paths = {path for path, _ in cluster.jobs}
    assert paths == {f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"}
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], pod["serviceAccountName"]) == (IMAGE, "evergreen")
    assert "planted" not in json.dumps([each for _, each in cluster.jobs])
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    assert secrets["PREFECT_API_AUTH_STRING"] == {"name": "prefect", "key": "login"}
    assert {(each["name"], each["key"]) for each in secrets.values()} == SECRETS.keys()
    values = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert values["EVERGREEN_ENVIRONMENT"] == "prod"
    assert values["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert container["args"][:2] == ["sh", "-c"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "2Gi"}
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    _validate(job, folder)


def _validate(job: Document, folder: Path) -> None:
    """By the schema of Kubernetes, where the tool is."""
    tool = shutil.which("kubernetes-validate", path=os.environ.get("EVERGREEN_TEST_TOOLS", ""))
    if tool is None:
        return
    known = deepcopy(job)
    for key in PREFECTS_KEYS:
        del known["spec"]["template"]["spec"][key]
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(known))
    done = subprocess.run([tool, "--strict", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_worker_that_is_not_told_of_the_secret_writes_the_login_out(
    server: Server, cluster: Cluster, start: Callable[..., Process]
) -> None:
    """What the two variables in the worker's manifest are for."""
    container = _worker_container()
    container["env"] = [each for each in container["env"] if "AUTH_STRING_SECRET" not in each["name"]]
    worker = _start_worker(server, cluster, start, container, "staging")
    _, job = _await_job(server, cluster, worker, "staging")
    assert LOGIN in json.dumps(job)


def test_a_run_becomes_a_container_of_docker(server: Server) -> None:
    """As the worker would ask Docker for it: our image, network, volume and limits; values are the worker's own."""
    python = _workers("python")
    server.create_pool("dev", "docker", DOCKER_POOL)
    server.apply("dev")
    names = json.loads(DOCKER_POOL.read_text())["job_configuration"]["env"]
    own = {name: f"own-{name}" for name, value in names.items() if value == f"{{{{ ${name} }}}}"}
    done = subprocess.run(
        [python, "-c", RENDER, "evergreen-dev", "reconcile/dev-reconcile"],
        env={"PATH": os.environ["PATH"], "HOME": str(server.folder), "JOB_IMAGE": IMAGE}
        | {name: server.surroundings[name] for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
        | own,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert (made["image"], made["user"]) == (IMAGE, "10001:10001")
    assert made["volumes"] == ["/state"]
    given = made["environment"]
    assert own.items() <= given.items()
    assert (given["EVERGREEN_ENVIRONMENT"], given["PREFECT_API_AUTH_STRING"]) == ("dev", LOGIN)
    host = made["host_config"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (2**32, 2**32, 2 * 10**9, 1024)
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Binds"]) == (True, ["ALL"], ["evergreen-runs:/state"])
    assert given["PREFECT_HOME"] == "/state/prefect"


def test_the_overlays_use_the_pool_that_deployments_go_into() -> None:
    """The worker of an environment takes what `evergreen deployments apply` brings there."""
    for name, folder in OVERLAYS.items():
        text = (folder / "settings.yaml").read_text()
        assert f"WORK_POOL, value: evergreen-{name}" in text
