"""Carry a version over from another environment: its files to the byte, and a record of where it comes from.

The source is only read. What arrives is compared with the hashes that were registered there. It is a candidate here,
like one that was trained here: it still has to pass the gates.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen import naming
from evergreen.decision import Decision
from evergreen.errors import RefusedError
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.detail_json import detail_to_json
from evergreen.ledger.promotions import Move, PromotionLog
from evergreen.registry.artifacts import PIPELINE, size_mb, state_sha256, types_in, verify
from evergreen.registry.client import Registry
from evergreen.registry.mlflow_calls import clear, quiet_mlflow, without_warnings
from evergreen.registry.mlflow_entities import prefixed
from evergreen.registry.version import Candidate, Version
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECORD = "adopted.json"
"""What the source says of the version, in a folder of its own in the run."""
_CARRIED = (
    *("data_digest", "data_rows", "data_revision", "data_start", "data_end", "known"),
    *("spec_hash", "recipe", "params", "seed", "git_commit", "git_dirty", "machine", "packages"),
    *("judged_rows", "deployed_rows"),
)
"""Tags that are as true here as there. Numbers of rows and of a table's versions are of the source's table."""
_OF_TRAINING = (naming.train_metric(""), naming.importance_metric(""))
"""Metrics of a run that its training left. Those of its gates are of the source's rows, and its cost was there."""


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A version of another environment whose files are what was registered there.

    Attributes:
        environment: whose it is, as EVERGREEN_SEES names it.
        version: as it is registered there.
        state_sha256: of what the pipeline was fitted to, however it is stored.
        model_folder: of the stored pipeline, on this machine.
        files_folder: of what was stored beside it, on this machine.
        params: of its run.
        metrics: of its training, by name.
        record: its tags, decisions and moves there, as JSON.
    """

    environment: str
    version: Version
    state_sha256: str
    model_folder: Path
    files_folder: Path
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    record: str

    @property
    def reason(self) -> str:
        """What asks for a candidate here, as ledger and history have it."""
        return f"adoption of {self.environment} version {self.version.number}"


def read_offer(
    environment: str,
    registry: Registry,
    ledger: Ledger,
    promotions: PromotionLog,
    spec: ModelSpec,
    spec_hash: str,
    number: int,
) -> Offer:
    """Read a version of another environment, of which the stores are given, and check its files.

    Raises:
        RegistryError: there is no such version there.
        RefusedError: it did not pass its gates there, was taken back, or was made by another model file than is here.
        ArtifactError: its files are gone, or not what was registered.
        ModelFileError: it holds a type that nobody vouches for.
    """
    version = registry.get(spec.name, number)
    _require_good(environment, version, spec_hash, spec.file)
    registry.require_intact(version, spec)
    files = registry.files(version)
    with clear(registry.settings.tracking):
        run = registry.client.get_run(version.run_id)
    folder = registry.stored.pipeline_folder(version)
    return Offer(
        environment,
        version,
        version.tags.state_sha256 or state_sha256(folder / PIPELINE),
        folder,
        files,
        dict(run.data.params),
        {name: float(value) for name, value in run.data.metrics.items() if name.startswith(_OF_TRAINING)},
        _record(environment, version, ledger.select(("retrain", "approval", "canary")), promotions.all()),
    )


def _require_good(environment: str, version: Version, spec_hash: str, file: str) -> None:
    there, tags = f"{version.label} of {environment}", version.tags
    choose = f"Choose another version: evergreen history {version.model} --environment {environment}"
    if version.status != "PASSED":
        raise RefusedError(f"{there} is {version.status}: only what passed its gates is adopted.", choose)
    taken_back = (
        ("was rolled back", tags.rolled_back),
        ("was refused by its canary", tags.refused),
        ("was not wanted", tags.declined),
    )
    for what, why in taken_back:
        if why is not None:
            raise RefusedError(f"{there} {what}: {why}", choose)
    if tags.cleaned is not None:
        raise RefusedError(f"{there} was cleaned at {tags.cleaned[:16]}: its files are gone.", choose)
    if tags.spec_hash != spec_hash:
        commit = f" of commit {tags.git_commit[:12]}" if tags.git_commit else ""
        raise RefusedError(
            f"{there} was made by another {file} than is here: its hash is {tags.spec_hash or 'not known'} there and "
            f"{spec_hash} here.",
            f"Deploy the code{commit} here first, or retrain there with the code of here.",
        )


def _record(environment: str, version: Version, decisions: Sequence[Decision], moves: Sequence[Move]) -> str:
    own = [each for each in decisions if _is_about(each, version)]
    told = {
        "environment": environment,
        "model": version.model,
        "version": version.number,
        "made": version.made.isoformat() if version.made else None,
        "tags": dict(sorted(version.tags.raw.items())),
        "decisions": [
            asdict(each) | {"at": each.at.isoformat(), "detail": detail_to_json(each.detail)} for each in own
        ],
        "promotions": [
            asdict(each) | {"at": each.at.isoformat()} for each in moves if version.number in (each.before, each.after)
        ],
    }
    return json.dumps(told, indent=1, sort_keys=True)


def _is_about(decision: Decision, version: Version) -> bool:
    return decision.id == version.tags.decision_id or getattr(decision.detail, "version", None) == version.number


def carry_over(registry: Registry, offer: Offer, spec: ModelSpec, tags: Mapping[str, str]) -> Candidate:
    """Store an offered version in a run of this environment; its files are the source's to the byte.

    Args:
        registry: this environment's.
        offer: the version.
        spec: of the model.
        tags: of a version that is made here now, as `lineage_of` has them. What the version was made of is the
            source's.

    Raises:
        ArtifactError: the files changed while they were carried.
    """
    theirs, client = offer.version.tags, registry.client
    merged = _merge_tags(offer, spec, tags)
    with clear(registry.settings.tracking), without_warnings():
        run_id = _make_run(registry, offer, spec.name, merged)
        model_id = _store_model(client, run_id, offer.model_folder)
        client.log_artifacts(run_id, str(offer.files_folder), naming.RUN_FOLDER)
        client.log_text(run_id, offer.record, f"{naming.ADOPTED_FOLDER}/{RECORD}")
        client.set_terminated(run_id)
        place = client.get_run(run_id).info.artifact_uri
    copied = f"The copy of {offer.version.label} of {offer.environment}"
    folder = registry.stored.model_folder(model_id)
    verify(folder / PIPELINE, theirs.sha256, copied)
    verify(registry.stored.local(f"{place}/{naming.RUN_FOLDER}", copied), theirs.files_sha256, copied)
    needed = theirs.trusted if theirs.trusted is not None else types_in((folder / PIPELINE).read_bytes())
    hashes = theirs.sha256, theirs.files_sha256, offer.state_sha256
    return Candidate(run_id, model_id, *hashes, size_mb(folder), merged, spec.tags, needed, theirs.judged_sha256)


def _merge_tags(offer: Offer, spec: ModelSpec, tags: Mapping[str, str]) -> dict[str, str]:
    """What the version was made of by the source's tags, what becomes of it here by ours, and where it comes from."""
    theirs = offer.version.tags
    merged = {name: value for name, value in tags.items() if name != "data_version"}
    merged |= {name: theirs.raw[name] for name in _CARRIED if name in theirs.raw}
    # What judges it here counts as given to it, as what is held out counts for a version that was trained here.
    merged["learned_end"] = _later(theirs.learned_end, merged["learned_end"])
    train = offer.metrics.get(naming.train_metric(spec.metric.name))
    return merged | {
        "adopted_from": offer.environment,
        "adopted_version": str(offer.version.number),
        "adopted_record": hashlib.sha256(offer.record.encode()).hexdigest(),
        **({} if train is None else {"train_value": repr(train)}),
    }


def _later(*times: str) -> str:
    """The latest of some times (ISO 8601); empty where none is given."""
    return max(filter(None, times), key=datetime.fromisoformat, default="")


def _make_run(registry: Registry, offer: Offer, model: str, tags: Mapping[str, str]) -> str:
    from mlflow.entities import Metric, Param

    client, trained = registry.client, int(offer.version.made.timestamp() * 1000) if offer.version.made else 0
    made = client.create_run(
        registry.experiment_id(model), tags=prefixed(tags), run_name=naming.training_run(tags["decision_id"])
    )
    client.log_batch(
        made.info.run_id,
        metrics=[Metric(name, value, trained, 0) for name, value in offer.metrics.items()],
        params=[Param(name, value) for name, value in offer.params.items()],
    )
    return str(made.info.run_id)


def _store_model(client: MlflowClient, run_id: str, folder: Path) -> str:
    """Store a pipeline's folder as a model of a run; MLflow's own file in it is made to name that run."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    quiet_mlflow()
    experiment = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    with tempfile.TemporaryDirectory() as place:
        copy = shutil.copytree(folder, Path(place) / "model")
        described = Model.load(str(copy))
        described.run_id, described.model_id, described.model_uuid = run_id, logged.model_id, logged.model_id
        described.artifact_path = logged.artifact_location
        described.save(str(copy / MLMODEL_FILE_NAME))
        client.log_model_artifacts(logged.model_id, str(copy))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)
