"""`prefect server start`, with SQLite transactions that wait for each other instead of failing.

Prefect begins most transactions as readers. If one reads, and then writes after another one has written, no timeout
helps: SQLite answers `database is locked` at once, and the caller gets a 503 and tries again seconds later. This
happened to one in twelve pairs of requests, measured on Prefect 3.8.8. A transaction that begins as a writer waits some
milliseconds for its turn. PostgreSQL has no such problem, and nothing is changed for it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator
from typing import Any

from evergreen.logs import print_as_json
from evergreen.settings import load_settings


def waiting_sqlite(url: str) -> Any:
    """Prefect's SQLite configuration, in which a transaction takes the write lock when it begins."""
    from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration

    class Waiting(AioSqliteConfiguration):
        @contextlib.asynccontextmanager
        async def begin_transaction(self, session: Any, with_for_update: bool = False) -> AsyncGenerator[Any, None]:
            async with session.begin() as transaction:
                token = SQLITE_BEGIN_MODE.set("IMMEDIATE")
                try:
                    # Begin now: a session inside this one must not inherit the mode and wait for itself.
                    await session.connection()
                finally:
                    SQLITE_BEGIN_MODE.reset(token)
                yield transaction

    return Waiting(connection_url=url)


def main() -> None:
    """Run the Prefect command line with this database configuration."""
    from prefect.cli import app
    from prefect.server.database.dependencies import set_database_config
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    if load_settings().logs == "json":
        print_as_json("prefect.server")
    url = str(PREFECT_API_DATABASE_CONNECTION_URL.value())
    if url.startswith("sqlite"):
        set_database_config(waiting_sqlite(url))
    sys.argv[1:] = ["server", "start", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
