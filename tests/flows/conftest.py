"""What tests of flows share: the events that were emitted, and bikes whose counts are known a week later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evergreen.settings import Settings
from evergreen.sources.simulator import simulate

if TYPE_CHECKING:
    import pandas as pd

DELAY = timedelta(days=7)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What was emitted, name and payload, in order; emitted for real as well."""
    import tasks.announce

    seen: list[tuple[str, dict[str, Any]]] = []
    real = tasks.announce.emit_event

    def emit(event: str, resource: dict[str, str], payload: dict[str, Any]) -> Any:
        assert resource["prefect.resource.id"].startswith("evergreen.model.")
        seen.append((event, payload))
        return real(event=event, resource=resource, payload=payload)

    monkeypatch.setattr(tasks.announce, "emit_event", emit)
    return seen


@pytest.fixture
def late_bikes() -> Callable[..., pd.DataFrame]:
    """Simulated rows without season or growth, with their time, and when each count became known."""

    def make(begin: date, days: int, **law: Any) -> pd.DataFrame:
        import pandas as pd

        from models.bike_demand import prepare

        rows = prepare(simulate(begin, days, seed=11, growth=0.0, seasonal=0.0, **law))
        clock = rows["at"].dt.tz_localize("America/New_York", ambiguous="NaT", nonexistent="NaT")
        at = clock.dt.tz_convert("UTC")
        return rows.assign(at=at, known_at=at + pd.Timedelta(DELAY))[at.notna()]

    return make


@pytest.fixture
def land_late() -> Callable[..., None]:
    """Put the features of the rows before `until`, and the counts known by then, into a model's landing folders."""

    def land(landing: Path, model: str, rows: pd.DataFrame, since: datetime | None, until: datetime) -> None:
        labels = ["date", "hr", "cnt", "known_at"]
        features = [name for name in rows if name not in ("at", "known_at", "date", "cnt", "casual", "registered")]
        for place, clock, columns in ((model, "at", features), (f"{model}_labels", "known_at", labels)):
            new = rows[(rows[clock] >= (since or rows["at"].min())) & (rows[clock] < until)]
            (landing / place).mkdir(parents=True, exist_ok=True)
            new[columns].sample(frac=1, random_state=1).to_csv(landing / place / f"{until:%Y%m%d}.csv", index=False)

    return land


@pytest.fixture
def land_toy(
    settings: Settings, make_rows: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Put rows into the toy's landing folder: land_toy("a", 300, slope=5.0)."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(Path(__file__).resolve().parents[1] / "faults" / "models"))

    def put(name: str, rows: int, **law: Any) -> None:
        folder = settings.landing / "toy"
        folder.mkdir(parents=True, exist_ok=True)
        make_rows(rows, **law).to_csv(folder / f"{name}.csv", index=False)

    return put


@pytest.fixture
def broken_ingest(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let every ingest fail with a message that quotes this value of a row."""
    value = "Mrs Smith"

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError(f"could not convert string to float: {value!r}")

    monkeypatch.setattr("tasks.ingest.evergreen.ingest.ingest.ingest", fail)
    monkeypatch.setattr("tasks.ingest.ingest.retries", 0)
    return value
