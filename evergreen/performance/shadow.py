"""Did a promotion help? The champion that was replaced goes on predicting, beside the one that replaced it.

Both are judged on the same labelled rows, none of which either has learned from, with the gain's paired bootstrap. A
look is taken whenever another window of `performance.window` is over and has its labels, at most `shadow.windows`
times. The looks share the level (Bonferroni): whoever looks four times at a promotion that changed nothing would else
find harm four times as often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.clusters import Clusters
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import ROW, Window, block_numbers, order_column, row_clusters, watched_groups
from evergreen.decision import decision_id
from evergreen.errors import EvergreenError
from evergreen.evaluation.bootstrap import MIN_GROUPS, ROUNDING, Comparison, Groups, paired_bootstrap
from evergreen.evaluation.proof import too_few_blocks
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.promotions import Move, PromotionLog, promotion_of
from evergreen.markdown import many, number
from evergreen.performance.label_coverage import LabelWindow, in_mature, label_windows
from evergreen.performance.labelled_rows import asked_of_blocks
from evergreen.performance.shadow_report import BY, ShadowReport
from evergreen.registry.lineage import first_unlearned, learned_until
from evergreen.registry.model_registry import ModelRegistry, StoredVersions
from evergreen.registry.promotion import Lock, roll_back, settle
from evergreen.registry.version import Version
from evergreen.spec.fields import distance
from evergreen.spec.model import ModelSpec
from evergreen.storage.row_digest import Digest, row_hashes
from evergreen.training.predict import labelled, predict, target_of
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds

ROWS = 20_000
"""Labelled rows that both predict, at most; more are sampled by time."""


Pair = tuple[Version, Version]
"""The champion and the one that it replaced."""


@dataclass(frozen=True, slots=True)
class FormerComparison:
    """The champion beside the one that it replaced, on the same labelled rows.

    Attributes:
        comparison: the champion as the candidate; None where `problem` says why there is none.
        rows: labelled rows that both predicted.
        windows: windows that they lie in.
        digest: of the rows.
        fault: the former champion cannot predict any more.
    """

    comparison: Comparison | None
    problem: str = ""
    rows: int = 0
    windows: int = 0
    digest: str = ""
    fault: bool = False


def check_promotion(
    spec: ModelSpec,
    registry: ModelRegistry,
    promotions: PromotionLog,
    ledger: Ledger,
    champion: Version | None,
    compare: Callable[[Pair, int], FormerComparison],
) -> ShadowReport:
    """The report on the promotion that made the champion; the stored one where there is nothing new to look at.

    Args:
        spec: the model.
        registry: holds the former champion.
        promotions: says what the champion replaced.
        ledger: holds the looks that were taken before.
        champion: the version in production.
        compare: `compare_with_former` of a pair, and of how many windows the last look saw. Called only where there is
            a promotion to judge.

    Raises:
        ArtifactError: the champion's stored files are not what was registered.
        EvergreenError: the model file's own metric failed.
    """
    moves = promotions.done() if champion and spec.shadow.windows else ()
    promotion = promotion_of(moves, champion.number if champion else None)
    if champion is None or promotion is None or promotion.before is None:
        return _silent(spec, "no promotion to judge" if spec.shadow.windows else "switched off: shadow.windows is 0")
    last = _last(ledger, promotion)
    if last is not None and last.final:
        return last
    former = registry.lookup(spec.name, promotion.before)
    if former is None:
        return _silent(spec, f"version {promotion.before}, the former champion, is gone", promotion)
    measured = compare((champion, former), last.windows if last else 0)
    if measured.comparison is None:
        return last if last and not measured.fault else _silent(spec, measured.problem, promotion)
    report = judge(spec, measured.comparison, promotion, rows=measured.rows, windows=measured.windows)
    # What follows from the answer is no part of what is asked.
    policy = spec.shadow.model_dump(exclude={"rollback"}), spec.performance.window, spec.performance.coverage
    about = ("shadow", str(promotion.before), promotion.id, measured.digest)
    asked = repr((spec.metric.name, *policy)), *asked_of_blocks(spec)
    name = decision_id(spec.name, promotion.after, *about, *asked)
    return replace(report, decision_id=name)


def compare_with_former(
    observations: Observations, versions: StoredVersions, snapshot: Snapshot, pair: Pair, before: int, now: datetime
) -> FormerComparison:
    """Compare the champion with the former one, if more windows have their labels than the ones `before`.

    `now` (aware) is the logical time: labels that became known later do not count.
    """
    spec = observations.spec
    window = _unseen(spec, snapshot, pair, now)
    windows = matured(spec, label_windows(observations, window), now, snapshot.next_row)
    labelled = sum(each.labelled for each in windows)
    is_last = order_column(spec) is not None and len(windows) == looks(spec)
    if len(windows) <= before or (labelled < spec.shadow.min_rows and not is_last):
        return FormerComparison(None, _waiting(spec, labelled, len(windows)))
    frame = _sample(spec, observations, window, windows)
    try:
        comparison = _compared(spec, versions, frame, *pair)
    except _FormerError as error:
        return FormerComparison(None, str(error), fault=True)
    return FormerComparison(comparison, "", len(frame), len(windows), _digest(observations, frame))


def roll_back_if_worse(
    spec: ModelSpec,
    registry: ModelRegistry,
    promotions: PromotionLog,
    report: ShadowReport,
    *,
    now: datetime,
    lock: Lock,
) -> Move | None:
    """Give the alias back to the former champion where its successor is proven to be worse; None where it stays.

    The stored decision is what counts, so that a later run carries out what a killed one left.

    Raises:
        RefusedError: the champion was moved since; a person knows better.
    """
    move = settle(registry, promotions, now=now, lock=lock)
    if move is not None and move.by == BY and move.phase == "done":
        return move
    if report.verdict is not Verdict.FAIL or not (report.rollback and spec.shadow.rollback):
        return None
    reason = f"{report.reason} (decision {report.decision_id})"
    return roll_back(
        spec, registry, promotions, report.former, reason=reason, by=BY, now=now, lock=lock, undoes=report.promotion
    )


def looks(spec: ModelSpec) -> int:
    """How many looks there are at most: one a window, and rows without an order have one window."""
    return spec.shadow.windows if order_column(spec) is not None else min(1, spec.shadow.windows)


def matured(
    spec: ModelSpec, windows: Sequence[LabelWindow], now: datetime, next_row: int = 0
) -> tuple[LabelWindow, ...]:
    """The first windows, at most `looks`, that are over at `now`, or by row `next_row`, and have their labels."""

    def is_over(window: LabelWindow) -> bool:
        length = distance(spec.performance.window)
        if window.first_row is not None:
            return bool(window.first_row + length <= next_row)
        return window.start is None or bool(datetime.fromisoformat(window.start) + length <= now)

    return tuple(window for window in windows if window.mature and is_over(window))[: looks(spec)]


def judge(spec: ModelSpec, comparison: Comparison, promotion: Move, *, rows: int, windows: int) -> ShadowReport:
    """What a comparison of the champion (as the candidate) with its predecessor says of the promotion."""
    value, former_value = _finite(comparison.value), _finite(comparison.champion_value)
    interval = (comparison.low, comparison.high) if np.isfinite([comparison.low, comparison.high]).all() else None
    gain = _finite(comparison.improvement) if rows else None
    noise = ROUNDING * abs(former_value or 0.0)
    problem = _problem(spec, gain, interval, rows, too_few_blocks(comparison))
    verdict = Verdict.INCONCLUSIVE
    if not problem and interval is not None:
        verdict = Verdict.PASS if interval[0] > noise else Verdict.FAIL if interval[1] < -noise else verdict
    return ShadowReport(
        verdict=verdict,
        metric=spec.metric.name,
        reason=problem or _reason(spec, verdict, gain, interval, promotion, rows, windows),
        value=value,
        former_value=former_value,
        gain=gain,
        interval=interval,
        rows=rows,
        windows=windows,
        of=looks(spec),
        champion=promotion.after,
        former=promotion.before,
        promotion=promotion.id,
        rollback=spec.shadow.rollback,
        final=verdict is Verdict.FAIL or windows >= looks(spec),
    )


def _problem(
    spec: ModelSpec, gain: float | None, interval: tuple[float, float] | None, rows: int, few_blocks: str
) -> str:
    """Why nothing can be said; empty where something can."""
    name, least = spec.metric.name, spec.shadow.min_rows
    if rows < least:
        few = many(rows, "labelled row is", "labelled rows are")
        return f"not known whether the promotion helped: {few} fewer than the minimum of {least}"
    if gain is None:
        return f"not known whether the promotion helped: {name} is undefined on the {many(rows, 'row')} since"
    if interval is None:
        why = few_blocks or f"too few independent rows among {rows} for an interval"
        return f"not known whether the promotion helped: {why}"
    return ""


def _reason(
    spec: ModelSpec,
    verdict: Verdict,
    gain: float | None,
    interval: tuple[float, float] | None,
    promotion: Move,
    rows: int,
    windows: int,
) -> str:
    what = {
        Verdict.PASS: "the promotion helped",
        Verdict.FAIL: "the promotion hurt",
        Verdict.INCONCLUSIVE: "the promotion is not proven to have helped or hurt",
    }[verdict]
    gain = gain or 0.0
    sign = 1.0 if gain >= 0 else -1.0
    low, high = sorted(sign * end for end in interval or (0.0, 0.0))
    size = f"{number(sign * gain)} {'better' if sign > 0 else 'worse'} ({number(low)} to {number(high)})"
    where = f"on {many(rows, 'row')}, {windows} of {many(looks(spec), 'window')}"
    return f"{what}: {spec.metric.name} {size} than version {promotion.before}'s {where}"


def _waiting(spec: ModelSpec, rows: int, windows: int) -> str:
    labelled = f"{windows} of {many(looks(spec), 'window has its labels', 'windows have theirs')}"
    return f"waits for labels: {labelled}, {many(rows, 'row')} (at least {spec.shadow.min_rows} are needed)"


def _silent(spec: ModelSpec, reason: str, promotion: Move | None = None) -> ShadowReport:
    """Nothing is decided."""
    report = ShadowReport(spec.metric.name, of=looks(spec), verdict=Verdict.INCONCLUSIVE, reason=reason)
    if promotion is None:
        return report
    return replace(report, champion=promotion.after, former=promotion.before, promotion=promotion.id)


def _last(ledger: Ledger, promotion: Move) -> ShadowReport | None:
    """The last look that was taken at a promotion."""
    reports = [ShadowReport.of_decision(report) for report in ledger.all("shadow")]
    looks_at_it = [report for report in reports if report.promotion == promotion.id]
    return max(looks_at_it, key=lambda report: report.windows, default=None)


def _unseen(spec: ModelSpec, snapshot: Snapshot, versions: Sequence[Version], now: datetime) -> Window:
    """What came after everything that the versions learned from, up to `now`."""
    known = now.isoformat()
    if spec.time is None:
        return Window(snapshot, from_row=max(map(first_unlearned, versions)), as_of=known)
    ends = [datetime.fromisoformat(end) for version in versions if (end := learned_until(version))]
    until = min(datetime.fromisoformat(snapshot.end), now) if snapshot.end else now
    return Window(snapshot, after=max(ends).isoformat() if ends else None, until=until.isoformat(), as_of=known)


def _sample(
    spec: ModelSpec, observations: Observations, window: Window, windows: Sequence[LabelWindow]
) -> pd.DataFrame:
    """At most `ROWS` labelled rows of these windows, in time order."""
    import pyarrow.dataset as ds

    wanted = ds.field(spec.target).is_valid()
    if order_column(spec) is not None and windows:
        wanted &= _before(observations, windows[-1])
    rows, _ = window.sample(observations, ROWS, seed=spec.seed, also=wanted)
    return in_mature(observations, labelled(spec, rows), windows)


def _before(observations: Observations, window: LabelWindow) -> ds.Expression:
    """What lies before the end of a window."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    length = distance(observations.spec.performance.window)
    if window.first_row is not None:
        return ds.field(ROW) < window.first_row + length
    time = str(observations.spec.time)
    end = datetime.fromisoformat(str(window.start)) + length
    return ds.field(time) < pa.scalar(end, observations.table.schema.field(time).type)


class _FormerError(Exception):
    """The former champion cannot predict any more."""


def _compared(
    spec: ModelSpec, versions: StoredVersions, frame: pd.DataFrame, champion: Version, former: Version
) -> Comparison:
    if len(frame) < spec.shadow.min_rows:
        nothing = float("nan")
        return Comparison(nothing, nothing, nothing, nothing, nothing, len(frame), 0)
    champion_predictions = predict(versions.load(champion, spec), spec, frame)
    return compare_predictions(spec, frame, champion_predictions, _former(spec, versions, frame, former))


def compare_predictions(spec: ModelSpec, frame: pd.DataFrame, champion: Predictions, former: Predictions) -> Comparison:
    """One look: what the champion predicts for these labelled rows beside what the former one does."""
    return paired_bootstrap(
        spec.metric,
        target_of(spec, frame),
        champion,
        former,
        groups=grouped(spec, frame),
        level=spec.shadow.level / looks(spec),
        seed=spec.seed,
    )


def grouped(spec: ModelSpec, frame: pd.DataFrame) -> Groups:
    """Which rows stand or fall together: those of a day, from six days on; fewer are cut finer; None without an order.

    With `Gates(blocks="measured")` so many days as the gain of one depends on that of another. Rows in the order of
    landing are cut into stretches, of which there are six or more.

    The gates cut finer below twenty days. Here that would call harm too often: see `docs/shadow.md`.
    """
    if spec.order == "rows" and len(frame):
        stretches = row_clusters(frame, MIN_GROUPS)
        return stretches if spec.gates.blocks == "measured" else stretches.numbers
    if spec.time is None:
        return None
    days = block_numbers(frame[spec.time], timedelta(days=1))
    if len(np.unique(days)) < MIN_GROUPS:
        return watched_groups(spec, frame)
    return Clusters(days, timedelta(days=1)) if spec.gates.blocks == "measured" else days


def _former(spec: ModelSpec, versions: StoredVersions, frame: pd.DataFrame, former: Version) -> Predictions:
    try:
        return predict(versions.load(former, spec), spec, frame)
    except EvergreenError as error:
        raise _FormerError(f"the former champion cannot be asked: {error.what}") from None
    except Exception as error:
        # The model file may have changed since: what a pipeline makes of other columns is its own affair.
        what = f"version {former.number} cannot predict these rows ({type(error).__name__})"
        raise _FormerError(f"the former champion cannot be asked: {what}") from None


def _digest(observations: Observations, frame: pd.DataFrame) -> str:
    """Of the rows that were judged."""
    import pyarrow as pa

    names = observations.content
    schema = pa.schema([observations.table.schema.field(name) for name in names])
    rows = pa.Table.from_pandas(frame[list(names)], schema=schema, preserve_index=False)
    return Digest(0, 0, 0).plus(row_hashes(rows, names)).hex


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
