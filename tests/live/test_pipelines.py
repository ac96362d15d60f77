"""The jobs of the CI templates, run by their own shell lines against a real Prefect server with a login and a worker.

A repository with a toy model takes the place of a team's: each job has a fresh clone of it, and so has the worker.
What is stored is shared as it would be: a registry, a lake and files of versions outside of every home.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from deployments.stack.services import SERVER, Ports
from deployments.stack.services import environment as service_environment
from evergreen.settings import Settings
from tests.deployments.production.pipelines import Form, read_jobs, run_job
from tests.live.clone import until
from tests.live.conftest import PROJECT, TOY, copy_project, free_port
from tests.live.test_hosts import is_up, serve

pytestmark = pytest.mark.proof(name="pipelines")
LOGIN = "ann:planted-4714"
MODEL = "toy"
NOBODY = Form()
HOSTILE = """--to 7 "; touch planted-file; $(touch planted-file) `touch planted-file` $PREFECT_API_AUTH_STRING's"""


@dataclass(frozen=True)
class Site:
    """The repository, the worker's clone, and what the CI's environments store."""

    folder: Path
    api: str
    stored: Mapping[str, str] = field(repr=False)
    bare: Mapping[str, str] = field(repr=False)

    @property
    def origin(self) -> Path:
        return self.folder / "origin"

    @property
    def worker(self) -> Path:
        return self.folder / "worker"

    @property
    def model_file(self) -> Path:
        return self.origin / "models" / f"{MODEL}.py"

    def commit(self, message: str, *, behind: bool = False) -> None:
        """Commit what was changed, and bring the worker's clone to it unless it is to stay behind."""
        git(self.origin, "add", "--all")
        git(self.origin, "commit", "--quiet", "--allow-empty", "--message", message)
        if not behind:
            git(self.worker, "pull", "--quiet")

    def clone(self, name: str) -> Path:
        """A clone with the installation that `make install` would have made."""
        place = self.folder / name
        git(self.folder, "clone", "--quiet", str(self.origin), str(place))
        command = place / ".venv" / "bin" / "evergreen"
        command.parent.mkdir(parents=True)
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m deployments.cli "$@"\n')
        command.chmod(0o755)
        return place

    def run(self, template: str, name: str, form: Form = NOBODY) -> subprocess.CompletedProcess[str]:
        """Run a job of a template in a clone of its own, and show what it said; no login is in it."""
        job, number = read_jobs(template)[name], len(list(self.folder.glob("job-*")))
        place = self.clone(f"job-{number}")
        done = run_job(job, place, {**self.bare, **job.variables({} if name == "check" else self.stored, form)})
        print(f"--- {template} {name} ended with status {done.returncode}\n{done.stdout}")
        assert LOGIN.split(":")[1] not in done.stdout
        assert not list(place.rglob("planted-file"))
        return done

    def land(self, name: str, rows: pd.DataFrame) -> None:
        """Put a batch where the model of staging looks."""
        folder = self.settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        rows.to_csv(folder / f"{name}.csv", index=False)

    @property
    def settings(self) -> Settings:
        return Settings(home=self.folder / "worker-home", environment="staging")

    def evergreen(self, *words: str) -> Any:
        """A command of the worker's clone in staging; what it said."""
        environment = {**self.bare, **self.stored, "EVERGREEN_ENVIRONMENT": "staging"}
        environment |= {"EVERGREEN_HOME": str(self.folder / "worker-home"), "PYTHONPATH": str(self.worker)}
        done = subprocess.run(
            [self.worker / ".venv" / "bin" / "evergreen", *words, "--json"],
            env=environment, cwd=self.worker, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def ask(self, path: str, **body: Any) -> Any:
        user, word = LOGIN.split(":")
        answer = httpx.post(f"{self.api}/{path}", json=body, auth=(user, word), timeout=60)
        answer.raise_for_status()
        return answer.json()

    def deployments(self, environment: str) -> list[str]:
        found = self.ask("deployments/filter", deployments={"tags": {"all_": [f"evergreen-{environment}"]}})
        return sorted(each["name"] for each in found)

    def runs(self, environment: str) -> list[Any]:
        wanted = {"tags": {"all_": [f"evergreen-{environment}"]}, "state": {"type": {"any_": ["COMPLETED", "RUNNING"]}}}
        found: list[Any] = self.ask("flow_runs/filter", flow_runs=wanted)
        return found


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A repository with one model, a Prefect server with a login, and staging's worker."""
    folder = tmp_path_factory.mktemp("pipelines")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "EVERGREEN_"))}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH"):
        kept.pop(name, None)
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    stored = {
        "PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": LOGIN, "EVERGREEN_LAKE": str(folder / "lake"),
        "EVERGREEN_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "EVERGREEN_ARTIFACTS": str(folder / "files"),
    }  # fmt: skip
    site = Site(folder, api, stored, kept | {"COLUMNS": "200"})
    _make_repository(site)
    with ExitStack() as stack:
        server = Settings(home=folder / "server")
        server.prefect_home.mkdir(parents=True)
        variables = service_environment(SERVER, server, Ports(prefect=port, mlflow=free_port()))
        words = [sys.executable, "-m", "deployments.stack.prefect_server", "--host", "127.0.0.1", "--port", str(port)]
        login = {"PREFECT_SERVER_API_AUTH_STRING": LOGIN, "PYTHONPATH": str(PROJECT)}
        login["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
        serve(stack, words, kept | variables | login, folder, "prefect")
        until(is_up(f"{api}/health"), "Prefect answers")
        stack.callback(site.evergreen, "down")
        site.evergreen("up", "--worker", "--detach")
        yield site


def _make_repository(site: Site) -> None:
    """The project with the toy in place of the models that ship, as a team would have it after its first commit."""
    copy_project(site.origin)
    for name in ("Makefile", ".gitignore"):
        shutil.copy(PROJECT / name, site.origin)
    for name in ("iris", "bike_demand"):
        (site.origin / "models" / f"{name}.py").unlink()
    site.model_file.write_text(TOY)
    git(site.folder, "init", "--quiet", str(site.origin))
    words = [sys.executable, "-m", "deployments.cli", "deployments", "sync", "--prune"]
    subprocess.run(words, cwd=site.origin, env={**site.bare}, check=True, capture_output=True, timeout=120)
    # No run but those of the pipeline, whatever the time of day.
    file = site.origin / "prefect.yaml"
    file.write_text(file.read_text().replace("slug: ", "active: false, slug: "))
    shutil.rmtree(site.origin / ".evergreen", ignore_errors=True)
    git(site.origin, "add", "--all")
    git(site.origin, "commit", "--quiet", "--message", "A toy model")
    site.clone("worker")


@pytest.fixture(scope="module")
def deployed(site: Site, make_rows: Callable[..., pd.DataFrame]) -> str:
    """What the first job on main said: nothing was there before it but rows."""
    site.land("history", make_rows(240))
    done = site.run("github", "staging")
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


def test_from_the_first_deployment_to_a_rollback(
    site: Site, deployed: str, make_rows: Callable[..., pd.DataFrame]
) -> None:
    """Deployed and tried; production is brought the same and runs nothing; a person goes back."""
    for told in (
        "toy rehearse: The chain works",
        "retrain: The retraining ended as promoted with version 1",
        "monitor: ",
    ):
        assert told in deployed
    names = ["canary", "monitor-toy", "reconcile", "retrain-toy", "score-toy"]
    assert {f"staging-{name}" for name in names} <= set(site.deployments("staging"))
    assert site.evergreen("status", MODEL)["champion"] == 1
    assert site.run("github", "check").returncode == 0

    site.land("news", make_rows(240, start=240, slope=4.0))
    site.commit("Nothing but a message")
    done = site.run("gitlab", "staging")
    assert done.returncode == 0
    assert "promoted with version 2" in done.stdout

    assert site.deployments("prod") == []
    for template in ("github", "gitlab"):
        assert site.run(template, "prod").returncode == 0
        assert {f"prod-{name}" for name in names} <= set(site.deployments("prod"))
    assert site.runs("prod") == []
    assert site.ask("automations/filter", automations={"name": {"any_": ["evergreen-prod: dead-run-found"]}})

    for template, form in (
        ("github", Form(model="", reason="it was empty")),
        ("gitlab", Form(model="$(touch planted-file)", reason="no such model")),
    ):
        done = site.run(template, "rollback", form)
        assert done.returncode == 2
        assert site.evergreen("status", MODEL)["champion"] == 2
    done = site.run("gitlab", "rollback", Form(model=MODEL, reason=HOSTILE))
    assert done.returncode == 0
    last = site.evergreen("history", MODEL)["moves"][-1]
    assert (last["action"], last["champion"], last["reason"]) == ("rollback", 1, HOSTILE)
    assert "ann" in last["by"]


REJECTED = ("from sklearn.linear_model import Ridge", "from sklearn.dummy import DummyRegressor as Ridge")
KILLED = ('    return Pipeline([("columns"', "    import os\n\n"
          '    if "PREFECT__FLOW_RUN_ID" in os.environ:\n        os.kill(os.getpid(), 9)\n'
          '    return Pipeline([("columns"')  # fmt: skip


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("change", "behind", "said"),
    [
        (("    task=", "    nonsense=1,\n    task="), False, ["nonsense", "Nothing was deployed to staging"]),
        (("A model that is fitted", "A model that was fitted"), True, ["The worker trained version", "and not at"]),
        (REJECTED, False, ["toy retrain: The retraining ended as rejected with version", "See its gates with"]),
        # The last one: its lease is held until it has run out.
        (KILLED, False, ["toy retrain: The run retrain-toy", "ended as Crashed", "/runs/flow-run/"]),
    ],
    ids=["a broken model file", "a worker that is behind", "a rejected candidate", "a killed retraining"],
)
def test_what_is_bad_fails_the_job_with_its_reason(
    site: Site, make_rows: Callable[..., pd.DataFrame], change: tuple[str, str], behind: bool, said: list[str]
) -> None:
    """Planted one by one, and taken back."""
    text, champion = site.model_file.read_text(), site.evergreen("status", MODEL)["champion"]
    assert text.count(change[0]) == 1
    before = len(list((site.settings.landing / MODEL).iterdir()))
    site.land(f"more-{before}", make_rows(240, start=240 * before, slope=4.0))
    site.model_file.write_text(text.replace(*change))
    site.commit("Planted", behind=behind)
    done = site.run("gitlab" if before % 2 else "github", "staging")
    site.model_file.write_text(text)
    site.commit("Taken back")
    assert done.returncode == 2
    for part in said:
        assert part in done.stdout
    assert "bad: each line with 'bad'" in done.stdout or "Nothing was deployed" in done.stdout
    assert behind or site.evergreen("status", MODEL)["champion"] == champion


@pytest.mark.usefixtures("deployed")
def test_a_model_that_nobody_deployed_fails_the_check(site: Site) -> None:
    """Its file is there, and prefect.yaml does not know it."""
    other = site.model_file.with_name("other.py")
    other.write_text(TOY.replace('"toy"', '"other"'))
    site.commit("Another model", behind=True)
    done = site.run("gitlab", "check")
    other.unlink()
    site.commit("Taken back")
    assert done.returncode == 1
    assert "retrain-other" in done.stdout
