"""What a model was worth by the settings of old and by those that `evergreen new` writes, one line a promise.

Of old: a margin of 0 for every candidate and no refit. New: `Gates(routine_margin, persistence)` and
`Training(refit=True)`. Weekly candidates are replayed as in `burden` with the holdout that both share, the
newest fifth: on the UCI hourly file where it is (EVERGREEN_TEST_DATA as in `year`), and on the simulated streams of
`burden`, whose labels are autocorrelated and have seasons. The other lines are of made rows with one trait each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.candidates import Replay, Tally, evidence_of
from benchmarks.intervals import judge_pairs, real_pairs, simulated_pairs
from benchmarks.measure import PROJECT, Finding, Scale, console, table
from benchmarks.streams import NEWEST, Stream, autocorrelated_classes, bikes, seasons
from evergreen.data.predictions import Predictions
from evergreen.data.split import split_rows
from evergreen.data.windows import block_numbers
from evergreen.evaluation.autocorrelation import describe_order
from evergreen.evaluation.bootstrap import Groups
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.gates import run_gates
from evergreen.evaluation.measure import measure, row_losses
from evergreen.spec import Gates, Holdout, Metric, ModelSpec
from evergreen.spec.gates import ROUTINE_MARGIN
from evergreen.training.fit import fit
from evergreen.training.naive import naive_forecasts
from evergreen.training.predict import predict, target_of
from evergreen.verdicts import Verdict

RANDOM = Holdout(strategy="random", share=0.2, seed=42, min_rows=72)
OLD = Gates()
NEW = Gates(routine_margin=ROUTINE_MARGIN, persistence="tell")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: what was promised, on which rows, and what came by the old and by the new settings."""

    what: str
    rows: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: weeks of a replay, candidates of a comparison, pairs of equal models."""

    weeks: int
    candidates: int
    pairs: int


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Print the table, and again as Markdown."""
    lines = list(audit(Size(26, 6, 120) if scale.details else Size(6, 2, 10), folder))
    header = ("what was promised", "rows", "of old", "as new writes it")
    cells = [(line.what, line.rows, line.old, line.new) for line in lines]
    table("Promised and kept", header, cells)
    for row in (header, ("---",) * len(header), *cells):
        print(f"| {' | '.join(row)} |")
    return []


def audit(size: Size, folder: Path) -> Iterator[Line]:
    """Every line that can be measured here; a file that is not there is told and left out."""
    file = Path(os.environ.get("EVERGREEN_TEST_DATA", PROJECT.parent / "shared" / "data")) / "bike_sharing" / "hour.csv"
    real = [bikes(file)] if file.exists() else []
    if not real:
        console.print(f"[dim]{file.name} of UCI is not in {file.parent}; its lines are left out.[/]")
    for stream in (*real, autocorrelated_classes(0), seasons(0)):
        console.print(f"[dim]  {stream.name}[/]")
        yield from _replayed(stream, size)
    yield from _chances(size)
    if real:
        yield _equal_models(file, size)
    yield from (_dumps(), _month_ends(), _without_times(size), _prices(size), *_new_files(folder))


def _replayed(stream: Stream, size: Size) -> Iterator[Line]:
    """The lines about weekly candidates of one recipe, which both settings fit alike."""
    replay = Replay(replace(stream, spec=stream.spec.model_copy(update={"holdout": NEWEST})), size.weeks)
    numbers = range(len(replay.steps) - 4)
    fits = [
        tuple(replay.ahead(number, replay.steps[number], refit=refit) for refit in (False, True)) for number in numbers
    ]
    loss = sum(judged for judged, _ in fits) / sum(refit for _, refit in fits) - 1
    better = sum(refit < judged for judged, refit in fits)
    yield Line(
        "error in the 28 days after, against the same candidate refitted on all rows",
        f"{stream.name}: {len(fits)} candidates",
        f"{loss:+.1%}; the refit is better in {better}",
        "0 % (it is the refit)",
    )
    old, new = replay.tally(OLD, refit=False), replay.tally(NEW)
    about = f"{stream.name}: {old.candidates} candidates"
    yield Line("not promoted, though better in the next 28 days", about, *(_of(t.better_refused) for t in (old, new)))
    yield Line("promoted, and over 2 % worse in them", about, *(_of(t.harmful) for t in (old, new)))
    yield Line("error while serving", about, *(f"{_served(tally):.4g}" for tally in (old, new)))
    told = describe_order(target_of(stream.spec, replay.stream.rows))
    promises = [_promised(stream, rule, size) for rule in (RANDOM, NEWEST)]
    yield Line(
        "error that came in 28 days, times what the holdout promised",
        f"{stream.name}: {size.candidates} candidates",
        f"{promises[0]:.2f} (random)",
        f"{promises[1]:.2f} (latest); of random it is {'told' if told else 'not told'}",
    )


def _served(tally: Tally) -> float:
    return sum(tally.total) / sum(tally.rows)


def _promised(stream: Stream, rule: Holdout, size: Size) -> float:
    """The geometric mean of what came over what a holdout said, of candidates spread over the weeks."""
    spec = stream.spec.model_copy(update={"holdout": rule})
    replay, logs = Replay(replace(stream, spec=spec), size.weeks), []
    last = len(replay.steps) - 5
    for number in sorted({round(place) for place in np.linspace(0, last, size.candidates)}):
        step = replay.steps[number]
        frame = stream.between(step - (spec.training.last or DAY), step)
        mask = split_rows(spec, frame).holdout
        judged = fit(spec, frame[~mask].reset_index(drop=True), None, params=stream.params).pipeline
        came = stream.between(step, step + 28 * DAY)
        promised, kept = (
            measure(spec.metric, target_of(spec, rows), predict(judged, spec, rows))
            for rows in (frame[mask].reset_index(drop=True), came)
        )
        logs.append(math.log(kept / promised))
    return math.exp(sum(logs) / len(logs))


def _chances(size: Size) -> Iterator[Line]:
    """How often a candidate passes whose true error is known, on 36 days of hours that wander."""
    level = 100 * np.random.default_rng(1).normal(size=24 * 36)
    for name, share in (("truly equal", 1.0), ("3 % better", 0.97), ("15 % worse", 1.15)):
        passed = {"old": 0, "routine": 0, "recipe": 0}
        pairs = zip(simulated_pairs(36, 0.9, size.pairs), simulated_pairs(37, 0.9, size.pairs), strict=True)
        for (_, one, two, days), (_, both, _, _) in pairs:
            # Two fits of one recipe err alike: nine tenths of the variance are of both.
            alike = math.sqrt(0.9) * both[: len(days)]
            shown = (level, share * (alike + math.sqrt(0.1) * one), alike + math.sqrt(0.1) * two, days)
            passed["old"] += _passes(*shown, OLD, routine=True)
            passed["routine"] += _passes(*shown, NEW, routine=True)
            passed["recipe"] += _passes(*shown, NEW, routine=False)
        old, routine, recipe = (f"{count / size.pairs:.0%}" for count in passed.values())
        rows = f"{size.pairs} simulated pairs, 36 days"
        yield Line(
            f"chance to pass against the champion: {name}", rows, old, f"{routine} on newer rows, {recipe} a new recipe"
        )


def _passes(y: Any, one: Any, two: Any, groups: Groups, gates: Gates, *, routine: bool) -> bool:
    """Whether the gates pass the first of two models against the second."""
    spec = _spec("mae", gates=gates)
    candidate, champion = Predictions(y + one), Predictions(y + two)
    dummy = Predictions(np.full(len(y), 1e3))
    checks = run_gates(evidence_of(y, candidate, champion, dummy, groups, routine=routine), spec, seed=1)
    return next(check.status for check in checks if check.name == "champion") is Verdict.PASS


def _spec(metric: str, **fields: Any) -> ModelSpec:
    stream = seasons(0)
    return stream.spec.model_copy(update={"metric": Metric(name=metric), **fields})


def _equal_models(file: Path, size: Size) -> Line:
    """A/A on the real file: how often equal models are told apart, and how much wider a day's mean is than of rows."""
    splits = max(1, size.pairs // 60)
    shares = judge_pairs(real_pairs(file, splits))
    inflations = []
    for y, one, two, days in real_pairs(file, 1):
        gains = np.abs(two - y) - np.abs(one - y)
        by_day = np.bincount(days - days.min(), weights=gains) / np.bincount(days - days.min())
        inflations.append(by_day.var(ddof=1) / (gains.var(ddof=1) * len(by_day) / len(gains)))
    rows, by_days, blocks = (f"{shares[name][0]:.1%}" for name in ("rows (invalid)", "days", "blocks"))
    times = f"{np.median(inflations):.1f}"
    return Line(
        f"A/A: equal models that pass at 5 % (the mean gain of a day varies {times} times as much as that of its hours "
        "would, were they independent)",
        "UCI 2011 and 2012, 41 days",
        f"{rows} with rows one by one",
        f'{by_days} with days, {blocks} with blocks="measured"',
    )


def _dumps() -> Line:
    """A full export on three days, without a key: the newest fifth holds rows that were learned by heart."""
    first = np.arange(1000)
    ids = np.concatenate([first, np.arange(1040), np.arange(1080)]).astype(np.uint64)
    spec = _spec("mae", time=None, holdout=NEWEST)
    import pandas as pd

    frame, shares = pd.DataFrame({"y": ids.astype(float)}), []
    for known in (None, ids):
        split = split_rows(spec, frame, known)
        shares.append(float(np.isin(ids[split.holdout], ids[split.train]).mean()))
    return Line(
        "judging rows that stand word for word in training",
        "a full export on three days, without a key",
        f"{shares[0]:.0%}",
        f"{shares[1]:.0%}",
    )


def _month_ends() -> Line:
    """Rows with 24 month ends: a cut by the share alone goes through the rows of one."""
    import pandas as pd

    time = pd.Series(pd.date_range("2024-01-31", periods=24, freq="ME", tz="UTC").repeat(151))
    frame = pd.DataFrame({"at": time, "y": np.arange(float(len(time)))})
    start = len(frame) - round(len(frame) * NEWEST.share)
    cut = int((time.iloc[:start] == time.iloc[start]).sum())
    held = split_rows(_spec("mae", holdout=NEWEST), frame).holdout
    both = set(time[held]) & set(time[~held])
    return Line(
        "rows of one time on both sides of the holdout's cut",
        "24 month ends of 151 rows",
        f"{min(cut, 151 - cut)} of 151 on the other side",
        f"{'none' if not both else len(both)}",
    )


def _without_times(size: Size) -> Line:
    """A stream in the order of its rows alone: what a random fifth promised and what the newest one did."""
    stream = seasons(1)
    rows_in_order = stream.rows.assign(_row=range(len(stream.rows)))
    found = {}
    for name, rule, order in (("random", RANDOM, None), ("latest", NEWEST, "rows")):
        spec = stream.spec.model_copy(update={"time": None, "order": order, "holdout": rule})
        logs = []
        for number in range(size.candidates):
            begin = 24 * 7 * (3 * number)
            frame = rows_in_order.iloc[begin : begin + 24 * 180].reset_index(drop=True)
            came = rows_in_order.iloc[begin + 24 * 180 : begin + 24 * 208].reset_index(drop=True)
            mask = split_rows(spec, frame).holdout
            judged = fit(spec, frame[~mask].reset_index(drop=True), None, params={}).pipeline
            promised, kept = (
                measure(spec.metric, target_of(spec, rows), predict(judged, spec, rows))
                for rows in (frame[mask].reset_index(drop=True), came)
            )
            logs.append(math.log(kept / promised))
        found[name] = math.exp(sum(logs) / len(logs))
    return Line(
        "error that came, times what was promised",
        "seasons in the order of rows, without a time",
        f"{found['random']:.2f} (random)",
        f"{found['latest']:.2f} (order='rows')",
    )


def _prices(size: Size) -> Line:
    """Ups and downs that stay as they are for hours: a model refitted every week, beside the label of before."""
    stream = _sticky(0)
    replay = Replay(replace(stream, spec=stream.spec.model_copy(update={"holdout": NEWEST})), min(size.weeks, 13))
    weeks = range(len(replay.steps) - 1)
    served = [replay.losses(week, week, True) for week in weeks]
    frame = stream.between(replay.steps[0] - 180 * DAY, replay.steps[-1])
    at, first = frame["at"], replay.steps[0]
    known = block_numbers(at, timedelta(microseconds=1))
    learned, judged = (np.flatnonzero(mask) for mask in ((at < first).to_numpy(), (at >= first).to_numpy()))
    naive = naive_forecasts(stream.spec, frame, known, learned, judged)[0]
    y = target_of(stream.spec, frame)[judged]
    losses = row_losses(stream.spec.metric, y, naive.predictions)
    model = sum(total for total, _ in served) / sum(rows for _, rows in served)
    rule = float(np.mean(losses)) if losses is not None else float("nan")
    rows = stream.between(first, first + 28 * DAY)
    candidate = predict(replay.fits(0)[0], stream.spec, rows)
    evidence = evidence_of(
        target_of(stream.spec, rows), candidate, None, candidate, block_numbers(rows["at"], DAY), routine=False
    )
    told = [_tells(replace(evidence, naive=(_newest(naive, len(rows)),)), stream, gates) for gates in (OLD, NEW)]
    return Line(
        f"accuracy of weekly refits, {model:.3f}, beside the label of an hour ago, {rule:.3f}",
        "simulated ups and downs",
        f"{'said' if told[0] else 'nothing says so'}",
        f"{'the gate says so' if told[1] else 'nothing says so'}",
    )


def _newest(naive: Any, rows: int) -> Any:
    """The forecast of the first so many judged rows."""
    made = naive.predictions
    probability = None if made.probability is None else made.probability[:rows]
    return replace(naive, predictions=Predictions(made.values[:rows], probability, made.classes))


def _tells(evidence: Evidence, stream: Stream, gates: Gates) -> bool:
    """Whether a check names the rule as the better one."""
    given = evidence if gates.persistence != "off" else replace(evidence, naive=())
    checks = run_gates(given, stream.spec.model_copy(update={"gates": gates}), seed=1)
    return any(check.name == "persistence" and "worse by" in check.reason for check in checks)


def _sticky(seed: int) -> Stream:
    """`autocorrelated_classes` whose hidden state says more than any feature, judged by accuracy."""
    stream = autocorrelated_classes(seed)
    rng = np.random.default_rng(seed)
    state: npt.NDArray[np.intp] = np.cumsum(rng.random(len(stream.rows)) < 0.14) % 2
    agree = rng.random(len(stream.rows)) < 0.65
    rows = stream.rows.assign(y=state, flat=np.where(agree, state, 1 - state) + 0.5 * rng.normal(size=len(state)))
    spec = stream.spec.model_copy(update={"metric": Metric(name="accuracy")})
    return replace(stream, spec=spec, rows=rows)


def _new_files(folder: Path) -> Iterator[Line]:
    """What `evergreen new` makes of amounts that are mostly zero, and of a text with thousands of values."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor

    from evergreen.model_files.new import scaffold

    rng, rows = np.random.default_rng(0), 6000
    x = rng.normal(size=rows)
    amount = np.where(rng.random(rows) < 1 / (1 + np.exp(0.4 - 0.3 * x)), np.exp(4 + 0.1 * x), 0.0).round(2)
    table_ = pd.DataFrame({"x": x, "kind": rng.choice(["a", "b"], rows), "amount": amount})
    table_.to_csv(folder / "amounts.csv", index=False)
    made = scaffold("audit_amounts", folder / "amounts.csv", folder / "audit_models", target="amount")
    train, test = slice(0, rows // 2), slice(rows // 2, rows)
    trees = HistGradientBoostingRegressor(random_state=0).fit(x[train, None], amount[train]).predict(x[test, None])
    maes = [np.abs(amount[test] - said).mean() for said in (trees, np.median(amount[train]))]
    yield Line(
        f"amounts of which {np.mean(amount == 0):.0%} are zero: what `new` judges by",
        "6,000 made rows",
        f"mae, by which trees lose: {maes[0]:.3g} against {maes[1]:.3g} of the constant",
        f"{made.metric}",
    )
    yield _many_texts(folder)


def _many_texts(folder: Path) -> Line:
    """The error without a text of thousands of values, as `new` once wrote it, and with what it writes now."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor

    import models
    from evergreen.data.frames import model_frame
    from evergreen.model_files.new import scaffold

    rng, rows, half = np.random.default_rng(0), 40_000, 20_000
    x, who = rng.normal(size=rows), rng.integers(5000, size=rows)
    amount = x + rng.normal(size=5000)[who] + rng.normal(size=rows)
    frame = pd.DataFrame({"x": x, "who": [f"name {number}" for number in who], "amount": amount.round(3)})
    frame.to_csv(folder / "texts.csv", index=False)
    scaffold("audit_texts", folder / "texts.csv", folder / "audit_models", target="amount")
    spec = models.load_spec("audit_texts", folder / "audit_models")
    train, test = frame[:half], frame[half:]
    pipeline = spec.pipeline(0).fit(model_frame(train, spec.features), train["amount"])
    plain = HistGradientBoostingRegressor(random_state=0).fit(train[["x"]], train["amount"])
    said = plain.predict(test[["x"]]), pipeline.predict(model_frame(test, spec.features))
    maes = [np.abs(test["amount"] - each).mean() for each in said]
    return Line(
        "a text column of 5,000 values: mean absolute error",
        "40,000 made rows",
        f"left out: {maes[0]:.3f}",
        f"target-encoded: {maes[1]:.3f}" if "who" in spec.features.all else f"left out: {maes[1]:.3f}",
    )


def _of(hits: Sequence[int]) -> str:
    return f"{hits[0]} of {hits[1]}"
