"""Does the server get the features that land later? What was served is compared with what landed for the same key.

A column fails where the share of rows that differ is proven above what is accepted, by the exact lower bound of Clopper
and Pearson (1934, The use of confidence or fiducial limits, Biometrika 26). The bound's level is shared among the
columns of a look (Bonferroni) and among all looks that are ever taken at a model: the k-th has level / (k (k + 1)), and
these add up to the level. So a model of which no column differs in more rows than is accepted is reported with at most
that probability, however often it is looked at. What the small levels cost is little: of a hundred rows that all differ
the hundredth look at a hundred columns still says at least 83 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.frames import model_frame
from evergreen.data.observations import Observations
from evergreen.data.request_log import RequestLog
from evergreen.data.row_ids import row_ids
from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision, decision_id
from evergreen.details.watch import SkewDetail, SkewedColumn
from evergreen.ledger.decisions import Ledger
from evergreen.markdown import many
from evergreen.performance.served_rows import ROWS, Served, find_served, first_request, read_served
from evergreen.performance.served_values import ServedColumn, compare_numbers, compare_texts
from evergreen.performance.skew_report import NOT_SERVED, SkewReport, not_compared
from evergreen.registry.version import Version
from evergreen.spec.data import Features
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import Skew
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

NOTHING_ASKED = "nothing was asked online yet"
EXAMPLES = 3
"""Keys of rows that differ which are named for a column."""
NAMED = 3
"""Columns that a reason describes; of others it has the number."""


def check_skew(
    observations: Observations,
    log: RequestLog,
    ledger: Ledger,
    champion: Version | None,
    snapshot: Snapshot,
    now: datetime,
) -> SkewReport:
    """Look at what the champion was asked online; the last look where too few rows came since.

    Args:
        observations: the model's rows.
        log: what was asked online.
        ledger: holds the looks that were taken before.
        champion: the version in production.
        snapshot: the observations that are looked at.
        now: logical time (aware); what came later does not count.

    Raises:
        EvergreenError: a table cannot be read.
    """
    spec = observations.spec
    why = _not_served(spec, champion)
    if why or champion is None or not log.table.exists():
        return not_compared(why or NOTHING_ASKED)
    looks = ledger.all("skew")
    last = next((SkewReport.of_decision(look) for look in reversed(looks) if look.champion == champion.number), None)
    since = _since(looks, last) or first_request(log)
    if since is None:
        return not_compared(NOTHING_ASKED)
    served = find_served(observations, log, champion.number, snapshot, since, now)
    if served.of < spec.skew.min_rows + _counted(last):
        return last or _waiting(spec, served.of, since)
    look = max((each.detail_as(SkewDetail).look for each in looks), default=0) + 1
    report = _looked(observations, log, ledger, champion, snapshot, since, served, look)
    return report or last or _waiting(spec, served.of, since)


def compare_served_features(
    policy: Skew,
    features: Features,
    online: Sequence[Mapping[str, Any]],
    landed: pd.DataFrame,
    ids: Sequence[str],
    look: int,
) -> SkewReport:
    """The report of n rows, without its decision.

    Args:
        policy: what is accepted.
        features: the columns that are compared; what the request log does not have of a row is left out.
        online: what the pipeline got of each row, by column; None where a value was missing.
        landed: what it would get of the rows as they landed (`model_frame`), in the same order.
        ids: the key of each row for people.
        look: which look at the model it is, from 1.
    """
    compared: dict[str, ServedColumn] = {}
    for name in features.all:
        known = np.array([name in row for row in online], dtype=bool)
        compare = compare_numbers if name in features.numeric else compare_texts
        compared[name] = compare([row.get(name) for row in online], known, landed[name])
    compared = {name: column for name, column in compared.items() if column.known.any()}
    level = policy.level / (look * (look + 1)) / max(len(compared), 1)
    columns = [_judged(policy, name, column, ids, level) for name, column in compared.items()]
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    differing = sorted(
        (column for column in columns if column.differing),
        key=lambda column: (order.index(column.verdict), -column.differing / column.rows, column.name),
    )
    verdict = differing[0].verdict if differing else Verdict.PASS
    return SkewReport(
        verdict=verdict,
        reason=_reason(policy, verdict, differing, len(compared), len(online)),
        rows=len(online),
        of=len(online),
        features=len(compared),
        columns=tuple(differing),
        max_share=policy.max_share,
        look=look,
    )


def least_share(differing: int, rows: int, level: float) -> float:
    """The share of rows that differ is at least this with confidence 1 - level, one-sided and exact."""
    from scipy.special import betaincinv

    return float(betaincinv(differing, rows - differing + 1, level)) if differing else 0.0


def _judged(policy: Skew, name: str, column: ServedColumn, ids: Sequence[str], level: float) -> SkewedColumn:
    rows, differing = int(column.known.sum()), int(column.differs.sum())
    least = least_share(differing, rows, level)
    verdict = Verdict.PASS
    if differing > policy.max_share * rows:
        verdict = Verdict.FAIL if least > policy.max_share else Verdict.INCONCLUSIVE
    examples = tuple(ids[place] for place in np.flatnonzero(column.differs)[:EXAMPLES])
    return SkewedColumn(name, verdict, rows, differing, least, column.how, examples)


def _not_served(spec: ModelSpec, champion: Version | None) -> str:
    """Why there is nothing to compare, by the model file alone; empty where there may be."""
    if spec.serve is None:
        return NOT_SERVED.reason
    if not spec.serve.log:
        return "no request is kept: Serve(log=0)"
    if not spec.keys:
        return "the model has no keys by which a request and the row that lands later are one"
    return "" if champion else "there is no champion yet"


def _since(looks: Sequence[Decision], last: SkewReport | None) -> datetime | None:
    """Rows that landed later are looked at; None for all that were served.

    What was not proven is looked at again, together with what came since, until it is as much as a look can hold.
    """
    if last is None:
        return None
    if _counted(last) and last.since is not None:
        return datetime.fromisoformat(last.since)
    return next(look.at for look in looks if look.id == last.decision_id)


def _counted(last: SkewReport | None) -> int:
    """The served rows of the last look that are looked at again."""
    return last.of if last is not None and last.verdict is Verdict.INCONCLUSIVE and last.rows < ROWS else 0


def _looked(
    observations: Observations,
    log: RequestLog,
    ledger: Ledger,
    champion: Version,
    snapshot: Snapshot,
    since: datetime,
    served: Served,
    look: int,
) -> SkewReport | None:
    """The report of rows that were served, the stored one of the same question; None where too few can be compared."""
    spec = observations.spec
    rows = read_served(observations, log, champion.number, snapshot, since, served)
    if len(rows.online) < spec.skew.min_rows:
        return None
    name = decision_id(spec.name, champion.number, "skew", rows.digest, repr(spec.skew))
    stored = ledger.find("skew", name)
    if stored is not None:
        return SkewReport.of_decision(stored)
    frame: pd.DataFrame = rows.landed.to_pandas()
    ids = row_ids(frame, spec, observations.table.schema, np.arange(len(frame))).to_pylist()
    landed = model_frame(frame, spec.features)
    report = compare_served_features(spec.skew, spec.features, rows.online, landed, ids, look)
    of = max(served.of, report.rows)
    return replace(report, of=of, since=since.isoformat(), unread=rows.unread, decision_id=name)


def _waiting(spec: ModelSpec, rows: int, since: datetime) -> SkewReport:
    served = many(rows, "row that was served has", "rows that were served have")
    reason = f"waits for rows: {served} landed since (at least {spec.skew.min_rows} are needed)"
    return not_compared(reason, rows, since.isoformat())


def _reason(policy: Skew, verdict: Verdict, columns: Sequence[SkewedColumn], features: int, rows: int) -> str:
    accepted = f"{policy.max_share * 100:.3g}%"
    if verdict is Verdict.PASS:
        seen = f"{many(features, 'feature')} differs in more than {accepted} of {many(rows, 'row')}"
        return f"what was served is what landed: none of {seen}"
    told = [column for column in columns if column.verdict is verdict]
    named = [_described(column, proven=verdict is Verdict.FAIL) for column in told[:NAMED]]
    more = [f"and {many(len(told) - NAMED, 'more column')}"] if len(told) > NAMED else []
    what = "what was served differs from what landed" if verdict is Verdict.FAIL else "not proven to differ"
    end = f"up to {accepted} of the rows are accepted"
    return f"{what}: {'; '.join([*named, *more])}; {end}"


def _described(column: SkewedColumn, *, proven: bool) -> str:
    share = f"{column.name} in {column.differing:,} of {many(column.rows, 'row')}"
    return f"{share} (at least {column.least:.1%}): {column.how}" if proven else f"{share}: {column.how}"
