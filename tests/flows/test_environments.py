"""Three environments side by side on one Prefect server, one MLflow and one lake: each ends as it does alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evergreen.data.prediction_log import PredictionLog
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.ledger.timeline import KINDS
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

Rows = Callable[..., "pd.DataFrame"]
MODEL = "toy"
MODELS = Path(__file__).resolve().parents[1] / "faults" / "models"
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
HISTORY = 10
"""Days that the first champion learns from."""


@dataclass(frozen=True)
class Law:
    """What an environment's data is like: from a day on its `x` is shifted, or its slope another."""

    seed: int
    since: int = 10_000
    shift: float = 0.0
    slope: float = 3.0

    def rows(self, make_rows: Rows, day: int, days: int = 1) -> pd.DataFrame:
        changed = {"shift": self.shift, "slope": self.slope} if day >= self.since else {}
        return make_rows(24 * days, start=24 * day, seed=self.seed, **changed)


LAWS: Mapping[str, Law] = {
    "": Law(seed=1),
    "staging": Law(seed=2, since=HISTORY, shift=4.0),
    "prod": Law(seed=3, since=HISTORY + 9, shift=-3.0, slope=2.0),
}


def _live_a_day(settings: Settings, law: Law, make_rows: Rows, day: int) -> None:
    """Land the day's rows, watch, score, answer what was decided, and retrain once a week."""
    from flows.monitor import monitor
    from flows.retrain import retrain
    from flows.score import score

    first = day == HISTORY
    now = BEGIN + timedelta(days=day + 1)
    folder = settings.landing / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    rows = law.rows(make_rows, 0, HISTORY) if first else law.rows(make_rows, day - 1)
    rows.to_csv(folder / f"{day:03d}.csv", index=False)
    if first:
        made = retrain(MODEL, reason="first", at=now)
        assert made is not None
        assert made.outcome == "promoted", made.explanation
    seen = monitor(MODEL, at=now)
    score(MODEL)
    if seen.confirmed:
        retrain(MODEL, reason="drift", decision_id=seen.decision_id, at=now)
    elif day % 7 == 0:
        retrain(MODEL, reason="schedule", at=now)


def _state(settings: Settings, canonical: Callable[..., str]) -> dict[str, Any]:
    """All that an environment came to, without what follows from clocks and storage."""
    from models import load

    registry = Registry(settings)
    kept = ("decision_id", "reason", "compared_with", "data_digest", "data_rows", "params", "seed", "state_sha256")
    log = PredictionLog(settings.lake_uri, load(MODEL, settings.models).spec)
    predictions = log.table.read(["id", "version", "prediction"]).sort_values("id").round(9)
    decisions = Decisions(settings.lake_uri, MODEL).select(KINDS)
    return {
        "decided": canonical(decisions, Promotions(settings.lake_uri, MODEL).all()),
        "versions": [
            (version.number, version.status, *(version.tags.raw.get(name) for name in kept))
            for version in registry.versions(MODEL)
        ],
        "aliases": maintenance.aliases(registry, MODEL),
        "predictions": predictions.to_dict("list"),
    }


@pytest.fixture
def become(
    prefect_server: str,
    flows_here: Callable[[Path, str], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, Path], AbstractContextManager[Settings]]:
    """Be an environment of an installation for a while: its MLflow and its lake are in a folder that others share."""

    @contextmanager
    def enter(environment: str, shared: Path) -> Iterator[Settings]:
        with flows_here(shared / "home", prefect_server):
            for name, value in {
                "ENVIRONMENT": environment,
                "MODELS": str(MODELS),
                "LAKE": str(shared / "lake"),
                "ARTIFACTS": str(shared / "artifacts"),
                "TRACKING_URI": f"sqlite:///{shared / 'mlflow.db'}",
            }.items():
                monkeypatch.setenv(f"EVERGREEN_{name}", value)
            yield load_settings()

    return enter


def test_a_run_of_another_environment_is_refused(
    become: Callable[[str, Path], AbstractContextManager[Settings]], tmp_path: Path
) -> None:
    """A worker that was started for one takes up a run that another's deployment has: it does nothing, and says so."""
    from prefect import tags

    from flows.canary import canary
    from flows.monitor import monitor
    from flows.reconcile import reconcile

    works: list[Callable[[], object]] = [reconcile, canary, lambda: monitor(MODEL)]
    for environment, tag in (("staging", "evergreen"), ("", "evergreen-staging"), ("staging", "evergreen-prod")):
        for work in works:
            with (
                become(environment, tmp_path),
                tags(tag),
                pytest.raises(EvergreenError, match=f"This run has the tag {tag}"),
            ):
                work()
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    "days",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.proof(name="environments"))],
)
def test_side_by_side_is_as_alone(
    days: int,
    become: Callable[[str, Path], AbstractContextManager[Settings]],
    make_rows: Rows,
    tmp_path: Path,
    empty_database: Path,
    canonical: Callable[..., str],
) -> None:
    """Day by day in turn: decisions, moves, versions, aliases and predictions of each are those of a run alone."""

    def live(environments: Sequence[str], shared: Path) -> dict[str, dict[str, Any]]:
        shared.mkdir()
        shutil.copy(empty_database, shared / "mlflow.db")
        for day in range(HISTORY, HISTORY + days):
            for environment in environments:
                with become(environment, shared) as settings:
                    _live_a_day(settings, LAWS[environment], make_rows, day)
        states = {}
        for environment in environments:
            with become(environment, shared) as settings:
                states[environment] = _state(settings, canonical)
        return states

    together = live([*LAWS], tmp_path / "together")
    # A day is among the tests that are run all the time: of these, one is also run alone.
    for environment in LAWS if days > 1 else ["staging"]:
        alone = live([environment], tmp_path / f"alone-{environment}")
        assert together[environment] == alone[environment]
    counts = {environment or "none": len(state["versions"]) for environment, state in together.items()}
    decided = {environment or "none": state["decided"].count("\n") for environment, state in together.items()}
    print(f"{days} days; versions {counts}, decisions and moves {decided}")
    assert len({str(state["predictions"]) for state in together.values()}) == len(LAWS)
    if days > 1:
        # The laws differ, and so does what came of them: equal states would prove nothing.
        assert counts["staging"] > 1
        assert counts["prod"] > 1
