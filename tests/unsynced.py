"""SQLite that does not wait for the disk: each commit of MLflow's would take ten milliseconds of a test.

What is written survives the death of a process, not that of the machine. Importing this module is enough.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import Engine, event


@event.listens_for(Engine, "connect")
def _unsynced(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
