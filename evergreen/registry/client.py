"""The model registry, a database of MLflow's.

Versions are found by the decision that made them, so that a crash never registers one twice. Aliases are moved with one
write. What MLflow and its database complain about becomes one line.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen import naming
from evergreen.errors import ArtifactError, ForeignError, RegistryError
from evergreen.ledger.promotions import Promotions
from evergreen.registry.artifacts import (
    JUDGED,
    PIPELINE,
    load_pipeline,
    packed,
    sha256,
    size_mb,
    state_sha256,
    types_in,
    verify,
)
from evergreen.registry.database import probe
from evergreen.registry.mlflow_calls import clear, pages, quiet_mlflow, unchecked_requirements, without_warnings
from evergreen.registry.mlflow_entities import (
    dataset_of,
    named,
    prefixed,
    requirements,
    short,
    signature_of,
    version_of,
)
from evergreen.registry.model_registry import ModelRegistry
from evergreen.registry.moved_home import require_own_places
from evergreen.registry.reading_client import reading_client
from evergreen.registry.stored_files import StoredFiles, folder_of
from evergreen.registry.trust import require_vouched, strange_types
from evergreen.registry.version import (
    DESCRIBED,
    PENDING,
    STATUS,
    Candidate,
    Version,
    status_of,
)
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.locks import machine_locks
from evergreen.surroundings import make_home
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sklearn.pipeline import Pipeline

_OPENING_SECONDS = 600.0
"""How long a process waits for others that open the registry."""
_MODELS_A_PAGE = 1_000
"""The most that MLflow gives at once."""


class Registry(ModelRegistry):
    """One MLflow tracking and registry database, opened when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def client(self) -> MlflowClient:
        """A client of a database that is there, of the right version and writable."""
        uri = self.settings.tracking
        if self.settings.read_only:
            return reading_client(self.settings)
        with contextlib.suppress(OSError):
            # What is wrong with the folder, the lock says.
            make_home(self.settings.root)
        locks, now = machine_locks(self.settings), datetime.now(UTC)
        # MLflow's schema is made by one process at a time: two at once leave a database that never opens again.
        with clear(uri), locks.hold("registry", "opening", wait=_OPENING_SECONDS, now=now):
            probe(uri)
            require_own_places(self.settings)
            client: MlflowClient = quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_registered_models(max_results=1)
            return client

    @cached_property
    def stored(self) -> StoredFiles:
        """Where the files of its versions are."""
        return StoredFiles(self.settings.tracking, lambda: self.client)

    def registered(self, model: str) -> str:
        """What a model of this environment is called in MLflow."""
        return naming.registered_model(self.settings.environment, model)

    def experiment(self, model: str) -> str:
        """What the experiment of a model of this environment is called in MLflow."""
        return naming.experiment(self.settings.environment, model)

    def experiment_id(self, model: str) -> str:
        """MLflow's id of a model's experiment, which is made where there is none."""
        experiment_ = self.client.get_experiment_by_name(self.experiment(model))
        if experiment_ is not None:
            return str(experiment_.experiment_id)
        root = self.settings.artifact_uri
        # A folder of this machine means nothing to the others that share a tracking server, which has a place for all.
        place = None if root is None else f"{root}/{self.experiment(model)}"
        if place is not None and (folder := folder_of(place)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return str(self.client.create_experiment(self.experiment(model), artifact_location=place))

    def _model_of(self, registered: str) -> str | None:
        return naming.model_of(self.settings.environment, registered)

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version that an alias names; None where it names none."""
        from mlflow.exceptions import MlflowException

        with clear(self.settings.tracking):
            try:
                return version_of(model, self.client.get_model_version_by_alias(self.registered(model), alias))
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
                return version_of(model, self.client.get_model_version(self.registered(model), str(number)))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def named_by(self, alias: str) -> Mapping[str, int]:
        """The version that an alias names, by model, in one query for all of them."""
        with clear(self.settings.tracking):
            stored = pages(self._search_models)
        return {
            model: int(each.aliases[alias])
            for each in stored
            if alias in each.aliases and (model := self._model_of(each.name)) is not None
        }

    def _search_models(self, page_token: str | None = None) -> Any:
        return self.client.search_registered_models(max_results=_MODELS_A_PAGE, page_token=page_token)

    def versions(self, model: str) -> tuple[Version, ...]:
        """All of them, oldest first."""
        with clear(self.settings.tracking):
            stored = pages(self.client.search_model_versions, named(self.registered(model)))
        return tuple(sorted((version_of(model, each) for each in stored), key=lambda version: version.number))

    def find(self, model: str, decision_id: str) -> Version | None:
        """The version that a decision made; None where it made none yet."""
        with clear(self.settings.tracking):
            found = self.client.search_model_versions(
                f"{named(self.registered(model))} and tags.`{naming.version_tag('decision_id')}`='{decision_id}'",
                order_by=["version_number DESC"],
            )
        return version_of(model, found[0]) if found else None

    def tagged(self, key: str) -> tuple[Version, ...]:
        """The versions of all models that have one of Evergreen's tags, in one query.

        To ask each of twenty models for its challenger takes 40 ms; this takes 8.
        """
        with clear(self.settings.tracking):
            stored = pages(self.client.search_model_versions, f"tags.`{naming.version_tag(key)}` LIKE '%'")
        return tuple(version_of(model, each) for each in stored if (model := self._model_of(each.name)) is not None)

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
        if self.settings.read_only:
            raise ForeignError.of(f"The experiment {self.experiment(spec.name)}", self.settings.environment)
        needed = types_in(packed(pipeline, spec.file, spec.trusted))
        with clear(self.settings.tracking), without_warnings(), unchecked_requirements():
            mlflow = quiet_mlflow()
            mlflow.set_tracking_uri(self.settings.tracking)
            mlflow.set_registry_uri(self.settings.tracking)
            with mlflow.start_run(
                experiment_id=self.experiment_id(spec.name), run_name=run_name, tags=prefixed(tags)
            ) as run:
                logged = mlflow.sklearn.log_model(
                    pipeline,
                    name="model",
                    signature=signature_of(spec, classes),
                    # Inferring them takes two hundred times as long as storing the model.
                    pip_requirements=requirements(),
                    skops_trusted_types=list(needed),
                )
                run_id = run.info.run_id
                mlflow.log_params({key: str(value)[:500] for key, value in params.items()})
                mlflow.log_metrics({key: float(value) for key, value in metrics.items()})
                self.client.log_artifacts(run_id, str(files), naming.RUN_FOLDER)
                self.client.log_inputs(run_id, [dataset_of(dataset)])
        folder = self.stored.model_folder(logged.model_id)
        size = size_mb(folder)
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
            # MLflow looks a logged model up where the process says, not where the client does.
            quiet_mlflow().set_tracking_uri(self.settings.tracking)
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
                self.registered(model),
                f"models:/{candidate.model_id}",
                run_id=candidate.run_id,
                model_id=candidate.model_id,
                await_creation_for=0,
                tags={**candidate.stated, STATUS: PENDING, **prefixed({**candidate.tags, **stored})},
            )
        return self.get(model, int(created.version))

    def withdraw(self, version: Version) -> None:
        """Delete a version that nobody has judged; its run and its files stay."""
        with clear(self.settings.tracking):
            self.client.delete_model_version(self.registered(version.model), str(version.number))

    def conclude(self, version: Version, verdict: Verdict, description: str, tags: Mapping[str, str]) -> Version:
        """Write what the gates said; the status last, for it says that the rest is there."""
        with clear(self.settings.tracking):
            self.client.update_model_version(self.registered(version.model), str(version.number), description)
            written = prefixed({**tags, DESCRIBED: short(description)})
            for key, value in {**written, STATUS: status_of(verdict)}.items():
                self.client.set_model_version_tag(self.registered(version.model), str(version.number), key, value)
        return self.get(version.model, version.number)

    def tag(self, version: Version, key: str, value: str) -> None:
        """Set one of Evergreen's tags."""
        with clear(self.settings.tracking):
            self.client.set_model_version_tag(
                self.registered(version.model), str(version.number), naming.version_tag(key), value
            )

    def untag(self, version: Version, key: str) -> None:
        """Take one of Evergreen's tags away; one that is not there is no fault."""
        if key in version.tags.raw:
            with clear(self.settings.tracking):
                self.client.delete_model_version_tag(
                    self.registered(version.model), str(version.number), naming.version_tag(key)
                )

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias at a version: one transaction, never a moment without a target."""
        with clear(self.settings.tracking):
            self.client.set_registered_model_alias(self.registered(model), alias, str(number))

    def drop_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        with clear(self.settings.tracking):
            self.client.delete_registered_model_alias(self.registered(model), alias)

    def load(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The version's pipeline, its hash checked first.

        Raises:
            ArtifactError: it is not what was registered.
            ModelFileError: it holds a type that nobody vouches for: see `evergreen.registry.trust`.
        """
        return self._load(version, spec, self.stored.pipeline_folder, version.tags.sha256, version.label, PIPELINE)

    def load_judged(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The fit of a version that the gates judged, its hash checked first; see `StoredVersions`.

        Raises:
            ArtifactError, ModelFileError: as in `load`.
        """
        expected = version.tags.judged_sha256
        if not expected:
            return self.load(version, spec)
        return self._load(version, spec, self.stored.files_folder, expected, f"{version.label}, its judged fit", JUDGED)

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
        self.stored.pipeline_folder(version)
        self.stored.files_folder(version)

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
        folder = self.stored.files_folder(version)
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
            trained = self.client.get_experiment_by_name(self.experiment(model))
            if trained is None:
                return 0
            running = self.client.search_runs([trained.experiment_id], "attributes.status = 'RUNNING'")
            for run in running:
                self.client.set_terminated(run.info.run_id, status="KILLED")
            pending = self.client.search_model_versions(
                f"{named(self.registered(model))} and tags.`{STATUS}`='{PENDING}'"
            )
        for version in pending:
            self.conclude(
                version_of(model, version), Verdict.INCONCLUSIVE, "Its run ended before the gates were applied.", {}
            )
        return len(running)

    def _ensure_model(self, model: str) -> None:
        if not self.client.search_registered_models(named(self.registered(model))):
            self.client.create_registered_model(self.registered(model))
