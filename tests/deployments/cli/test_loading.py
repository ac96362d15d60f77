"""What is installed and whose certificates are trusted is read once, and the answers are those of many readings."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import certifi
import pytest

from deployments.cli.loading import read_once
from evergreen.settings import PROJECT

GROUPS = ("console_scripts", "mlflow.run_context_provider", "pytest11", "nobody.has.these")
COUNTED = """
import gc, ssl
from importlib import metadata
import deployments.cli.console, deployments.cli.main

read, load = metadata.distributions, ssl.SSLContext.load_verify_locations
scans, files = [], []
metadata.distributions = lambda **which: (scans.append(which), read(**which))[1]
ssl.SSLContext.load_verify_locations = lambda self, *file, **named: (files.append(file), load(self, *file, **named))[1]
with deployments.cli.console.show_steps("trying"):
    import prefect
    from prefect.client.orchestration import get_client
    from evergreen.registry.mlflow_calls import load_mlflow
    load_mlflow("sqlite:///nowhere.db")
    clients = [get_client(sync_client=True) for _ in range(3)]
    assert len({id(client._client._transport._pool._ssl_context) for client in clients}) == 1
print(len(scans), len(files))
"""


@pytest.mark.parametrize("group", GROUPS)
def test_plugins_are_the_same_however_often_they_are_read(group: str) -> None:
    """By group, by group and name, and all of them."""
    plain = metadata.entry_points(group=group)
    names = {each.name for each in plain}
    with read_once():
        for _ in range(2):
            assert set(metadata.entry_points(group=group)) == set(plain)
        for name in [*sorted(names)[:1], "nothing"]:
            found = metadata.entry_points(group=group, name=name)
            assert {each.value for each in found} == {each.value for each in plain if each.name == name}
        assert set(metadata.entry_points().select(group=group)) == set(plain)


@pytest.mark.slow
def test_packages_and_certificates_are_read_once(tmp_path: Path) -> None:
    """While a flow's libraries are loaded, which read both a dozen times if they are let."""
    environment = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    words = [sys.executable, "-c", COUNTED]
    done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 1\n"


def test_they_are_read_each_time_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, and again afterwards: what is installed later is seen."""
    scans, read = [], metadata.distributions

    def counted(**which: Any) -> Any:
        scans.append(which)
        return read(**which)

    monkeypatch.setattr(metadata, "distributions", counted)
    for expected in (len(GROUPS), 1, len(GROUPS)):
        scans.clear()
        with read_once() if expected == 1 else nullcontext():
            for group in GROUPS:
                metadata.entry_points(group=group)
        assert len(scans) == expected


def test_only_a_file_of_certificates_is_shared() -> None:
    """A client that loosens its own context leaves those of the others as they are; afterwards all is as it was."""
    plain, file = ssl.create_default_context, certifi.where()
    with read_once():
        shared = ssl.create_default_context(cafile=file)
        assert shared is ssl.create_default_context(cafile=file)
        assert len(shared.get_ca_certs()) == len(plain(cafile=file).get_ca_certs()) > 0
        loosened = ssl.create_default_context()
        loosened.check_hostname = False
        loosened.verify_mode = ssl.CERT_NONE
        for other in (
            ssl.create_default_context(),
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=file),
            ssl.create_default_context(cafile=file, capath=None),
        ):
            assert other not in (shared, loosened)
        assert shared.verify_mode is ssl.CERT_REQUIRED and shared.check_hostname
    assert ssl.create_default_context is plain
    with pytest.raises(FileNotFoundError), read_once():
        ssl.create_default_context(cafile="/nowhere/certificates.pem")
    assert ssl.create_default_context is plain
