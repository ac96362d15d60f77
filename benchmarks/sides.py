"""What is measured in a process of its own: `python -m benchmarks.sides NAME ARGUMENT ...`; prints one JSON object.

Every function imports what it needs and nothing else, for its imports are part of what is measured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent / "models"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def importing() -> dict[str, Any]:
    """What importing Evidently costs; pandas comes with it."""
    from evergreen.drift.evidently_report import _quiet

    os.environ["DO_NOT_TRACK"] = "1"
    with _quiet():
        import evidently
        import evidently.metrics
        import evidently.tests  # noqa: F401
    return {}


def frames(folder: Path, rows: int) -> dict[str, Any]:
    """Two frames for `compare`, written as Parquet; not measured."""
    from benchmarks.given import wide_frame

    wide_frame(rows, seed=1).to_parquet(folder / "reference.parquet", index=False)
    wide_frame(rows, seed=2).to_parquet(folder / "current.parquet", index=False)
    return {}


def compare(folder: Path) -> dict[str, Any]:
    """Compare two frames of all rows, page and JSON included."""
    import pandas as pd

    from benchmarks.given import WIDE_CATEGORICAL, WIDE_NUMERIC
    from evergreen.drift.compare import compare
    from evergreen.spec.monitoring import DriftThresholds

    columns = [*WIDE_NUMERIC, *WIDE_CATEGORICAL]
    old, new = (pd.read_parquet(folder / f"{side}.parquet", columns=columns) for side in ("reference", "current"))
    report = compare(
        old, new, DriftThresholds(), numeric=WIDE_NUMERIC, categorical=WIDE_CATEGORICAL, folder=folder / "page"
    )
    assert report.page is not None
    return {"verdict": str(report.verdict), "columns": len(report.columns), "rows": report.current_rows}


def ingest(home: Path) -> dict[str, Any]:
    """Land what is new in the landing folder of `wide`."""
    import models
    from evergreen.ingest.ingest import ingest
    from evergreen.settings import Settings

    landing = ingest(models.load("wide", MODELS).spec, Settings(home=home, models=MODELS), now=NOW)
    assert not landing.quarantined, landing
    return {"added": landing.added}


def plain(csv: Path, table: Path) -> dict[str, Any]:
    """What an ingest is measured against."""
    import pandas as pd
    from deltalake import write_deltalake

    frame = pd.read_csv(csv)
    write_deltalake(table, frame)
    return {"added": len(frame)}


def detect(home: Path) -> dict[str, Any]:
    """The drift report of the champion of `wide`, from the lake."""
    import models
    from evergreen.data.observations import Observations
    from evergreen.drift.check import check_drift
    from evergreen.registry.client import Registry
    from evergreen.settings import Settings
    from evergreen.storage.kept_files import KeptFiles

    settings = Settings(home=home, models=MODELS)
    spec, registry = models.load("wide", MODELS).spec, Registry(settings)
    champion, observations = registry.champion("wide"), Observations(settings.lake_uri, spec)
    assert champion is not None
    snapshot = observations.snapshot()
    report = check_drift(observations, registry, champion, snapshot, reports=KeptFiles(settings.report_place))
    assert report.page is not None
    return {"verdict": str(report.verdict), "columns": len(report.columns), "rows": snapshot.rows}


def batches(home: Path, first: int, until: int, rows: int) -> dict[str, Any]:
    """Land batches number `first` to `until` one by one, as they would come; not measured."""
    for number in range(first, until):
        batch(home, number, rows)
        ingest(home)
    return {"batches": until}


def batch(home: Path, number: int, rows: int) -> dict[str, Any]:
    """Put one more file into the landing folder; not measured."""
    from benchmarks.given import wide_frame

    folder = home / "landing" / "wide"
    folder.mkdir(parents=True, exist_ok=True)
    wide_frame(rows, first=number * rows).to_csv(folder / f"{number:06}.csv", index=False)
    return {}


def predict(home: Path, file: Path, out: Path) -> dict[str, Any]:
    """What scoring is measured against: the champion on a frame in memory, and its answers as Parquet."""
    import time

    import pandas as pd

    import models
    from evergreen.data.frames import model_frame
    from evergreen.registry.client import Registry
    from evergreen.settings import Settings

    settings = Settings(home=home)
    spec, registry = models.load("bike_demand", settings.models).spec, Registry(settings)
    champion = registry.champion("bike_demand")
    assert champion is not None
    pipeline = registry.load(champion, spec)
    frame = model_frame(pd.read_parquet(file), spec.features)
    began = time.perf_counter()
    pd.DataFrame({"prediction": pipeline.predict(frame)}).to_parquet(out)
    return {"seconds": time.perf_counter() - began, "rows": len(frame)}


def score(few: Path, file: Path) -> dict[str, Any]:
    """Score a few rows, with which everything is imported and the champion loaded, then the file."""
    from flows.score import score

    score("bike_demand", str(few))
    return score("bike_demand", str(file)).to_json()


def scoring() -> dict[str, Any]:
    """What a scoring imports."""
    from importlib import import_module

    for name in (
        *("flows.score", "pandas", "pyarrow.dataset", "pyarrow.parquet"),
        *("mlflow.sklearn", "mlflow.store.tracking.sqlalchemy_store", "deltalake", "pandera.pandas", "skops.io"),
        *("sklearn.compose", "sklearn.ensemble", "sklearn.pipeline", "sklearn.preprocessing", "sklearn.metrics"),
    ):
        import_module(name)
    return {}


def count(lake: Path, day: str, hour: int) -> dict[str, Any]:
    """The target in the lake for one hour of `bike_demand`."""
    from deltalake import DeltaTable

    frame = DeltaTable(lake / "bike_demand" / "observations").to_pandas(columns=["date", "hr", "cnt"])
    return {"values": frame.loc[(frame["date"] == day) & (frame["hr"] == hour), "cnt"].tolist()}


SIDES: tuple[Callable[..., dict[str, Any]], ...] = (
    importing,
    frames,
    compare,
    ingest,
    plain,
    detect,
    batches,
    batch,
    predict,
    score,
    scoring,
    count,
)

if __name__ == "__main__":
    side = {function.__name__: function for function in SIDES}[sys.argv[1]]
    words = (Path(word) if word.startswith("/") else int(word) if word.isdigit() else word for word in sys.argv[2:])
    print(json.dumps(side(*words)))
