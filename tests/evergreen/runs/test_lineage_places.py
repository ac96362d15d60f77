"""Datasets are named by the place where they lie, alike for everybody, and never with a user or a password."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from evergreen.runs.lineage_places import Place, input_place, place_of, source_place
from evergreen.sources import (
    Bundled,
    DeltaSource,
    DvcSource,
    Folder,
    ObjectFolder,
    ParquetDataset,
    Simulator,
    SqlSource,
)
from evergreen.sources.base import Source
from evergreen.sources.fallback import Fallback

QUERY = """SELECT * FROM "public"."trips" WHERE name = 'Smith'"""


@pytest.mark.parametrize(
    ("text", "namespace", "name", "uri"),
    [
        ("/lake/toy/observations", "file", "/lake/toy/observations", "file:///lake/toy/observations"),
        ("s3://bucket/lake/toy", "s3://bucket", "lake/toy", "s3://bucket/lake/toy"),
        ("gs://bucket/", "gs://bucket", "/", "gs://bucket/"),
        (
            "postgresql+psycopg://u:hunter2@db:5432/shop?password=hunter2#public.trips",
            "postgres://db:5432",
            "shop.public.trips",
            "postgresql+psycopg://db:5432/shop#public.trips",
        ),
        ("sqlite:////data/shop.db#trips", "sqlite", "/data/shop.db.trips", "sqlite:////data/shop.db#trips"),
        ("redis://:hunter2@cache:6379/0#toy", "redis://cache:6379", "0.toy", "redis://cache:6379/0#toy"),
        ("https://u:hunter2@git.example.org/a/b", "https://git.example.org", "a/b", "https://git.example.org/a/b"),
    ],
)
def test_a_place_has_the_names_of_the_conventions(text: str, namespace: str, name: str, uri: str) -> None:
    """By the store and what is in it; user, password and query are left out."""
    place = place_of(text)
    assert (place.namespace, place.name, place.uri) == (namespace, name, uri)
    assert "hunter2" not in repr(place)


def test_a_relative_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The input of a scoring counts from where the command is; a variable stands for its value."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIPS", "postgresql://u:hunter2@db/shop#trips")
    assert input_place("new.csv") == Place("file", str(tmp_path / "new.csv"), "")
    assert input_place("env:TRIPS") == Place("postgres://db", "shop.trips", "")


@pytest.mark.parametrize(
    ("source", "namespace", "name"),
    [
        (Folder("toy"), "file", "ROOT/toy"),
        (ObjectFolder("s3://bucket/landing"), "s3://bucket", "landing"),
        (ParquetDataset("hours"), "file", "ROOT/hours"),
        (DeltaSource("env:PLACE"), "postgres://db", "shop"),
        (SqlSource("env:PLACE", QUERY), "postgres://db", "shop.public.trips"),
        (DvcSource("data/hours", repo="repo"), "file", "ROOT/repo/data/hours"),
        (Bundled("iris"), "scikit-learn", "iris"),
        (Fallback(Folder("none"), Bundled("wine")), "scikit-learn", "wine"),
        (Simulator(date(2011, 1, 1), 7), "evergreen", "Simulator"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_source_is_named_by_where_it_reads(
    source: Source, namespace: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path counts from the landing folder; of a query only the table is told, because it may hold values."""
    monkeypatch.setenv("PLACE", "postgresql://u:hunter2@db/shop")
    place = source_place(source, tmp_path)
    assert (place.namespace, place.name) == (namespace, name.replace("ROOT", str(tmp_path)))
    assert "Smith" not in place.uri and "hunter2" not in place.uri


def test_the_folder_of_a_fallback_counts_once_it_holds_a_file(tmp_path: Path) -> None:
    """What is read is what is named."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.csv").write_text("x\n1\n")
    os.utime(tmp_path / "toy" / "a.csv", (1_700_000_000, 1_700_000_000))
    source = Fallback(Folder("toy"), Bundled("wine"))
    assert source_place(source, tmp_path) == Place("file", str(tmp_path / "toy"), "")


def test_a_source_of_a_persons_own_is_named_by_its_class() -> None:
    """There is no address to tell."""

    class Sensors:
        def fingerprint(self, root: Path) -> str:
            return ""

        def read(self, root: Path, new: object) -> object:
            return iter(())

    place = source_place(Sensors(), Path())  # type: ignore[arg-type]
    assert (place.namespace, place.name) == ("evergreen", "Sensors")
