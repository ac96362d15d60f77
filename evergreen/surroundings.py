"""What another project's shell, a proxy or a bare machine leave around a process, made harmless before it works."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

FOREIGN = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ACTIVE_MODEL_ID"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_REGISTRY_STORE_URI"),
    *("MLFLOW_BACKEND_STORE_URI", "MLFLOW_READ_REPLICA_BACKEND_STORE_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT"),
    *("MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_STATIC_PREFIX", "MLFLOW_ARTIFACTS_ONLY"),
)
"""MLflow would write into another project's run, ask its server or open its database, whatever it is told here.

`EVERGREEN_TRACKING_URI` is what says where the registry is."""

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # With a tracking server it would print the address of a run among the output of a command.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A tracking server that does not answer: MLflow's own seven retries take four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    # Of the processes that this one starts: a file's encoding does not depend on the locale.
    "PYTHONUTF8": "1",
}
"""Nothing is told to anybody, and nothing waits for long; what a user has set stands."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def prepare_environment(environ: MutableMapping[str, str]) -> None:
    """Prepare the environment of this process, and so of those that it starts; doing it again changes nothing."""
    for name in FOREIGN:
        environ.pop(name, None)
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)
    if any(name.lower() in _PROXIES for name in environ):
        # Requests to our own servers went to the proxy, which cannot reach them, and waited there.
        known = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        hosts = [host.strip() for host in known.split(",") if host.strip()]
        direct = ",".join([*hosts, *(host for host in _LOOPBACK if host not in hosts)])
        environ["no_proxy"] = environ["NO_PROXY"] = direct


def set_home_folder(environ: MutableMapping[str, str], folder: Path) -> None:
    """Set HOME to a folder where there is none: Prefect and MLflow cannot be imported without one.

    A user id without a name has no other, and a container may start a process without it.
    """
    try:
        Path.home()
    except RuntimeError:
        environ["HOME"] = str(folder)


def make_home(home: Path) -> None:
    """Create the state folder, for nobody but its owner: it holds rows, models and logs. One that is there stays so.

    So is every folder above it that has to be made: the home of an environment lies in a home.

    Raises:
        OSError: it cannot be created.
    """
    above = [folder for folder in reversed(home.parents) if not folder.exists()]
    for folder in (*above, home):
        folder.mkdir(exist_ok=True, mode=0o700)
