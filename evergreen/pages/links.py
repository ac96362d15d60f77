"""Where a page's links go: MLflow, Prefect, Evidently's reports, and the page itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from evergreen import naming
from evergreen.settings import Settings


@dataclass(frozen=True, slots=True)
class PageLinks:
    """What a page can link to.

    Attributes:
        prefect: address of Prefect's UI; empty where it is not known.
        mlflow: that of MLflow's.
        environment: whose model it shows.
        folder: where the page lies as a file, for links to other files count from there; None for a page that is
            served.
    """

    prefect: str = ""
    mlflow: str = ""
    environment: str = ""
    folder: Path | None = None

    def run(self, flow_run: str) -> str:
        """A flow run in Prefect's UI; empty where there is none to show."""
        return f"{self.prefect}/runs/flow-run/{quote(flow_run)}" if self.prefect and flow_run else ""

    def version(self, model: str, number: int | None) -> str:
        """A version in MLflow's UI; empty where there is none to show."""
        return (
            f"{self.mlflow}/#/models/{naming.registered_model(self.environment, model)}/versions/{number}"
            if self.mlflow and number
            else ""
        )

    def report(self, model: str, decision: str, path: object) -> str:
        """Evidently's page of a drift decision; empty where the decision has none, or it is gone."""
        if not isinstance(path, str) or not Path(path).is_file():
            return ""
        if self.folder is None:
            return f"/report/{model}/{quote(decision)}"
        return quote(Path(os.path.relpath(path, self.folder)).as_posix())


def page_file(settings: Settings, model: str, seen: str = "") -> Path:
    """Where a model's page is written by default; `seen` is the other environment whose model it shows."""
    return settings.page_files / naming.page_file(model, seen)


def page_url(settings: Settings, model: str) -> str:
    """A model's page: on the server of EVERGREEN_PAGES, else the file that was written last; empty without either."""
    if settings.pages:
        return f"{settings.pages.rstrip('/')}/{model}"
    place = page_file(settings, model)
    return place.as_uri() if place.is_file() else ""


def shown_url(url: str) -> str:
    """An address as it may be shown: without the password that may be in it; empty unless it is http."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
