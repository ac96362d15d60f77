"""One version for one decision, whoever registers it and wherever.

MLflow registers whatever it is given. So it is asked under the retraining's lock, which is known to be held right
before and right after.
"""

from __future__ import annotations

from collections.abc import Callable

from evergreen.errors import EvergreenError
from evergreen.registry.client import Registry
from evergreen.registry.version import Candidate, Version


def register_once(registry: Registry, model: str, candidate: Candidate, *, require_held: Callable[[], None]) -> Version:
    """Register a candidate, or find the version that its decision has already, made of the same rows by the same code.

    Args:
        registry: where versions are.
        model: name of the model.
        candidate: stored with its run.
        require_held: refuses where the lock of the retraining is lost.

    Raises:
        BusyError: the lock was lost. A version that was registered without it is taken back, unless it is the only one
            of its decision: then whoever has the lock takes it up.
        ArtifactError: the candidate was not stored completely.
    """
    require_held()
    decision = candidate.tags["decision_id"]
    version = registry.find(model, decision)
    if version is not None and _is_same(version, candidate):
        return version
    version = registry.register(model, candidate)
    try:
        require_held()
    except EvergreenError:
        others = [each for each in registry.versions(model) if each.tags.decision_id == decision]
        if any(each.number != version.number and _is_same(each, candidate) for each in others):
            registry.withdraw(version)
        raise
    return version


def _is_same(version: Version, candidate: Candidate) -> bool:
    return version.tags.spec_hash == candidate.tags["spec_hash"] and version.tags.cleaned is None
