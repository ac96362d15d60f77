"""Where a version came from: the data, the code and the packages, as tags that a rebuild can start from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from evergreen.data.snapshot import Snapshot
from evergreen.settings import PROJECT
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from evergreen.registry.version import Version

PACKAGES = ("scikit-learn", "scipy", "pandas", "numpy", "mlflow", "evidently", "prefect", "deltalake", "skops")


def lineage(
    snapshot: Snapshot,
    *,
    decision: str,
    reason: str,
    spec_hash: str,
    compared_with: int | None,
    params: Mapping[str, Any] | None,
    seed: int,
    flow_run: str,
    event_id: str = "",
    learned_end: str | None = None,
    learned_row: int | None = None,
    known: str | None = None,
    code: Mapping[str, str] | None = None,
    recipe: str = "",
) -> dict[str, str]:
    """The tags of a version, without Evergreen's prefix.

    `learned_end` is the time of the newest row with a label that it was given, to learn from or to be judged by;
    `learned_row`, the number of that row where rows have the order of landing; `known`, the time after which a label
    that became known did not count; `code`, what `of_code` said, where that is known already; `recipe`, what makes the
    version beside its rows, empty where that is not known.
    """
    tags = {
        "decision_id": decision,
        "reason": reason,
        "compared_with": against(compared_with),
        "data_version": str(snapshot.version),
        "data_digest": snapshot.digest,
        "data_rows": str(snapshot.rows),
        "data_revision": snapshot.revision,
        "data_start": snapshot.start or "",
        "data_end": snapshot.end or "",
        "learned_end": learned_end or "",
        "known": known or "",
        "next_row": str(snapshot.next_row),
        "spec_hash": spec_hash,
        "recipe": recipe,
        "params": params_text(params),
        "seed": str(seed),
        "flow_run": flow_run,
        "event_id": event_id,
    }
    tags |= {} if learned_row is None else {"learned_row": str(learned_row)}
    return {**tags, **(of_code() if code is None else code)}


def of_code() -> dict[str, str]:
    """The tags that say by which code and packages a version is made."""
    commit, dirty = checked_out()
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "machine": machine(),
        "packages": json.dumps(packages()),
    }


def packages() -> dict[str, str]:
    """The installed version of Python and of every package that has a say in what a model predicts."""
    return {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES}


def machine() -> str:
    """The kind of machine: another one may round another way."""
    return f"{platform.system()} {platform.machine()}"


def learned_until(version: Version) -> str | None:
    """The time (ISO 8601, UTC) up to which a version knew what came of the rows; None for a model without time.

    Where labels come late that is earlier than its newest row: rows after it are still able to judge the version.
    """
    return version.tags.learned_end or version.tags.data_end or None


def first_unlearned(version: Version) -> int:
    """The number of the first row that a version had not seen; of rows in an order, whose label it did not know."""
    learned = version.tags.learned_row
    return version.tags.next_row if learned is None else learned + 1


def against(champion: int | None) -> str:
    """The number of the champion that a candidate is held against, as a tag."""
    return "none" if champion is None else str(champion)


def params_text(params: Mapping[str, Any] | None) -> str:
    """Parameters given by hand as one comparable text; empty for a search."""
    return json.dumps(params, sort_keys=True) if params else ""


def with_params(recipe: str, spec: ModelSpec, params: Mapping[str, Any] | None) -> str:
    """The recipe of a fit with parameters given by hand: the model file's own where its search tries them all."""
    grid = spec.search.grid
    if not recipe or all(name in grid and value in grid[name] for name, value in (params or {}).items()):
        return recipe
    return hashlib.sha256(f"{recipe}\n{params_text(params)}".encode()).hexdigest()[:16]


def same_recipe(version: Version, champion: Version | None) -> bool:
    """Whether a version differs from the champion by newer rows only; not where the recipe of one is not known.

    One that was carried over from another environment need not have learned newer rows.
    """
    if version.tags.adopted_from:
        return False
    return champion is not None and version.tags.recipe != "" and version.tags.recipe == champion.tags.recipe


BUILT_FROM = "EVERGREEN_COMMIT"
"""The variable by which an image, which has no repository, says its commit: with `-dirty` where files differed."""


def current_commit() -> str:
    """The commit that is checked out; outside of a repository the one that the image was built from, if any."""
    return _run("rev-parse", "HEAD") or _built_from()[0]


def checked_out() -> tuple[str, str]:
    """The commit, and whether files differ from it; empty outside of a repository, and of an image that knows it."""
    if commit := _run("rev-parse", "HEAD"):
        return commit, "true" if _run("status", "--porcelain") else "false"
    return _built_from()


def _built_from() -> tuple[str, str]:
    commit, mark, _ = os.environ.get(BUILT_FROM, "").partition("-")
    return (commit, "true" if mark else "false") if commit else ("", "")


def _run(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(PROJECT), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
