"""Environments on one Prefect server: what one brings there, deletes, lists and sweeps is its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deployments.automations import sync
from deployments.connection import read_deployments
from deployments.manifest.apply import apply
from evergreen import naming
from evergreen.settings import PROJECT, Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = [
    pytest.mark.slow,
    # Apprise, which sends the alerts, imports it.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]
ENVIRONMENTS = ("", "staging")

ENTRIES = ("reconcile", "retrain-iris")
HOOK = "http://127.0.0.1:9/hook"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefect.yaml with two of the shipped deployments."""
    document = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    document["deployments"] = [entry for entry in document["deployments"] if entry["name"] in ENTRIES]
    path = tmp_path_factory.mktemp("manifest") / "prefect.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def enter(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Iterator[Callable[[str], Settings]]:
    """Become a user of an environment: enter("staging") -> its settings; all have one home and one server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    home = tmp_path_factory.mktemp("home")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.enter_context(temporary_settings({PREFECT_API_URL: prefect_server}))
        for name, value in {
            "EVERGREEN_HOME": str(home),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_URL": prefect_server,
            "EVERGREEN_NOTIFY": HOOK,
        }.items():
            patch.setenv(name, value)

        def become(environment: str) -> Settings:
            patch.setenv("EVERGREEN_ENVIRONMENT", environment)
            return Settings()

        yield become


@pytest.fixture(scope="module")
def client(enter: Callable[[str], Settings]) -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture(scope="module")
def applied(client: SyncPrefectClient, enter: Callable[[str], Settings], manifest: Path) -> Iterator[None]:
    """Every environment's deployments and automations, each brought to the server by itself; taken away at the end."""
    before: dict[str, object] = {}
    for environment in ENVIRONMENTS:
        settings = enter(environment)
        assert apply(environment, manifest).deployed == tuple(
            naming.in_environment(environment, name) for name in ENTRIES
        )
        assert not sync.sync(settings).removed
        assert {other: _state(client, other) for other in before} == before
        before[environment] = _state(client, environment)
    yield
    for environment in ENVIRONMENTS:
        for one in read_deployments(client, environment):
            client.delete_resource_owned_automations(f"prefect.deployment.{one['id']}")
            client.delete_deployment(one["id"])
        for automation in _automations(client, environment):
            client.delete_automation(automation.id)


def _automations(client: SyncPrefectClient, environment: str) -> list[Any]:
    found = client.read_automations(limit=200)
    return [one for one in found if naming.automation_of(environment, one.name) is not None]


def _state(client: SyncPrefectClient, environment: str) -> object:
    """All that an environment has on the server, with the times of its last change."""
    blocks = client.read_block_documents_by_type("slack-webhook")
    return (
        sorted((one["name"], one["id"], one["updated"]) for one in read_deployments(client, environment)),
        sorted((one.name, str(one.id), one.enabled) for one in _automations(client, environment)),
        sorted((one.name, str(one.id)) for one in blocks if naming.is_notify_block(environment, one.name or "")),
        client.read_work_pool(naming.work_pool(environment)).id,
    )


@pytest.mark.usefixtures("applied")
def test_what_one_brings_to_the_server_leaves_the_others_alone(
    client: SyncPrefectClient, enter: Callable[[str], Settings], manifest: Path, tmp_path: Path
) -> None:
    """Applied and synced again, with less in the file and nobody to tell: its own changes, and it lists its own."""
    for environment in ENVIRONMENTS:
        settings = enter(environment)
        again = apply(environment, manifest)
        assert (again.deployed, again.strangers, again.made_pool) == ((), (), False)
        assert not sync.sync(settings).removed
        assert {len(sync.list_all(environment)), len(_automations(client, environment))} == {
            len(_automations(client, ""))
        }
    document = yaml.safe_load(manifest.read_text())
    document["deployments"] = document["deployments"][1:]
    document["deployments"][0]["description"] = "Changed."
    (less := tmp_path / "prefect.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    for environment, other in (("", "staging"), ("staging", "")):
        settings = enter(environment).model_copy(update={"notify": Settings.model_fields["notify"].default})
        before = {name: _state(client, name) for name in ENVIRONMENTS}
        if not environment:
            assert apply(environment, less).strangers == ("reconcile/reconcile",)
        assert len(sync.sync(settings).removed) > 5
        sync.switch(environment, "dead-run-found", False)
        assert _state(client, environment) != before[environment]
        assert _state(client, other) == before[other]


@pytest.mark.usefixtures("applied")
def test_a_sweep_ends_the_runs_of_its_own_environment(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of another one that gave no sign of life is that one's to end."""
    from prefect.states import Pending

    from flows.reconcile import reconcile
    from tasks import sweep as sweeping

    monkeypatch.setattr(sweeping, "get_run_logger", lambda: __import__("logging").getLogger("test"))
    runs = {
        environment: str(client.create_flow_run(reconcile, tags=[naming.tag(environment)], state=Pending()).id)
        for environment in ENVIRONMENTS
    }
    for environment in ENVIRONMENTS:
        swept = sweeping.sweep.fn(environment, datetime.now(UTC) + timedelta(hours=1), timedelta(minutes=10))
        # Other tests of this process have left runs on the server that are swept, too.
        assert {step.about for step in swept} & set(runs.values()) == {runs[environment]}


@pytest.mark.usefixtures("applied")
def test_prefect_itself_shows_the_refusal(enter: Callable[[str], Settings], manifest: Path, tmp_path: Path) -> None:
    """`prefect deploy` by hand in an environment ends with our sentence, and reads past `environments`."""
    enter("staging")
    text = yaml.safe_load(manifest.read_text()) | {"environments": {"staging": {"reconcile": {"schedules": []}}}}
    (file := tmp_path / "prefect.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    words = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "-n", "reconcile", "--prefect-file", str(file)]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "EVERGREEN_ENVIRONMENT is 'staging'" in told
    assert "evergreen deployments apply" in told
