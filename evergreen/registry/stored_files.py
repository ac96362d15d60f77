"""Where the files of a version are: its pipeline, and what was stored beside it in its run."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from evergreen import naming
from evergreen.errors import ArtifactError
from evergreen.naming import DOWNLOADS_PREFIX
from evergreen.registry.artifacts import PIPELINE
from evergreen.registry.loss import lost_version
from evergreen.registry.mlflow_calls import clear, quiet_mlflow
from evergreen.registry.version import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The folders of one MLflow store, whose `tracking` URI is given; `client` opens it when it is first needed."""

    tracking: str
    client: Callable[[], MlflowClient]

    def model_folder(self, model_id: str) -> Path:
        """The folder of a stored model, by MLflow's id."""
        with clear(self.tracking):
            place = str(self.client().get_logged_model(model_id).artifact_location)
        return self.local(place, model_id)

    def pipeline_folder(self, version: Version) -> Path:
        """The folder of a version's pipeline.

        Raises:
            LostError: it is gone.
        """
        place = self._stored_place(lambda: self.client().get_logged_model(version.model_id).artifact_location)
        if place is None:
            raise lost_version(version, f"MLflow has no stored model {version.model_id} any more")
        folder = self.local(place, version.label)
        if not (folder / PIPELINE).is_file():
            raise lost_version(version, f"{folder / PIPELINE} is missing")
        return folder

    def files_folder(self, version: Version) -> Path:
        """The folder of what was stored beside the pipeline, in the version's run.

        Raises:
            LostError: it is gone.
        """
        place = self._stored_place(lambda: self.client().get_run(version.run_id).info.artifact_uri)
        if place is None:
            raise lost_version(version, "MLflow has no such run any more")
        folder = self.local(f"{place}/{naming.RUN_FOLDER}", version.label)
        if not folder.is_dir():
            raise lost_version(version, f"{folder} is missing")
        return folder

    def _stored_place(self, ask: Callable[[], Any]) -> str | None:
        """The URI of a folder that MLflow is asked for; None where what it belongs to is deleted."""
        from mlflow.exceptions import MlflowException

        with clear(self.tracking):
            try:
                return str(ask())
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def local(self, uri: str, what: str) -> Path:
        """Stored files as a local folder: their own where they are local, else a copy."""
        from mlflow.exceptions import MlflowException

        folder = folder_of(uri)
        if folder is not None:
            return folder
        try:
            place = mkdtemp(dir=_downloads())
            found = quiet_mlflow().artifacts.download_artifacts(uri, dst_path=place, tracking_uri=self.tracking)
        except (MlflowException, OSError):
            raise ArtifactError(
                f"{what}: its stored files cannot be found.", "Restore them from a backup, or roll back."
            ) from None
        return Path(found)


def folder_of(uri: str) -> Path | None:
    """The local folder that a URI names; None where it names another place."""
    return Path(url2pathname(urlparse(uri).path)) if uri.startswith("file:") else None


@cache
def _downloads() -> str:
    """The folder of what this process downloads; it goes with the process, unlike one that MLflow would make."""
    folder = mkdtemp(prefix=DOWNLOADS_PREFIX)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
