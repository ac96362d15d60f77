"""The tests' object store is as strict as S3: of many who write an object that is not there yet, one does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.evergreen.conftest import Store

WRITERS, OBJECTS = 8, 20


def test_of_many_who_write_at_once_one_is_first(s3: Store) -> None:
    """The others are refused, as leases and the commits of tables rely on."""
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client("s3", endpoint_url=s3.url)

    def write(name: str, barrier: threading.Barrier) -> str:
        barrier.wait(30)
        try:
            client.put_object(Bucket="shop", Key=name, Body=b"mine", IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "written"

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(OBJECTS):
            barrier = threading.Barrier(WRITERS)
            found = [pool.submit(write, f"first/{number}", barrier) for _ in range(WRITERS)]
            assert sorted(each.result() for each in found) == ["PreconditionFailed"] * (WRITERS - 1) + ["written"]
    for name in s3.files.find("shop/first"):
        s3.files.rm_file(name)
