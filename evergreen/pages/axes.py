"""Where a value stands along an axis of a figure, and where its ticks are.

An axis is what the figure's layout says of it, in plotly.js's words; only those that the pages use are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Axis = Mapping[str, Any]

MANY = 9
"""Ticks, at most, where the axis asks for no other number."""
_UNITS = ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))
"""From where on labels are shortened; thousands up to ten are written out."""
_HOURS = (1, 2, 3, 6, 12, 24, 48, 96, 168, 336)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)
_MONTH_HOURS = 730


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick: where it stands, and the lines of its label."""

    at: float
    label: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis that knows its ends: `low` stands at `start` and `high` at `end`.

    Attributes:
        kind: `linear`, `log` (its ends are powers of ten), `date` (seconds) or `category` (places among `names`).
    """

    kind: str
    names: tuple[str, ...]
    low: float
    high: float
    start: float
    end: float

    def place(self, value: Any) -> float | None:
        """Where a value stands; None where it is none."""
        number = number_of(self.kind, self.names, value)
        return None if number is None else self.at(number)

    def at(self, number: float) -> float:
        """Where a number of the scale stands."""
        return self.start + (self.end - self.start) * (number - self.low) / (self.high - self.low)


def number_of(kind: str, names: Sequence[str], value: Any) -> float | None:
    """A value as the number by which it is placed."""
    if value is None:
        return None
    if kind == "date":
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()
    if kind == "category":
        return float(names.index(value))
    if kind == "log":
        return math.log10(value) if value > 0 else None
    return float(value)


def _scale(axis: Axis, values: Iterable[Any], start: float, end: float, *, pad: float, zero: bool) -> Scale:
    """The scale of an axis over its values; `pad` is the share left free at both ends, `zero` begins at nought."""
    kind, names = axis.get("type", "linear"), tuple(axis.get("categoryarray", ()))
    if axis.get("autorange") == "reversed":
        start, end = end, start
    if "range" in axis:
        low, high = axis["range"]
        return Scale(kind, names, low, high, start, end)
    known = [number for value in values if (number := number_of(kind, names, value)) is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    if zero and low >= 0:
        return Scale(kind, names, 0.0, (1 + pad) * high or 1.0, start, end)
    if low == high:
        half = 43_200.0 if kind == "date" else abs(low) / 2 or 0.5
        low, high = low - half, high + half
    free = pad * (high - low)
    return Scale(kind, names, low - free, high + free, start, end)


def axis_of(layout: Axis, name: str) -> Axis:
    """What a layout says of the axis `x`, `y` or `y2`."""
    return layout.get(f"{name[0]}axis{name[1:]}", {})  # type: ignore[no-any-return]


def scales(layout: Axis, traces: Sequence[Axis], width: float, height: float) -> dict[str, Scale]:
    """The scales of a figure by the names of their axes; all panels share `x`."""
    found = {"x": _scale(axis_of(layout, "x"), _values(layout, traces, "x"), 0, width, **_ends(traces, "x"))}
    for name in sorted({trace.get("yaxis", "y") for trace in traces}):
        mine = [trace for trace in traces if trace.get("yaxis", "y") == name]
        low, high = axis_of(layout, name).get("domain", (0, 1))
        values = _values(layout, mine, "y", name)
        found[name] = _scale(axis_of(layout, name), values, height * (1 - low), height * (1 - high), **_ends(mine, "y"))
    return found


def _values(layout: Axis, traces: Iterable[Axis], side: str, name: str = "x") -> Iterator[Any]:
    """All that has to fit on an axis: the values, the ends of their intervals, and the lines across."""
    for trace in traces:
        values = trace[side]
        if trace["type"] == "bar" and (trace["orientation"] == "h") != (side == "x"):
            yield from (-0.5, len(values) - 0.5)
            continue
        yield from values
        if side == "y" and "error_y" in trace:
            yield from (end for ends in intervals(trace) for end in ends)
    if side == "y":
        yield from (shape["y0"] for shape in layout.get("shapes", ()) if shape["yref"] == name)


def _ends(traces: Sequence[Axis], side: str) -> dict[str, Any]:
    """Bars and filled shapes stand on nought; a line may begin at the edge, a mark needs room."""
    bars = [trace for trace in traces if trace["type"] == "bar"]
    if bars:
        return {"pad": 0.0, "zero": (bars[0]["orientation"] == "h") == (side == "x")}
    filled = any(trace.get("fill") == "tozeroy" for trace in traces)
    marks = any("markers" in trace["mode"] for trace in traces)
    return {"pad": 0.05 if side == "y" else 0.02 * marks, "zero": side == "y" and filled}


def intervals(trace: Axis) -> list[tuple[float, float] | tuple[()]]:
    """The ends of each point's interval; none where one is not known."""
    bars = trace["error_y"]
    told = zip(trace["y"], bars["arrayminus"], bars["array"], strict=True)
    return [() if None in (value, down, up) else (value - down, value + up) for value, down, up in told]


def ticks(axis: Axis, scaled: Scale) -> list[Tick]:
    """The ticks of an axis, in order."""
    if "tickvals" in axis:
        pairs: Iterable[tuple[float, tuple[str, ...]]] = (
            (float(value), (text,)) for value, text in zip(axis["tickvals"], axis["ticktext"], strict=True)
        )
    elif scaled.kind == "category":
        pairs = ((float(place), (name,)) for place, name in enumerate(scaled.names))
    elif scaled.kind == "date":
        pairs = _dates(scaled.low, scaled.high)
    elif scaled.kind == "log":
        pairs = _powers(scaled.low, scaled.high)
    else:
        pairs = _numbers(axis, scaled.low, scaled.high)
    return [Tick(scaled.at(value), label) for value, label in pairs if scaled.low <= value <= scaled.high]


def _numbers(axis: Axis, low: float, high: float) -> Iterator[tuple[float, tuple[str, ...]]]:
    step = axis.get("dtick") or _round_step((high - low) / axis.get("nticks", 6))
    most = max(abs(low), abs(high))
    size, unit = next(((size, unit) for least, size, unit in _UNITS if most >= least), (1.0, ""))
    digits = max(0, -math.floor(math.log10(step / size) + 1e-9))
    told = axis.get("tickformat") or (f",.{digits}f" if digits < 6 else ".3g")
    if told == ".0%":
        size, unit, told = 1.0, "", ".1%" if step < 0.01 else told
    for count in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield min(max(count * step, low), high), (format(count * step / size + 0.0, told) + (unit if count else ""),)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= least * (1 - 1e-9))


def _powers(low: float, high: float) -> Iterator[tuple[float, tuple[str, ...]]]:
    steps = (1,) if high - low > 2 else (1, 2, 5)
    for power in range(math.floor(low), math.ceil(high) + 1):
        for step in steps:
            yield power + math.log10(step), (f"{step * 10.0**power:g}",)


def _dates(low: float, high: float) -> Iterator[tuple[float, tuple[str, ...]]]:
    hours = (high - low) / 3600
    by_hours = next((step for step in _HOURS if hours / step < MANY), None)
    if by_hours and by_hours < _MONTH_HOURS / 2:
        step = by_hours * 3600
        for count in range(math.ceil(low / step), math.floor(high / step) + 1):
            at = datetime.fromtimestamp(count * step, UTC)
            yield count * step, (f"{at:%H:%M}" if by_hours < 24 else f"{at.day} {at:%b}", _of_time(at, by_hours))
        return
    months = next((step for step in _MONTHS if hours / _MONTH_HOURS / step < MANY), _MONTHS[-1])
    first = datetime.fromtimestamp(low, UTC)
    begun = first.year * 12 + first.month - 1
    for count in range(begun - begun % months, begun + months * (MANY + 2), months):
        at = datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)
        yield at.timestamp(), (f"{at:%Y}" if months >= 12 else f"{at:%b}", "" if months >= 12 else f"{at:%Y}")


def _of_time(at: datetime, hours: int) -> str:
    return f"{at.day} {at:%b}" if hours < 24 else f"{at:%Y}"
