"""A Prefect database that a newer Prefect has used is refused before a server is started on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.cli.doctor_checks import examine
from deployments.stack.prefect_home import require_known_database
from deployments.stack.stack import up
from evergreen.errors import EvergreenError
from evergreen.settings import Settings


def _newer(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
    return path


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Prefect server, home or database in the environment."""
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_home_s_own_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command, the stack and the doctor name file and versions; with a server, its database is its own affair."""
    require_known_database(settings)
    path = _newer(settings.prefect_home / "prefect.db")
    for check in (require_known_database, lambda settings: up(settings, print)):
        with pytest.raises(EvergreenError, match="a newer Prefect has used it") as newer:
            check(settings)
        assert f"{path} has the schema 0123456789ab" in newer.value.what
    (finding,) = [each for each in examine(settings) if each.name == "prefect"]
    assert (finding.ok, finding.detail, finding.fix) == (False, newer.value.what, newer.value.fix)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    require_known_database(settings)


def test_a_database_elsewhere(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the setting is the stack's only; that of Prefect's own variable is everybody's; PostgreSQL is let be."""
    url = f"sqlite+aiosqlite:///{_newer(tmp_path / 'elsewhere.db')}"
    set_here = settings.model_copy(update={"prefect_database": SecretStr(url)})
    require_known_database(set_here)
    with pytest.raises(EvergreenError, match=r"elsewhere\.db has the schema"):
        require_known_database(set_here, stack=True)
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", url)
    with pytest.raises(EvergreenError, match=r"elsewhere\.db has the schema"):
        require_known_database(settings)
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://a:b@127.0.0.1/x")
    require_known_database(settings, stack=True)
