"""Two homes as two machines: what one stored of a version, the other can read."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from evergreen.naming import DOWNLOADS_PREFIX
from evergreen.registry.client import Registry
from evergreen.settings import PROJECT, Settings
from evergreen.surroundings import prepare_environment
from tests.evergreen.conftest import Store
from tests.live.clone import until
from tests.serving.test_server import free_port

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """A tracking server that stores files in a folder of its own."""
    folder, port = tmp_path_factory.mktemp("tracking"), free_port()
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    environment = dict(os.environ) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    prepare_environment(environment)
    words = ["server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    words += ["--artifacts-destination", str(folder / "files"), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "mlflow", *words], env=environment, stdout=log, stderr=log)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the tracking server answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False


def machine(folder: Path, **places: Any) -> Settings:
    """A home of its own, with a lake that both share."""
    return Settings(home=folder / "home", lake=str(folder.parent / "lake"), **places)


def carried_over(one: Settings, other: Settings, spec: Any, rows: Any, make_version: Make) -> None:
    """Registered by one machine and promoted: loaded and looked into by another, and registered by that one in turn."""
    version = make_version(spec, rows, home=one)
    Registry(one).set_alias("toy", "champion", version.number)
    elsewhere = Registry(other)
    found = elsewhere.by_alias("toy", "champion")
    assert found is not None
    elsewhere.require_stored(found)
    frame = rows[["x", "kind"]]
    assert (elsewhere.load(found, spec).predict(frame) == Registry(one).load(version, spec).predict(frame)).all()
    assert {path.name for path in elsewhere.files(found).iterdir()} >= {"reference.parquet"}
    second = make_version(spec, rows, batch="second", home=other)
    assert (Registry(one).load(second, spec).predict(frame) == elsewhere.load(second, spec).predict(frame)).all()


def test_a_tracking_server_says_where_files_are(
    tmp_path: Path, tracking: str, make_spec: Make, make_rows: Make, make_version: Make, capfd: Any
) -> None:
    """No folder of a machine is named; nothing is printed, and what was downloaded goes with the process."""
    one, other = (machine(tmp_path / name, tracking_uri=SecretStr(tracking)) for name in ("one", "other"))
    carried_over(one, other, make_spec(), make_rows(100), make_version)
    assert capfd.readouterr().out == ""
    assert not (one.root / "artifacts").exists()
    place = Registry(one).client.get_experiment_by_name("toy").artifact_location
    assert place.startswith("mlflow-artifacts:")
    program = (
        "from evergreen.registry.client import Registry; from evergreen.settings import load_settings\n"
        "registry = Registry(load_settings())\n"
        "print(registry.files(registry.by_alias('toy', 'champion')))"
    )
    environment = dict(os.environ) | {"EVERGREEN_HOME": str(other.root), "EVERGREEN_TRACKING_URI": tracking}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert DOWNLOADS_PREFIX in line
    assert not Path(line).exists()


def test_files_in_an_object_store(
    tmp_path: Path,
    s3: Store,
    empty_database: Path,
    make_spec: Make,
    make_rows: Make,
    make_version: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Named by one setting, beside a database that both reach."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.url)
    (tmp_path / "shared.db").write_bytes(empty_database.read_bytes())
    uri = SecretStr(f"sqlite:///{tmp_path / 'shared.db'}")
    one, other = (machine(tmp_path / name, tracking_uri=uri, artifacts="s3://shop/files/") for name in ("one", "other"))
    carried_over(one, other, make_spec(), make_rows(100), make_version)
    assert s3.files.ls("shop/files/toy")
    assert not (one.root / "artifacts").exists()


def test_a_folder_that_both_reach(
    tmp_path: Path, empty_database: Path, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """Such as one on a network file system."""
    (tmp_path / "shared.db").write_bytes(empty_database.read_bytes())
    places = {"tracking_uri": SecretStr(f"sqlite:///{tmp_path / 'shared.db'}"), "artifacts": str(tmp_path / "files")}
    one, other = (machine(tmp_path / name, **places) for name in ("one", "other"))
    carried_over(one, other, make_spec(), make_rows(100), make_version)
    assert (tmp_path / "files" / "toy").is_dir()
