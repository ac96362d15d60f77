"""OpenLineage run events: which run read and wrote what.

Imported only where `EVERGREEN_OPENLINEAGE` asks for events: openlineage-python is an extra. `docs/schemas/` has the
schema of the facet of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import attr
from openlineage.client import constants, event_v2, facet_v2

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.details.decision import RetrainDetail
from evergreen.ingest.landing import Landing
from evergreen.ingest.quarantine import quarantine_table
from evergreen.logs import describe_error
from evergreen.runs.lineage_places import Place, input_place, place_of, source_place
from evergreen.runs.results import ScoreResult
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    import pyarrow as pa

Event = event_v2.RunEvent
State = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL"]


facet_v2.set_producer(f"{naming.REPOSITORY}/tree/v{version('evergreen')}")


@attr.define
class EvergreenModelRunFacet(facet_v2.RunFacet):
    """What a run was about, and what it came to; fields that are not known are left out."""

    model: str
    outcome: str | None = None
    reason: str | None = None
    decisionId: str | None = None  # noqa: N815 - as OpenLineage writes names
    modelVersion: int | None = None  # noqa: N815
    championVersion: int | None = None  # noqa: N815
    dataVersion: int | None = None  # noqa: N815
    dataDigest: str | None = None  # noqa: N815
    batch: str | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{naming.lineage_schema()}#/$defs/EvergreenModelRunFacet"


@dataclass(frozen=True, slots=True)
class LineageRun:
    """What an event is about.

    Attributes:
        id: a UUID; that of the Prefect flow run, if it is one.
        job: its name within our namespace.
        kind: a Prefect flow, or one of its steps.
        due: when it was to begin (aware); None where that is not known.
        parent: the run that it is a step of.
    """

    id: str
    job: str
    kind: Literal["FLOW", "TASK"] = "FLOW"
    due: datetime | None = None
    parent: LineageRun | None = None


@dataclass(frozen=True, slots=True)
class Touched:
    """What a run read and wrote, and what it came to."""

    about: EvergreenModelRunFacet | None = None
    inputs: Sequence[event_v2.InputDataset] = ()
    outputs: Sequence[event_v2.OutputDataset] = ()


def run_event(
    environment: str,
    state: State,
    run: LineageRun,
    touched: Touched | None = None,
    *,
    now: datetime,
    error: BaseException | None = None,
) -> Event:
    """The event that a run of an environment came into a state; `error` is what it failed with."""
    touched = touched or Touched()
    facets: dict[str, facet_v2.RunFacet] = {
        "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet(
            version=version("evergreen"), name="Evergreen", openlineageAdapterVersion=constants.__version__
        )
    }
    if run.due is not None:
        facets["nominalTime"] = facet_v2.nominal_time_run.NominalTimeRunFacet(nominalStartTime=_instant(run.due))
    if run.parent is not None:
        facets["parent"] = facet_v2.parent_run.ParentRunFacet(
            run=facet_v2.parent_run.Run(runId=run.parent.id),
            job=facet_v2.parent_run.Job(namespace=naming.lineage_namespace(environment), name=run.parent.job),
        )
    if touched.about is not None:
        facets[naming.LINEAGE_FACET] = touched.about
    if error is not None:
        told = describe_error(error)
        facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(
            message=told.get("message", told["type"]), programmingLanguage="python", stackTrace=told["traceback"]
        )
    kind = facet_v2.job_type_job.JobTypeJobFacet(processingType="BATCH", integration="PREFECT", jobType=run.kind)
    return Event(
        eventTime=_instant(now),
        eventType=event_v2.RunState[state],
        run=event_v2.Run(runId=run.id, facets=facets),
        job=event_v2.Job(namespace=naming.lineage_namespace(environment), name=run.job, facets={"jobType": kind}),
        inputs=list(touched.inputs),
        outputs=list(touched.outputs),
    )


def retrain_touched(settings: Settings, spec: ModelSpec, result: RetrainDetail) -> Touched:
    """The observations that a retraining saw, and the version that it registered, if it trained one."""
    observations = Observations(settings.lake_uri, spec)
    snapshot, trained = result.snapshot, result.version if result.checks else None
    about = EvergreenModelRunFacet(
        model=spec.name,
        outcome=result.outcome,
        reason=result.reason,
        decisionId=result.decision_id,
        modelVersion=trained,
        championVersion=result.champion,
        dataVersion=snapshot.version,
        dataDigest=snapshot.digest,
    )
    outputs = [] if trained is None else [event_v2.OutputDataset(**_model(settings, spec.name, trained))]
    return Touched(about, [event_v2.InputDataset(**_table(observations.table, snapshot.version))], outputs)


def score_touched(settings: Settings, spec: ModelSpec, result: ScoreResult, source: str | None) -> Touched:
    """The rows and the version that a scoring read, and the predictions that it wrote.

    `source` is the input as the run was given it; None for the observations without a prediction.
    """
    about = EvergreenModelRunFacet(
        model=spec.name,
        outcome="no champion" if result.version is None else "scored",
        modelVersion=result.version,
        championVersion=result.version,
        batch=result.batch or None,
    )
    if result.version is None:
        return Touched(about)
    predictions = PredictionLog(settings.lake_uri, spec).table
    rows = _table(Observations(settings.lake_uri, spec).table) if source is None else _dataset(input_place(source))
    written = result.rows_scored - result.repeated
    outputs = [_table(predictions, predictions.open().version())]
    outputs += [] if result.output is None else [_dataset(place_of(result.output))]
    return Touched(
        about,
        [event_v2.InputDataset(**each) for each in (rows, _model(settings, spec.name, result.version))],
        [event_v2.OutputDataset(**each, outputFacets=_row_count(written)) for each in outputs],
    )


def ingest_touched(settings: Settings, spec: ModelSpec, landing: Landing) -> Touched:
    """The sources that an ingest read, and the rows that it added and refused."""
    observations = Observations(settings.lake_uri, spec)
    snapshot = observations.snapshot()
    about = EvergreenModelRunFacet(model=spec.name, dataVersion=snapshot.version, dataDigest=snapshot.digest)
    sources = [spec.source, *([spec.labels.source] if spec.labels else [])]
    written = [(_table(observations.table, snapshot.version), landing.added)]
    if refused := sum(report.rejected or 0 for report in landing.quarantined):
        quarantine = quarantine_table(settings.lake_uri, spec.name)
        written.append((_table(quarantine, quarantine.open().version()), refused))
    return Touched(
        about,
        [event_v2.InputDataset(**_dataset(source_place(source, settings.landing))) for source in sources],
        [event_v2.OutputDataset(**each, outputFacets=_row_count(rows)) for each, rows in written],
    )


def _dataset(place: Place, **facets: facet_v2.DatasetFacet) -> dict[str, Any]:
    """The arguments of a dataset."""
    where = facet_v2.datasource_dataset.DatasourceDatasetFacet(name=place.namespace, uri=place.uri)
    return {"namespace": place.namespace, "name": place.name, "facets": {"dataSource": where} | facets}


def _table(table: Table, number: int | None = None) -> dict[str, Any]:
    """A Delta table of the lake, at a version where one is given."""
    facets: dict[str, facet_v2.DatasetFacet] = {
        "schema": _schema(table.schema),
        "storage": facet_v2.storage_dataset.StorageDatasetFacet(storageLayer="delta", fileFormat="parquet"),
    }
    return _dataset(place_of(table.uri), **facets, **_version(number))


def _model(settings: Settings, model: str, number: int) -> dict[str, Any]:
    """A version of a registered model."""
    registry = place_of(settings.tracking)
    where = urlsplit(registry.uri)
    namespace = f"mlflow://{where.netloc}/{where.path.strip('/')}".rstrip("/")
    return _dataset(
        Place(namespace, naming.registered_model(settings.environment, model), registry.uri), **_version(number)
    )


def _version(number: int | None) -> dict[str, facet_v2.DatasetFacet]:
    if number is None:
        return {}
    return {"version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(number))}


def _schema(schema: pa.Schema) -> facet_v2.schema_dataset.SchemaDatasetFacet:
    fields = [
        facet_v2.schema_dataset.SchemaDatasetFacetFields(name=column.name, type=str(column.type)) for column in schema
    ]
    return facet_v2.schema_dataset.SchemaDatasetFacet(fields=fields)


def _row_count(rows: int) -> dict[str, facet_v2.OutputDatasetFacet]:
    count = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows)
    return {"outputStatistics": count}


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
