"""Every name that leaves the process: in MLflow, Prefect, the lake, Redis and temporary folders.

Each name is made here and nowhere else, so that whoever writes it and whoever looks it up use the same rule. The names
of events are in `events.py` and the folders of the state in `settings.py`. A label that nobody looks up, such as that
of a task run, stays with its step.

Models are named in lower case with underscores (`bike_demand`).

Several environments may share a server, a registry, a lake and a Redis. Every name that they could meet in takes the
environment as its first argument, so that whoever makes one says whose it is. The empty environment's names are those
without it; no two environments have a name in common, nor is one's a prefix or a wildcard's match of another's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Literal

Table = Literal[
    "observations",
    "labels_waiting",
    "quarantine",
    "requests",
    "comparisons",
    "predictions",
    "decisions",
    "drift",
    "promotions",
    "runs",
    "leases",
]
"""The tables of a model in the lake."""

TAG_PREFIX = "evergreen."
"""The tags of a version that Evergreen sets begin with this; a person's tags do not."""
COMMIT_PREFIX = "evergreen."
"""What Evergreen stores with a commit of a table begins with this."""
TURN = "evergreen.turn"
"""The application of Delta's transactions whose commits follow one another, each after a look at the former."""
RUN_FOLDER = "evergreen"
"""The folder among the artifacts of an MLflow run for what is stored beside the pipeline."""
ADOPTED_FOLDER = "adopted"
"""The folder among them for what another environment says of a version that was carried over."""
DEPLOY_FOLDER_PREFIX = "evergreen-deploy-"
"""The temporary folder for the part of prefect.yaml that has to be deployed begins with this."""
DOWNLOADS_PREFIX = "evergreen-files-"
"""The temporary folder of a process for files of versions that are stored elsewhere begins with this."""
METRIC_PREFIX = "evergreen_"
"""The series that Prometheus is told begin with this."""
DASHBOARD_TAG = "evergreen"
"""Grafana finds the dashboards by this, to link one from another."""
FLEET_DASHBOARD = "evergreen-fleet"
MODEL_DASHBOARD = "evergreen-model"
"""The dashboards of all models and of one, in their addresses."""
REPOSITORY = "https://github.com/your-organisation/your-clone"
"""Where the code is, as prefect.yaml names it: a team that clones Evergreen puts its own address here."""
LINEAGE_FACET = "evergreen_model"
"""The key of the facet of our own in OpenLineage events, which says model, version, decision and digest."""
LOGGER = "evergreen"
"""The logger of what a process says as a whole, and of what commands print where logs are JSON."""
PART_PREFIX = ".part-"
"""A file or folder that is being written begins with this until it is whole."""


BACKUP_MANIFEST = "manifest.json"
BACKUP_SEAL = "manifest.sha256"
"""What a backup holds and where it is from, and the hash of that file: a folder without them is no backup."""
BACKUP_LAKE, BACKUP_FILES, BACKUP_REPORTS, BACKUP_LANDING = "lake", "artifacts", "kept", "landing"
"""The folders of a backup: tables, the files of versions, reports and refused batches, landing folders."""
BACKUP_DATABASE, BACKUP_DUMP = "registry/mlflow.db", "registry/mlflow.dump"
"""The registry in a backup: an SQLite file, or what pg_dump wrote."""


UNNAMED = "nameless"
"""What EVERGREEN_SEES calls the environment without a name."""
RESERVED = frozenset(
    "adopt approve backtest canary drift gates ingest loss monitor page performance promote reconcile reject retrain "
    f"rollback runs score scoring search shadow skew {UNNAMED}".split()
)
"""What a name without an environment may begin with, and what it is called: no environment has such a name."""


class ForeignPlace(str):
    """The folder or URL of what another environment owns: to be read, and not written."""

    __slots__ = ("environment",)

    environment: str

    def __new__(cls, place: str, environment: str) -> ForeignPlace:
        """A place of an environment."""
        made = super().__new__(cls, place)
        made.environment = environment
        return made

    def __reduce__(self) -> tuple[type[ForeignPlace], tuple[str, str]]:
        """Pickle with the environment: a copy in another process is not to be written either."""
        return type(self), (str(self), self.environment)


_CLOUD_LENGTH = 32
"""Azure ML has the shortest names of endpoints."""
_ENVIRONMENT = re.compile(r"[a-z][a-z0-9]*")
_PLACE = "environment-"


def is_environment(name: str) -> bool:
    """Whether an environment may have this name: without a dash, for a dash ends it in the names of its things."""
    return _ENVIRONMENT.fullmatch(name) is not None and name not in RESERVED


def owner(environment: str) -> str:
    """What marks the things of an environment on a shared server, as a whole word."""
    return f"evergreen-{environment}" if environment else "evergreen"


def place(parent: str, environment: str) -> str:
    """The folder or URL of an environment below one that several share; no model's folder has a dash."""
    return "/".join([parent.rstrip("/"), f"{_PLACE}{environment}"]) if environment else parent


def is_place(folder: str) -> bool:
    """Whether a folder below a shared one is an environment's, by its name: no model's."""
    return folder.startswith(_PLACE)


def registered_model(environment: str, model: str) -> str:
    """A model in MLflow's registry."""
    return _of(environment, model)


def model_of(environment: str, registered: str) -> str | None:
    """The model that is registered under a name; None where another environment, or a person, registered it."""
    model = registered.removeprefix(_of(environment, "")) if registered.startswith(_of(environment, "")) else None
    return None if model is None or "-" in model else model


def experiment(environment: str, model: str) -> str:
    """The MLflow experiment of a model's training runs, and the folder of its artifacts."""
    return _of(environment, model)


def training_run(decision_id: str) -> str:
    """The MLflow run that stores the candidate of a decision."""
    return f"candidate-{decision_id}"


def version_tag(key: str) -> str:
    """A tag that Evergreen sets on a version."""
    return TAG_PREFIX + key


def holdout_metric(metric: str) -> str:
    """The candidate's value of a metric on the holdout, as a metric of its MLflow run and a tag of its version."""
    return f"holdout_{metric}"


def champion_metric(metric: str) -> str:
    """The champion's value on the same rows; stored as `holdout_metric`."""
    return f"champion_{metric}"


def train_metric(metric: str) -> str:
    """The value that the search found on the training rows, as a metric of an MLflow run."""
    return f"train_{metric}"


def importance_metric(column: str) -> str:
    """The importance of a feature, as a metric of an MLflow run; `column` holds no character that MLflow refuses."""
    return f"importance_{column}"


def deployment(environment: str, flow: str, model: str = "") -> str:
    """The deployment of a flow for a model, such as `retrain-bike-demand`; without a model for one that serves all."""
    return _of(environment, _dashed(flow, model))


def deployment_path(environment: str, flow: str, model: str = "") -> str:
    """The name by which Prefect finds a deployment, such as `retrain/retrain-bike-demand`."""
    return f"{flow}/{deployment(environment, flow, model)}"


def trigger(environment: str, flow: str, model: str, ground: str) -> str:
    """The trigger of a deployment; `ground` is what calls for the run, such as `drift`."""
    return f"{deployment(environment, flow, model)}-on-{ground}"


def in_environment(environment: str, name: str) -> str:
    """A deployment or trigger of `prefect.yaml`, where names are without an environment, as the server has it."""
    return _of(environment, name)


def tag(environment: str) -> str:
    """Tag of every deployment, automation and flow run of an environment."""
    return owner(environment)


def other_owner(environment: str, tags: Iterable[str]) -> str | None:
    """The tag by which a deployment or a flow run is another environment's; None where it is not."""
    owners = [each for each in tags if re.fullmatch(rf"{owner('')}(-{_ENVIRONMENT.pattern})?", each)]
    return owners[0] if owners and tag(environment) not in owners else None


def run_tags(environment: str, model: str, *more: str) -> list[str]:
    """The Prefect tags of a deployment and its flow runs."""
    return [tag(environment), model, *more]


def work_pool(environment: str) -> str:
    """The work pool that the deployments run in."""
    return owner(environment)


def tag_resource(environment: str) -> str:
    """The resource that events of an environment's flow runs are related to."""
    return f"prefect.tag.{tag(environment)}"


def model_resource(environment: str, model: str) -> str:
    """The resource of a model's events; `*` for all models."""
    return f"{owner(environment)}.model.{model}"


def artifact(environment: str, kind: str, model: str = "") -> str:
    """The key of a Prefect artifact, which may hold no underscore."""
    return _of(environment, _dashed(kind, model))


def automation(environment: str, name: str) -> str:
    """An automation on the Prefect server; people see and type the name without its prefix."""
    return f"{owner(environment)}: {name}"


def automation_of(environment: str, name: str) -> str | None:
    """An automation on the Prefect server without its prefix; None for one that is not the environment's."""
    prefix = automation(environment, "")
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def silence_alert(model: str) -> str:
    """The automation that tells when a model has had no drift report for too long."""
    return f"no-drift-report-{model}"


def notify_block(environment: str, number: int | str) -> str:
    """The Prefect block of the URL at this place in EVERGREEN_NOTIFY, counted from 1."""
    return f"{owner(environment)}-notify-{number}"


def is_notify_block(environment: str, name: str) -> bool:
    """Whether a block holds a URL of the environment's EVERGREEN_NOTIFY."""
    return re.fullmatch(notify_block(environment, r"\d+"), name) is not None


def ingest_cache_key(environment: str, model: str, digest: str) -> str:
    """The key under which Prefect stores the result of an ingest."""
    return _of(environment, f"ingest-{model}-{digest}")


def reconcile_key(environment: str, model: str, decision_id: str, after: str) -> str:
    """The idempotency key of a run that the reconciler starts; `after` is the last run of the decision, or `first`."""
    return _of(environment, f"reconcile-{model}-{decision_id}-{after}")


def table(lake: str, model: str, name: Table) -> str:
    """The path or URL of a table; `lake` is a folder or a URL, and its table is another environment's where it is."""
    place = "/".join([lake.rstrip("/"), model, name])
    return ForeignPlace(place, lake.environment) if isinstance(lake, ForeignPlace) else place


KEPT_FOLDERS = {"reports": 4, "quarantine": 3}
"""The folders below EVERGREEN_REPORTS, and of how many parts the names of their files are."""


def report_folder(model: str, decision: str) -> str:
    """The folder of a drift decision's report, below EVERGREEN_REPORTS; all of a model's where `decision` is empty."""
    return "/".join(["reports", model, decision]).rstrip("/")


def quarantine_folder(model: str) -> str:
    """The folder of a model's batches that were refused as a whole, below EVERGREEN_REPORTS."""
    return f"quarantine/{model}"


def set_aside(place: str, at: datetime) -> str:
    """The folder beside a place into which a restore moves what was there."""
    return f"{place}.before-restore-{at:%Y%m%dT%H%M%SZ}"


def half_restored(place: str) -> str:
    """The folder beside a place in which a restore puts files until all of them are there."""
    parent, _, name = place.rpartition("/")
    return f"{parent}/{PART_PREFIX}restore-{name}"


def lineage_namespace(environment: str) -> str:
    """The jobs of OpenLineage events are in it."""
    return owner(environment)


def lineage_job(step: str, model: str) -> str:
    """The job of an OpenLineage event, such as `retrain.bike_demand`."""
    return f"{step}.{model}"


def lineage_lock(file: str) -> str:
    """The file beside a file of OpenLineage events that is locked while a line is written."""
    return f".{file}.lock"


def lineage_schema() -> str:
    """The address of the JSON schema of `LINEAGE_FACET`; it holds the tag of the release that the schema came with."""
    return f"{REPOSITORY}/blob/v0.1.0/docs/schemas/EvergreenModelRunFacet.json"


def redis_key(environment: str, prefix: str, row: str) -> str:
    """The key of a row's prediction in Redis."""
    return f"{owner(environment)}:{prefix}:{row}" if environment else f"{prefix}:{row}"


def lock(model: str, purpose: str) -> str:
    """The lock of a model for a purpose, such as `bike_demand.retrain`."""
    return f"{model}.{purpose}"


def predict_path(model: str) -> str:
    """The path at which the server of predictions is asked for those of a model."""
    return f"/models/{model}/predict"


def invocations_path(model: str) -> str:
    """The same in the form of MLflow's scoring server."""
    return f"/models/{model}/invocations"


def worker(environment: str, host: str, home: Path) -> str:
    """The worker that `evergreen up` starts: another one for each machine and each state folder of it.

    A server that several of them share tells them apart by it: what one of them left is not another's to end.
    """
    return f"{owner(environment)}-up-{host}-{hashlib.sha256(str(home).encode()).hexdigest()[:6]}"


def stream_group(environment: str, model: str) -> str:
    """The consumer group that shares a model's rows, in Redis and Kafka."""
    return f"{owner(environment)}-{model}"


def stream_batch(source: str, day: date) -> str:
    """What rows that came by a queue, stream or topic on one day have as their batch."""
    return f"stream-{source}-{day:%Y-%m-%d}"


def stream_origin(source: str, message: str) -> str:
    """Where a refused row came from: a message of a queue, stream or topic."""
    return f"{source}#{message}"


def page_file(model: str, seen: str = "") -> str:
    """The file of a model's page; `seen` is the other environment whose model it shows."""
    return _of(seen, f"{model}.html")


def dossier_file(model: str, version: int) -> str:
    """The file of a version's dossier."""
    return f"{model}-v{version}.html"


def image_folder(model: str, version: int | None) -> str:
    """The folder of what the image of a version is built from; None for one that follows the champion."""
    return f"{model}-champion" if version is None else f"{model}-v{version}"


def image_tag(environment: str, model: str, version: int | None) -> str:
    """The image that is built from it."""
    return _of(environment, f"{model}:champion" if version is None else f"{model}:{version}")


def cloud_endpoint(environment: str, model: str) -> str:
    """The endpoint of a model on SageMaker, Azure ML or Vertex AI, such as `scoring-bike-demand`.

    What all three allow: up to 32 lower-case letters, digits and single dashes, a letter first and no dash last. A name
    that does not fit ends in a digest of all of it.
    """
    whole = _of(environment, f"scoring-{model}")
    name = whole.replace("_", "-")
    if len(name) <= _CLOUD_LENGTH and "--" not in name and not name.endswith("-"):
        return name
    short = re.sub("-+", "-", name)[: _CLOUD_LENGTH - 7].rstrip("-")
    return f"{short}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


def cloud_version(endpoint: str, version: int, content: str) -> str:
    """What an endpoint serves, on SageMaker and Vertex AI: a version, and the digest of all that it is made of."""
    return f"{endpoint}-v{version}-{content[:8]}"


def is_cloud_version(endpoint: str, name: str) -> bool:
    """Whether something is called as what an endpoint serves is called."""
    return re.fullmatch(rf"{re.escape(endpoint)}-v\d+-[0-9a-f]{{8}}", name) is not None


def cloud_image(registry: str, endpoint: str, version: int, content: str) -> str:
    """The image of a version in a registry; `content` is the digest of the folder that it is built from."""
    return f"{registry}/{endpoint}:v{version}-{content[:12]}"


def cloud_deployment(version: int) -> str:
    """A version below an endpoint of Azure ML, which asks for three characters at least."""
    return f"version-{version}"


def cloud_tags(environment: str, model: str, version: int | None = None) -> dict[str, str]:
    """The tags, on Vertex AI labels, by which what was made in a cloud is an environment's own."""
    tags = {"evergreen-owner": owner(environment), "evergreen-model": model}
    return tags if version is None else tags | {"evergreen-version": str(version)}


def cloud_folder(cloud: str, model: str, version: int) -> str:
    """The folder of the files that are sent to a cloud, beside that of the image."""
    return f"{image_folder(model, version)}-{cloud}"


def part_file(file: str) -> str:
    """The file that an export is written to before it takes its place; the next export finds what a killed one left."""
    return f".{file}.part"


def ports_lock(user: str) -> str:
    """The file that is locked in the machine's temporary folder while a user's stack chooses its ports."""
    return f"evergreen-ports-{user}.lock"


def socket_folder(user: int) -> str:
    """The folder in the machine's temporary folder for the sockets of a user's stacks."""
    return f"evergreen-{user}"


def _of(environment: str, name: str) -> str:
    return f"{environment}-{name}" if environment else name


def _dashed(what: str, model: str) -> str:
    return (f"{what}-{model}" if model else what).replace("_", "-")
