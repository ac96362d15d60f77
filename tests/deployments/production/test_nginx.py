"""TLS in front of the server: a real nginx with the project's example, a certificate of its own, and a real server."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest

from evergreen.naming import predict_path
from serving.access import add_key
from tests.deployments.production.conftest import ROW, Process, Shop, free_port
from tests.deployments.production.nginx_surroundings import SURROUNDINGS

PROJECT = Path(__file__).resolve().parents[3]
EXAMPLE = PROJECT / "deployments" / "production" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
OPENSSL = shutil.which("openssl")

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.skipif(OPENSSL is None, reason="openssl, which makes the certificate, is not installed"),
]


def _configure(folder: Path, server: int, plain: int, secure: int) -> None:
    """The example with what is marked in it changed, and what nginx brings around it."""
    text = EXAMPLE.read_text()
    changes = {
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{server};",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "/etc/ssl/certs/models.example.org.pem": f"{folder}/own.pem",
        "/etc/ssl/private/models.example.org.key": f"{folder}/own.key",
    }
    for there, here in changes.items():
        assert text.count(there) == 1
        text = text.replace(there, here)
    (folder / "evergreen.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(SURROUNDINGS.format(folder=folder, user=user, file="evergreen.conf"))


def _certify(folder: Path) -> ssl.SSLContext:
    """Make a certificate for this machine; returns what trusts it alone."""
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "own.key", "-out", folder / "own.pem"]
    subprocess.run([str(OPENSSL), *words.split(), *names], check=True, capture_output=True)
    return ssl.create_default_context(cafile=str(folder / "own.pem"))


def test_predictions_through_tls(shop: Shop, tmp_path: Path, start: Callable[..., Process]) -> None:
    """A key is still asked for, the request's id comes back, and a body that is too large does not reach the server."""
    key = add_key(shop.settings.serving_keys_file, "shop")
    server, plain, secure = free_port(), free_port(), free_port()
    serve = [sys.executable, "-m", "deployments.cli", "serve", "--port", str(server)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    start(serve, f"http://127.0.0.1:{server}", env=environment, cwd=PROJECT)
    folder = tmp_path / "nginx"
    folder.mkdir()
    trusted = _certify(folder)
    _configure(folder, server, plain, secure)
    nginx = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    proxy = start(nginx, f"https://127.0.0.1:{secure}", trusted=trusted)

    assert proxy.ask(predict_path("toy"), ROW)[0] == 401
    assert proxy.ask(predict_path("toy"), ROW, x_api_key=f"{key}x")[0] == 401
    status, answer, headers = proxy.ask(predict_path("toy"), ROW, x_api_key=key, x_request_id="mine-1")
    assert (status, answer["version"], answer["request_id"]) == (200, 1, "mine-1")
    assert headers["x-request-id"] == "mine-1"
    assert proxy.ask(predict_path("toy"), ROW, authorization=f"Bearer {key}")[0] == 200

    with closing(HTTPSConnection("127.0.0.1", secure, timeout=60, context=trusted)) as connection:
        sized = {"content-length": "1000000000", "x-api-key": key}
        connection.request("POST", predict_path("toy"), headers=sized)
        response = connection.getresponse()
        assert (response.status, response.headers["content-type"]) == (413, "application/json")
        assert b'"body_too_large"' in response.read()
    with closing(HTTPConnection("127.0.0.1", plain, timeout=60)) as connection:
        connection.request("POST", predict_path("toy"), headers={"x-api-key": key})
        assert connection.getresponse().status == 308
    with pytest.raises(ssl.SSLError), closing(HTTPSConnection("127.0.0.1", secure, timeout=60)) as connection:
        connection.request("GET", "/ping")
