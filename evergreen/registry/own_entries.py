"""An environment's own entries of a registry that others share, in a copy of its SQLite database."""

from __future__ import annotations

import sqlite3

from evergreen import naming
from evergreen.registry.contents import DEFAULT_EXPERIMENT, Contents

_KEPT = (
    *("alembic_version", "workspaces", "experiments", "experiment_tags", "runs", "latest_metrics", "metrics"),
    *("params", "tags", "datasets", "inputs", "input_tags", "logged_models", "logged_model_metrics"),
    *("logged_model_params", "logged_model_tags", "registered_models", "registered_model_tags"),
    *("registered_model_aliases", "model_versions", "model_version_tags"),
)
"""The tables of which an environment's own rows are taken from a shared database; all others are the server's."""


def drop_others(database: sqlite3.Connection, environment: str, contents: Contents) -> None:
    """Delete from a copy what is not this environment's: first its experiments and models, then all that hangs on them.

    By the database's own foreign keys, so that a table that a later MLflow adds to them is followed as well.
    """
    with database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table not in _KEPT and not table.startswith("sqlite_"):
                database.execute(f'DELETE FROM "{table}"')  # noqa: S608 - the name is the database's own
        own = {experiment.name for experiment in contents.experiments}
        for number, name in database.execute("SELECT experiment_id, name FROM experiments").fetchall():
            if number == DEFAULT_EXPERIMENT:
                database.execute("DELETE FROM runs WHERE experiment_id = ?", (number,))
                database.execute("DELETE FROM logged_models WHERE experiment_id = ?", (number,))
            elif name not in own:
                database.execute("DELETE FROM experiments WHERE experiment_id = ?", (number,))
        for (name,) in database.execute("SELECT name FROM registered_models").fetchall():
            if naming.model_of(environment, name) is None:
                database.execute("DELETE FROM registered_models WHERE name = ?", (name,))
        while sum(_drop_orphans(database, table) for table in _KEPT if table in tables):
            pass
    # What was deleted is still in the file's free pages.
    database.execute("VACUUM")


def _drop_orphans(database: sqlite3.Connection, table: str) -> int:
    """Delete the rows that point to a row that is gone; returns how many."""
    keys = dict[int, list[tuple[str, str, str]]]()
    for number, _, parent, column, target, *_ in database.execute(f'PRAGMA foreign_key_list("{table}")'):
        keys.setdefault(number, []).append((parent, column, target))
    conditions = []
    for columns in keys.values():
        filled = " AND ".join(f'"{table}"."{column}" IS NOT NULL' for _, column, _ in columns)
        equal = " AND ".join(f'parent."{target}" = "{table}"."{column}"' for _, column, target in columns)
        conditions.append(
            f'({filled} AND NOT EXISTS (SELECT 1 FROM "{columns[0][0]}" AS parent WHERE {equal}))'  # noqa: S608
        )
    conditions += _UNDECLARED.get(table, ())
    if not conditions:
        return 0
    return database.execute(f'DELETE FROM "{table}" WHERE {" OR ".join(conditions)}').rowcount  # noqa: S608


_UNDECLARED = {
    "inputs": ("destination_id NOT IN (SELECT run_uuid FROM runs UNION SELECT model_id FROM logged_models)",),
    "input_tags": ("input_uuid NOT IN (SELECT input_uuid FROM inputs)",),
}
"""What hangs on others without a foreign key."""
