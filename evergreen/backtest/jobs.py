"""The work of a replay: fits, reports, comparisons and predictions, each named by what it follows from.

Every job calls the core that the live flow calls, on the observations as they were known at its time. The policies of a
backtest ask for jobs; what two of them ask for is one job, and what was worked out before is read.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np

from evergreen.backtest.history import History, Past, instant, micros
from evergreen.backtest.in_memory import HeldFits
from evergreen.backtest.job_cache import Store, fit_print, key_of, whole_print
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.windows import Window, training_window
from evergreen.decision import Decision
from evergreen.drift.check import compared
from evergreen.drift.compare import ColumnDrift
from evergreen.drift.report import DriftReport
from evergreen.errors import EvergreenError
from evergreen.evaluation.bootstrap import Comparison
from evergreen.evaluation.judgement import Judgement
from evergreen.performance.check import assess_rows
from evergreen.performance.labelled_rows import judged_rows
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow import Look, look
from evergreen.registry.artifacts import PIPELINE, packed, sha256, state_sha256
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Training
from evergreen.training.candidate import make
from evergreen.training.evaluate import hold
from evergreen.training.plan import Counts, counted
from evergreen.training.predict import predict
from evergreen.verdicts import Verdict

FAULT = "fault"
"""The field of a result that says what was wrong with the input; there is nothing else in it then."""


class Bench:
    """What every job works with, in whatever process it is.

    Attributes:
        spec: the model.
        history: everything known by now.
        store: where results are kept.
    """

    def __init__(self, spec: ModelSpec, history: History, store: Store) -> None:
        self.spec, self.history, self.store = spec, history, store
        self.fits = HeldFits(store)
        self._counts: dict[tuple[str | None, Training], Counts] = {}
        self.past = lru_cache(maxsize=256)(self._past)
        self.of = lru_cache(maxsize=None)(self._of)
        self.fit_print = lru_cache(maxsize=None)(lambda training: fit_print(self.of(training)))

    def counts(self, spec: ModelSpec, past: Observations, window: Window) -> Counts:
        """As `evergreen.training.plan.counted`: policies with the same window ask at the same time."""
        name = (window.as_of, spec.training)
        if name not in self._counts:
            self._counts[name] = counted(spec, past, window)
        return self._counts[name]

    @cached_property
    def print(self) -> str:
        """What every verdict follows from beside rows and fits."""
        return whole_print(self.spec)

    def _of(self, training: Training) -> ModelSpec:
        return self.spec.model_copy(update={"training": training})

    def _past(self, now: datetime, training: Training) -> Past:
        return self.history.at(now, self.of(training))


class Job(Protocol):
    """Something to be worked out once."""

    kind: ClassVar[str]

    def key(self, bench: Bench) -> str:
        """The name of its result."""
        ...

    def run(self, bench: Bench) -> dict[str, Any]:
        """Work it out; the result is JSON."""
        ...


def done(bench: Bench, job: Job) -> dict[str, Any]:
    """The result of a job, worked out and kept; what is at fault with the input is a result, too."""
    began = time.process_time()
    try:
        told = job.run(bench)
    except EvergreenError as error:
        told = {FAULT: [error.what, error.fix]}
    told = {"cost": time.process_time() - began, **told}
    bench.store.keep(job.kind, job.key(bench), told)
    return told


@dataclass(frozen=True, slots=True)
class Fit:
    """A candidate of what is known at `now`; the result has its tags and the processor seconds that it took."""

    kind: ClassVar[str] = "fit"
    now: datetime
    training: Training

    def key(self, bench: Bench) -> str:
        """By the rows that it learns from or is judged by."""
        history, back = bench.history, self.training.last
        count = int(np.searchsorted(history.times, micros(self.now)))
        start = None if back is None or count == 0 else instant(history.times[count - 1]) - back
        learned = history.learned(start, self.now)
        return key_of("fit", bench.fit_print(self.training), learned.hex, learned.rows)

    def run(self, bench: Bench) -> dict[str, Any]:
        """Search, fit, store."""
        past, part = bench.past(self.now, self.training), bench.store.begin()
        began = time.process_time()
        part.mkdir()
        try:
            made = make(past, training_window(past.spec, past.snapshot(), self.now), part / "evergreen")
            seconds = time.process_time() - began
            stored = packed(made.fitted.pipeline, past.spec.name, past.spec.trusted)
            (part / PIPELINE).write_bytes(stored)
        except EvergreenError:
            shutil.rmtree(part)
            raise
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file()) / 1e6
        tags = {
            "sha256": sha256(part / PIPELINE),
            "files_sha256": sha256(part / "evergreen"),
            "state_sha256": state_sha256(part / PIPELINE),
            "size_mb": f"{size:.3f}",
        }
        bench.store.end(part, self.key(bench))
        return {"fit": self.key(bench), "seconds": seconds, "tags": tags}


@dataclass(frozen=True, slots=True)
class Drift:
    """The drift report of a champion."""

    kind: ClassVar[str] = "drift"
    now: datetime
    training: Training
    champion: Version

    def key(self, bench: Bench) -> str:
        """By the champion's fit and the rows that were known."""
        return _key(self, bench, self.champion.model_id)

    def run(self, bench: Bench) -> dict[str, Any]:
        """The scores, without a page."""
        past = bench.past(self.now, self.training)
        found = compared(past, bench.fits, self.champion, past.snapshot(), folder=None, now=self.now)
        return {"report": asdict(found)}

    @staticmethod
    def read(told: Mapping[str, Any]) -> DriftReport:
        """The report behind a result."""
        kept = told["report"]
        columns = tuple(ColumnDrift(**one | {"verdict": Verdict(one["verdict"])}) for one in kept["columns"])
        return DriftReport(**kept | {"columns": columns, "verdict": Verdict(kept["verdict"])})


@dataclass(frozen=True, slots=True)
class Performance:
    """The performance report of a champion, and the digest of the rows that it was measured on."""

    kind: ClassVar[str] = "performance"
    now: datetime
    training: Training
    champion: Version

    def key(self, bench: Bench) -> str:
        """By the champion's fit, what its gates measured, and the rows that were known."""
        tags, text = self.champion.tags, self.champion.tags.get("judgement", "")
        slices = sorted(Judgement.of_text(text).slices.items()) if text else []
        return _key(self, bench, self.champion.model_id, tags.get(f"holdout_{bench.spec.metric.name}"), slices)

    def run(self, bench: Bench) -> dict[str, Any]:
        """Measure."""
        past = bench.past(self.now, self.training)
        rows = judged_rows(past, self.champion, past.snapshot(), self.now)
        found = assess_rows(past.spec, bench.fits, self.champion, rows)
        told = {"verdict": str(found.verdict), "reason": found.reason, "detail": found.to_detail()}
        return {"report": told, "digest": rows.digest}

    def read(self, told: Mapping[str, Any], decision: str) -> PerformanceReport:
        """The report behind a result, under the id that its question has for this champion."""
        kept = told["report"]
        about: tuple[None, int, str] = (None, 0, "")
        verdict, reason, detail = kept["verdict"], kept["reason"], kept["detail"]
        return PerformanceReport.of_decision(
            Decision(decision, "performance", self.now, verdict, *about, reason, detail)
        )


@dataclass(frozen=True, slots=True)
class Shadow:
    """The champion beside the one that it replaced, if there are more windows than `before`."""

    kind: ClassVar[str] = "shadow"
    now: datetime
    training: Training
    pair: tuple[Version, Version]
    before: int

    def key(self, bench: Bench) -> str:
        """By both fits and the rows that were known."""
        return _key(self, bench, *(one.model_id for one in self.pair), self.before)

    def run(self, bench: Bench) -> dict[str, Any]:
        """Compare."""
        past = bench.past(self.now, self.training)
        return {"look": asdict(look(past, bench.fits, self.pair, past.snapshot(), self.before, self.now))}

    @staticmethod
    def read(told: Mapping[str, Any]) -> Look:
        """The look behind a result."""
        found = told["look"]["found"]
        return Look(**told["look"] | {"found": Comparison(**found) if found else None})


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gates find of a candidate."""

    kind: ClassVar[str] = "gate"
    now: datetime
    training: Training
    candidate: Version
    champion: Version | None

    def key(self, bench: Bench) -> str:
        """By both fits and the rows that were known."""
        return _key(self, bench, self.candidate.model_id, self.champion.model_id if self.champion else None)

    def run(self, bench: Bench) -> dict[str, Any]:
        """Judge."""
        past = bench.past(self.now, self.training)
        window = training_window(past.spec, past.snapshot(), self.now)
        found = hold(past, bench.fits, self.candidate, self.champion, window)
        return {"judgement": json.loads(found.to_text())}

    @staticmethod
    def read(told: Mapping[str, Any]) -> Judgement:
        """The judgement behind a result."""
        return Judgement.of_text(json.dumps(told["judgement"]))


@dataclass(frozen=True, slots=True)
class Serve:
    """What a version predicts for the rows from `now` on and before `until`, whether they have a label or not."""

    kind: ClassVar[str] = "serve"
    now: datetime
    until: datetime
    version: Version

    def key(self, bench: Bench) -> str:
        """By the fit and the features."""
        rows = bench.history.features(*bench.history.between(self.now, self.until))
        return key_of("serve", self.version.model_id, rows.hex, rows.rows)

    def run(self, bench: Bench) -> dict[str, Any]:
        """Predict."""
        first, last = bench.history.between(self.now, self.until)
        frame = bench.history.rows.slice(first, last - first).to_pandas()
        given = predict(bench.fits.load(self.version, bench.spec), bench.spec, frame)
        probability = None if given.probability is None else given.probability.tolist()
        return {"values": given.values.tolist(), "probability": probability, "classes": given.classes}

    @staticmethod
    def read(told: Mapping[str, Any]) -> Predictions:
        """The predictions behind a result."""
        probability = None if told["probability"] is None else np.array(told["probability"])
        classes = None if told["classes"] is None else tuple(told["classes"])
        return Predictions(np.array(told["values"]), probability, classes)


def _key(job: Drift | Performance | Shadow | Gate, bench: Bench, *about: object) -> str:
    snapshot = bench.past(job.now, job.training).snapshot()
    return key_of(job.kind, bench.print, job.training, job.now.isoformat(), snapshot.digest, *about)
