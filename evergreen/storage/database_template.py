"""Empty databases of MLflow and Prefect with the newest schema, made once at installation and copied into fresh homes.

To make one anew takes a hundred migrations: half of the time of a first run. A template is named for the version of its
library and used only if its schema is the newest one that the installed library knows; without one, the library makes
its own database as ever. `python -m evergreen.storage.database_template` makes both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from evergreen.storage.atomic_write import staged_file
from evergreen.storage.schema_revision import MLFLOW, PREFECT, Schema, is_newest, sqlite_revision


@dataclass(frozen=True, slots=True)
class Template:
    """The empty database of one library.

    Attributes:
        schema: whose tables are in it.
        upgrade: the words after `python -m` that make it; `{path}` is the database.
        variables: the environment in which they do, with the same word.
    """

    schema: Schema
    upgrade: Sequence[str]
    variables: Sequence[tuple[str, str]] = ()

    @property
    def path(self) -> Path:
        """Where it is, or would be: in the environment that the library is installed in."""
        library = self.schema.library
        return Path(sys.prefix) / "share" / "evergreen" / f"{library}-{version(library)}.db"


TEMPLATES = (
    Template(MLFLOW, ("mlflow", "db", "upgrade", "sqlite:///{path}")),
    Template(
        PREFECT,
        ("prefect", "server", "database", "upgrade", "--yes"),
        (
            ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///{path}"),
            ("PREFECT_HOME", "{path}.home"),
            ("PREFECT_SERVER_ANALYTICS_ENABLED", "false"),
        ),
    ),
)


def place(schema: Schema, target: Path) -> bool:
    """Copy a library's template to where there is no database yet; whether one was placed.

    A database that is there is never touched, nor is one that another process makes at the same time. What cannot be
    copied is left to the library. The folder of `target` is there.
    """
    template = next(template for template in TEMPLATES if template.schema == schema)
    # A journal without its database would be read into the new one.
    beside = (target, *(target.with_name(f"{target.name}-{kind}") for kind in ("wal", "shm", "journal")))
    if any(os.path.lexists(path) for path in beside) or not is_newest(sqlite_revision(template.path), schema):
        return False
    try:
        with staged_file(target, new=True) as part:
            shutil.copyfile(template.path, part)
    except OSError:
        return False
    return True


def make(template: Template) -> None:
    """Make a template, in place of those of other versions.

    Raises:
        OSError: the environment cannot be written.
        subprocess.CalledProcessError: the library could not make its database.
    """
    path = template.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        words = {"path": str(Path(folder) / "new.db")}
        own = ("PREFECT_", "MLFLOW_", "EVERGREEN_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environment |= {name: value.format(**words) for name, value in template.variables}
        command = [sys.executable, "-m", *(word.format(**words) for word in template.upgrade)]
        subprocess.run(command, env=environment, check=True, capture_output=True, cwd=folder)
        with staged_file(path) as part, contextlib.closing(sqlite3.connect(words["path"])) as database:
            # One file, whatever the library has left in a journal.
            database.execute("VACUUM INTO ?", (str(part),))
    for old in path.parent.glob(f"{template.schema.library}-*.db"):
        if old != path:
            old.unlink()


def main() -> None:
    """Make every template; without one, a first run only takes longer."""
    for template in TEMPLATES:
        try:
            make(template)
        except (OSError, sqlite3.Error, subprocess.CalledProcessError) as error:
            print(f"No database template of {template.schema.title}: {error}. First runs take longer.", file=sys.stderr)


if __name__ == "__main__":
    main()
