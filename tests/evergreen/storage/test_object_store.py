"""The tests' object store is as strict as S3: of many who write an object that is not there yet, one does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.evergreen.conftest import Store

WRITERS = 8


def test_what_changes_an_object_is_done_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is looked and written nobody else writes; who reads waits for nobody."""
    moto = pytest.importorskip("moto.server")
    from tests.object_store import InTurn

    turns: dict[str, bool] = {}

    def answer(_self: Any, environ: dict[str, str], _start: Any) -> list[bytes]:
        turns[environ["REQUEST_METHOD"]] = InTurn._turn.locked()
        return []

    monkeypatch.setattr(moto.DomainDispatcherApplication, "__call__", answer)
    store = InTurn(lambda _: None)
    for method in ("PUT", "POST", "DELETE", "GET", "HEAD"):
        store({"REQUEST_METHOD": method}, None)
    assert turns == {"PUT": True, "POST": True, "DELETE": True, "GET": False, "HEAD": False}
    assert not InTurn._turn.locked()


def test_of_many_who_write_at_once_one_is_first(s3: Store) -> None:
    """The others are refused, as leases and the commits of tables rely on."""
    import boto3
    from botocore.exceptions import ClientError

    client, barrier = boto3.client("s3", endpoint_url=s3.url), threading.Barrier(WRITERS)

    def write(_number: int) -> str:
        barrier.wait(30)
        try:
            client.put_object(Bucket="shop", Key="first", Body=b"mine", IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "written"

    with ThreadPoolExecutor(WRITERS) as pool:
        assert sorted(pool.map(write, range(WRITERS))) == ["PreconditionFailed"] * (WRITERS - 1) + ["written"]
    s3.files.rm_file("shop/first")
