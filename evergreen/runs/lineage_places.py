"""Where data lies, by the names that OpenLineage gives to it: a namespace for the store, and a name within it.

Two runs that touch the same table name it alike, whatever tool reports them. No name holds a user or a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evergreen import naming
from evergreen.sources.base import Source
from evergreen.sources.bundled import Bundled
from evergreen.sources.delta import DeltaSource
from evergreen.sources.dvc import DvcSource
from evergreen.sources.fallback import Fallback
from evergreen.sources.folder import Folder
from evergreen.sources.object_store import ObjectFolder
from evergreen.sources.parquet import ParquetDataset
from evergreen.sources.sql import SqlSource
from evergreen.storage.credentials import resolve_env

_DIALECTS = {"postgresql": "postgres"}
_FROM = re.compile(r'\bfrom\s+([\w."]+)', re.IGNORECASE)
_FORMS = "a path or a URL"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dataset lies: its names for OpenLineage, and its address."""

    namespace: str
    name: str
    uri: str = field(compare=False)


def place_of(text: str) -> Place:
    """The place that a path or a URL names, without user, password and query.

    A database's URL may name a table behind `#`.
    """
    if "://" not in text:
        path = Path(text).expanduser().absolute()
        return Place("file", path.as_posix(), path.as_uri())
    parts = urlsplit(text)
    scheme = parts.scheme.partition("+")[0]
    host, path_name, table = parts.netloc.rpartition("@")[2], unquote(parts.path).strip("/"), parts.fragment
    if not host:
        # SQLite: a file with tables in it.
        path_name = f"/{path_name}"
    uri = f"{parts.scheme}://{host}{parts.path}{f'#{table}' if table else ''}"
    name = ".".join(part for part in (path_name, table) if part) or "/"
    return Place(f"{_DIALECTS.get(scheme, scheme)}://{host}" if host else scheme, name, uri)


def input_place(source: str) -> Place:
    """The place of the input of a scoring: a path, a URL, or `env:NAME`."""
    return place_of(resolve_env(source, "input", _FORMS))


def source_place(source: Source, root: Path) -> Place:
    """Where a source reads; `root` is the folder that relative paths start from."""
    if isinstance(source, Fallback):
        return source_place(source.folder if source.folder.files(root) else source.otherwise, root)
    if isinstance(source, Bundled):
        return Place("scikit-learn", source.name, f"https://scikit-learn.org/#{source.name}")
    text = _address(source, root)
    if not text:
        # Rows that are made, or a source of a person's own.
        return Place(naming.lineage_namespace(""), type(source).__name__, naming.REPOSITORY)
    return place_of(text)


def _address(source: Source, root: Path) -> str:
    """The path or URL of a source; empty for one that has none."""
    match source:
        case Folder():
            return str(source.folder(root))
        case ObjectFolder():
            return _resolved(source.url, root)
        case ParquetDataset() | DeltaSource():
            return _resolved(source.path, root)
        case SqlSource():
            table = _FROM.search(source.query)
            name = table[1].replace('"', "") if table else "query"
            return f"{resolve_env(source.url, 'source', _FORMS)}#{name}"
        case DvcSource():
            return f"{_resolved(source.repo, root)}/{source.path}"
    return ""


def _resolved(text: str, root: Path) -> str:
    """`env:NAME` replaced, a relative path from the root."""
    text = resolve_env(str(text), "source", _FORMS)
    return text if "://" in text else str(root / Path(text).expanduser())
