"""`prefect server start`, with SQLite transactions that wait for each other instead of failing.

Prefect begins most transactions as readers. One that reads, and then writes after another has written, cannot be saved
by any timeout: SQLite answers `database is locked` at once, the caller gets a 503 and tries again seconds later (one in
twelve of two requests in a row, measured on Prefect 3.8.8). Begun as a writer, it waits some milliseconds for its turn.
PostgreSQL knows no such thing, and is left as it is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator
from typing import Any


def waiting_sqlite(url: str) -> Any:
    """Prefect's SQLite configuration, in which a transaction takes the write lock when it begins."""
    from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration

    class Waiting(AioSqliteConfiguration):
        @contextlib.asynccontextmanager
        async def begin_transaction(self, session: Any, with_for_update: bool = False) -> AsyncGenerator[Any, None]:
            async with session.begin() as transaction:
                token = SQLITE_BEGIN_MODE.set("IMMEDIATE")
                try:
                    # Begins now: a session inside of this one must not inherit the mode and wait for itself.
                    await session.connection()
                finally:
                    SQLITE_BEGIN_MODE.reset(token)
                yield transaction

    return Waiting(connection_url=url)


def main() -> None:
    """The Prefect command line, with the database configured first."""
    from prefect.cli import app
    from prefect.server.database.dependencies import set_database_config
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    url = str(PREFECT_API_DATABASE_CONNECTION_URL.value())
    if url.startswith("sqlite"):
        set_database_config(waiting_sqlite(url))
    sys.argv[1:] = ["server", "start", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
