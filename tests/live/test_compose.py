"""The stack of compose.yaml without containers: its commands, environment, health checks and order, on this machine.

What Docker would bring is imitated: the image's environment, folders for volumes, and addresses in place of names. All
else is real: PostgreSQL and Redis with passwords, Prefect and MLflow with logins, two workers, and nginx with TLS.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.demo import CHANGE, SEED, START
from evergreen.naming import predict_path
from evergreen.sources.simulator import simulate
from tests.deployments.production.compose_file import FOLDER, Service, example, services
from tests.deployments.production.nginx_surroundings import SURROUNDINGS
from tests.live.clone import until
from tests.live.conftest import copy_project, free_port

pytestmark = pytest.mark.proof(name="compose")
MODEL, DOMAIN = "bike_demand", "evergreen.test"
# The ports of compose.yaml, which are free ones here, and the names of its services, which are this machine.
PORTS = ("5432", "6379", "4200", "5000", "8000", "4300", "8080", "8443")
NAMES = ("postgres", "redis", "prefect", "mlflow", "serving", "pages")
LEFT_OUT = {"prometheus": "is not installed here as a container", "alertmanager": "has nobody to tell"}
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/nowhere"))
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", str(POSTGRES)])


@dataclass
class Machine:
    """Where containers would run: a folder, a port for each of theirs, and the processes that were started."""

    folder: Path
    variables: Mapping[str, str]
    mlflow: Path
    stack: ExitStack
    ports: Mapping[str, int] = field(default_factory=lambda: {port: free_port() for port in PORTS})
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def place(self, text: str, state: Path) -> str:
        """A word of the file as it is meant here: folders, names and ports of containers are those of this machine."""
        text = re.sub(r"(?<![\w/.])/state\b", str(state), text)
        text = re.sub(r"(?<![\w/.])/(app|data|shared|run/secrets)\b", rf"{self.folder}/\1", text)
        text = re.sub(rf"(?<![\w.-])({'|'.join(NAMES)})(?=:\d)", "127.0.0.1", text)
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: str(self.ports[found[1]]), text)

    def state(self, service: Service, copy: int = 0) -> Path:
        """The folder of a container's /state, with the volumes in it."""
        place = self.folder / "volumes" / (service.volumes.get("/state") or f"{service.name}-{copy}")
        place.mkdir(parents=True, exist_ok=True)
        for inside, source in service.volumes.items():
            if inside.startswith("/state/") and not (place / inside.removeprefix("/state/")).exists():
                (self.folder / "volumes" / source).mkdir(exist_ok=True)
                (place / inside.removeprefix("/state/")).symlink_to(self.folder / "volumes" / source)
        return place

    def environment(self, service: Service, state: Path) -> dict[str, str]:
        """Of one container: the image's, then its own, and nothing of this process but what finds programs."""
        own = {"PATH": SEARCH, "LANG": "C.UTF-8", "COLUMNS": "200"}
        if service.own:
            text = (FOLDER / "Dockerfile").read_text()
            block = text[text.index("ENV ") : text.index("USER ")]
            image = dict(re.findall(r"^(?:ENV)? *([A-Z_]+)=(\S+?)(?: \\)?$", block, flags=re.MULTILINE))
            assert {"EVERGREEN_HOME", "PYTHONPATH", "HOME"} <= set(image)
            own |= {name: self.place(value, state) for name, value in image.items()}
            binaries = self.mlflow.parent if "mlflow" in service.name else Path(sys.executable).parent
            own["PATH"] = os.pathsep.join([str(self.folder / "bin"), str(binaries), SEARCH])
            own["EVERGREEN_COMMIT"] = "c0ffee"
        return own | {name: self.place(value, state) for name, value in service.environment.items()}

    def run(self, service: Service, *words: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command in a container of a service."""
        state = state or self.state(service)
        return subprocess.run(
            [self.place(word, state) for word in words],
            env=self.environment(service, state), cwd=self.folder / "app", capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    def start(self, service: Service, command: list[str], copy: int = 0, **how: Any) -> None:
        """Start a container's command; what it says is in a file."""
        state = self.state(service, copy)
        name = f"{service.name}-{copy}"
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        how.setdefault("env", self.environment(service, state))
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder / "app", **how)
        self.processes[name] = process
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)

    def is_healthy(self, service: Service, copy: int = 0) -> bool:
        """Run its health check, once."""
        name = f"{service.name}-{copy}"
        assert self.processes[name].poll() is None, (self.folder / f"{name}.log").read_text()[-4000:]
        kind, *words = service.check
        if kind == "CMD-SHELL":
            words = ["sh", "-c", *words]
        return self.run(service, *words, state=self.state(service, copy)).returncode == 0

    def wait(self, service: Service, condition: str) -> None:
        """For what another one waits for."""
        if condition == "service_completed_successfully":
            code = self.processes[f"{service.name}-0"].wait(300)
            assert code == 0, (self.folder / f"{service.name}-0.log").read_text()[-4000:]
        else:
            for copy in range(service.copies):
                until(lambda copy=copy: self.is_healthy(service, copy), f"{service.name} is healthy", 300)

    def up(self, stack: Mapping[str, Service]) -> None:
        """Start everything in the file's order."""
        began = time.monotonic()
        for service in stack.values():
            if service.name in LEFT_OUT:
                continue
            for other, condition in service.needs.items():
                self.wait(stack[other], condition)
            if service.name == "postgres":
                self._start_postgres(service)
            elif service.name == "proxy":
                self._start_proxy(service)
            else:
                for copy in range(service.copies):
                    state = self.state(service, copy)
                    self.start(service, [self.place(word, state) for word in service.command], copy)
            print(f"{time.monotonic() - began:5.1f} s: {service.name} was started")
        for service in stack.values():
            # Without a champion the server of predictions is not ready.
            if service.check and service.name not in {*LEFT_OUT, "serving"}:
                self.wait(service, "service_healthy")
        print(f"{time.monotonic() - began:5.1f} s: everything is healthy")

    def _start_postgres(self, service: Service) -> None:
        """What the image's own start does: a cluster that asks for passwords, then the script of its first start."""
        place = Path(tempfile.mkdtemp(prefix="evergreen-compose-"))
        self.stack.callback(shutil.rmtree, place, ignore_errors=True)
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(place, "postgres", "postgres")
        word = place / "word"
        word.write_text(service.environment["POSTGRES_PASSWORD"])
        word.chmod(0o644)
        made = [POSTGRES / "initdb", "--username=postgres", "--auth=scram-sha-256", f"--pwfile={word}", place / "data"]
        subprocess.run(made, check=True, capture_output=True, cwd=place, **who)
        port = self.place("5432", place)
        words = [str(POSTGRES / "postgres"), "-D", str(place / "data"), "-p", port, "-k", str(place), "-h", "127.0.0.1"]
        self.start(service, words, **who)
        until(lambda: self.processes["postgres-0"].poll() is None and self._accepts(service), "PostgreSQL answers")
        login = {"PGPASSWORD": service.environment["POSTGRES_PASSWORD"], "PGHOST": "127.0.0.1", "PGPORT": port}
        script = self.folder / "app" / "deployments" / "production" / "postgres-init.sh"
        environment = self.environment(service, place) | login
        done = subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _accepts(self, service: Service) -> bool:
        return self.run(service, "pg_isready", "--host=127.0.0.1", "--port=5432").returncode == 0

    def _start_proxy(self, service: Service) -> None:
        folder = self.folder / "nginx"
        folder.mkdir()
        text = self.place((FOLDER / "compose.nginx.conf").read_text(), folder)
        (folder / "default.conf").write_text(re.sub(r"listen (\d+)", r"listen 127.0.0.1:\1", text))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(SURROUNDINGS.format(folder=folder, user=user, file="default.conf"))
        nginx = str(shutil.which("nginx", path=SEARCH))
        self.start(service, [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")])


@dataclass(frozen=True)
class Outside:
    """Somebody beyond the proxy, who trusts its certificate and no other."""

    port: int
    trusted: ssl.SSLContext

    def ask(self, name: str, path: str, *, body: Any = None, auth: Any = None, **headers: str) -> httpx.Response:
        """GET, or POST where there is a body, by a name of the proxy."""
        host = f"{name}.{DOMAIN}"
        with httpx.Client(verify=self.trusted, timeout=60, trust_env=False) as client:
            return client.request(
                "GET" if body is None else "POST", f"https://127.0.0.1:{self.port}{path}", json=body, auth=auth,
                headers={"Host": host} | {key.replace("_", "-"): value for key, value in headers.items()},
                extensions={"sni_hostname": host},
            )  # fmt: skip


def tools() -> Path:
    """The mlflow to use; skips where a program is missing."""
    for program in ("nginx", "openssl", "redis-server", "redis-cli", "initdb", "psql", "wget"):
        if shutil.which(program, path=SEARCH) is None:
            pytest.skip(f"{program} is not installed")
    mlflow = Path(os.environ.get("EVERGREEN_TEST_MLFLOW") or Path(sys.executable).with_name("mlflow"))
    if subprocess.run(
        [mlflow.with_name("python"), "-c", "import flask_wtf"], capture_output=True, check=False
    ).returncode:
        pytest.skip("MLflow's login needs mlflow[auth]: name its mlflow by EVERGREEN_TEST_MLFLOW")
    return mlflow


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """The project, the secrets and the environment file; nothing runs yet."""
    mlflow = tools()
    copy_project(tmp_path / "app")
    manifest = tmp_path / "app" / "prefect.yaml"
    # No run but those of the test, whatever the time of day.
    manifest.write_text(manifest.read_text().replace("slug: ", "active: false, slug: "))
    command = tmp_path / "bin" / "evergreen"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom deployments.cli.main import main\n\nmain()\n")
    command.chmod(0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "volumes").mkdir()
    secrets = tmp_path / "run" / "secrets"
    secrets.mkdir(parents=True)
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=evergreen"
    names = ["-addext", f"subjectAltName=DNS:*.{DOMAIN}", "-keyout", secrets / "tls.key", "-out", secrets / "tls.pem"]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    hashed = ["openssl", "passwd", "-apr1", "planted-page"]
    login = subprocess.run(hashed, check=True, capture_output=True, text=True).stdout.strip()
    (secrets / "pages.htpasswd").write_text(f"ann:{login}\n")
    asked = {name: f"planted{number}longenough" for number, name in enumerate(example()) if not example()[name]}
    variables = asked | {"DOMAIN": DOMAIN, "PREFECT_LOGIN": "ann:planted-prefect"}
    with ExitStack() as stack:
        machine = Machine(tmp_path, variables, mlflow, stack)
        logins = tmp_path / "app" / "deployments" / "production" / "mlflow-auth.ini"
        logins.write_text(machine.place(logins.read_text(), tmp_path))
        yield machine


def test_a_model_is_kept_fresh_behind_the_proxy(machine: Machine) -> None:
    """The demo's loop, asked for from outside with logins over TLS; without a login everybody is refused."""
    stack = services(machine.variables)
    key = machine.run(stack["serving"], "evergreen", "serve", "--add-key", "shop").stdout.strip()
    assert key
    machine.up(stack)
    secrets = machine.folder / "run" / "secrets"
    out = Outside(machine.ports["8443"], ssl.create_default_context(cafile=str(secrets / "tls.pem")))
    prefect = tuple(machine.variables["PREFECT_LOGIN"].split(":"))
    mlflow, ann = ("admin", machine.variables["MLFLOW_ADMIN_PASSWORD"]), ("ann", "planted-page")

    for name, path, body in (
        ("prefect", "/api/flow_runs/filter", {}),
        ("mlflow", "/api/2.0/mlflow/registered-models/search?max_results=10", None),
        ("pages", "/", None),
        ("predictions", predict_path(MODEL), {}),
    ):
        for wrong in (None, ("ann", "wrong")):
            assert out.ask(name, path, body=body, auth=wrong).status_code == 401, name
    assert out.ask("elsewhere", "/").status_code == 421
    assert out.ask("predictions", "/metrics", X_API_Key=key).status_code == 404
    told = httpx.get(f"http://127.0.0.1:{machine.ports['8080']}/x", headers={"Host": f"pages.{DOMAIN}"})
    assert (told.status_code, told.headers["location"]) == (308, f"https://pages.{DOMAIN}/x")
    with pytest.raises(httpx.ConnectError):
        Outside(out.port, ssl.create_default_context()).ask("pages", "/")
    assert f"https://prefect.{DOMAIN}/api" in out.ask("prefect", "/ui-settings", auth=prefect).text

    def api(path: str, **body: Any) -> Any:
        answer = out.ask("prefect", f"/api/{path}", body=body, auth=prefect)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def runs(flow: str) -> list[Any]:
        found: list[Any] = api("flow_runs/filter", deployments={"name": {"any_": [f"{flow}-bike-demand"]}})
        return found

    def run(flow: str) -> Any:
        (deployment,) = api("deployments/filter", deployments={"name": {"any_": [f"{flow}-bike-demand"]}})
        made = api(f"deployments/{deployment['id']}/create_flow_run", parameters={"model": MODEL})
        return until(lambda: ended(made["id"]), f"{flow} ends", 900)

    def ended(run_id: str) -> Any:
        (found,) = api("flow_runs/filter", flow_runs={"id": {"any_": [run_id]}})
        return found if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    workers = api("work_pools/evergreen/workers/filter", limit=10)
    assert [each["status"] for each in workers] == ["ONLINE", "ONLINE"]

    began = time.monotonic()
    land(machine, "history", simulate(START, 70, seed=SEED))
    assert run("retrain")["state_type"] == "COMPLETED"
    champion = "/api/2.0/mlflow/registered-models/alias?name=bike_demand&alias=champion"
    version = out.ask("mlflow", champion, auth=mlflow).json()["model_version"]
    assert version["version"] == "1"
    assert {"evergreen.git_commit", "c0ffee"} <= {word for tag in version["tags"] for word in tag.values()}
    assert version["source"].startswith(("models:", "mlflow-artifacts:")), version["source"]
    print(f"{time.monotonic() - began:5.1f} s: the first champion")

    def predicted() -> Any:
        """What is answered to the row that the server's own description has."""
        path = predict_path(MODEL)
        schema = out.ask("predictions", "/openapi.json", X_API_Key=key).json()["paths"][path]["post"]["requestBody"]
        examples = schema["content"]["application/json"]["schema"]["anyOf"][0].get("examples")
        if not examples:
            # It has not followed the champion yet.
            return None
        answer = out.ask("predictions", path, body=examples[0], X_API_Key=key)
        assert answer.status_code in (200, 422, 503), answer.text
        return answer.json() if answer.status_code == 200 else None

    assert until(predicted, "a prediction through the proxy", 120)["version"] == 1
    until(lambda: machine.is_healthy(stack["serving"]), "serving is healthy", 120)
    metrics = httpx.get(
        f"http://127.0.0.1:{machine.ports['8000']}/metrics", headers={"Authorization": f"Bearer {key}"}, timeout=30
    )
    assert metrics.status_code == 200
    # As Prometheus asks within the stack, by a name that a browser may not use.
    loop = httpx.get(f"http://127.0.0.1:{machine.ports['4300']}/metrics", headers={"Host": "pages:4300"}, timeout=60)
    assert "evergreen_" in loop.text

    began = time.monotonic()
    land(machine, "quiet", simulate(START + timedelta(days=70), 14, seed=SEED))
    land(machine, "drifted", simulate(CHANGE, 21, seed=SEED, scenario="covariate", change=CHANGE))
    before = len(runs("retrain"))
    assert run("monitor")["state_type"] == "COMPLETED"
    (event,) = until(lambda: failed(api), "the event of the failed report", 120)
    print(f"{time.monotonic() - began:5.1f} s: the report failed: {event['event']}")
    until(lambda: len(runs("retrain")) > before, "the event starts a retraining", 120)
    until(lambda: all(each["state_type"] == "COMPLETED" for each in runs("retrain")), "it ends", 900)
    promoted = out.ask("mlflow", champion, auth=mlflow).json()["model_version"]["version"]
    assert promoted == "2"
    until(lambda: (predicted() or {}).get("version") == 2, "the server follows", 120)
    print(f"{time.monotonic() - began:5.1f} s: version 2 answers through the proxy")

    page = out.ask("pages", f"/{MODEL}", auth=ann)
    assert page.status_code == 200
    assert f"https://prefect.{DOMAIN}" in page.text
    link = next(part for part in page.text.split('"') if part.startswith(f"/report/{MODEL}/"))
    assert out.ask("pages", link, auth=ann).status_code == 200
    listed = out.ask("mlflow", "/api/2.0/mlflow/registered-models/search?max_results=10", auth=mlflow)
    assert [each["name"] for each in listed.json()["registered_models"]] == [MODEL]

    took_part = {line for each in runs("retrain") + runs("monitor") for line in workers_of(api, each["id"])}
    print(f"runs were taken by {len(took_part)} workers")
    logs = "".join(file.read_text(errors="replace") for file in machine.folder.glob("*.log"))
    for secret in ("planted-prefect", machine.variables["REDIS_PASSWORD"], machine.variables["PREFECT_DB_PASSWORD"]):
        assert secret not in logs


def workers_of(api: Any, run_id: str) -> set[str]:
    """The workers that took a run."""
    lines = api("logs/filter", logs={"flow_run_id": {"any_": [run_id]}})
    return {found for line in lines for found in re.findall(r"Worker '([^']+)' submitting", line["message"])}


def failed(api: Any) -> list[Any]:
    """The events of failed reports."""
    found = api("events/filter", filter={"event": {"name": ["evergreen.drift.failed"]}})
    return list(found["events"])


def land(machine: Machine, name: str, rows: Any) -> None:
    """Put a batch where all workers look: into the volume of landing folders."""
    folder = machine.folder / "volumes" / "landing" / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{name}.tmp"
    rows.to_csv(half, index=False)
    half.rename(folder / f"{name}.csv")


def test_each_word_of_the_file_is_placed_once(tmp_path: Path) -> None:
    """Names, folders and ports of containers, and nothing that only looks like them."""
    with ExitStack() as stack:
        machine = Machine(tmp_path, {}, Path("mlflow"), stack, {port: 10 + number for number, port in enumerate(PORTS)})
        for there, here in (
            ("redis://:word@redis:6379/0", "redis://:word@127.0.0.1:11/0"),
            ("https://prefect.evergreen.test/api", "https://prefect.evergreen.test/api"),
            ("/state/artifacts", f"{tmp_path}/s/artifacts"),
            ("--allowed-hosts=mlflow:5000,mlflow.x", "--allowed-hosts=127.0.0.1:13,mlflow.x"),
        ):
            assert machine.place(there, tmp_path / "s") == here
