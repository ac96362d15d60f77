"""Count requests while they are answered: plain numbers in memory, of which `metrics.py` makes what a scrape gets.

Requests are counted in the thread of the loop alone, so that nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from serving.champion import Followed
from serving.version import ServedVersion

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds: from a plan, which takes tens of microseconds, to frames that wait for one another."""
FORMER = 10
"""Versions of a model that answer no longer and whose counts are kept, at most."""


@dataclass(slots=True)
class Durations:
    """What requests took that were answered.

    Attributes:
        buckets: how many by the first bound of `BUCKETS` that they did not exceed; the last one is above all.
        seconds: of all of them.
    """

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


@dataclass(slots=True)
class VersionCounts:
    """What a version did under one alias.

    Attributes:
        durations: of the requests that it answered; shared by the versions of that alias.
        answered: requests.
        by_plan: rows.
        as_frame: rows.
        refused: requests, by their code.
    """

    durations: Durations
    answered: int = 0
    by_plan: int = 0
    as_frame: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class RequestCounts:
    """The requests of one process since its start.

    Attributes:
        models: what is followed, by name.
        in_flight: requests for a prediction that are not answered yet.
        refused: all that were refused, by their code.
        refused_by_version: those of them that had met a version.
        versions: by model, number and alias, those that answered first coming first.
        durations: by model and alias.
    """

    models: Mapping[str, Followed]
    in_flight: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refused_by_version: Counter[str] = field(default_factory=Counter)
    versions: dict[tuple[str, int, str], VersionCounts] = field(default_factory=dict)
    durations: dict[tuple[str, str], Durations] = field(default_factory=dict)

    def count_answer(self, version: ServedVersion, rows: int, seconds: float, *, as_frame: bool) -> None:
        """A version answered so many rows; the request took so many seconds."""
        counts = self.of(version)
        counts.answered += 1
        if as_frame:
            counts.as_frame += rows
        else:
            counts.by_plan += rows
        durations = counts.durations
        durations.buckets[bisect_left(BUCKETS, seconds)] += 1
        durations.seconds += seconds

    def count_refusal(self, version: ServedVersion, code: str) -> None:
        """A request that had met a version was refused."""
        self.of(version).refused[code] += 1
        self.refused_by_version[code] += 1

    def of(self, version: ServedVersion) -> VersionCounts:
        """The counts of a version, which begin with 0."""
        place = version.spec.name, version.number, version.alias
        return self.versions.get(place) or self._begin(place)

    def _begin(self, place: tuple[str, int, str]) -> VersionCounts:
        """The counts of a version that answers for the first time; those of the oldest former one may go."""
        model, _, alias = place
        answering = {(model, each.number, each.alias) for each in self.models[model].answering}
        former = [each for each in self.versions if each[0] == model and each not in answering]
        for oldest in former[:-FORMER]:
            del self.versions[oldest]
        self.versions[place] = VersionCounts(self.durations.setdefault((model, alias), Durations()))
        return self.versions[place]
