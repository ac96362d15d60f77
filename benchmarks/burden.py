"""What the burden of proof of a routine candidate costs and saves: weekly candidates of one recipe, in time order.

Every week a candidate (`candidates`) is judged by the project's own gates on every fifth day of the last eight weeks,
against the fit that was judged when the champion was promoted: neither learned those days. Beside the burdens stand who
never retrains and who deploys every refit unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.alarms import wilson
from benchmarks.candidates import Replay, Tally, replays, weeks
from benchmarks.measure import Finding, Scale, console, table
from benchmarks.streams import Stream, judged_by_newest
from evergreen.backtest.scores import Series, interval, picks
from evergreen.spec import Gates, Metric
from evergreen.spec.gates import ROUTINE_MARGIN

MARGINS = (0.0, 0.05, 0.1, 0.15, 0.2)
NEVER, ALWAYS, NO_REFIT = "never", "refit always", "margin 0, without refit"
MEASURED = f"margin {ROUTINE_MARGIN:g}, blocks measured"


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Replay every stream, print a table for each, and say what the default margin comes to."""
    findings: list[Finding] = []
    newest = [[Replay(stream, weeks(whole=scale.details)) for stream in streams] for streams in judged_by_newest()]
    for draws in (*replays(whole=scale.details), *newest):
        stream = draws[0].stream
        console.print(f"[dim]  {stream.name}, {len(draws)} of them[/]")
        tallies = _all(draws)
        _show(stream, tallies)
        findings += _findings(stream, tallies)
    return findings


def _all(replays: Sequence[Replay]) -> dict[str, Tally]:
    burdens: dict[str, Callable[[Replay], Tally]] = {
        NEVER: lambda replay: replay.tally(None),
        ALWAYS: lambda replay: replay.tally(None, always=True),
        NO_REFIT: lambda replay: replay.tally(Gates(routine_margin=0.0), refit=False),
        **{f"margin {margin:g}": _burden(margin) for margin in MARGINS},
        MEASURED: lambda replay: replay.tally(Gates(routine_margin=ROUTINE_MARGIN, blocks="measured")),
    }
    found: dict[str, Tally] = {}
    for replay in replays:
        for name, asked in burdens.items():
            tally = asked(replay)
            found[name] = found[name] + tally if name in found else tally
    return found


def _burden(margin: float) -> Callable[[Replay], Tally]:
    return lambda replay: replay.tally(Gates(routine_margin=margin))


def _show(stream: Stream, tallies: Mapping[str, Tally]) -> None:
    metric = stream.spec.metric
    series = {name: _series(metric, tally) for name, tally in tallies.items()}
    drawn = _drawn(series[ALWAYS])
    rows = []
    for name, tally in tallies.items():
        ratio, ends = _ratio(series[name], series[ALWAYS], drawn)
        mine = interval(series[name].draws(drawn)) if drawn is not None else None
        rows.append(
            (
                name,
                f"{series[name].value():.4g}{_between(mine)}",
                f"{ratio:.3f}{_between(ends)}",
                f"{tally.promoted}/{tally.candidates}",
                share(*tally.better_refused),
                share(*tally.harmful),
                tally.by_dummy,
            )
        )
    header = (
        "",
        metric.name,
        "times refit always",
        "promoted",
        "refused, and better",
        "promoted, and harmful",
        "refused by the dummy",
    )
    table(f"{stream.name}, with 95 % intervals", header, rows)


def _findings(stream: Stream, tallies: Mapping[str, Tally]) -> list[Finding]:
    metric = stream.spec.metric
    ours, today = tallies[f"margin {ROUTINE_MARGIN:g}"], tallies["margin 0"]
    always = _series(metric, tallies[ALWAYS])
    ratio, ends = _ratio(_series(metric, ours), always, _drawn(always))
    chance = more_often(ours.harmful, today.harmful)
    return [
        Finding(
            f"{stream.name}: error at margin {ROUTINE_MARGIN:g}, times refit always",
            f"{ratio:.3f}{_between(ends)}",
            "at most 1.02",
            ratio <= 1.02,
        ),
        Finding(
            f"{stream.name}: harmful promotions, against margin 0",
            f"{share(*ours.harmful)} against {share(*today.harmful)}, p = {chance:.2f}",
            "no more than by chance",
            chance > 0.05,
        ),
    ]


def more_often(ours: tuple[int, int], others: tuple[int, int]) -> float:
    """How likely so many more hits than the others' are by chance: Fisher's one-sided test (1922); 1 of nothing."""
    from scipy.stats import fisher_exact

    if not ours[1] or not others[1]:
        return 1.0
    rows = [[hits, of - hits] for hits, of in (ours, others)]
    return float(fisher_exact(rows, alternative="greater").pvalue)


def _series(metric: Metric, tally: Tally) -> Series:
    return Series(metric, np.array(tally.total), np.array(tally.rows, dtype=float))


def _drawn(series: Series) -> npt.NDArray[np.intp] | None:
    return picks(len(series.total), seed=0)


def _ratio(mine: Series, other: Series, drawn: npt.NDArray[np.intp] | None) -> tuple[float, tuple[float, float] | None]:
    ends = None if drawn is None else interval(mine.draws(drawn) / other.draws(drawn))
    return mine.value() / other.value(), ends


def _ends(hits: int, of: int) -> tuple[float, float]:
    """The interval of a share; of nothing, any share may be."""
    return wilson(hits, of) if of else (0.0, 1.0)


def share(hits: int, of: int) -> str:
    """A count with the interval of its share."""
    low, high = _ends(hits, of)
    return f"{hits}/{of} ({100 * low:.0f}-{high:.0%})" if of else "none"


def _between(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:.4g} to {ends[1]:.4g})"
