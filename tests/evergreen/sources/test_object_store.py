"""Folders in an object store as a source, on a real S3-compatible server of this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.ingest.quarantine import quarantine_table
from evergreen.settings import Settings
from evergreen.sources.folder import Folder
from evergreen.sources.object_store import ObjectFolder
from evergreen.sources.parquet import ParquetDataset
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]
Store = Any
SECRET = "a-s3cret-of-tests"


@pytest.fixture
def store(s3: Store) -> Iterator[Store]:
    """The bucket, empty again afterwards."""
    yield s3
    for name in s3.files.find("shop"):
        s3.files.rm_file(name)


def text(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False).encode()


def test_a_folder_lands_as_one_of_this_machine_does(
    make_spec: Make, make_rows: Rows, settings: Settings, tmp_path: Path, store: Store
) -> None:
    """CSV and Parquet, each once; a changed object is read again, the same content under another name is not."""
    import io

    packed = io.BytesIO()
    make_rows(20, start=20).to_parquet(packed)
    files = {"a.csv": text(make_rows(20)), "b.parquet": packed.getvalue(), "bad.csv": b"id,at\n", "_x.csv": b"id\n1\n"}
    for name, content in files.items():
        store.put(f"in/{name}", content)
        (settings.landing / "in").mkdir(parents=True, exist_ok=True)
        (settings.landing / "in" / name).write_bytes(content)
        os.utime(settings.landing / "in" / name, (1, 1))
    store.put("in/below/c.csv", text(make_rows(3, start=90)))
    spec, plain = make_spec(source=ObjectFolder("s3://shop/in/")), make_spec(source=Folder("in"))
    landing = ingest(spec, Settings(home=tmp_path / "remote"), now=NOW)
    assert landing.batches[:2] == tuple(
        type(one)(own.batch, *[getattr(one, name) for name in ("origin", "added", "replaced", "repeated", "rejected")])
        for one, own in zip(ingest(plain, settings, now=NOW).batches[:2], landing.batches[:2], strict=True)
    )
    assert [(report.origin, report.problem) for report in landing.quarantined] == [
        ("bad.csv", "it has a header and no rows")
    ]
    remote = Settings(home=tmp_path / "remote")
    kept = quarantine_table(remote.lake_uri, spec.name).read()
    assert (remote.root / kept["payload"][0]).read_bytes() == b"id,at\n"
    digests = {Observations(where.lake_uri, spec).snapshot().digest for where in (settings, remote)}
    assert len(digests) == 1
    before = spec.source.fingerprint(remote.landing)
    store.put("in/again.csv", text(make_rows(20)))
    assert spec.source.fingerprint(remote.landing) != before
    assert ingest(spec, remote, now=NOW).batches == ()
    store.put("in/a.csv", text(make_rows(20).assign(y=lambda rows: rows["y"].where(rows["id"] != 3, 77))))
    assert [(one.replaced, one.repeated) for one in ingest(spec, remote, now=NOW).batches] == [(1, 19)]


def test_a_dataset_is_read_by_its_url(
    make_spec: Make, make_rows: Rows, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions are columns; the URL may be in the environment; only a new file is fetched."""
    import io

    for kind, start in (("a", 0), ("b", 10)):
        packed = io.BytesIO()
        make_rows(10, start=start).drop(columns="kind").to_parquet(packed)
        store.put(f"set/kind={kind}/part.parquet", packed.getvalue())
    monkeypatch.setenv("SHOP", "s3://shop/set")
    spec = make_spec(source=ParquetDataset("env:SHOP"))
    assert ingest(spec, settings, now=NOW).added == 20
    assert ingest(spec, settings, now=NOW) == Landing()
    store.put("set/kind=c/damaged.parquet", b"no Parquet at all")
    landing = ingest(spec, settings, now=NOW)
    assert [one.problem for one in landing.quarantined] == ["it is damaged: it cannot be read as parquet"]
    assert ingest(spec, settings, now=NOW) == Landing()


def test_a_read_that_failed_goes_on(
    make_spec: Make, make_rows: Rows, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store stops answering between two files: one line; then the rest lands, and nothing twice."""
    for number in range(4):
        store.put(f"in/{number}.csv", text(make_rows(10, start=10 * number)))
    spec = make_spec(source=ObjectFolder("s3://shop/in"))
    told: list[str] = []

    def step(origin: str) -> None:
        told.append(origin)
        if len(told) == 2:
            for name in ("2.csv", "3.csv"):
                store.files.rm_file(f"shop/in/{name}")

    with pytest.raises(DataError, match=r"s3://shop/in cannot be read: it is not there\. Check the URL"):
        ingest(spec, settings, now=NOW, step=step)
    for number in (2, 3):
        store.put(f"in/{number}.csv", text(make_rows(10, start=10 * number)))
    assert [one.added for one in ingest(make_spec(source=spec.source), settings, now=NOW).batches] == [10, 10]
    assert Observations(settings.lake_uri, spec).snapshot().rows == 40


@pytest.mark.parametrize("kind", [ObjectFolder, ParquetDataset])
def test_what_cannot_be_listed_is_one_line(
    kind: type[ObjectFolder] | type[ParquetDataset], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that is not there, a store that does not answer, no rights, no package; a folder may come yet."""

    def said(url: str) -> str:
        with pytest.raises(EvergreenError) as caught:
            kind(url).fingerprint(tmp_path)
        assert SECRET not in str(caught.value) and "\n" not in str(caught.value) and caught.value.fix
        return str(caught.value)

    assert kind("s3://shop/not_yet").fingerprint(tmp_path)
    assert "s3://nobucket/in cannot be listed: it is not there" in said("s3://nobucket/in")
    assert "gs:// needs a package that is not installed. Install it: pip install gcsfs" in said("gs://shop/in")
    assert "zz:// is not a protocol that fsspec knows" in said("zz://shop/in")
    assert "'EVERGREEN_ABSENT', which the source" in said("env:EVERGREEN_ABSENT")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "s3fs", None)
        patch.delitem(sys.modules["fsspec.registry"].__dict__["_registry"], "s3")
        assert 's3:// needs a package that is not installed. Install it: pip install ".[s3]"' in said("s3://shop/in")
    try:
        _only_who_may(store, 0)
        assert "s3://shop/in cannot be listed with these rights" in said("s3://shop/in")
    finally:
        _only_who_may(store, "inf")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        assert "s3://shop/in cannot be listed (EndpointConnectionError)" in said("s3://shop/in")


def _only_who_may(store: Store, after: float | str) -> None:
    """Have the server ask for rights from so many requests on."""
    asked = httpx.post(f"{store.url}/moto-api/reset-auth", content=str(after), headers={"Content-Type": "text/plain"})
    asked.raise_for_status()


def test_a_folder_that_makes_no_sense_is_refused_as_it_is_made() -> None:
    """A URL with a key in it, and a path."""
    with pytest.raises(ModelFileError, match="holds a password") as caught:
        ObjectFolder(f"s3://me:{SECRET}@shop/in")
    assert SECRET not in str(caught.value)
    with pytest.raises(ModelFileError, match="take Folder"):
        ObjectFolder("/data/in")
