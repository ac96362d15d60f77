"""Promotions that harm: how often a burden of proof lets one through, and how soon the shadow takes it back.

The weeks are those of `burden`. A promotion is harmful where the four weeks after it have over 2 % more error than the
replaced champion would have had. The shadow's windows, looks, comparison and verdict are the project's own; registry,
lake and rollback are left out, and a promotion that is taken back changes nothing for those that follow. Beside the
promotions of the weeks stand planted ones, which really are a tenth and a fifth worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.burden import more_often, share
from benchmarks.candidates import AHEAD, HARM, Replay, replays
from benchmarks.measure import Finding, Scale, console, table, within
from benchmarks.streams import WEEK
from evergreen.data.predictions import Predictions
from evergreen.data.windows import block_numbers
from evergreen.evaluation.measure import measure
from evergreen.evaluation.slices import picked
from evergreen.ledger.promotions import Move
from evergreen.performance.shadow import compare_predictions, judge, looks
from evergreen.spec import Gates, ModelSpec
from evergreen.spec.gates import ROUTINE_MARGIN
from evergreen.training.predict import predict, target_of
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

BURDENS = (0.0, ROUTINE_MARGIN)
MOVE = Move("planted", datetime(2020, 1, 1, tzinfo=UTC), "promote", "done", 1, 2, "", "", "benchmark")
SOUND, STALE = "the next week's fit", "an older fit, 10 to 20 % worse"
WORSE = {"noise, 10 % worse": 1.1, "noise, 20 % worse": 1.2}


APART = 4
"""Weeks from one planted promotion to the next: what is seen of one is not seen of another."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What the shadow made of promotions.

    Attributes:
        windows: for each promotion the windows after which it was taken back; None where it was not.
        proven: how many a single look at all rows of the four weeks proves worse.
    """

    windows: tuple[int | None, ...] = ()
    proven: int = 0

    def __add__(self, other: Watched) -> Watched:
        return Watched(self.windows + other.windows, self.proven + other.proven)

    @property
    def back(self) -> list[int]:
        """The windows of those that were taken back."""
        return [windows for windows in self.windows if windows is not None]

    def row(self) -> tuple[str, str]:
        """As a share, and the median of the windows."""
        return share(len(self.back), len(self.windows)), f"{median(self.back):g}" if self.back else ""


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Replay every stream under two burdens, watch what they promote, and plant promotions that are worse."""
    promoted: dict[float, tuple[Watched, Watched]] = {margin: (Watched(), Watched()) for margin in BURDENS}
    promotions, planted = [], []
    found: dict[str, Watched] = {}
    for draws in replays(whole=scale.details):
        stream = draws[0].stream.name
        console.print(f"[dim]  {stream}, {len(draws)} of them[/]")
        for margin in BURDENS:
            both = _promoted(draws, margin)
            promoted[margin] = (promoted[margin][0] + both[0], promoted[margin][1] + both[1])
            promotions.append((stream, f"{margin:g}", *_row(*both)))
        for name, watched in _planted(draws).items():
            planted.append((stream, name, *watched.row()))
            found[name] = found.get(name, Watched()) + watched
    promotions += [("all", f"{margin:g}", *_row(*both)) for margin, both in promoted.items()]
    back = ("taken back", "after windows, median")
    table(
        "Promotions of the weeks",
        ("", "margin", "harmful", "proven by four weeks", back[0], back[1], "the others: taken back", back[1]),
        promotions,
    )
    planted += [("all", name, *watched.row()) for name, watched in found.items()]
    table("Planted promotions, under the shadow", ("", "what was promoted", *back), planted)
    return _findings(promoted, found)


def _row(harmful: Watched, others: Watched) -> tuple[str, ...]:
    of = len(harmful.windows) + len(others.windows)
    proven = f"{harmful.proven} of {len(harmful.windows)}"
    return share(len(harmful.windows), of), proven, *harmful.row(), *others.row()


def _findings(promoted: dict[float, tuple[Watched, Watched]], found: dict[str, Watched]) -> list[Finding]:
    today, ours = (
        (len(harmful.windows), len(harmful.windows) + len(others.windows))
        for harmful, others in (promoted[margin] for margin in BURDENS)
    )
    chance = more_often(ours, today)
    findings = [
        Finding(
            f"harmful promotions at margin {ROUTINE_MARGIN:g}, against margin 0",
            f"{share(*ours)} against {share(*today)}, p = {chance:.2f}",
            "no more than by chance",
            chance > 0.05,
        )
    ]
    watched = {f"harmful promotions at margin {ROUTINE_MARGIN:g}": promoted[ROUTINE_MARGIN][0]} | found
    for name, each in watched.items():
        if name != SOUND and each.back:
            findings.append(within(f"{name}: windows until it is taken back, median", median(each.back), 3))
    return findings


def _promoted(draws: Sequence[Replay], margin: float) -> tuple[Watched, Watched]:
    """What the shadow makes of the harmful promotions of a burden, and of the others."""
    harmful, others = Watched(), Watched()
    for replay in draws:
        spec = replay.stream.spec
        for number, before in replay.tally(Gates(routine_margin=margin)).moves:
            rows = _after(replay, number)
            if rows is None:
                continue
            step = replay.steps[number]
            new, old = (_predicted(replay, fit, rows) for fit in (number, before))
            watched = Watched((watch(spec, rows, new, old),), int(proven_worse(spec, rows, new, old)))
            if replay.ahead(number, step) > HARM * replay.ahead(before, step):
                harmful += watched
            else:
                others += watched
    return harmful, others


def _planted(draws: Sequence[Replay]) -> dict[str, Watched]:
    """What the shadow makes of promotions of every kind, one of each in every fourth week of each stream."""
    windows: dict[str, list[int | None]] = {}
    for replay in draws:
        spec = replay.stream.spec
        for number in range(APART, len(replay.steps) - 1, APART):
            rows = _after(replay, number)
            if rows is None:
                continue
            former = _predicted(replay, number - 1, rows)
            for name, new, old in _trials(replay, number, rows, former):
                windows.setdefault(name, []).append(watch(spec, rows, new, old))
    return {name: Watched(tuple(each)) for name, each in windows.items()}


def _trials(
    replay: Replay, number: int, rows: pd.DataFrame, former: Predictions
) -> Iterator[tuple[str, Predictions, Predictions]]:
    """Promotions in one week: their name, what is promoted, and what it replaces."""
    yield SOUND, _predicted(replay, number, rows), former
    for name, times in WORSE.items():
        yield name, worsened(replay.stream.spec, rows, former, times, seed=number), former
    step = replay.steps[number]
    newest = replay.ahead(number, step)
    for older in range(number - APART, -1, -APART):
        if 1.1 <= replay.ahead(older, step) / newest <= 1.2:
            yield STALE, _predicted(replay, older, rows), _predicted(replay, number, rows)
            return


def _after(replay: Replay, number: int) -> pd.DataFrame | None:
    """The rows of the four weeks after a step; None where there are fewer weeks."""
    step = replay.steps[number]
    return replay.stream.between(step, step + AHEAD) if step + AHEAD <= replay.steps[-1] + WEEK else None


def _predicted(replay: Replay, number: int, rows: pd.DataFrame) -> Predictions:
    return predict(replay.fits(number)[1], replay.stream.spec, rows)


def watch(spec: ModelSpec, rows: pd.DataFrame, champion: Predictions, former: Predictions) -> int | None:
    """After how many windows the shadow takes the champion back, of `rows` since its promotion; None if it does not."""
    assert spec.time is not None
    numbers = block_numbers(rows[spec.time], spec.performance.window)
    for windows in range(1, looks(spec) + 1):
        seen = numbers < numbers[0] + windows
        if seen.sum() < spec.shadow.min_rows and windows < looks(spec):
            continue
        frame = rows[seen].reset_index(drop=True)
        comparison = compare_predictions(spec, frame, picked(champion, seen), picked(former, seen))
        if judge(spec, comparison, MOVE, rows=len(frame), windows=windows).verdict is Verdict.FAIL:
            return windows
    return None


def proven_worse(spec: ModelSpec, rows: pd.DataFrame, champion: Predictions, former: Predictions) -> bool:
    """Whether one look at all of these rows proves it, at the whole level: more than what several looks can."""
    once = spec.model_copy(update={"shadow": spec.shadow.model_copy(update={"windows": 1})})
    comparison = compare_predictions(once, rows, champion, former)
    return judge(once, comparison, MOVE, rows=len(rows), windows=1).verdict is Verdict.FAIL


def worsened(spec: ModelSpec, rows: pd.DataFrame, model: Predictions, times: float, *, seed: int) -> Predictions:
    """The predictions of a model with noise, of hours and of days alike, that makes its error so many times as large.

    Of numbers on their own scale, of probabilities of two classes on that of log-odds.
    """
    assert spec.time is not None
    rng, truth = np.random.default_rng(seed), target_of(spec, rows)
    days = np.unique(rows[spec.time].dt.floor("D"), return_inverse=True)[1]
    noise = np.sqrt(0.5) * (rng.normal(size=len(rows)) + rng.normal(size=days.max() + 1)[days])
    goal = times * measure(spec.metric, truth, model)
    low, high = 0.0, float(np.std(_scale(model))) + 1.0
    for _ in range(40):
        middle = (low + high) / 2
        tried = measure(spec.metric, truth, _moved(model, middle * noise))
        low, high = (middle, high) if tried < goal else (low, middle)
    return _moved(model, high * noise)


def _scale(model: Predictions) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if model.probability is None:
        return np.asarray(model.values, dtype=np.float64)
    last = np.clip(model.probability[:, 1], 1e-6, 1 - 1e-6)
    return np.asarray(np.log(last / (1 - last)))


def _moved(model: Predictions, by: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Predictions:
    moved = _scale(model) + by
    if model.probability is None:
        return replace(model, values=moved)
    last = 1 / (1 + np.exp(-moved))
    return replace(model, probability=np.column_stack([1 - last, last]))
