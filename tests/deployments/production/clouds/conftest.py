"""A moto that answers as SageMaker, and who is told how it goes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployments.production.clouds.target import Target, prepare_target
from tests.deployments.production.conftest import Shop, free_port

PROJECT = Path(__file__).resolve().parents[4]
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
IMAGES = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@dataclass
class Told:
    """What was told."""

    lines: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    def done(self, line: str) -> None:
        self.lines.append(line)

    def waiting(self, line: str) -> None:
        self.waits.append(line)


@pytest.fixture
def told() -> Told:
    """Who is told how it goes."""
    return Told()


@pytest.fixture
def make_target(shop: Shop) -> Callable[..., Target]:
    """A version on its way: of the champion, with an image that was pushed, unless told otherwise."""

    def make(cloud: str = "sagemaker", number: int | None = None, **options: str) -> Target:
        given = {"image": f"{IMAGES}/mine:1", "registry": "", "instance": "ml.m5.large", "role": ROLE} | options
        return prepare_target(shop.settings, cloud, "toy", number, **given)

    return make


@dataclass
class Aws:
    """The server, and clients of it."""

    url: str

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(service)

    def answer(self, *bodies: object) -> None:
        """What endpoints answer next."""
        results = [{"Body": json.dumps(body), "ContentType": "application/json"} for body in bodies]
        data = json.dumps({"region": "us-east-1", "results": results}).encode()
        place = f"{self.url}/moto-api/static/sagemaker/endpoint-results"
        urllib.request.urlopen(urllib.request.Request(place, data), timeout=30).close()  # noqa: S310 - our own server

    def names(self) -> dict[str, list[str]]:
        """What there is, by kind."""
        sagemaker = self.client("sagemaker")
        return {
            "endpoints": [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]],
            "configs": [each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
            "models": [each["ModelName"] for each in sagemaker.list_models()["Models"]],
        }


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The server's address."""
    pytest.importorskip("moto.server")
    port = free_port()
    words = [sys.executable, "-m", "tests.sagemaker_server", "-H", "127.0.0.1", "-p", str(port)]
    running = subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(30)


@pytest.fixture
def aws(server: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account with nothing in it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (("ENDPOINT_URL", server), ("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "a-s3cret-of-tests")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    urllib.request.urlopen(f"{server}/moto-api/reset", b"", timeout=30).close()  # noqa: S310 - our own server
    return Aws(server)
