"""Follow the `champion` alias of each model: load what it names, prove it, and put it in the place of the former.

A version takes over with one assignment, after its hash and types were verified, its plan compiled and compared, and
both ways of predicting warmed. Requests in flight end on the former one. If anything fails, the former one goes on, and
what failed is told. A verified copy on disk serves while the registry is away, also after a restart.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from evergreen.data.coercion import kind_of
from evergreen.data.contract import scoring_schema
from evergreen.errors import EvergreenError
from evergreen.registry.version import CANARY, CHALLENGER, CHAMPION, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict
from evergreen.training.reference import REFERENCE
from serving.admission.direct import DirectAdmission, NotDirectError, direct_admission
from serving.admission.frames import brings_contract
from serving.challenger import RETRY_SECONDS, CanaryState
from serving.lookup import open_lookup
from serving.plan.compile import NotCompiledError, compile_plan
from serving.plan.parity import check_parity
from serving.row_preparation import RowPreparation
from serving.verified_copy import GOLDEN_ROWS, read_copy, write_copy
from serving.version import ServedVersion

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

    from evergreen.registry.client import Registry

POLL_SECONDS = 1.0

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Followed:
    """One model that is followed.

    Attributes:
        current: what answers; None before there is a champion.
        stale: why `current` may not be what the alias names; empty where it is.
        swaps: how often a version took over.
        failed: the number of the version that could not be loaded, and when it is tried again.
        canary: the challenger that meets its traffic.
    """

    current: ServedVersion | None = None
    stale: str = ""
    swaps: int = 0
    failed: tuple[int, float] = (0, 0.0)
    canary: CanaryState = field(default_factory=CanaryState)

    @property
    def challenger(self) -> ServedVersion | None:
        """What answers beside `current`; None without an open canary."""
        # Where another champion took over, the canary of the former one ends with the next look.
        opened = self.canary.open
        return opened.challenger if opened is not None and opened.champion is self.current else None

    @property
    def share(self) -> int:
        """Percent of the requests that the challenger answers."""
        opened = self.canary.open
        return opened.share if opened is not None and self.challenger is not None else 0

    @property
    def answering(self) -> list[ServedVersion]:
        """The versions that answer now, the champion first."""
        return [version for version in (self.current, self.challenger) if version is not None]


@dataclass(slots=True)
class ChampionFollower:
    """Keeps the version that each model is served by.

    Attributes:
        settings: where registry, model files and copies are.
        registry: of the versions.
        models: what is followed, by name.
        seconds: between two looks at the aliases.
        load_spec: loads a model file anew: another version may come of a changed one.
    """

    settings: Settings
    registry: Registry
    models: Mapping[str, Followed]
    load_spec: Callable[[str], ModelSpec]
    seconds: float = POLL_SECONDS
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Look once, then go on in a thread of its own."""
        self.look()
        self._thread = threading.Thread(target=self._run, name="champion", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.seconds):
            self.look()

    def look(self) -> None:
        """Bring each model to what its alias names now; what fails is told by `stale`."""
        for name, followed in self.models.items():
            try:
                self._follow(name, followed)
                problem = ""
            except EvergreenError as error:
                problem = error.what
            except Exception as error:
                problem = f"The registry does not answer ({type(error).__name__})."
            if problem and followed.current is None:
                problem = self._serve_copy(name, followed, problem)
            if problem != followed.stale:
                level, told = (logging.WARNING, problem) if problem else (logging.INFO, "up to date again")
                _LOG.log(level, "%s: %s", name, told, extra={"model": name})
            followed.stale = problem
        self._look_for_challengers()

    def _look_for_challengers(self) -> None:
        """Bring each challenger to what the registry says; while it does not answer, they stay as they are."""
        wanted = {name for name, followed in self.models.items() if followed.canary.open is not None}
        try:
            if len(wanted) < len(self.models):
                wanted |= {version.model for version in self.registry.tagged(CANARY)}
            found = {name: self.registry.by_alias(name, CHALLENGER) for name in self.models if name in wanted}
        except Exception as error:
            _LOG.debug("the challengers stay as they are (%s)", type(error).__name__)
            return
        for name, followed in self.models.items():
            followed.canary.follow(followed.current, found.get(name), self._load_challenger)

    def _load_challenger(self, version: Version) -> ServedVersion:
        spec, pipeline, golden = self._load(version)
        number, sha256 = version.number, version.tags.sha256
        return make_served(spec, pipeline, golden, number=number, sha256=sha256, alias=CHALLENGER)

    def _load(self, version: Version) -> tuple[ModelSpec, Pipeline, pd.DataFrame]:
        """The model file, the pipeline, and rows that it was trained on; hashes and types are verified."""
        spec = self.load_spec(version.model)
        return spec, self.registry.load(version, spec), self._golden(version)

    def _golden(self, version: Version) -> pd.DataFrame:
        import pandas as pd

        return pd.read_parquet(self.registry.files(version) / REFERENCE).head(GOLDEN_ROWS)

    def _follow(self, name: str, followed: Followed) -> None:
        version = self.registry.by_alias(name, CHAMPION)
        current = followed.current
        if version is None:
            raise EvergreenError(f"No version is the champion {'yet' if current is None else 'any more'}.")
        if current is not None and current.is_same(version.number, version.tags.sha256):
            return
        number, until = followed.failed
        if number == version.number and time.monotonic() < until:
            raise EvergreenError(followed.stale)
        try:
            self._take_over(name, followed, version)
        except Exception:
            followed.failed = version.number, time.monotonic() + RETRY_SECONDS
            raise

    def _take_over(self, name: str, followed: Followed, version: Version) -> None:
        ready = followed.challenger
        if ready is not None and ready.is_same(version.number, version.tags.sha256):
            # It was verified and compared when it was loaded, and is warm.
            served, golden = replace(ready, alias=CHAMPION), self._golden(version)
        else:
            spec, pipeline, golden = self._load(version)
            served = make_served(spec, pipeline, golden, number=version.number, sha256=version.tags.sha256)
        followed.current = served
        followed.swaps += 1
        about = {"model": name, "version": served.number, "decision": version.tags.decision_id}
        _LOG.info("%s: version %d answers now%s", name, served.number, _how(served), extra=about)
        write_copy(self.settings.serving(name), served.spec, served.pipeline, golden, version)

    def _serve_copy(self, name: str, followed: Followed, problem: str) -> str:
        """Serve the copy on disk; returns what is told."""
        try:
            spec = self.load_spec(name)
            copy = read_copy(self.settings.serving(name), spec)
            if copy is not None:
                followed.current = make_served(spec, copy.pipeline, copy.golden, number=copy.number, sha256=copy.sha256)
        except EvergreenError as error:
            return f"{problem} The copy on disk does not serve either: {error.what}"
        except Exception as error:
            return f"{problem} The copy on disk does not serve either ({type(error).__name__})."
        return problem


def _how(served: ServedVersion) -> str:
    return f", as frames: {served.slow_because}" if served.slow_because else ""


def make_served(
    spec: ModelSpec, pipeline: Pipeline, golden: pd.DataFrame, *, number: int, sha256: str, alias: str = CHAMPION
) -> ServedVersion:
    """A version that is ready to answer: compiled where that is proven equal, and warmed.

    Args:
        spec: the model.
        pipeline: of the version.
        golden: rows that it was trained on, after the contract.
        number: of the version.
        sha256: of the stored pipeline.
        alias: by which it is served.

    Raises:
        ModelFileError: the contract cannot be used.
    """
    schema = scoring_schema(spec)
    plan, direct, preparation, reason = None, None, None, ""
    try:
        direct = direct_admission(spec, schema)
        if not brings_contract(spec):
            preparation = _row_preparation(spec, schema, direct)
        plan = compile_plan(pipeline, spec.features, spec.task)
        parity = check_parity(plan, pipeline, spec, golden, spec.seed)
        if not parity.equal:
            plan, reason = None, parity.reason
    except (NotDirectError, NotCompiledError) as error:
        plan, reason = None, str(error)
    if len(golden):
        predict(pipeline, spec, golden)
    return ServedVersion(
        spec=spec,
        schema=schema,
        number=number,
        alias=alias,
        sha256=sha256,
        pipeline=pipeline,
        classes=_classes(spec, pipeline),
        plan=plan,
        direct=direct if plan is not None else None,
        preparation=preparation if plan is not None else None,
        example=typical_row(spec, schema, golden) if brings_contract(spec) else {},
        lookup=open_lookup(spec, partial(_tell_lookup, spec.name)),
        not_compiled=reason,
        loaded_at=datetime.now(UTC),
    )


def _row_preparation(spec: ModelSpec, schema: DataFrameSchema, direct: DirectAdmission) -> RowPreparation:
    if spec.serve is None or spec.serve.prepare_row is None:
        raise NotDirectError(
            "prepare() runs on each request; Serve(rows='contract') takes the contract's columns, and "
            "Serve(prepare_row=...) prepares a row without a frame"
        )
    return RowPreparation(spec, schema, direct)


def _tell_lookup(name: str, problem: str) -> None:
    _LOG.warning("%s: features were not looked up: %s", name, problem, extra={"model": name})


def typical_row(spec: ModelSpec, schema: DataFrameSchema, golden: pd.DataFrame) -> dict[str, Any]:
    """The median or most frequent value of each feature, as JSON; no row that there is."""
    row: dict[str, Any] = {}
    for name in spec.features.all:
        values, kind = golden[name].dropna(), kind_of(schema.columns[name].dtype)
        if values.empty:
            row[name] = None
        elif kind == "number":
            row[name] = round(float(values.median()), 6)
        elif kind == "integer":
            row[name] = int(values.mode().iloc[0])
        else:
            row[name] = bool(values.mode().iloc[0]) if kind == "flag" else str(values.mode().iloc[0])
    return row


def _classes(spec: ModelSpec, pipeline: Pipeline) -> tuple[Any, ...] | None:
    classes: Sequence[Any] = pipeline.classes_.tolist() if spec.task == "classification" else ()
    return tuple(classes) if spec.task == "classification" else None
