"""Databases that a newer program has used: which schemas an installed library knows, and which one a database has.

MLflow and Prefect keep the schema's revision as Alembic does. Their migrations are read as text: importing them takes
seconds, and a database that they do not know is given up only after minutes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sqlite3
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_OWN = re.compile(r"""^revision(?:\s*:[^=]+)?\s*=\s*["'](\w+)["']""", re.MULTILINE)
_PARENTS = re.compile(r"^down_revision(?:\s*:[^=]+)?\s*=\s*(.+)$", re.MULTILINE)
QUERY = "SELECT version_num FROM alembic_version"
"""Finds the revision of a database's schema."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A library that keeps its database's schema with Alembic.

    Attributes:
        library: its name, as it is installed.
        title: its name, as people write it.
        migrations: the folder of its migrations, below the library's own.
    """

    library: str
    title: str
    migrations: str


MLFLOW = Schema("mlflow", "MLflow", "store/db_migrations/versions")
PREFECT = Schema("prefect", "Prefect", "server/database/_migrations/versions/sqlite")


def sqlite_revision(path: Path) -> str | None:
    """The revision of an SQLite file's schema; None where it has none, or cannot be read."""
    if not path.is_file():
        return None
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(path, timeout=1)) as database:
        row = database.execute(QUERY).fetchone()
        return str(row[0]) if row else None
    return None


def is_newest(found: str | None, schema: Schema) -> bool:
    """Whether a database's revision is the newest one that the installed library knows."""
    known, parents = _revisions(schema) if found else (set(), set())
    return found in known - parents


def describe_newer(found: str | None, schema: Schema) -> tuple[str, str] | None:
    """What is wrong with a database whose revision the installed library does not know, and what to do about it.

    Args:
        found: the database's revision; None where it has none yet.
        schema: whose database it is.

    Returns:
        A clause about the database and a sentence; None where nothing is wrong.
    """
    known, parents = _revisions(schema) if found else (set(), set())
    if not known or found in known:
        return None
    name, newest, installed = schema.title, ", ".join(sorted(known - parents)), version(schema.library)
    what = f"has the schema {found}, and {name} {installed}, which is installed, knows schemas up to {newest}"
    fix = f"Install the {name} that used it, and the Evergreen that goes with it, or restore it from a backup."
    return f"{what}: a newer {name} has used it", fix


def _revisions(schema: Schema) -> tuple[set[str], set[str]]:
    """The revisions that the installed library knows, and those that another one follows."""
    spec = importlib.util.find_spec(schema.library)
    if spec is None or not spec.submodule_search_locations:
        return set(), set()
    folder = Path(spec.submodule_search_locations[0]) / schema.migrations
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("*.py")]
    known = {revision for text in texts for revision in _OWN.findall(text)}
    parents = {parent for text in texts for line in _PARENTS.findall(text) for parent in re.findall(r"\w+", line)}
    return known, parents
