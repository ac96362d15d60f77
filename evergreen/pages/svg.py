"""A figure of plotly.js as a still picture: SVG that a browser shows at once and that needs no script.

The same figure is drawn again by plotly.js when somebody wants to zoom. The picture is as wide as its place: what is
across is in shares of the width, lines lie in a part that is stretched, and text and marks keep their size. Colours are
the style's own, so that it follows light, dark and paper. Every text is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from evergreen.pages.axes import Scale, Tick, axis_of, intervals, scales, ticks

Figure = Mapping[str, Any]

WIDE = 1000
"""Units across the part that is stretched."""
DASHES = {"dash": "6 4", "dot": "1.5 3"}
LEGEND = 20
"""Pixels of a legend of one line."""
CLOSE = 5
"""Labels below a plot that a narrow screen has room for."""
LETTER = 7.5
"""Pixels that a letter of a label takes, for the room beside an axis."""


@dataclass(frozen=True, slots=True)
class _Plot:
    """A figure that is being drawn; `height` is that of the part between its margins, in pixels."""

    layout: Figure
    traces: Sequence[Figure]
    height: float
    scales: Mapping[str, Scale]

    def axis(self, name: str) -> Figure:
        """What the layout says of the axis `x`, `y` or `y2`."""
        return axis_of(self.layout, name)

    def points(self, trace: Figure) -> list[tuple[float | None, float | None]]:
        """Where the points of a trace stand."""
        across, up = self.scales["x"], self.scales[trace.get("yaxis", "y")]
        return [(across.place(x), up.place(y)) for x, y in zip(trace["x"], trace["y"], strict=True)]


def picture(figure: Figure) -> Markup:
    """The legend and the picture of a figure, to stand in an element that says in words what they show."""
    layout, margin = figure["layout"], figure["layout"]["margin"]
    traces = [trace for trace in figure["data"] if trace.get("visible", True) is True]
    height = layout["height"] - margin["t"] - margin["b"]
    plot = _Plot(layout, traces, height, scales(layout, traces, WIDE, height))
    marked = {name: ticks(plot.axis(name), scaled) for name, scaled in plot.scales.items()}
    left = _left(plot, marked)
    body = Markup("").join(
        [
            Markup('<svg viewBox="0 0 {} {}" preserveAspectRatio="none" width="100%" height="{}">').format(
                WIDE, height, height
            ),
            *_grid(plot, marked),
            *(line for place in range(len(traces)) for line in _lines(plot, place)),
            *_shapes(plot),
            Markup("</svg>"),
            *_bars(plot),
            *(mark for trace in traces for mark in _marks(plot, trace)),
            *_labels(plot, marked, left),
            *_notes(plot),
        ]
    )
    legend = _legend(plot)
    top, right = max(margin["t"] - (LEGEND if legend else 0), 4), margin["r"]
    room = f"margin:{top}px {right}px {margin['b']}px {left:.0f}px;width:calc(100% - {left + right:.0f}px)"
    return Markup('{}<svg class="still" height="{}" style="{}">{}</svg>').format(legend, height, room, body)


def _left(plot: _Plot, marked: Mapping[str, Sequence[Tick]]) -> float:
    """The room for the labels on the left."""
    room = float(plot.layout["margin"]["l"])
    for name, found in marked.items():
        if name != "x":
            letters = max((len(html.unescape(line)) for tick in found for line in tick.label), default=0)
            room = max(room, 12 + LETTER * letters + (22 if "title" in plot.axis(name) else 0))
    return room


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _share(place: float) -> str:
    return f"{place * 100 / WIDE:.2f}%"


def _colour(name: Any) -> str:
    return f"var(--{name[1:]})"


def _text(told: str) -> Markup:
    """A text of a figure, in which Plotly's few special letters are already spelled out."""
    return escape(html.unescape(told))


def _stroke(line: Figure) -> str:
    dash = f";stroke-dasharray:{DASHES[line['dash']]}" if "dash" in line else ""
    return f"stroke:{_colour(line['color'])};stroke-width:{line['width']}{dash}"


def _path(way: str, style: str) -> Markup:
    return Markup('<path d="{}" style="{}"/>').format(way, style)


def _way(points: Iterable[tuple[float | None, float | None]], shape: str = "") -> str:
    """The points as a line; it breaks where one is missing."""
    pieces, broken = [], True
    for x, y in points:
        if x is None or y is None:
            broken = True
            continue
        there = f"{_n(x)} {_n(y)}"
        pieces.append(f"M{there}" if broken else f"H{_n(x)}V{_n(y)}" if shape == "hv" else f"L{there}")
        broken = False
    return "".join(pieces)


def _grid(plot: _Plot, marked: Mapping[str, Sequence[Tick]]) -> Iterator[Markup]:
    bottom = _n(plot.height)
    for name, found in marked.items():
        if name == "x":
            plain = plot.axis("x").get("showgrid", True)
            grid = "".join(f"M{_n(tick.at)} {'0' if plain else bottom}V{_n(plot.height + 4)}" for tick in found)
        else:
            shown = plot.axis(name).get("showgrid", True)
            grid = "".join(f"M0 {_n(tick.at)}H{WIDE}" for tick in found) if shown else ""
        yield _path(grid, "stroke:var(--grid)")
    yield _path(f"M0 {bottom}H{WIDE}", "stroke:var(--border)")


def _lines(plot: _Plot, place: int) -> Iterator[Markup]:
    """What a trace draws of lines: its filled shape, its intervals and itself, a path each."""
    trace = plot.traces[place]
    if trace["type"] == "bar":
        return
    points = plot.points(trace)
    line = trace.get("line", {})
    way = _way(points, line.get("shape", ""))
    if trace.get("fill") == "tonexty":
        back = reversed(plot.points(plot.traces[place - 1]))
        yield _path(f"{way}L{_way(back)[1:]}Z", f"fill:{_colour(trace['fillcolor'])};stroke:none")
    elif trace.get("fill") == "tozeroy":
        floor = _n(plot.scales["y"].at(0.0))
        yield _path(f"{way}V{floor}H{_n(points[0][0] or 0.0)}Z", f"fill:{_colour(trace['fillcolor'])};stroke:none")
    if "error_y" in trace:
        bars = trace["error_y"]
        up = plot.scales[trace.get("yaxis", "y")]
        ends = [(x, *end) for (x, _), end in zip(points, intervals(trace), strict=True) if end]
        spans = "".join(f"M{_n(x or 0.0)} {_n(up.at(low))}V{_n(up.at(high))}" for x, low, high in ends)
        yield _path(spans, f"stroke:{_colour(bars['color'])};stroke-width:{bars['thickness']}")
    if "lines" in trace["mode"] and line["width"]:
        yield _path(way, _stroke(line))


def _shapes(plot: _Plot) -> Iterator[Markup]:
    """Lines across at a value, or down at a time."""
    for shape in plot.layout.get("shapes", ()):
        if shape["yref"] == "paper":
            at = plot.scales["x"].place(shape["x0"])
            way = f"M{_n(at or 0.0)} 0V{_n(plot.height)}"
        else:
            way = f"M0 {_n(plot.scales[shape['yref']].place(shape['y0']) or 0.0)}H{WIDE}"
        yield Markup('<path class="shape" d="{}" style="{}"/>').format(way, _stroke(shape["line"]))


def _bars(plot: _Plot) -> Iterator[Markup]:
    bars = [trace for trace in plot.traces if trace["type"] == "bar"]
    thick = (1 - plot.layout.get("bargap", 0.0)) / max(len(bars), 1)
    for number, trace in enumerate(bars):
        lying = trace["orientation"] == "h"
        across, up = plot.scales["x"], plot.scales["y"]
        for place in range(len(trace["x"])):
            begin = place + thick * (number - len(bars) / 2)
            if lying:
                x, width = 0.0, across.at(trace["x"][place])
                y, height = up.at(begin), up.at(begin + thick) - up.at(begin)
            else:
                x, width = across.at(begin), across.at(begin + thick) - across.at(begin)
                y, height = up.at(trace["y"][place]), plot.height - up.at(trace["y"][place])
            box = Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"/>')
            yield box.format(trace["name"], _share(x), _n(y), _share(width), _n(height))


def _marks(plot: _Plot, trace: Figure) -> Iterator[Markup]:
    if "markers" not in trace.get("mode", "") or trace["marker"].get("opacity") == 0:
        return
    marker = trace["marker"]
    given = marker.get("symbol", "circle")
    symbols = [given] * len(trace["x"]) if isinstance(given, str) else given
    found = [(x, y, symbol) for (x, y), symbol in zip(plot.points(trace), symbols, strict=True)]
    uses = Markup("").join(
        Markup('<use href="#mark-{}" x="{}" y="{}"/>').format(symbol, _share(x), _n(y))
        for x, y, symbol in found
        if x is not None and y is not None
    )
    yield Markup('<g style="--size:{};color:{}">{}</g>').format(_n(marker["size"] / 2), _colour(marker["color"]), uses)
    for text, (x, y, _) in zip(trace.get("text", ()), found, strict=False):
        if x is not None and y is not None:
            words = Markup('<text class="told" x="{}" y="{}" dx="{}">{}</text>')
            yield words.format(_share(x), _n(y - 4), _n(marker["size"] / 2 + 2), _text(text))


def _label(x: float, y: float, lines: Sequence[str], kind: str, anchor: str) -> Markup:
    more = Markup("").join(
        Markup('<tspan x="{}" dy="14">{}</tspan>').format(_share(x), _text(line)) for line in lines[1:] if line
    )
    words = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}{}</text>')
    return words.format(kind, _share(x), _n(y), anchor, _text(lines[0]), more)


def _labels(plot: _Plot, marked: Mapping[str, Sequence[Tick]], left: float) -> Iterator[Markup]:
    """The labels of all ticks and the titles of the axes; on a narrow screen the style leaves every other one out."""
    for place, tick in enumerate(marked["x"]):
        kind = "tick odd" if place % 2 and len(marked["x"]) > CLOSE and "tickvals" not in plot.axis("x") else "tick"
        yield _label(tick.at, plot.height + 18, tick.label, kind, "end" if tick.at > 0.96 * WIDE else "middle")
    if "title" in plot.axis("x"):
        yield _label(WIDE / 2, plot.height + 40, (plot.axis("x")["title"]["text"],), "title", "middle")
    for name in marked:
        if name == "x":
            continue
        for tick in marked[name]:
            words = Markup('<text class="tick" x="-8" y="{}" text-anchor="end">{}</text>')
            yield words.format(_n(tick.at + 4), _text(tick.label[0]))
        if "title" in plot.axis(name):
            middle = (plot.scales[name].start + plot.scales[name].end) / 2
            turned = Markup('<text class="title upright" transform="translate({} {}) rotate(-90)">{}</text>')
            yield turned.format(_n(13 - left), _n(middle), _text(plot.axis(name)["title"]["text"]))


def _notes(plot: _Plot) -> Iterator[Markup]:
    for note in plot.layout.get("annotations", ()):
        # As Plotly has it, on a logarithmic axis a note stands at a power of ten.
        at = plot.scales[note["yref"]].at(note["y"])
        yield Markup('<text class="note" x="100%" y="{}" text-anchor="end" style="fill:{}">{}</text>').format(
            _n(at - 5), _colour(note["font"]["color"]), _text(note["text"])
        )


def _legend(plot: _Plot) -> Markup:
    """What each line and mark stands for."""
    named = [trace for trace in plot.traces if trace.get("showlegend", True) and "name" in trace]
    if not plot.layout.get("showlegend", True) or not named:
        return Markup("")
    entry = Markup('<span><svg width="24" height="12">{}</svg>{}</span>')
    return Markup('<p class="legend">{}</p>').format(
        Markup("").join(entry.format(_sample(trace), _text(trace["name"])) for trace in named)
    )


def _sample(trace: Figure) -> Markup:
    if "fill" in trace:
        return Markup('<rect width="24" height="12" style="fill:{}"/>').format(_colour(trace["fillcolor"]))
    if "lines" in trace["mode"]:
        return _path("M1 6H23", _stroke(trace["line"]))
    marker = trace["marker"]
    mark = Markup('<g style="--size:{};color:{}"><use href="#mark-{}" x="12" y="6"/></g>')
    return mark.format(_n(max(marker["size"] / 2, 3)), _colour(marker["color"]), marker["symbol"])
