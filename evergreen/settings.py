"""The settings of one installation: where its state is, and what it runs with.

They are read once, at the edge (a command or a flow), and passed in. Other facts have their own places: `models/` says
what a model is, the parameters of a flow what a run does, `prefect.yaml` when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from evergreen import naming
from evergreen.errors import EvergreenError, ForeignError

PROJECT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Every `EVERGREEN_*` variable, from the environment or from `.env` in the project.

    Attributes:
        environment: whose state and names these are, such as `staging`; empty for an installation that shares nothing.
        sees: the environments, separated by commas, that this one may read.
        home: the folder of state folders; see `root`.
        models: the folder of model files.
        lake: the folder or object store URL of the Delta tables, shared by environments; by default one in the state
            folder.
        tracking_uri: MLflow's database or tracking server; by default SQLite in the state folder.
        artifacts: the folder or object store URL where MLflow stores the files of versions; by default
            `artifacts` in the state folder, and where `tracking_uri` is a server, the place that it says.
        reports: the folder or object store URL of drift reports and of batches that were refused as a whole, shared by
            environments; by default the state folder.
        prefect_database: the local stack's Prefect database; by default SQLite in the state folder.
        redis: URL of the Redis that carries the events of the local stack's Prefect server; empty for memory.
        notify: who gets alerts, separated by commas: URLs (http, https, mailto, mailtos), or `type/name` of blocks
            that are saved in Prefect.
        runner: where scoring, the fits of a search and a backtest are done in parallel: `threads`, on this machine
            (chunks in threads of the run's process, a backtest in processes, a fit in one), or `dask`, on a cluster.
        dask: the address of the Dask scheduler; empty for a cluster on this machine that lives as long as the run.
        workers: how many chunks, or jobs of a backtest, are done at a time on this machine, and the workers of a
            cluster of the run's own; 0 means one for each processor, at most 4.
        parallel_runs: how many flow runs the worker of `evergreen up` has at a time; 0 means one for each processor,
            and at least 4, so that runs that take hours leave room for those that watch.
        serving_keys: lines of a file of API keys (`NAME SHA256 [REQUESTS_PER_SECOND]`), also separated by commas, for a
            server in a container; they count beside those of the file.
        serving_access: who asks a client for its key when the server listens beyond this machine: the server, or the
            platform in front of it, such as SageMaker; only then it starts without a key.
        trust_log: the types that a version needed when it was registered are accepted at its loading if the promotion
            log has them; otherwise only those that the model file trusts.
        pages: the address of `evergreen page --serve`, for links to a model's page; empty if it is not served.
        openlineage: where OpenLineage run events go: a file of JSON lines, whose path starts at the project, or the
            http(s) URL of a collector. Empty for no events.
        logs: how log lines are written: as text for a person, or each as one JSON object (`json`).
    """

    read_only: ClassVar[bool] = False
    """Whether these are another environment's, which this one may only read."""

    model_config = SettingsConfigDict(env_prefix="EVERGREEN_", env_file=PROJECT / ".env", extra="ignore", frozen=True)

    environment: str = ""
    sees: str = ""
    home: Path = PROJECT / ".evergreen"
    models: Path = PROJECT / "models"
    lake: str = ""
    tracking_uri: SecretStr = Field(default=SecretStr(""))
    artifacts: str = ""
    reports: str = ""
    prefect_database: SecretStr = Field(default=SecretStr(""))
    redis: SecretStr = Field(default=SecretStr(""))
    notify: SecretStr = Field(default=SecretStr(""))
    runner: Literal["threads", "dask"] = "threads"
    dask: str = ""
    workers: NonNegativeInt = 0
    parallel_runs: NonNegativeInt = 0
    pages: str = ""
    openlineage: SecretStr = Field(default=SecretStr(""))
    logs: Literal["text", "json"] = "text"
    serving_keys: SecretStr = Field(default=SecretStr(""))
    serving_access: Literal["keys", "platform"] = "keys"
    trust_log: bool = True

    @property
    def seen(self) -> tuple[str, ...]:
        """The environments that this one may read."""
        return tuple(name for each in self.sees.split(",") if (name := each.strip()))

    def see(self, environment: str) -> Settings:
        """The settings by which another environment is read; its own where it is this one.

        `nameless` is the environment without a name.

        Raises:
            EvergreenError: EVERGREEN_SEES does not name it.
        """
        if environment == (self.environment or naming.UNNAMED):
            return self
        if environment not in self.seen:
            raise EvergreenError(
                f"EVERGREEN_SEES does not name the environment {environment[:60]!a}; it names "
                f"{', '.join(self.seen) or 'none'}.",
                f"Set EVERGREEN_SEES={','.join((*self.seen, environment[:60]))} to read it.",
            )
        name = "" if environment == naming.UNNAMED else environment
        return SeenSettings.model_construct(**dict(self) | {"environment": name, "sees": ""})

    @property
    def home_folder(self) -> Path:
        """`home` as an absolute path; a relative path starts at the project."""
        return (PROJECT / self.home.expanduser()).resolve()

    @property
    def root(self) -> Path:
        """The state folder, `home` or the environment's folder in it: tables, landing folders, reports, locks."""
        return Path(naming.place(str(self.home_folder), self.environment))

    @property
    def lake_uri(self) -> str:
        """The folder or URL of the environment's Delta tables."""
        return naming.place(self.lake, self.environment) if self.lake else str(self.root / "lake")

    @property
    def tracking(self) -> str:
        """MLflow's tracking and registry URI. It may hold a password: never print it."""
        return self.tracking_uri.get_secret_value() or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def landing(self) -> Path:
        """The folder at which relative source folders start."""
        return self.root / "landing"

    @property
    def artifact_folder(self) -> Path:
        """The folder in which MLflow stores the files of versions, where nothing else is set."""
        return self.root / "artifacts"

    @property
    def artifact_uri(self) -> str | None:
        """Where MLflow stores the files of versions; None where its tracking server says it."""
        if "://" in self.artifacts:
            return self.artifacts.rstrip("/")
        if self.artifacts:
            return (PROJECT / Path(self.artifacts).expanduser()).resolve().as_uri()
        return None if self.tracking.startswith(("http:", "https:")) else self.artifact_folder.as_uri()

    @property
    def report_place(self) -> str:
        """The folder or URL of drift reports and of batches that were refused as a whole; see `KeptFiles`."""
        if not self.reports:
            return str(self.root)
        place = self.reports if "://" in self.reports else str((PROJECT / Path(self.reports).expanduser()).resolve())
        return naming.place(place, self.environment).rstrip("/")

    @property
    def locks(self) -> Path:
        """The folder of the lock files."""
        return self.root / "locks"

    @property
    def stack(self) -> Path:
        """The folder of the local stack: its ports, its logs, the process ids of its services."""
        return self.root / "stack"

    @property
    def prefect_home(self) -> Path:
        """The folder in which Prefect stores its profiles, its results and, by default, its database."""
        return self.root / "prefect"

    @property
    def page_files(self) -> Path:
        """The folder of model pages that were written as files."""
        return self.root / "pages"

    @property
    def dossiers(self) -> Path:
        """The folder of the dossiers of versions."""
        return self.root / "dossiers"

    def scratch(self, model: str) -> Path:
        """The folder of the unfinished parts of a model's scoring run; it is empty between runs."""
        return self.root / "scratch" / model

    def serving(self, model: str) -> Path:
        """The folder of the verified copy of the version of a model that is served."""
        return self.root / "serving" / model

    @property
    def serving_keys_file(self) -> Path:
        """The file of the names and hashes of the API keys of the server."""
        return self.root / "serving" / "keys.txt"

    @property
    def images(self) -> Path:
        """The folder of what `evergreen image` writes."""
        return self.root / "images"

    def backtest(self, model: str) -> Path:
        """The folder of the stored results of a model's backtests."""
        return self.root / "backtest" / model

    def backtest_page(self, model: str) -> Path:
        """The page of a model's last backtest."""
        return self.backtest(model) / "backtest.html"


class SeenSettings(Settings):
    """The settings of another environment, to read it: whatever would be written there is refused by name.

    What a command writes is asked for by its folder. A page of a model that is seen is written among our own.
    """

    read_only = True

    @property
    def lake_uri(self) -> str:
        """The folder or URL of the environment's Delta tables, which are only read."""
        return naming.ForeignPlace(super().lake_uri, self.environment)

    @property
    def report_place(self) -> str:
        """The folder or URL of the environment's reports, which are only read."""
        return naming.ForeignPlace(super().report_place, self.environment)

    def __getattribute__(self, name: str) -> Any:
        """A setting; a folder that is there to be written to is refused."""
        folder = _WRITTEN.get(name)
        if folder is not None:
            raise ForeignError.of(f"The folder {self.root / folder}", self.environment)
        return super().__getattribute__(name)


_WRITTEN: Mapping[str, str] = {
    "locks": "locks",
    "stack": "stack",
    "prefect_home": "prefect",
    "page_files": "pages",
    "dossiers": "dossiers",
    "images": "images",
    "scratch": "scratch",
    "serving": "serving",
    "backtest": "backtest",
}
"""The folders that are written to, by the attribute of the settings that names them."""


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        EvergreenError: a variable has a value that cannot be used.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "EVERGREEN_" + "_".join(str(part) for part in first["loc"]).upper()
        raise EvergreenError(f"{name}: {first['msg']}.", "Fix it in the environment or in .env.") from None
    _require_environments(settings)
    place = settings.openlineage.get_secret_value()
    if "://" in place and not place.startswith(("http://", "https://")):
        scheme = place.partition(":")[0]
        raise EvergreenError(
            f"EVERGREEN_OPENLINEAGE: events go to a file or to a collector over http(s), not to {scheme}.",
            "Set it to a path such as lineage.jsonl, or to a URL such as https://collector:5000.",
        )
    # Delta Lake and MLflow read a folder as a URL, in which these characters have a meaning of their own.
    reserved = [letter for letter in "#?%" if letter in str(settings.root)]
    if reserved:
        raise EvergreenError(
            f"EVERGREEN_HOME: {settings.root} has a {reserved[0]!r} in it, which Delta Lake and MLflow cannot use.",
            f"Set EVERGREEN_HOME to a path without {reserved[0]!r}.",
        )
    return settings


def _require_environments(settings: Settings) -> None:
    form = (
        "a lower-case letter, then lower-case letters and digits, and no word that the names of deployments begin with"
    )
    if settings.environment and not naming.is_environment(settings.environment):
        raise EvergreenError(
            f"EVERGREEN_ENVIRONMENT: {settings.environment[:60]!a} is no name of an environment.",
            f"Set it to a name such as dev, staging or prod: {form}.",
        )
    for name in settings.seen:
        if name != naming.UNNAMED and not naming.is_environment(name):
            raise EvergreenError(
                f"EVERGREEN_SEES: {name[:60]!a} is no name of an environment.",
                f"Name environments such as prod, separated by commas: {form}.",
            )
