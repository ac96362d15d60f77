"""What a server tells Prometheus: made of what it counts and knows anyway, and only when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from evergreen.naming import METRIC_PREFIX
from evergreen.prometheus import counter, gauge, in_environment, process_registry
from serving.champion import ChampionFollower
from serving.frame_worker import FrameWorker
from serving.prediction_queue import PredictionQueue
from serving.request_counts import BUCKETS, RequestCounts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

_SERVING = f"{METRIC_PREFIX}serving_"
_PERCENT = 100


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """The series of one process.

    Attributes:
        follower: says which versions answer.
        worker: predicts what is no plain row.
        queue: keeps what was answered.
        counts: of the requests.
        can_answer: whether a model can be asked.
        version: of Evergreen.
        registry: what a scrape collects; this, and what the process takes of the machine.
    """

    follower: ChampionFollower
    worker: FrameWorker
    queue: PredictionQueue
    counts: RequestCounts
    can_answer: Callable[[str], bool]
    version: str
    registry: CollectorRegistry = field(default_factory=process_registry)

    def __post_init__(self) -> None:
        """Be collected by the registry."""
        self.registry.register(self)

    def text(self) -> bytes:
        """All series in the text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """The families of series, as the client library asks for them."""
        yield gauge(f"{METRIC_PREFIX}build_info", "1 for the version of Evergreen.", "version", [((self.version,), 1)])
        families = (self._requests(), self._versions(), self._champions(), self._log(), self._canaries())
        yield from in_environment(self.follower.settings.environment, chain.from_iterable(families))

    def _requests(self) -> Iterator[Metric]:
        counts = self.counts
        for followed in self.follower.models.values():
            for version in followed.answering:
                # A series that began with its first request would show no increase for it.
                counts.of(version)
        requests: list[tuple[tuple[str, ...], float]] = []
        rows: list[tuple[tuple[str, ...], float]] = []
        for (model, number, alias), each in counts.versions.items():
            place = model, str(number), alias
            requests.append(((*place, "ok"), each.answered))
            requests += [((*place, code), count) for code, count in each.refused.items()]
            rows += [((*place, "plan"), each.by_plan), ((*place, "frame"), each.as_frame)]
        yield counter(
            f"{_SERVING}requests_total", "Requests by the version that they met.", "model version route code", requests
        )
        yield counter(f"{_SERVING}rows_total", "Rows that were answered.", "model version route way", rows)
        # Both are counted before another request has its turn.
        elsewhere = counts.refused - counts.refused_by_version
        refusals = [((code,), elsewhere[code]) for code in counts.refused]
        yield counter(
            f"{_SERVING}refusals_total", "Requests that were refused before they met a version.", "code", refusals
        )
        yield self._durations()
        in_flight = "Requests for a prediction that are not answered yet."
        yield gauge(f"{_SERVING}requests_in_flight", in_flight, "", [((), counts.in_flight)])
        waiting = "Requests that wait for their rows to be predicted as a frame."
        yield gauge(f"{_SERVING}frame_requests_waiting", waiting, "", [((), self.worker.waiting)])

    def _durations(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        text = "From the arrival of a request that was answered until its answer was made."
        family = HistogramMetricFamily(f"{_SERVING}request_duration_seconds", text, labels=["model", "route"])
        bounds = [*map(str, BUCKETS), "+Inf"]
        for place, each in self.counts.durations.items():
            buckets = list(zip(bounds, map(float, accumulate(each.buckets)), strict=True))
            family.add_metric(place, buckets, each.seconds)
        return family

    def _versions(self) -> Iterator[Metric]:
        """Of the versions that answer now."""
        answering = [
            ((name, str(version.number), version.alias), version)
            for name, followed in self.follower.models.items()
            for version in followed.answering
        ]
        labels = "model version route"
        yield gauge(
            f"{_SERVING}model_info", "1 for a version that answers now.", labels, [(at, 1) for at, _ in answering]
        )
        compiled = [(at, version.plan is not None) for at, version in answering]
        yield gauge(f"{_SERVING}compiled", "Whether a plan answers plain rows.", labels, compiled)

    def _champions(self) -> Iterator[Metric]:
        models = self.follower.models
        ready = [((name,), self.can_answer(name)) for name in models]
        yield gauge(f"{_SERVING}ready", "Whether a model can be asked.", "model", ready)
        stale = [((name,), bool(each.stale)) for name, each in models.items()]
        text = (
            "Whether what answers may not be what the alias names, for the registry is away or a version does not load."
        )
        yield gauge(f"{_SERVING}stale", text, "model", stale)
        swaps = [((name,), each.swaps) for name, each in models.items()]
        yield counter(
            f"{_SERVING}champion_swaps_total",
            "How often a version became champion here, the first one too.",
            "model",
            swaps,
        )
        current = [(name, each.current) for name, each in models.items()]
        loaded = [((name,), version.loaded_at.timestamp()) for name, version in current if version is not None]
        text = "When the champion was loaded, as Unix time."
        yield gauge(f"{_SERVING}model_loaded_timestamp_seconds", text, "model", loaded)

    def _log(self) -> Iterator[Metric]:
        counts = self.queue.counts
        waiting = "Rows that were answered and are not in the lake yet."
        yield gauge(f"{_SERVING}log_rows_waiting", waiting, "", [((), self.queue.waiting)])
        for name, text, value in (
            ("kept", "Rows that are in the lake.", counts.kept),
            ("lost", "Rows that are not kept: memory was full, or they have no place in the tables.", counts.not_kept),
            ("without_key", "Rows that are kept without the key that they brought.", counts.without_key),
        ):
            yield counter(f"{_SERVING}log_rows_{name}_total", text, "", [((), value)])
        failures = "Commits that failed; their rows are tried again."
        yield counter(f"{_SERVING}log_failures_total", failures, "", [((), counts.failures)])

    def _canaries(self) -> Iterator[Metric]:
        models, comparer = self.follower.models, self.queue.comparer
        share = [((name,), each.share / _PERCENT) for name, each in models.items()]
        yield gauge(f"{_SERVING}canary_share_ratio", "Of the requests, the challenger's.", "model", share)
        problem = [((name,), bool(each.canary.problem)) for name, each in models.items()]
        text = "Whether a challenger should meet traffic and does not."
        yield gauge(f"{_SERVING}canary_problem", text, "model", problem)
        failures = [
            ((name, code), count) for name, each in models.items() for code, count in list(each.canary.failures.items())
        ]
        text = "Requests that the champion answered because the challenger failed."
        yield counter(f"{_SERVING}canary_failures_total", text, "model code", failures)
        for kind, text, rows in (
            ("compared", "Rows that both versions predicted.", comparer.compared),
            ("not_compared", "Rows that there was no time to compare.", comparer.not_compared),
        ):
            compared = [((name,), rows[name]) for name in models]
            yield counter(f"{_SERVING}canary_rows_{kind}_total", text, "model", compared)
