"""The panels of a dashboard, each with a title, what a bad value means, and its queries; and the frame around them.

Grafana's own library makes the JSON, so that a field which Grafana does not have is a type error here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as common_parts
from grafana_foundation_sdk.builders import dashboard as parts
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard, units
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from evergreen.naming import DASHBOARD_TAG

Panel = Builder[dashboard.Panel]
Words = Mapping[int, tuple[str, str]]
"""For a number, the word that is shown in its place, and its colour."""
Levels = Mapping[float, str]
"""From which value on which colour is shown; below the first it is green."""

NONE, SECONDS, SHARE, BYTES = units.NoUnit, units.Seconds, units.PercentUnit, units.BytesIEC
REQUESTS, ROWS, AGO = units.RequestsPerSecond, units.RowsPerSecond, units.DateTimeFromNow
GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"
BAD: Levels = {1: RED}
WORRYING: Levels = {1: ORANGE}
YES_IS_GOOD: Words = {0: ("no", RED), 1: ("yes", GREEN)}
YES_IS_BAD: Words = {0: ("no", GREEN), 1: ("yes", RED)}
VERDICT: Words = {0: ("PASS", GREEN), 1: ("INCONCLUSIVE", GREY), 2: ("FAIL", RED)}
_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH, _LOW, _HIGH = 24, 4, 8
P = TypeVar("P", timeseries.Panel, stat.Panel, statetimeline.Panel, table.Panel)


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and by what its series are called: `{{label}}` stands for a value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: a number for each model."""

    title: str
    expr: str
    unit: str = NONE
    words: Words | None = None
    levels: Levels | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A question, and the panels that answer it."""

    question: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as a line through every graph: where the query is above 0."""

    name: str
    expr: str
    colour: str
    text: str


def graph(
    title: str,
    meaning: str,
    *queries: Query,
    unit: str = NONE,
    width: int = 8,
    levels: Levels | None = None,
    bars: bool = False,
) -> Panel:
    """A figure over time, from 0 on; with levels a line is drawn where each begins."""
    panel = _graph(title, meaning, queries, unit, width).axis_soft_min(0)
    if bars:
        panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(60)
        panel.stacking(common_parts.StackingConfig().mode(common.StackingMode.NORMAL))
    if levels is not None:
        dashed = common_parts.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(_steps(levels)).thresholds_style(dashed)
    return panel


def _graph(title: str, meaning: str, queries: Sequence[Query], unit: str, width: int) -> timeseries.Panel:
    panel = _panel(timeseries.Panel(), title, meaning, unit, width, _HIGH)
    for target in _targets(queries):
        panel.with_target(target.range())
    panel.tooltip(
        common_parts.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    )
    panel.legend(
        common_parts.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    return panel


def band(title: str, meaning: str, low: Query, high: Query, *queries: Query, width: int = 16) -> Panel:
    """A graph of which the room between two queries is filled, from whatever its values are."""
    made = _graph(title, meaning, [low, high, *queries], NONE, width)
    filled = [dashboard.DynamicConfigValue("custom.fillBelowTo", low.legend), _value("custom.fillOpacity", 15)]
    return made.override_by_name(high.legend, filled)


def number(
    title: str,
    meaning: str,
    *queries: Query,
    unit: str = NONE,
    width: int = 4,
    words: Words | None = None,
    levels: Levels | None = None,
) -> Panel:
    """The newest value alone, as a number or as a word."""
    panel = _panel(stat.Panel(), title, meaning, unit, width, _LOW)
    for target in _targets(queries):
        panel.with_target(target.instant())
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    named = any(query.legend for query in queries)
    panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME if named else common.BigValueTextMode.VALUE)
    panel.reduce_options(common_parts.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.thresholds(_steps(levels) if levels is not None else _plain())
    return panel.mappings([_mapping(words)]) if words is not None else panel


def states(title: str, meaning: str, *queries: Query, words: Words | None = None, width: int = 12) -> Panel:
    """What something was, over time: one bar for each series."""
    panel = _panel(statetimeline.Panel(), title, meaning, NONE, width, _HIGH)
    for target in _targets(queries):
        panel.with_target(target.range())
    panel.merge_values(True).show_value(common.VisibilityMode.AUTO)
    panel.legend(common_parts.VizLegendOptions().show_legend(False))
    if words is not None:
        return panel.mappings([_mapping(words)]).thresholds(_plain())
    colours = parts.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC)
    return panel.color_scheme(colours)


def models_table(title: str, meaning: str, columns: Sequence[Column], *, sort: str, worst: Words, link: str) -> Panel:
    """One line a model; the column `sort` is a sum of weights, and shows the word of the largest one in it."""
    panel = _panel(table.Panel(), title, meaning, NONE, _WIDTH, 12)
    for target in _targets([Query(column.expr) for column in columns]):
        panel.with_target(target.instant().format(PromQueryFormat.TABLE))
    # A query's values are called by its letter where a panel has several.
    names = {f"Value #{letter}": column.title for letter, column in zip(ascii_uppercase, columns, strict=False)}
    panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    order = {"model": 0} | {name: place for place, name in enumerate(names, 1)}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": {"model": "Model"} | names}
    panel.with_transformation(dashboard.DataTransformerConfig("organize", options=organize))
    opened = {"title": "Open ${__value.text}", "url": link}
    panel.override_by_name("Model", [_value("links", [opened])])
    for column in columns:
        panel.override_by_name(column.title, _column(column, worst if column.title == sort else None))
    return panel.sort_by([common_parts.TableSortByFieldState().display_name(sort).desc(True)])


def alerts_table(title: str, meaning: str, expr: str) -> Panel:
    """The labels of each series, one line for each."""
    panel = _panel(table.Panel(), title, meaning, NONE, _WIDTH, _HIGH)
    for target in _targets([Query(expr)]):
        panel.with_target(target.instant().format(PromQueryFormat.TABLE))
    hidden = dict.fromkeys(["Time", "Value", "__name__", "alertstate", "instance", "job"], True)
    return panel.with_transformation(dashboard.DataTransformerConfig("organize", options={"excludeByName": hidden}))


def choice(name: str, label: str, query: str) -> Builder[dashboard.VariableModel]:
    """What a person chooses at the top of the page, from what Prometheus knows."""
    made = parts.QueryVariable(name).label(label).query(query).datasource(_SOURCE)
    return made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)


def build(
    uid: str,
    title: str,
    about: str,
    rows: Sequence[Row],
    events: Sequence[Event],
    variables: Sequence[Builder[dashboard.VariableModel]] = (),
) -> str:
    """The JSON of a dashboard, as it is committed."""
    made = parts.Dashboard(title).uid(uid).description(about).tags([DASHBOARD_TAG]).editable()
    made.time("now-24h", "now").refresh("1m").timezone("browser")
    made.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    made.with_variable(parts.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for variable in variables:
        made.with_variable(variable)
    for event in events:
        made.annotation(_Annotation(event))
    made.link(
        parts.DashboardLink("Evergreen")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([DASHBOARD_TAG])
        .keep_time(True)
    )
    for row in rows:
        made.with_row(parts.Row(row.question))
        for panel in row.panels:
            made.with_panel(panel)
    whole = made.build()
    for place, built in enumerate(whole.panels or (), 1):
        built.id_val = place
    return json.dumps(whole, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


class _Described(dashboard.AnnotationQuery):
    """An annotation with what Prometheus' plugin shows of it, which the library has no field for."""

    def __init__(self, event: Event) -> None:
        super().__init__(name=event.name, datasource=_SOURCE, icon_color=event.colour, expr=event.expr, built_in=None)
        self.text = event.text

    def to_json(self) -> dict[str, object]:
        """With the text of the event."""
        return super().to_json() | {"titleFormat": self.name, "textFormat": self.text, "tagKeys": "model"}


class _Annotation(Builder[dashboard.AnnotationQuery]):
    def __init__(self, event: Event) -> None:
        self.event = event

    def build(self) -> dashboard.AnnotationQuery:
        return _Described(self.event)


def _panel(panel: P, title: str, meaning: str, unit: str, width: int, height: int) -> P:
    return panel.title(title).description(meaning).datasource(_SOURCE).unit(unit).span(width).height(height)


def _targets(queries: Sequence[Query]) -> Iterator[prometheus.Dataquery]:
    """The queries of a panel, each with its letter."""
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        made = prometheus.Dataquery().expr(query.expr).datasource(_SOURCE).ref_id(letter)
        yield made.legend_format(query.legend) if query.legend else made


def _steps(levels: Levels) -> parts.ThresholdsConfig:
    steps = [dashboard.Threshold(None, GREEN), *(dashboard.Threshold(at, colour) for at, colour in levels.items())]
    return parts.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _plain() -> parts.ThresholdsConfig:
    """One colour for every value: a number that is neither good nor bad by itself."""
    return parts.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps([dashboard.Threshold(None, GREY)])


def _mapping(words: Words) -> dashboard.ValueMap:
    options = {str(value): dashboard.ValueMappingResult(text, colour) for value, (text, colour) in words.items()}
    return dashboard.ValueMap(options)


def _ranges(worst: Words) -> list[dashboard.RangeMap]:
    """A sum of powers of two is named by the largest: it is at least that, and less than twice that."""
    return [
        dashboard.RangeMap(
            dashboard.DashboardRangeMapOptions(
                from_val=weight, to=max(2 * weight - 1, 0), result=dashboard.ValueMappingResult(text, colour)
            )
        )
        for weight, (text, colour) in worst.items()
    ]


def _column(column: Column, worst: Words | None) -> list[dashboard.DynamicConfigValue]:
    properties = [_value("unit", column.unit)]
    if worst is not None:
        properties.append(_value("mappings", _ranges(worst)))
    if column.words is not None:
        properties.append(_value("mappings", [_mapping(column.words)]))
    if column.levels is not None:
        properties.append(_value("thresholds", _steps(column.levels).build()))
    if worst is not None or column.words is not None or column.levels is not None:
        properties.append(_value("custom.cellOptions", {"type": "color-text"}))
    return properties


def _value(name: str, value: Any) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(name, value)
