"""Where things live. Read once at the edge (command line, flow) and passed in.

What a model is stands in `models/`, what a run is in its flow parameters, when it runs in `prefect.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from evergreen.errors import EvergreenError

PROJECT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Every `EVERGREEN_*` variable, from the environment or from `.env` in the project.

    Attributes:
        home: all state: tables, landing folders, reports, registry, locks.
        models: the folder of model files.
        lake: where the Delta tables are, a path or an object store's URL; default `home/lake`.
        tracking_uri: MLflow's database; default SQLite in `home`.
        prefect_database: the local stack's Prefect database; default SQLite in `home`.
        redis: carries the events of the local stack's Prefect server; empty for its own memory.
        notify: who is told, by commas: URLs (http, https, mailto, mailtos), or `type/name` of blocks saved in Prefect.
        runner: what scores chunks beside each other: threads of the run's own process, or a Dask cluster.
        dask: the address of the Dask scheduler; empty for a cluster on this machine, for as long as the run.
        workers: how many chunks at a time, in threads or a cluster of the run's own; 0 is one a processor, at most 4.
        pages: address of `evergreen page --serve`, for links to a model's page; empty where it is not served.
    """

    model_config = SettingsConfigDict(env_prefix="EVERGREEN_", env_file=PROJECT / ".env", extra="ignore", frozen=True)

    home: Path = PROJECT / ".evergreen"
    models: Path = PROJECT / "models"
    lake: str = ""
    tracking_uri: SecretStr = Field(default=SecretStr(""))
    prefect_database: SecretStr = Field(default=SecretStr(""))
    redis: SecretStr = Field(default=SecretStr(""))
    notify: SecretStr = Field(default=SecretStr(""))
    runner: Literal["threads", "dask"] = "threads"
    dask: str = ""
    workers: NonNegativeInt = 0
    pages: str = ""

    @property
    def root(self) -> Path:
        """`home` as an absolute path; a relative one counts from the project."""
        return (PROJECT / self.home.expanduser()).resolve()

    @property
    def lake_uri(self) -> str:
        """Where the Delta tables are."""
        return self.lake or str(self.root / "lake")

    @property
    def tracking(self) -> str:
        """MLflow's tracking and registry URI. May hold a password: never print it."""
        return self.tracking_uri.get_secret_value() or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def landing(self) -> Path:
        """Relative source folders count from here."""
        return self.root / "landing"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps its artifacts."""
        return self.root / "artifacts"

    @property
    def locks(self) -> Path:
        """Locks as files, and who holds them."""
        return self.root / "locks"

    @property
    def stack(self) -> Path:
        """What the local stack remembers: its ports, its logs, which processes run."""
        return self.root / "stack"

    @property
    def prefect_home(self) -> Path:
        """Where Prefect keeps its profiles, stored results and by default its database."""
        return self.root / "prefect"

    @property
    def page_files(self) -> Path:
        """Pages of models that were written as files."""
        return self.root / "pages"

    @property
    def dossiers(self) -> Path:
        """Dossiers of versions."""
        return self.root / "dossiers"

    def reports(self, model: str) -> Path:
        """A model's drift reports."""
        return self.root / "reports" / model

    def quarantine(self, model: str) -> Path:
        """The refused batches of a model."""
        return self.root / "quarantine" / model

    def scratch(self, model: str) -> Path:
        """The unfinished parts of a model's scoring run; empty between runs."""
        return self.root / "scratch" / model

    def backtest(self, model: str) -> Path:
        """The stored results of a model's backtests."""
        return self.root / "backtest" / model

    def backtest_page(self, model: str) -> Path:
        """The page of a model's last backtest."""
        return self.backtest(model) / "backtest.html"


def load_settings() -> Settings:
    """Read the settings from the environment; a wrong one is a clear line.

    Raises:
        EvergreenError: a variable has a value that cannot be read or used.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "EVERGREEN_" + "_".join(str(part) for part in first["loc"]).upper()
        raise EvergreenError(f"{name}: {first['msg']}.", "Mend it in the environment or in .env.") from None
    # Delta Lake and MLflow take a folder for a URL, in which these have a meaning of their own.
    strange = [letter for letter in "#?%" if letter in str(settings.root)]
    if strange:
        raise EvergreenError(
            f"EVERGREEN_HOME: {settings.root} has a {strange[0]!r} in it, which tables cannot be kept under.",
            "Set EVERGREEN_HOME to a folder without it.",
        )
    return settings
