"""What a model's page says: plain values from the ledger, the drift table and the registry; how it looks is elsewhere.

Everything is read, nothing is changed. What is not there yet is None or empty, and the page names the command that
brings it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.actor import PERSON, rejection_reason
from evergreen.canary.view import newest_canary
from evergreen.details.watch import DriftDetail, PerformanceDetail, WindowFigure
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.timeline import read_timeline
from evergreen.ledger.timeline_entries import Entry
from evergreen.pages.distributions import Distribution, distributions
from evergreen.pages.links import PageLinks
from evergreen.pages.page_data import ColumnRow, DriftPoint, Mark, MetricPoint, Page, VersionRow
from evergreen.registry.client import Registry
from evergreen.registry.version import CHALLENGER, CHAMPION, PREVIOUS, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.kept_files import KeptFiles

if TYPE_CHECKING:
    import pandas as pd

MOVES = {"promote": "promoted", "rollback": "rolled back", "loss": "lost"}
TREND = 60
"""Reports whose scores are drawn beside a column: the newest."""


def gather(settings: Settings, spec: ModelSpec, links: PageLinks, *, now: datetime) -> Page:
    """Read everything that a model's page shows; `now` (aware, UTC) is what it says it was made at.

    Raises:
        EvergreenError: the registry or a table cannot be read.
    """
    registry, files = Registry(settings), KeptFiles(settings.report_place)
    entries = tuple(_linked(entry, spec.name, links, files) for entry in read_timeline(settings, spec.name, spec=spec))
    numbers = {alias: _number(registry, spec.name, alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}
    scores = _scores(settings, spec.name)
    reports = _reports(entries, scores)
    columns_of, columns = _columns(reports, scores)
    drawn, note = _distributions(settings, spec, registry, columns_of, columns)
    measured = [entry for entry in entries if entry.kind == "performance"]
    return Page(
        model=spec.name,
        task=spec.task,
        metric=spec.metric.name,
        at=now,
        threshold=spec.drift.share,
        champion=numbers[CHAMPION],
        challenger=numbers[CHALLENGER],
        previous=numbers[PREVIOUS],
        reports=reports,
        columns=columns,
        columns_of=columns_of,
        distributions=drawn,
        distributions_note=note,
        measures=tuple(_measures(measured, spec.metric.name)),
        windows=_windows(measured, spec.metric.name),
        marks=tuple(_marks(entries)),
        versions=_versions(registry, spec.name, numbers, entries),
        entries=entries,
        rules=measured[-1].detail_as(PerformanceDetail).rules if measured else (),
        canary=newest_canary(settings, spec, registry, now=now),
    )


def _number(registry: Registry, model: str, alias: str) -> int | None:
    version = registry.by_alias(model, alias)
    return version.number if version else None


def _scores(settings: Settings, model: str) -> pd.DataFrame:
    """The score of every column of every report, and `times`, its multiple of the threshold; oldest first."""
    table = Decisions(settings.lake_uri, model).scores
    frame = table.read() if table.exists() else table.to_frame([], table.schema.names)
    frame = frame.sort_values("at", kind="stable", ignore_index=True)
    return frame.assign(times=(frame["score"] / frame["threshold"]).where(frame["threshold"] > 0))


def _linked(entry: Entry, model: str, links: PageLinks, files: KeptFiles) -> Entry:
    """An entry whose link to Evidently's page leads there from the page; without one where it is gone."""
    stored = entry.links.get("report")
    address = links.report(model, entry.id, stored, files) if stored else ""
    others = {name: link for name, link in entry.links.items() if name != "report"}
    return replace(entry, links=others | ({"report": address} if address else {}))


def _reports(entries: Sequence[Entry], scores: pd.DataFrame) -> tuple[DriftPoint, ...]:
    known = scores.dropna(subset=["times"])
    worst = known.loc[known.groupby("decision_id")["times"].idxmax()].set_index("decision_id")
    names, times = worst["column"].to_dict(), worst["times"].to_dict()
    return tuple(
        DriftPoint(
            id=entry.id,
            at=entry.at,
            verdict=entry.outcome,
            share=entry.detail_as(DriftDetail).share,
            champion=entry.champion,
            reason=entry.reason,
            worst=names.get(entry.id, ""),
            times=times.get(entry.id),
            report=entry.links.get("report", ""),
        )
        for entry in entries
        if entry.kind == "drift"
    )


def _columns(reports: Sequence[DriftPoint], scores: pd.DataFrame) -> tuple[DriftPoint | None, tuple[ColumnRow, ...]]:
    """The newest report that has columns, and these, the worst first."""
    there = set(scores["decision_id"])
    scored = [report for report in reports if report.id in there]
    if not scored:
        return None, ()
    shown = [report.id for report in scored[-TREND:]]
    recent = scores[scores["decision_id"].isin(shown)]
    times = {(row["decision_id"], row["column"]): _finite(row["times"]) for _, row in recent.iterrows()}
    newest = recent[recent["decision_id"] == shown[-1]]
    rows = [_column(row, tuple(times.get((each, row["column"])) for each in shown)) for _, row in newest.iterrows()]
    order = ("FAIL", "INCONCLUSIVE", "PASS")
    rows.sort(key=lambda row: (order.index(row.verdict), -(row.trend[-1] or 0.0)))
    return scored[-1], tuple(rows)


def _column(row: pd.Series, trend: tuple[float | None, ...]) -> ColumnRow:
    return ColumnRow(
        name=row["column"],
        kind=row["kind"],
        verdict=row["verdict"],
        score=_finite(row["score"]),
        threshold=_finite(row["threshold"]),
        method=row["method"],
        missing=float(row["missing"]),
        unseen=float(row["unseen"]),
        weight=float(row["weight"]),
        reason=row["reason"],
        trend=trend,
    )


def _distributions(
    settings: Settings, spec: ModelSpec, registry: Registry, report: DriftPoint | None, columns: Sequence[ColumnRow]
) -> tuple[tuple[Distribution, ...], str]:
    stored = Decisions(settings.lake_uri, spec.name).find("drift", report.id) if report else None
    if stored is None:
        return (), ""
    return distributions(settings, spec, registry, stored, {column.name: column.kind for column in columns})


def _measures(measured: Sequence[Entry], metric: str) -> Iterator[MetricPoint]:
    """The reports on the model file's metric."""
    for entry in measured:
        detail = entry.detail_as(PerformanceDetail)
        if detail.metric == metric:
            yield _point(entry.at, entry.outcome, detail, detail.at_promotion, entry.champion, entry.reason)


def _windows(measured: Sequence[Entry], metric: str) -> tuple[MetricPoint, ...]:
    """The windows of the newest report that has some with a place in time, or in the order of landing."""
    for entry in reversed(measured):
        detail = entry.detail_as(PerformanceDetail)
        points = tuple(
            replace(
                _point(entry.at, "", window, detail.at_promotion, entry.champion),
                at=datetime.fromisoformat(window.start) if window.start else entry.at,
                row=window.first_row,
            )
            for window in detail.windows
            if window.start or window.first_row is not None
        )
        if points and detail.metric == metric:
            return points
    return ()


def _point(
    at: datetime,
    verdict: str,
    figure: PerformanceDetail | WindowFigure,
    before: float | None,
    champion: int | None,
    reason: str = "",
) -> MetricPoint:
    low, high = figure.interval or (None, None)
    return MetricPoint(at, verdict, figure.value, low, high, before, figure.rows, champion, reason)


def _marks(entries: Sequence[Entry]) -> Iterator[Mark]:
    for entry in entries:
        if entry.kind == "retrain":
            yield Mark(entry.at, "retrained", entry.outcome, entry.version, entry.reason)
        elif entry.kind in MOVES:
            yield Mark(entry.at, MOVES[entry.kind], entry.outcome, entry.version, entry.reason)


def _versions(
    registry: Registry, model: str, numbers: Mapping[str, int | None], entries: Sequence[Entry]
) -> tuple[VersionRow, ...]:
    trained_at = {entry.version: entry.at for entry in entries if entry.kind == "retrain"}
    return tuple(
        VersionRow(
            number=version.number,
            status=version.status,
            aliases=tuple(alias for alias, number in numbers.items() if number == version.number),
            declined=_declined(version),
            made=trained_at.get(version.number),
            judgement=version.tags.judgement,
            facts=tuple(_facts(version)),
            # A card has a title; before there were cards a version was described by its gates.
            card=version.description if version.description.startswith("# ") else "",
        )
        for version in reversed(registry.versions(model))
    )


def _declined(version: Version) -> str:
    reason, by = version.tags.declined, version.tags.declined_by or PERSON
    return rejection_reason(reason, by) if reason else ""


def _facts(version: Version) -> Iterator[tuple[str, str]]:
    """Where a version came from, in words; what is not known is left out."""
    tags = version.tags
    span = " to ".join(time[:10] for time in (tags.data_start, tags.data_end) if time)
    dirty = ", with changes" if tags.git_dirty else ""
    values = {
        "trained for": tags.reason,
        "data": f"{_known(tags.data_rows)} rows, version {_known(tags.data_version)}, {span}".rstrip(", "),
        "fits": tags.fits,
        "code": f"{tags.git_commit[:12]}{dirty}" if tags.git_commit else "",
        "parameters by hand": tags.params,
        "decision": tags.decision_id,
    }
    yield from ((name, text) for name, text in values.items() if text)


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _finite(value: Any) -> float | None:
    import math

    return None if value is None or not math.isfinite(value) else float(value)
