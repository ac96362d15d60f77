"""Ingest each new batch once. If source, contract and code are unchanged, nothing is read."""

from __future__ import annotations

import hashlib
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from prefect.cache_policies import CacheKeyFnPolicy

import evergreen.data
import evergreen.ingest.ingest
import evergreen.sources
import evergreen.storage
from evergreen import naming
from evergreen.data.contract import contract_digest, labels_digest
from evergreen.errors import EvergreenError
from evergreen.ingest.landing import Landing
from evergreen.markdown import many
from evergreen.runs.context import RunContext
from evergreen.sources.base import Source
from tasks import passing_or_busy, retried, run_logger

_CODE = (evergreen.data, evergreen.ingest, evergreen.sources, evergreen.storage)
"""The folders whose code decides what lands."""


def source_contract_and_code(_context: Any, parameters: dict[str, Any]) -> str:
    """The cache key; it changes with the sources, the model file, the ingest's code and the table."""
    context: RunContext = parameters["context"]
    spec, landing = context.spec, context.settings.landing
    parts = [
        _fingerprint(spec.source, landing),
        contract_digest(spec),
        context.spec_hash,
        context.observations.identity(),
        *([_fingerprint(spec.labels.source, landing), labels_digest(spec, spec.labels)] if spec.labels else []),
        *(hashlib.sha256(file.read_bytes()).hexdigest() for file in _code_files()),
    ]
    return naming.ingest_cache_key(
        context.settings.environment, spec.name, hashlib.sha256("|".join(parts).encode()).hexdigest()
    )


def _code_files() -> list[Path]:
    return sorted(file for folder in _CODE for file in Path(folder.__path__[0]).glob("*.py"))


def _fingerprint(source: Source, landing: Path) -> str:
    """The source's fingerprint; a new value if it cannot be read, so that the ingest runs and reports why."""
    try:
        return source.fingerprint(landing)
    except EvergreenError:
        return uuid.uuid4().hex


@retried(
    "ingest",
    timeout_seconds=3600,
    cache_policy=CacheKeyFnPolicy(cache_key_fn=source_contract_and_code),
    worth_retrying=passing_or_busy,
)
def ingest(context: RunContext) -> Landing:
    """Ingest every new batch of the model's source, then of its labels."""
    logger = run_logger(context.spec.name)
    step = partial(logger.debug, "reading %s")
    landing = evergreen.ingest.ingest.ingest(context.spec, context.settings, now=context.now, step=step)
    refused = f", {len(landing.quarantined)} with something in quarantine" if landing.quarantined else ""
    batches = many(len(landing.batches), "batch", "batches")
    logger.info("ingest: %s from %s%s", many(landing.added, "new row"), batches, refused)
    if context.spec.labels is not None:
        labelled = many(landing.labelled, "row got its label", "rows got their label")
        waiting = many(landing.pending_labels, "label waits for its row", "labels wait for their row")
        logger.info("ingest: %s, %s", labelled, waiting)
    for report in landing.quarantined:
        logger.warning("quarantine: %s: %s", report.origin, report.reason)
    for item in landing.waiting:
        logger.warning("left alone: %s: %s", item.origin, item.reason)
    for doubt in landing.doubts:
        logger.warning("doubt: %s", doubt)
    return landing
