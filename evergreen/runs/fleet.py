"""All models side by side, the most worrying first.

Only the ledgers are read, and no registry: of thirty models the registry alone would take half a minute. What cannot be
read of one model is its problem, and hides no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from evergreen.data.observations import latest_time
from evergreen.decision import Decision, Kind
from evergreen.details.decision import RetrainDetail
from evergreen.details.watch import PerformanceDetail
from evergreen.errors import EvergreenError
from evergreen.ledger.reconciliation import (
    LedgerState,
    is_asking,
    is_escalated,
    is_in_canary,
    look_at_ledger,
    open_decisions,
)
from evergreen.markdown import describe_span, many, number
from evergreen.runs.history import last_monitor
from evergreen.runs.label_lag import count_waiting
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.spec.protection import Protection, protection_of

WORRIES = (
    "problem",  # the model file or a table cannot be read, so that nothing else is known
    "escalated",  # retraining does not help, and a person was told
    "open",  # a decision calls for a retraining and has no answer
    "performance",  # the newest report on the champion failed
    "drift",
    "skew",
    "shadow",
    "none",  # nothing is in production
    "silent",  # nobody has looked for drift for longer than the model file's drift.silence
    "labels",  # more windows wait for their labels than could be judged
    "waits",  # a version waits for a person, or its canary is paused
    "old",  # the champion is older than OLD
)
"""What there is to worry about, the worst first. Each weighs more than all below it together: the worst one decides,
and where that is the same the next one does."""
WEIGHTS: Mapping[str, int] = {name: 2**place for place, name in enumerate(reversed(WORRIES))}
OLD = timedelta(days=90)
"""A champion that has been in production for longer is old: a quarter, in which most data have a season or a price list
of another year. It is a guess, not a measurement, and the least of the worries."""

_THREADS = 4
REPORTS: Mapping[Kind, str] = {
    "performance": "The newest performance report failed",
    "drift": "The newest drift report failed",
    "skew": "What is asked online differs from what lands",
    "shadow": "The last promotion made it worse",
}


@dataclass(frozen=True, slots=True)
class FleetLine:
    """How one model stands.

    Attributes:
        champion: version in production by the log of promotions; None where there is none.
        since: when it became that.
        drift: verdict of the newest report on the champion; empty without one. So are the next four.
        performance: the same.
        metric: what performance was measured by.
        value: what it was; None where it could not be measured.
        late: windows that wait for their labels.
        open: decisions that call for a retraining and have no answer.
        open_since: when the oldest of them was taken.
        canary: the version that meets live traffic.
        retrain: outcome of the newest retraining; empty before the first.
        at: when the newest of all this was decided.
        protection: what the model file protects it by; None where the file cannot be read.
        problem: why the rest is not known; empty where it is.
        worries: sentences, the worst first.
        weight: of all worries together, by `WEIGHTS`.
    """

    model: str
    champion: int | None = None
    since: datetime | None = None
    drift: str = ""
    performance: str = ""
    metric: str = ""
    value: float | None = None
    late: int = 0
    open: int = 0
    open_since: datetime | None = None
    canary: int | None = None
    retrain: str = ""
    at: datetime | None = None
    protection: Protection | None = None
    problem: str = ""
    worries: tuple[str, ...] = ()
    weight: int = 0

    @property
    def sort_key(self) -> tuple[int, float, str]:
        """The most worrying first; with equal worries, the one whose oldest decision has been open for longest."""
        since = self.open_since.timestamp() if self.open_since else float("inf")
        return -self.weight, since, self.model

    @property
    def rest(self) -> str:
        """What a row of figures has no column for: the last retraining, a canary, and what is off."""
        parts = [f"last retrain {self.retrain}" if self.retrain else ""]
        parts.append(f"version {self.canary} in canary" if self.canary else "")
        off = self.protection.off if self.protection else ()
        parts.append(f"off: {', '.join(off)}" if off else "")
        return "; ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """The line as one JSON object."""
        told = asdict(self) | {"protection": self.protection.to_json() if self.protection else None}
        times = {name: value.isoformat() for name, value in told.items() if isinstance(value, datetime)}
        return told | times | {"worries": list(self.worries)}


def read_fleet(
    settings: Settings, models: Iterable[str], load: Callable[[str], ModelSpec], *, now: datetime
) -> tuple[FleetLine, ...]:
    """One line a model, the most worrying first; `load` reads a model file by its name.

    Tables are read beside each other: half of the time is spent outside of Python, or on the way to an object store.
    Model files are read one after the other, because importing is for one thread.
    """
    read = {model: _read_file(load, model) for model in models}

    def loaded(model: str) -> ModelSpec:
        outcome = read[model]
        if isinstance(outcome, EvergreenError):
            raise outcome
        return outcome

    with ThreadPoolExecutor(_THREADS) as pool:
        return sort_lines(pool.map(lambda model: read_line(settings, model, loaded, now=now), read))


def _read_file(load: Callable[[str], ModelSpec], model: str) -> ModelSpec | EvergreenError:
    try:
        return load(model)
    except EvergreenError as error:
        return error


def sort_lines(lines: Iterable[FleetLine]) -> tuple[FleetLine, ...]:
    """The most worrying first."""
    return tuple(sorted(lines, key=lambda line: line.sort_key))


def read_line(settings: Settings, model: str, load: Callable[[str], ModelSpec], *, now: datetime) -> FleetLine:
    """How a model stands at `now` (aware, UTC); a model file or a table that cannot be read is its `problem`."""
    protection = None
    try:
        spec = load(model)
        protection = protection_of(spec)
        ledger, newest = look_at_ledger(settings, spec, (*REPORTS, "canary"))
        data_end = latest_time(settings.lake_uri, spec)
        monitored = last_monitor(settings.lake_uri, model)
    except EvergreenError as error:
        return broken_line(model, str(error), protection)
    return make_line(spec, ledger, newest, now=now, data_end=data_end, monitored=monitored)


def broken_line(model: str, problem: str, protection: Protection | None = None) -> FleetLine:
    """The line of a model of which nothing else is known."""
    return FleetLine(model, protection=protection, problem=problem, worries=(problem,), weight=WEIGHTS["problem"])


def make_line(
    spec: ModelSpec,
    ledger: LedgerState,
    newest: Mapping[Kind, Decision],
    *,
    now: datetime,
    data_end: datetime | None = None,
    monitored: datetime | None = None,
) -> FleetLine:
    """How a model stands, by what is stored.

    `newest` holds the newest decision of each kind of report; `data_end` is the latest time of a row, and `monitored`
    when the newest monitor ended.
    """
    # A report on a former champion says nothing of this one.
    about = {kind: each for kind, each in newest.items() if each.champion == ledger.champion}
    measured = about.get("performance")
    figures = measured.detail_as(PerformanceDetail) if measured else None
    retrains = [entry for entry in ledger.entries if entry.kind == "retrain"]
    waiting = open_decisions(spec, ledger)
    late = count_waiting(spec, ledger, figures, data_end) if ledger.champion is not None else 0
    looked = last_look(ledger, about.get("drift"), monitored)
    worries = dict(_worries(spec, ledger, about, waiting, late, looked, now))
    ranked = sorted(worries, key=WORRIES.index)
    return FleetLine(
        model=spec.name,
        champion=ledger.champion,
        since=ledger.since if ledger.champion is not None else None,
        drift=_outcome(about.get("drift")),
        performance=_outcome(measured),
        metric=figures.metric if figures else "",
        value=figures.value if figures else None,
        late=late,
        open=len(waiting),
        open_since=waiting[0].at if waiting else None,
        canary=retrains[-1].detail_as(RetrainDetail).version if retrains and is_in_canary(ledger) else None,
        retrain=_outcome(retrains[-1] if retrains else None),
        at=max((entry.at for entry in (*ledger.entries, *newest.values())), default=None),
        protection=protection_of(spec),
        worries=tuple(worries[name] for name in ranked),
        weight=sum(WEIGHTS[name] for name in ranked),
    )


def last_look(ledger: LedgerState, drift: Decision | None, monitored: datetime | None) -> datetime | None:
    """When somebody last looked for drift of the champion, or else when it became that; None without one.

    A monitor that found nothing new has looked, and left the report (`drift`) that there was.
    """
    looks = (ledger.since, drift.at if drift else None, monitored)
    return max((each for each in looks if each is not None), default=None) if ledger.champion is not None else None


def describe_age(since: datetime | None, now: datetime) -> str:
    """How long ago something was, such as `41 days`; empty where it never was."""
    if since is None:
        return ""
    age = max(now - since, timedelta(0))
    return describe_span(timedelta(days=age.days) if age.days >= 10 else age)


def _outcome(decision: Decision | None) -> str:
    return decision.outcome if decision else ""


def _worries(
    spec: ModelSpec,
    ledger: LedgerState,
    about: Mapping[Kind, Decision],
    waiting: tuple[Decision, ...],
    late: int,
    looked: datetime | None,
    now: datetime,
) -> Iterator[tuple[str, str]]:
    """What there is to worry about, by its name in `WORRIES`."""
    if is_escalated(ledger):
        yield "escalated", "Retraining does not help; a person was told."
    if waiting:
        oldest = " the oldest" if len(waiting) > 1 else ""
        what = many(len(waiting), "decision has no answer,", "decisions have no answer,")
        yield "open", f"{what}{oldest} for {describe_age(waiting[0].at, now)}."
    for kind, sentence in REPORTS.items():
        if kind in about and about[kind].outcome == "FAIL":
            yield kind, f"{sentence}{_figures(about[kind])}."
    yield from _worries_of_time(spec, ledger, about, late, looked, now)
    yield from _worries_of_people(ledger, about)


def _figures(report: Decision) -> str:
    """What a performance report measured."""
    detail = report.detail
    if not isinstance(detail, PerformanceDetail) or detail.value is None:
        return ""
    before = f", {number(detail.at_promotion)} at promotion" if detail.at_promotion is not None else ""
    return f": {detail.metric} {number(detail.value)}{before}"


def _worries_of_time(
    spec: ModelSpec,
    ledger: LedgerState,
    about: Mapping[Kind, Decision],
    late: int,
    looked: datetime | None,
    now: datetime,
) -> Iterator[tuple[str, str]]:
    if ledger.champion is None:
        yield "none", "Nothing is in production."
        return
    if looked is not None and now - looked > spec.drift.silence:
        yield "silent", f"Nobody has looked for drift for {describe_age(looked, now)}."
    figures = about["performance"].detail_as(PerformanceDetail) if "performance" in about else None
    judged = len(figures.windows) if figures else 0
    if late > judged:
        windows = many(late, "window waits for its labels", "windows wait for their labels")
        yield "labels", f"{windows}, {judged} could be judged."
    if ledger.since is not None and now - ledger.since > OLD:
        yield "old", f"The champion is {describe_age(ledger.since, now)} old."


def _worries_of_people(ledger: LedgerState, about: Mapping[Kind, Decision]) -> Iterator[tuple[str, str]]:
    if is_asking(ledger):
        yield "waits", "A version waits for a person's approval."
    elif is_in_canary(ledger) and _outcome(about.get("canary")) == "paused":
        yield "waits", "Its canary is paused."
