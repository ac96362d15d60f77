"""How often a canary promotes or refuses a challenger wrongly, and how long it takes, in simulated time.

`python -m benchmarks challengers --windows N` runs N seeds of each case. The scenario: so many requests an hour with a
daily rhythm; labels come after a day; the challenger's loss of a row differs from the champion's with a standard
deviation of 0.3 of the champion's mean loss, and the differences of one hour are correlated at 0.3; both are timed with
a noise of 50 %. The model file's defaults judge: a margin of 5 %, steps of 5, 25, 50 and 100 %, a budget of 14 days.
The canary is looked at each ten minutes for a day, and then each hour. The last table has a judge that is not valid: a
t-test of the rows at each look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta, norm

from benchmarks.measure import Finding, Scale, console, table
from evergreen.canary.judge import Evidence, LossBlocks, Position, Ruling, canary_steps, judge_canary
from evergreen.spec.canary import Canary

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
DELAY_HOURS = 24
SPREAD, WITHIN_HOUR, CHAMPION_SPREAD, TIME_NOISE, RHYTHM = 0.3, 0.3, 0.8, 0.5, 0.8
RATES = (1_000, 100)
_BEYOND = 3
"""Hours of traffic beyond the budget: a step that is taken in its last minute is given up an hour later."""
HALF = 50
"""The step before which a bad challenger has to be refused."""

Judge = Callable[[Canary, Evidence, Position, datetime], Ruling]


@dataclass(frozen=True, slots=True)
class Case:
    """What is true of a challenger.

    Attributes:
        name: in words.
        kind: `equal`, `bad` or `unknown`; what is asked of the rates follows from it.
        worse: by how much it loses more, as a share of the champion's mean loss.
        failing: share of the rows that it fails to answer.
        slowdown: its time by the champion's.
        labels: whether any come.
        traffic: whether there are requests.
        memory: the correlation of an hour's differences with those of the hour before.
    """

    name: str
    kind: str
    worse: float = 0.0
    failing: float = 0.0
    slowdown: float = 1.0
    labels: bool = True
    traffic: bool = True
    memory: float = 0.0


CASES = (
    Case("equal", "equal"),
    Case("2 % better", "better", worse=-0.02),
    Case("10 % worse", "bad", worse=0.1),
    Case("1 % of answers fail", "bad", failing=0.01),
    Case("twice as slow", "bad", slowdown=2.0),
    Case("no labels", "unknown", labels=False),
    Case("no traffic", "unknown", traffic=False),
)
DEPENDENT = tuple(Case(f"equal, hours correlated at {memory}", "told", memory=memory) for memory in (0.3, 0.6, 0.8))
"""What the model file's hour-long blocks do not hold together: told, and nothing is asked of it."""


@dataclass(frozen=True, slots=True)
class End:
    """How one canary ended: the move, the hours it took, and the share it answered then."""

    move: str
    hours: float
    share: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes in each hour, as sums over its rows: shape (hours,)."""

    rows: Any
    worse: Any
    lost: Any
    failures: Any
    slower: Any


def draw_traffic(case: Case, rate: int, canary: Canary, seed: int) -> Traffic:
    """The hours of one canary."""
    random, hours = np.random.default_rng((seed, rate)), int(canary.budget / HOUR) + _BEYOND
    expected = rate * (1 + RHYTHM * np.sin(2 * np.pi * np.arange(hours) / 24)) * case.traffic
    rows = random.poisson(expected)
    shared = math.sqrt(WITHIN_HOUR) * rows * _draw_hours(random, hours, case.memory)
    own = math.sqrt(1 - WITHIN_HOUR) * np.sqrt(rows) * random.standard_normal(hours)
    lost = np.maximum(rows + CHAMPION_SPREAD * np.sqrt(rows) * random.standard_normal(hours), 0.0)
    # The ratio of two times is log-normal.
    is_slower = 1 - norm.cdf((math.log(1 + canary.max_slowdown) - math.log(case.slowdown)) / TIME_NOISE)
    return Traffic(
        rows,
        case.worse * rows + SPREAD * (shared + own),
        lost,
        random.binomial(rows, case.failing),
        random.binomial(rows, is_slower),
    )


def _draw_hours(random: np.random.Generator, hours: int, memory: float) -> Any:
    """Standard normal numbers, each of which depends so much on the one before."""
    drawn = random.standard_normal(hours)
    for hour in range(1, hours):
        drawn[hour] = memory * drawn[hour - 1] + math.sqrt(1 - memory**2) * drawn[hour]
    return drawn


def run_canary(case: Case, rate: int, judge: Judge, seed: int) -> End:
    """Let one canary run to its end."""
    canary = Canary()
    traffic = draw_traffic(case, rate, canary, seed)
    sums = {name: np.concatenate([[0], np.cumsum(getattr(traffic, name))]) for name in ("rows", "failures", "slower")}
    position, steps = Position(0, START, START), canary_steps(canary)
    entered = 0.0
    for hours in _looks(canary):
        now = START + hours * HOUR

        def until(name: str, hours: float = hours) -> int:
            whole, part = int(hours), hours % 1
            this = sums[name][whole + 1] - sums[name][whole] if part else 0
            return int(sums[name][whole] + part * this)

        known = max(0, int(hours) - DELAY_HOURS) if case.labels else 0
        blocks = LossBlocks(
            np.arange(known, dtype=np.float64) * 3600, traffic.rows[:known], traffic.lost[:known], traffic.worse[:known]
        )
        in_step = until("rows") - until("rows", entered)
        evidence = Evidence(until("rows"), in_step, until("failures"), until("rows"), until("slower"), blocks, "mae")
        ruling = judge(canary, evidence, position, now)
        if ruling.move == "step":
            position, entered = replace(position, step=position.step + 1, entered=now), hours
        elif ruling.move != "wait":
            return End(ruling.move, hours, steps[position.step])
    raise AssertionError("The budget is spent, and the canary goes on.")


def _looks(canary: Canary) -> Iterable[float]:
    """The hours at which it is looked at."""
    yield from (step / 6 for step in range(1, 24 * 6 + 1))
    yield from range(25, int(canary.budget / HOUR) + _BEYOND)


def judge_by_peeking(canary: Canary, evidence: Evidence, position: Position, now: datetime) -> Ruling:
    """The judge that is not valid: rows taken for independent, and a 5 % test at each look."""
    ruling, blocks = judge_canary(canary, evidence, position, now), evidence.blocks
    rows = int(blocks.rows.sum())
    if rows < 2:
        return ruling
    # The spread of a row, as if the hours' sums were of independent rows.
    error = SPREAD / math.sqrt(rows)
    mean = float(blocks.worse.sum()) / rows
    if mean > 1.96 * error:
        return replace(ruling, move="refuse", reason="A t-test finds it worse.")
    return ruling


def count_ends(case: Case, rate: int, judge: Judge, seeds: int, workers: int) -> list[End]:
    """How the canaries of all seeds ended."""
    one = partial(run_canary, case, rate, judge)
    if workers == 1:
        return list(map(one, range(seeds)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(one, range(seeds), chunksize=max(1, seeds // (8 * workers))))


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Print the tables of the two rates of traffic, and of the judge that is not valid."""
    seeds = max(4, scale.windows // 2)
    workers = 1 if seeds < 20 else 2
    findings = []
    for rate in RATES:
        ends = {case: count_ends(case, rate, judge_canary, seeds, workers) for case in CASES}
        _print(f"{rate:,} requests an hour, {seeds} seeds", ends)
        findings += [finding for case, held in ends.items() for finding in find(case, rate, held)]
    told = {case: count_ends(case, RATES[0], judge_canary, seeds, workers) for case in DEPENDENT}
    _print(f"Hours that depend on each other, {RATES[0]:,} requests an hour", told)
    peeked = count_ends(CASES[0], RATES[0], judge_by_peeking, seeds, workers)
    _print("A t-test at each look, which is not valid", {CASES[0]: peeked})
    caught = not all(finding.met for finding in find(CASES[0], RATES[0], peeked))
    findings.append(
        Finding("challengers: the judge that is not valid", "found" if caught else "missed", "found", caught)
    )
    return findings


def find(case: Case, rate: int, ends: Sequence[End]) -> list[Finding]:
    """What is asked of a case, by the share that was seen; its bounds are printed beside it."""
    name = f"challengers: {case.name}, {rate:,} an hour"
    refused, promoted = _count(ends, "refuse"), _count(ends, "promote")
    early = sum(end.move == "refuse" and end.share < HALF for end in ends)
    most, least = 0.05 * len(ends), 0.9 * len(ends)
    if case.kind == "equal":
        return [Finding(f"{name}: refused", shown(refused, len(ends)), "at most 5 %", refused <= most)]
    if case.kind == "bad":
        return [
            Finding(f"{name}: promoted", shown(promoted, len(ends)), "at most 5 %", promoted <= most),
            Finding(f"{name}: refused before {HALF} %", shown(early, len(ends)), "at least 90 %", early >= least),
        ]
    if case.kind == "unknown":
        return [Finding(f"{name}: promoted", shown(promoted, len(ends)), "never", promoted == 0)]
    return []


def _count(ends: Sequence[End], move: str) -> int:
    return sum(end.move == move for end in ends)


def shown(count: int, of: int) -> str:
    """A share with its 95 % bounds (Clopper and Pearson), in percent."""
    low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    return f"{100 * count / of:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def _print(title: str, ends: Mapping[Case, Sequence[End]]) -> None:
    rows = []
    for case, held in ends.items():
        early = sum(end.move == "refuse" and end.share < HALF for end in held)
        hours = [end.hours for end in held if end.move != "give-up"]
        median = f"{np.median(hours):.1f}" if hours else ""
        cells = [shown(_count(held, move), len(held)) for move in ("promote", "refuse", "give-up")]
        rows.append((case.name, *cells, shown(early, len(held)), median))
    header = ("challenger", "promoted %", "refused %", "unproven %", f"refused before {HALF} %", "hours, median")
    table(title, header, rows)
    console.print()
