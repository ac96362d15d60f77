"""What other projects, proxies and bare machines leave around a process does no harm."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from evergreen.surroundings import DEFAULTS, FOREIGN, make_home, prepare_environment


def test_another_project_is_left_alone() -> None:
    """Its runs, servers and databases are not ours; what a user sets for MLflow itself stands."""
    environ = dict.fromkeys(FOREIGN, "theirs") | {"MLFLOW_TRACKING_TOKEN": "ours", "DO_NOT_TRACK": "0"}
    prepare_environment(environ)
    assert environ == DEFAULTS | {"MLFLOW_TRACKING_TOKEN": "ours", "DO_NOT_TRACK": "0"}


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "intranet, localhost"}, "intranet,localhost,127.0.0.1,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost,::1"),
    ],
)
def test_our_own_servers_are_reached_without_the_proxy(proxy: str, before: dict[str, str], after: str) -> None:
    """What the user named goes on, and doing it again adds nothing."""
    environ = {proxy: "http://proxy:3128", **before}
    for _ in range(2):
        prepare_environment(environ)
        assert environ["no_proxy"] == environ["NO_PROXY"] == after


def test_without_a_proxy_nothing_is_said_of_one() -> None:
    """Then there is nothing to go around."""
    environ: dict[str, str] = {}
    prepare_environment(environ)
    assert environ == DEFAULTS


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    """It holds rows and models; one that is there keeps the mode that somebody gave it."""
    make_home(tmp_path / "new" / "environment-dev")
    assert [stat.S_IMODE(made.stat().st_mode) for made in (tmp_path / "new").rglob("*")] == [0o700]
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    (tmp_path / "shared").mkdir(mode=0o755)
    make_home(tmp_path / "shared")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755
