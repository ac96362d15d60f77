"""A client of MLflow for the registry of another environment: it reads, and refuses by name whatever would write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from evergreen import naming
from evergreen.errors import ForeignError, RegistryError
from evergreen.registry.database import masked, probe
from evergreen.registry.mlflow_calls import clear, quiet_mlflow
from evergreen.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_READS = ("get_", "search_", "list_", "download_")
"""The calls of MLflow's client that change nothing begin with these."""


def reading_client(settings: Settings) -> MlflowClient:
    """A client for the registry of an environment that is only read; nothing is made where there is none.

    Raises:
        RegistryError: there is no registry, or it cannot be read.
    """
    uri = settings.tracking
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    if uri.startswith("sqlite:") and not path.is_file():
        raise RegistryError(
            f"The environment {settings.environment or naming.UNNAMED} has no model registry at {masked(uri)}.",
            "Set EVERGREEN_TRACKING_URI, or EVERGREEN_HOME, to what the two environments share.",
        )
    with clear(uri):
        probe(uri)
        client = quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
    return cast("MlflowClient", _Reading(client, settings.environment))


class _Reading:
    """The reading calls of a client."""

    def __init__(self, client: MlflowClient, environment: str) -> None:
        self._client, self._environment = client, environment

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_READS):
            return getattr(self._client, name)

        def refuse(*words: object, **_more: object) -> NoReturn:
            where = f" in {words[0]}" if words and isinstance(words[0], str) else ""
            raise ForeignError.of(f"What MLflow's {name} would change{where}", self._environment)

        return refuse
