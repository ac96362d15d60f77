"""What DVC tracks as a source, on a real git and DVC repository: the revision's rows, and what each came from."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.ingest.quarantine import quarantine_table
from evergreen.settings import Settings
from evergreen.sources.dvc import DvcSource
from evergreen.spec.model import ModelSpec

pytest.importorskip("dvc", reason="DVC is not installed: the extra dvc")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory, repository: Callable[..., Any]
) -> tuple[Path, pd.DataFrame, dict[str, str]]:
    """A repository with two revisions of a file and of a folder, their rows, and the commits by tag."""
    import numpy as np

    rows = pd.DataFrame(
        {"id": range(60), "at": pd.date_range("2025-01-01", periods=60, freq="h"), "x": np.arange(60.0), "kind": "a"}
    ).assign(y=lambda frame: frame["x"])
    made = repository(tmp_path_factory.mktemp("dvc") / "shop")
    made.put("data/rows.csv", rows.head(30))
    made.put("data/parts/a.csv", rows.head(20))
    commits = {"v1": made.commit("v1", "data/rows.csv", "data/parts")}
    made.put("data/rows.csv", rows.head(50).assign(y=lambda frame: frame["y"].where(frame["id"] != 3, 77)))
    made.put("data/parts/b.csv", rows[20:40])
    commits["v2"] = made.commit("v2", "data/rows.csv", "data/parts")
    return made.root, rows, commits


@pytest.fixture
def shop(template: tuple[Path, pd.DataFrame, dict[str, str]], tmp_path: Path) -> Path:
    """A copy of the repository that a test may change."""
    return Path(shutil.copytree(template[0], tmp_path / "shop", symlinks=True))


def test_a_changed_revision_is_noticed_and_its_rows_are_traced(
    make_spec: Make, settings: Settings, shop: Path, template: tuple[Path, pd.DataFrame, dict[str, str]]
) -> None:
    """By tag, branch and workspace; the md5 is the fingerprint, and the commit is kept with the rows."""
    commits = template[2]

    def spec(rev: str | None) -> ModelSpec:
        return make_spec(source=DvcSource("data/rows.csv", rev, str(shop)))

    prints = [spec(rev).source.fingerprint(settings.landing) for rev in ("v1", "v2", "main", commits["v2"], None)]
    assert len(prints[0].split()[1]) == 32
    assert prints[0] != prints[1] == prints[2] == prints[3] == prints[4]
    assert ingest(spec("v1"), settings, now=NOW).added == 30
    assert Observations(settings.lake_uri, spec(None)).snapshot().revision == f"data/rows.csv@{commits['v1']}"
    assert ingest(spec("v1"), settings, now=NOW) == Landing()
    (report,) = ingest(spec("main"), settings, now=NOW).batches
    assert (report.added, report.replaced, report.repeated) == (20, 1, 29)
    assert report.origin == f"data/rows.csv@{commits['v2']}"
    assert Observations(settings.lake_uri, spec(None)).snapshot().revision == report.origin
    assert ingest(spec(None), settings, now=NOW) == Landing()


def test_without_keys_a_new_revision_takes_the_place_of_the_former(
    make_spec: Make, settings: Settings, shop: Path
) -> None:
    """Whatever revision the rows came from, they are those of one file."""
    for rev, rows in (("v1", 30), ("v2", 50)):
        spec = make_spec(source=DvcSource("data/rows.csv", rev, str(shop)), keys=())
        ingest(spec, settings, now=NOW)
        assert Observations(settings.lake_uri, spec).snapshot().rows == rows


def test_a_folder_is_read_file_by_file(
    make_spec: Make, settings: Settings, shop: Path, repository: Callable[..., Any]
) -> None:
    """A file that is in both revisions is read once; one that cannot be used is kept, with its revision."""
    first, second = (make_spec(source=DvcSource("data/parts", rev, str(shop))) for rev in ("v1", "v2"))
    assert ingest(first, settings, now=NOW).added == 20
    assert [report.added for report in ingest(second, settings, now=NOW).batches] == [20]
    made = repository(shop)
    (shop / "data/parts/c.csv").write_text("id,at\n")
    commit = made.commit("v3", "data/parts")
    landing = ingest(make_spec(source=DvcSource("data/parts", "v3", str(shop))), settings, now=NOW)
    assert [(report.origin, report.problem) for report in landing.quarantined] == [
        (f"data/parts/c.csv@{commit}", "it has a header and no rows")
    ]
    kept = quarantine_table(settings.lake_uri, first.name).read()
    assert (settings.root / kept["payload"][0]).read_text() == "id,at\n"


def test_what_lands_is_what_the_revision_says(make_spec: Make, settings: Settings, shop: Path) -> None:
    """A file of the workspace that was changed and not added is refused; of a revision the cache has the content."""
    with (shop / "data/rows.csv").open("a") as out:
        out.write("99,2025-02-01,1,a,1\n")
    with pytest.raises(DataError, match=r"'data/rows.csv' in the workspace is not what DVC tracks. Run dvc add"):
        ingest(make_spec(source=DvcSource("data/rows.csv", None, str(shop))), settings, now=NOW)
    assert ingest(make_spec(source=DvcSource("data/rows.csv", "v2", str(shop))), settings, now=NOW).added == 50


def test_data_is_fetched_from_a_remote(
    make_spec: Make, settings: Settings, shop: Path, tmp_path: Path, repository: Callable[..., Any]
) -> None:
    """Neither workspace nor cache has it: the remote does; without one, the line says what to do."""
    made = repository(shop)
    made.run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    made.run("dvc", "push", "-q")
    shutil.rmtree(shop / ".dvc" / "cache")
    (shop / "data/rows.csv").unlink()
    spec = make_spec(source=DvcSource("data/rows.csv", None, str(shop)))
    assert ingest(spec, settings, now=NOW).added == 50
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(DataError, match=r"cannot be fetched .* dvc push"):
        ingest(spec, Settings(home=tmp_path / "other"), now=NOW)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rev": "v9"}, "has no revision 'v9'"),
        ({"path": "data/none.csv"}, "the repository has no 'data/none.csv'"),
        ({"path": "data/parts/b.csv", "rev": "v1"}, "has no 'data/parts/b.csv' at v1"),
        ({"path": "data"}, "DVC does not track 'data'"),
        ({"path": ".dvcignore"}, "DVC does not track '.dvcignore'"),
        ({"repo": "nowhere"}, "nowhere is not a DVC repository"),
    ],
)
def test_what_is_not_there_is_one_line(changes: dict[str, str], said: str, shop: Path, tmp_path: Path) -> None:
    """A revision, a path, a repository; asking and reading say it alike."""
    source = DvcSource(**{"path": "data/rows.csv", "repo": str(shop)} | changes)
    for ask in (lambda: source.fingerprint(tmp_path), lambda: list(source.read(tmp_path, lambda _batch: True))):
        with pytest.raises(DataError, match=said) as caught:
            ask()
        assert caught.value.fix and "\n" not in str(caught.value)


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And a path out of the repository, or a password in its URL, is refused as the model file is read."""
    monkeypatch.setitem(sys.modules, "dvc.repo", None)
    with pytest.raises(EvergreenError, match=r'DVC is not installed. Install it: pip install ".\[dvc\]"'):
        DvcSource("data/rows.csv").fingerprint(tmp_path)
    for changes in ({"path": "../rows.csv"}, {"path": "/rows.csv"}, {"path": "a", "repo": "https://me:pw@host/x.git"}):
        with pytest.raises(ModelFileError) as caught:
            DvcSource(**changes)
        assert "pw@" not in str(caught.value)
