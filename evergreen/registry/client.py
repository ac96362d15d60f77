"""The model registry: the only module that knows MLflow.

Versions are found by the decision that made them, so that a crash never registers one twice. Aliases are moved with one
write. What MLflow and its database complain about becomes one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from evergreen import naming
from evergreen.errors import ArtifactError, RegistryError
from evergreen.ledger.promotions import Promotions
from evergreen.naming import experiment, registered_model
from evergreen.registry.artifacts import (
    JUDGED,
    PIPELINE,
    load_pipeline,
    packed,
    sha256,
    state_sha256,
    types_in,
    verify,
)
from evergreen.registry.database import explained, probe
from evergreen.registry.loss import lost_version
from evergreen.registry.model_registry import ModelRegistry
from evergreen.registry.moved_home import require_own_places
from evergreen.registry.trust import require_vouched, strange_types
from evergreen.registry.version import (
    DESCRIBED,
    PENDING,
    STATUS,
    Candidate,
    Version,
    VersionTags,
    status_of,
)
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.locks import open_locks
from evergreen.surroundings import make_home, prepare_environment
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from sklearn.pipeline import Pipeline

_OPENING_SECONDS = 600.0
"""How long a process waits for others that open the registry."""


class Registry(ModelRegistry):
    """One MLflow tracking and registry database, opened when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def client(self) -> MlflowClient:
        """A client of a database that is there, of the right version and writable."""
        uri = self.settings.tracking
        with contextlib.suppress(OSError):
            # What is wrong with the folder, the lock says.
            make_home(self.settings.root)
        locks, now = open_locks(self.settings), datetime.now(UTC)
        # MLflow's schema is made by one process at a time: two at once leave a database that never opens again.
        with clear(uri), locks.hold("registry", "opening", wait=_OPENING_SECONDS, now=now):
            probe(uri)
            require_own_places(self.settings)
            client: MlflowClient = quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_registered_models(max_results=1)
            return client

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version that an alias names; None where it names none."""
        from mlflow.exceptions import MlflowException

        with clear(self.settings.tracking):
            try:
                return _version(self.client.get_model_version_by_alias(registered_model(model), alias))
            except MlflowException as error:
                if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                    return None
                raise

    def get(self, model: str, number: int) -> Version:
        """One version.

        Raises:
            RegistryError: there is none of this number.
        """
        version = self.lookup(model, number)
        if version is None:
            numbers = ", ".join(str(version.number) for version in self.versions(model)) or "none"
            raise RegistryError(f"{model} has no version {number}; there are: {numbers}.", "Choose one of them.")
        return version

    def lookup(self, model: str, number: int) -> Version | None:
        """One version; None where there is none of this number, or no more."""
        from mlflow.exceptions import MlflowException

        with clear(self.settings.tracking):
            try:
                return _version(self.client.get_model_version(registered_model(model), str(number)))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def versions(self, model: str) -> tuple[Version, ...]:
        """All of them, oldest first."""
        with clear(self.settings.tracking):
            stored = pages(self.client.search_model_versions, _named(model))
        return tuple(sorted((_version(each) for each in stored), key=lambda version: version.number))

    def find(self, model: str, decision_id: str) -> Version | None:
        """The version that a decision made; None where it made none yet."""
        with clear(self.settings.tracking):
            found = self.client.search_model_versions(
                f"{_named(model)} and tags.`{naming.version_tag('decision_id')}`='{decision_id}'",
                order_by=["version_number DESC"],
            )
        return _version(found[0]) if found else None

    def log(
        self,
        spec: ModelSpec,
        pipeline: Pipeline,
        *,
        run_name: str,
        classes: Sequence[Any] | None,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        files: Path,
        dataset: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> Candidate:
        """Store a fitted pipeline, what it was made of, and `files` (a folder) in a run.

        Among the files is the fit that the gates judge, where that is not the pipeline itself.

        Raises:
            ModelFileError: the pipeline holds a type that could not be loaded again.
        """
        needed = types_in(packed(pipeline, spec.file, spec.trusted))
        with clear(self.settings.tracking), _quiet(), _unchecked_requirements():
            mlflow = quiet_mlflow()
            mlflow.set_tracking_uri(self.settings.tracking)
            mlflow.set_registry_uri(self.settings.tracking)
            with mlflow.start_run(
                experiment_id=self._experiment(spec.name), run_name=run_name, tags=_prefixed(tags)
            ) as run:
                logged = mlflow.sklearn.log_model(
                    pipeline,
                    name="model",
                    signature=_signature(spec, classes),
                    # Inferring them takes two hundred times as long as storing the model.
                    pip_requirements=_requirements(),
                    skops_trusted_types=list(needed),
                )
                run_id = run.info.run_id
                mlflow.log_params({key: str(value)[:500] for key, value in params.items()})
                mlflow.log_metrics({key: float(value) for key, value in metrics.items()})
                self.client.log_artifacts(run_id, str(files), naming.RUN_FOLDER)
                self.client.log_inputs(run_id, [_dataset(dataset)])
        folder = self._model_folder(logged.model_id)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        hashes = sha256(folder / PIPELINE), sha256(files), state_sha256(folder / PIPELINE)
        judged = files / JUDGED
        if not judged.exists():
            return Candidate(run_id, logged.model_id, *hashes, size, tags, spec.tags, needed)
        both = tuple(sorted({*needed, *types_in(judged.read_bytes())}))
        return Candidate(run_id, logged.model_id, *hashes, size, tags, spec.tags, both, sha256(judged))

    def register(self, model: str, candidate: Candidate) -> Version:
        """Make a version of a stored candidate, tagged PENDING.

        Raises:
            ArtifactError: the candidate was not stored completely.
        """
        with clear(self.settings.tracking):
            # MLflow registers a half-written model as READY; its own record of the model knows better.
            status = str(self.client.get_logged_model(candidate.model_id).status)
            if not status.endswith("READY"):
                raise ArtifactError(f"{model}: the candidate was not stored completely ({status}).", "Run it again.")
            self._ensure_model(model)
            stored = {
                "sha256": candidate.sha256,
                "files_sha256": candidate.files_sha256,
                "state_sha256": candidate.state_sha256,
                "size_mb": f"{candidate.size_mb:.3f}",
                "trusted": json.dumps(candidate.trusted),
                "model_id": candidate.model_id,
                **({"judged_sha256": candidate.judged_sha256} if candidate.judged_sha256 else {}),
            }
            created = self.client.create_model_version(
                registered_model(model),
                f"models:/{candidate.model_id}",
                run_id=candidate.run_id,
                model_id=candidate.model_id,
                await_creation_for=0,
                tags={**candidate.stated, STATUS: PENDING, **_prefixed({**candidate.tags, **stored})},
            )
        return self.get(model, int(created.version))

    def conclude(self, version: Version, verdict: Verdict, description: str, tags: Mapping[str, str]) -> Version:
        """Write what the gates said; the status last, for it says that the rest is there."""
        with clear(self.settings.tracking):
            self.client.update_model_version(registered_model(version.model), str(version.number), description)
            written = _prefixed({**tags, DESCRIBED: short(description)})
            for key, value in {**written, STATUS: status_of(verdict)}.items():
                self.client.set_model_version_tag(registered_model(version.model), str(version.number), key, value)
        return self.get(version.model, version.number)

    def tag(self, version: Version, key: str, value: str) -> None:
        """Set one of Evergreen's tags."""
        with clear(self.settings.tracking):
            self.client.set_model_version_tag(
                registered_model(version.model), str(version.number), naming.version_tag(key), value
            )

    def untag(self, version: Version, key: str) -> None:
        """Take one of Evergreen's tags away; one that is not there is no fault."""
        if key in version.tags.raw:
            with clear(self.settings.tracking):
                self.client.delete_model_version_tag(
                    registered_model(version.model), str(version.number), naming.version_tag(key)
                )

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias at a version: one transaction, never a moment without a target."""
        with clear(self.settings.tracking):
            self.client.set_registered_model_alias(registered_model(model), alias, str(number))

    def drop_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        with clear(self.settings.tracking):
            self.client.delete_registered_model_alias(registered_model(model), alias)

    def load(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The version's pipeline, its hash checked first.

        Raises:
            ArtifactError: it is not what was registered.
            ModelFileError: it holds a type that nobody vouches for: see `evergreen.registry.trust`.
        """
        return self._load(version, spec, self._pipeline_folder, version.tags.sha256, version.label, PIPELINE)

    def load_judged(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The fit of a version that the gates judged, its hash checked first; see `StoredVersions`.

        Raises:
            ArtifactError, ModelFileError: as in `load`.
        """
        expected = version.tags.judged_sha256
        if not expected:
            return self.load(version, spec)
        return self._load(version, spec, self._files_folder, expected, f"{version.label}, its judged fit", JUDGED)

    def _load(
        self,
        version: Version,
        spec: ModelSpec,
        find_folder: Callable[[Version], Path],
        expected: str,
        what: str,
        file: str,
    ) -> Pipeline:
        try:
            return load_pipeline(
                find_folder(version),
                expected,
                spec.trusted,
                what,
                lambda strange: self._require_vouched(version, spec, strange),
                file,
            )
        except ArtifactError:
            if version.tags.cleaned is None:
                raise
            raise ArtifactError(
                f"{version.label} was cleaned at {version.tags.cleaned[:16]}: its files are gone.",
                f"Choose another version: evergreen history {version.model}",
            ) from None

    def require_stored(self, version: Version) -> None:
        """Refuse a version of which something is gone, without opening what is there.

        Raises:
            LostError: its run, its pipeline or its files are gone.
        """
        self._pipeline_folder(version)
        self._files_folder(version)

    def require_trusted(self, version: Version, spec: ModelSpec) -> None:
        """Refuse a version that holds a type that nobody vouches for.

        It is not opened where its tag says what it holds; the file itself is looked at when it is loaded.

        Raises:
            ModelFileError: it does.
            ArtifactError: it has no such tag, and its files are not what was registered.
        """
        if version.tags.trusted is None:
            self.load(version, spec)
        else:
            self._require_vouched(version, spec, strange_types(version.tags.trusted, spec.trusted))

    def _require_vouched(self, version: Version, spec: ModelSpec, strange: Sequence[str]) -> None:
        promotions = Promotions(self.settings.lake_uri, version.model)
        require_vouched(version, strange, promotions, file=spec.file, trust_log=self.settings.trust_log)

    def require_intact(self, version: Version, spec: ModelSpec) -> None:
        """Load a version's fits and forget them: they are what was registered, and this Python can read them."""
        self.load(version, spec)
        if version.tags.judged_sha256:
            self.load_judged(version, spec)

    def files(self, version: Version) -> Path:
        """The folder of what was stored with the version, its hash checked first."""
        folder = self._files_folder(version)
        verify(folder, version.tags.files_sha256, version.label)
        return folder

    def enrich(self, run_id: str, metrics: Mapping[str, float], files: Mapping[str, Path]) -> None:
        """Add to a run what was known only after it ended: figures, and files by the folder they go to."""
        with clear(self.settings.tracking):
            for key, value in metrics.items():
                self.client.log_metric(run_id, key, value)
            for folder, file in files.items():
                self.client.log_artifact(run_id, str(file), folder)

    def sweep(self, model: str) -> int:
        """Mark what a killed process left as killed, under the model's lock; returns how many runs it left.

        A version that it left PENDING becomes INCONCLUSIVE: whoever takes its decision on judges it again.
        """
        with clear(self.settings.tracking):
            trained = self.client.get_experiment_by_name(experiment(model))
            if trained is None:
                return 0
            running = self.client.search_runs([trained.experiment_id], "attributes.status = 'RUNNING'")
            for run in running:
                self.client.set_terminated(run.info.run_id, status="KILLED")
            pending = self.client.search_model_versions(f"{_named(model)} and tags.`{STATUS}`='{PENDING}'")
        for version in pending:
            self.conclude(_version(version), Verdict.INCONCLUSIVE, "Its run ended before the gates were applied.", {})
        return len(running)

    def _experiment(self, model: str) -> str:
        experiment_ = self.client.get_experiment_by_name(experiment(model))
        if experiment_ is not None:
            return str(experiment_.experiment_id)
        place = self.settings.artifacts / experiment(model)
        place.mkdir(parents=True, exist_ok=True)
        return str(self.client.create_experiment(experiment(model), artifact_location=place.as_uri()))

    def _ensure_model(self, model: str) -> None:
        if not self.client.search_registered_models(_named(model)):
            self.client.create_registered_model(registered_model(model))

    def _model_folder(self, model_id: str) -> Path:
        with clear(self.settings.tracking):
            place = str(self.client.get_logged_model(model_id).artifact_location)
        return self.local(place, model_id)

    def _pipeline_folder(self, version: Version) -> Path:
        """The folder of a version's pipeline.

        Raises:
            LostError: it is gone.
        """
        place = self._stored_place(lambda: self.client.get_logged_model(version.model_id).artifact_location)
        if place is None:
            raise lost_version(version, f"MLflow has no stored model {version.model_id} any more")
        folder = self.local(place, version.label)
        if not (folder / PIPELINE).is_file():
            raise lost_version(version, f"{folder / PIPELINE} is missing")
        return folder

    def _files_folder(self, version: Version) -> Path:
        """The folder of what was stored beside the pipeline, in the version's run.

        Raises:
            LostError: it is gone.
        """
        place = self._stored_place(lambda: self.client.get_run(version.run_id).info.artifact_uri)
        if place is None:
            raise lost_version(version, "MLflow has no such run any more")
        folder = self.local(f"{place}/{naming.RUN_FOLDER}", version.label)
        if not folder.is_dir():
            raise lost_version(version, f"{folder} is missing")
        return folder

    def _stored_place(self, ask: Callable[[], Any]) -> str | None:
        """The URI of a folder that MLflow is asked for; None where what it belongs to is deleted."""
        from mlflow.exceptions import MlflowException

        with clear(self.settings.tracking):
            try:
                return str(ask())
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def local(self, uri: str, what: str) -> Path:
        """Stored files as a local folder: their own where they are local, else a copy."""
        from mlflow.exceptions import MlflowException

        if uri.startswith("file:"):
            return Path(url2pathname(urlparse(uri).path))
        try:
            found = quiet_mlflow().artifacts.download_artifacts(uri, tracking_uri=self.settings.tracking)
        except (MlflowException, OSError):
            raise ArtifactError(
                f"{what}: its stored files cannot be found.", "Restore them from a backup, or roll back."
            ) from None
        return Path(found)


def quiet_mlflow() -> Any:
    """MLflow without telemetry, progress bars, and what the environment says of another project."""
    prepare_environment(os.environ)
    import mlflow

    for name in ("mlflow", "alembic"):
        # MLflow logs the whole traceback of every database error before it raises it.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return mlflow


def load_mlflow(uri: str) -> None:
    """Import what opening a registry at this URI would import."""
    quiet_mlflow()
    if not uri.startswith(("http:", "https:")):
        for name in ("tracking", "model_registry"):
            import_module(f"mlflow.store.{name}.sqlalchemy_store")


def pages(search: Callable[..., Any], *words: Any) -> list[Any]:
    """Everything that a search finds; MLflow gives it page by page."""
    found: list[Any] = []
    token = None
    while True:
        page = search(*words, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _version(found: ModelVersion) -> Version:
    # Evergreen's own come last: one that a person gave the same name does not take its place.
    ordered = sorted(found.tags.items(), key=lambda item: item[0].startswith(naming.TAG_PREFIX))
    tags = {key.removeprefix(naming.TAG_PREFIX): value for key, value in ordered}
    model_id = tags.get("model_id") or str(found.source).rpartition("/")[2]
    made = moment(found.creation_timestamp)
    return Version(
        found.name,
        int(found.version),
        found.run_id or "",
        model_id,
        VersionTags.read(tags),
        found.description or "",
        made,
    )


def _named(model: str) -> str:
    """A model in a search of MLflow's."""
    return f"name='{registered_model(model)}'"


def moment(milliseconds: float) -> datetime:
    """A time of MLflow's (aware, UTC)."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def short(text: str) -> str:
    """16 hex digits of a text's hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    return {naming.version_tag(key): value for key, value in tags.items()}


def _signature(spec: ModelSpec, classes: Sequence[Any] | None) -> mlflow.models.ModelSignature:
    """Numbers as doubles, so that a missing one is accepted; categories as text."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [ColSpec("double", name) for name in spec.features.numeric]
    inputs += [ColSpec("string", name) for name in spec.features.categorical]
    output = "double" if classes is None else "long" if isinstance(classes[0], int) else "string"
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(output)]))


def _requirements() -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("scikit-learn", "pandas", "numpy", "skops")]


def _dataset(facts: Mapping[str, str]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=facts["name"],
        digest=facts["digest"],
        source_type="delta_table",
        source=json.dumps({"uri": facts["table"], "delta_table_version": facts["version"]}),
        profile=json.dumps({"num_rows": int(facts["rows"])}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow warns on every log that uv's environments have no pip; nothing follows from it."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow\.")
        yield


@contextlib.contextmanager
def _unchecked_requirements() -> Iterator[None]:
    """Keep MLflow from looking whether the requirements are installed: ours were read from what is.

    For a warning that nobody sees it lists every file of every installed package: half a second in each retraining.
    """
    quiet_mlflow()
    environment, name = import_module("mlflow.utils.environment"), "warn_dependency_requirement_mismatches"
    check = getattr(environment, name)
    setattr(environment, name, lambda _requirements: None)
    try:
        yield
    finally:
        setattr(environment, name, check)


@contextlib.contextmanager
def clear(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database and the disk complain about into one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise explained(uri, error) from None
