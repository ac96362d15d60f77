"""Two years of bikes, week by week, through the flows: land, score, watch, retrain when a report says so.

`python -m benchmarks.weeks FILE LAST [--delay DAYS] [--schedule WEEKS]` in a prepared environment: FILE is an hourly
file of the UCI schema, of which the first year makes the first champion; prints one JSON object. What is judged at the
end is what was predicted when the rows came, by the champion of that time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import console

if TYPE_CHECKING:
    import pandas as pd

MODEL = "late_bikes"
WEEK = timedelta(days=7)
START = datetime(2012, 1, 5, tzinfo=UTC)
"""The first week that is scored; weeks are counted from the epoch, as the windows of the performance report are."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The rows of an hourly file with their times (`at`, UTC) and when each one's count became known (`known_at`)."""

    rows: pd.DataFrame

    def land(self, folder: Path, after: datetime | None, until: datetime) -> None:
        """Put the rows before `until`, and the counts known by then, into the landing folders."""
        since = datetime(1970, 1, 1, tzinfo=UTC) if after is None else after
        name = f"{until:%Y-%m-%d}.csv"
        new = self.rows[(self.rows["at"] >= since) & (self.rows["at"] < until)]
        known = self.rows[(self.rows["known_at"] >= since) & (self.rows["known_at"] < until)]
        raw = new.drop(columns=["at", "known_at", "date", "cnt", "casual", "registered"])
        for place, frame in ((MODEL, raw), (f"{MODEL}_labels", known[["date", "hr", "cnt", "known_at"]])):
            (folder / place).mkdir(parents=True, exist_ok=True)
            if len(frame):
                frame.to_csv(folder / place / name, index=False)


def read(file: Path, delay: timedelta) -> Stream:
    """The stream of an hourly file whose counts become known after `delay`."""
    import pandas as pd

    from models.bike_demand import prepare

    rows = prepare(pd.read_csv(file))
    clock = rows["at"].dt.tz_localize("America/New_York", ambiguous="NaT", nonexistent="NaT")
    rows = rows.assign(at=clock.dt.tz_convert("UTC"))[clock.notna()]
    return Stream(rows.assign(known_at=rows["at"] + delay))


def walk(stream: Stream, until: datetime, *, schedule: int) -> Iterator[dict[str, Any]]:
    """Live through the weeks; `schedule` is that of the cron in weeks, 0 for none. Yields what each week brought."""
    from evergreen.settings import load_settings
    from flows.monitor import monitor
    from flows.retrain import retrain
    from flows.score import score

    landing = load_settings().landing
    stream.land(landing, None, START)
    first = retrain(MODEL, reason="first", at=START)
    if first is None or first.outcome != "promoted":
        raise RuntimeError(f"the first champion was not promoted: {first}")
    now, week = START, 0
    while now < until:
        stream.land(landing, now, now + WEEK)
        now, week = now + WEEK, week + 1
        seen = monitor(MODEL, at=now)
        score(MODEL)
        asked = [("drift", seen.decision_id)] if seen.confirmed and seen.verdict == "FAIL" else []
        asked += [("performance", seen.performance.decision_id)] if str(seen.performance.verdict) == "FAIL" else []
        asked += [("schedule", None)] if schedule and week % schedule == 0 else []
        told = [retrain(MODEL, reason=reason, decision_id=decision, at=now) for reason, decision in asked]
        yield {
            "week": f"{now:%Y-%m-%d}",
            "performance": seen.performance.value,
            "asked": [reason for reason, _ in asked],
            "outcomes": [one.outcome for one in told if one is not None],
        }


def judged(stream: Stream) -> pd.DataFrame:
    """What was predicted when it came, and what the first champion would have said, for every row that was scored."""
    import models
    from evergreen.data.observations import Observations
    from evergreen.data.prediction_log import PredictionLog
    from evergreen.registry.client import Registry
    from evergreen.settings import load_settings
    from evergreen.training.predict import predict

    settings = load_settings()
    spec = models.load(MODEL, settings.models).spec
    log = PredictionLog(settings.lake_uri, spec)
    logged = log.table.read(["at", "prediction", "version"])
    observations = Observations(settings.lake_uri, spec)
    rows = observations.frame(observations.snapshot().version)
    rows = rows[rows["at"] >= START].reset_index(drop=True)
    registry = Registry(settings)
    first = predict(registry.load(registry.get(MODEL, 1), spec), spec, rows).values
    truth = stream.rows[["at", "cnt"]].drop_duplicates("at")
    both = rows[["at"]].assign(first=first).merge(logged, on="at", validate="one_to_one")
    return both.merge(truth, on="at", validate="one_to_one")


def refit_by_script(stream: Stream, moments: Sequence[datetime], until: datetime) -> pd.Series:
    """What a plain script predicts that refits at these moments, on the model file's window and grid, with no gate.

    It learns what is labelled by then. Indexed by the rows of the stream from the first moment on and before `until`.
    """
    import pandas as pd
    from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

    from models.bike_demand import FEATURES, pipeline
    from models.bike_demand import MODEL as SHIPPED

    rows, last = stream.rows, SHIPPED.training.last
    columns, grid = [*FEATURES.numeric, *FEATURES.categorical], dict(SHIPPED.search.grid)
    assert isinstance(last, timedelta)
    found = []
    for moment, following in zip(moments, [*moments[1:], until], strict=True):
        known = rows[(rows["known_at"] < moment) & (rows["at"] >= moment - last)].sort_values("at")
        search = GridSearchCV(
            pipeline(SHIPPED.seed), grid, scoring="neg_mean_absolute_error", cv=TimeSeriesSplit(SHIPPED.search.folds)
        )
        search.fit(known[columns], known["cnt"])
        served = rows[(rows["at"] >= moment) & (rows["at"] < following)]
        if len(served):
            found.append(pd.Series(search.predict(served[columns]), index=served.index))
    return pd.concat(found)


def main() -> None:
    """Walk, and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("until", type=lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC))
    parser.add_argument("--delay", type=int, default=7)
    parser.add_argument("--schedule", type=int, default=0)
    given = parser.parse_args()
    stream = read(given.file, timedelta(days=given.delay))
    weeks = []
    for week in walk(stream, given.until, schedule=given.schedule):
        console.print(f"[dim]  {week}[/]", style=None)
        weeks.append(week)
    rows = judged(stream)
    asked = [START, *(datetime.fromisoformat(each["week"]).replace(tzinfo=UTC) for each in weeks if each["asked"])]
    script = refit_by_script(stream, asked, rows["at"].max() + timedelta(seconds=1))
    errors = {name: (rows[name] - rows["cnt"]).abs() for name in ("prediction", "first")}
    by_week = rows["at"].dt.floor("7D").dt.strftime("%Y-%m-%d")
    told = {
        "rows": len(rows),
        "mae": float(errors["prediction"].mean()),
        "mae_first": float(errors["first"].mean()),
        "mae_script": float(np.abs(script - stream.rows["cnt"].loc[script.index]).mean()),
        "weekly": {name: error.groupby(by_week).mean().round(2).tolist() for name, error in errors.items()},
        "versions": sorted({int(version) for version in rows["version"]}),
        "weeks": weeks,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
