"""Where a page's links go: MLflow, Prefect, Evidently's reports, and the page itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from evergreen import naming
from evergreen.settings import Settings
from evergreen.storage.kept_files import KeptFiles, kept_name, show_kept


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

    def report(self, model: str, decision: str, stored: str, files: KeptFiles) -> str:
        """Evidently's page of a drift decision, stored among `files`; empty where there is none, or it is gone.

        One in an object store is not asked for, and a page that is a file cannot show it.
        """
        name = kept_name(stored)
        path = files.path(name) if name else None
        if name is None or (path is not None and not path.is_file()):
            return ""
        if self.folder is None:
            return _served_report(model, decision)
        return quote(Path(os.path.relpath(path, self.folder)).as_posix()) if path else ""


def page_file(settings: Settings, model: str, seen: str = "") -> Path:
    """Where a model's page is written by default; `seen` is the other environment whose model it shows."""
    return settings.page_files / naming.page_file(model, seen)


def page_url(settings: Settings, model: str) -> str:
    """A model's page: on the server of EVERGREEN_PAGES, else the file that was written last; empty without either."""
    if settings.pages:
        return f"{settings.pages.rstrip('/')}/{model}"
    place = page_file(settings, model)
    return place.as_uri() if place.is_file() else ""


def report_url(settings: Settings, model: str, decision: str | None, stored: str | None) -> str:
    """Evidently's page of a decision: on the server of EVERGREEN_PAGES, else where it is stored; empty without one."""
    if not stored or not decision:
        return ""
    if settings.pages:
        return settings.pages.rstrip("/") + _served_report(model, decision)
    place = show_kept(settings.report_place, stored)
    return place if "://" in place else Path(place).as_uri()


def _served_report(model: str, decision: str) -> str:
    return f"/report/{model}/{quote(decision)}"


def shown_url(url: str) -> str:
    """An address as it may be shown: without the password that may be in it; empty unless it is http."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
