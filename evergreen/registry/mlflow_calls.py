"""How MLflow is asked: quietly, page by page, and with what it complains about as one line."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from evergreen.registry.database import explained
from evergreen.surroundings import prepare_environment


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


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """MLflow warns on every log that uv's environments have no pip; nothing follows from it."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow\.")
        yield


@contextlib.contextmanager
def clear(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database and the disk complain about into one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise explained(uri, error) from None
