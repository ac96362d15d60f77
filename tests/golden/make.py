"""Make the golden state folder and its answers: what commit 6801be8 wrote, and what it said of it.

To be run with the code of that commit, which is checked, and with the packages of its `requirements.lock`:

    git worktree add /tmp/at-6801be8 6801be8
    PYTHONPATH=/tmp/at-6801be8:. .venv/bin/python tests/golden/make.py

It takes five minutes, and shows where `state.tar.xz`, `inputs/` and `answers/` come from; nobody has to run it. A
second time the story, the figures and the predictions are the same, and run ids, durations and MLflow's clock are not.
"""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from tests.golden.state import HERE, INPUTS, MADE_AT, MODELS, pack, relocate, unpack

COMMIT, HOME = "6801be8", Path(MADE_AT)
os.environ |= {"EVERGREEN_HOME": str(HOME), "EVERGREEN_MODELS": str(MODELS)}
os.environ |= {"PREFECT_HOME": tempfile.mkdtemp(), "PREFECT_LOGGING_LEVEL": "CRITICAL"}

from deployments import prefect_home
from evergreen.settings import PROJECT, load_settings

SETTINGS = load_settings()
prefect_home.use(SETTINGS)

import pandas as pd

import evergreen.workspace
import flows.monitor
import flows.promote
import flows.retrain
import flows.rollback
import flows.score
import flows.steps
import tasks.approve
from deployments import timetravel
from evergreen import promotion
from evergreen.naming import dashed
from evergreen.registry import Registry
from evergreen.simulator import simulate
from tests.golden import answers
from tests.golden.cases import CASES

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
FEATURES = ["date", "hr", "workingday", "weathersit", "temp", "hum", "windspeed"]
LABELS = ["date", "hr", "cnt", "known_at"]
LAWS = {"01-06": "none", "03-03": "covariate", "03-24": "concept", "04-14": "none", "06-09": "none"}
ANSWERED = {"03-03": ["drift"], "03-10": ["drift"], "03-17": ["drift"], "04-07": ["performance"], "04-21": ["drift"]}
"""The findings of the bikes that get a retraining; those of 28 April do, too, after a promotion was taken back."""


class Clock(datetime):
    """Stands where it was set: what a person does, and scoring, have no logical time of their own."""

    moment: ClassVar[datetime]

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        """The moment."""
        return cls.moment


def clock(moment: datetime) -> None:
    """Set the clock of every flow."""
    Clock.moment = moment
    for module in (evergreen.workspace, flows.steps, tasks.approve):
        module.datetime = Clock


def day(text: str) -> datetime:
    """Midnight of a day of 2011, UTC."""
    return datetime.fromisoformat(f"2011-{text}T00:00:00+00:00")


def simulated() -> pd.DataFrame:
    """The hours of 22 weeks under laws that come and go; each count is known a week later."""
    begins, pieces = [day(text) for text in LAWS], []
    for begin, end, law in zip(begins, begins[1:], LAWS.values(), strict=False):
        about: dict[str, Any] = {"scenario": law, "change": begin.date(), "growth": 0.0, "seasonal": 0.0}
        pieces.append(simulate(begin.date(), (end - begin).days, seed=11, **about))
    rows = pd.concat(pieces, ignore_index=True)
    when = pd.to_datetime(rows["dteday"], format="%m/%d/%Y")
    at = (when + pd.to_timedelta(rows["hr"], unit="h")).dt.tz_localize("UTC")
    return rows.assign(date=when.dt.strftime("%Y-%m-%d"), at=at, known_at=at + WEEK)


ROWS = simulated()


def between(since: datetime, until: datetime, time: str = "at") -> pd.DataFrame:
    """The rows of a stretch of time."""
    return ROWS[(ROWS[time] >= since) & (ROWS[time] < until)].copy()


def land(rows: pd.DataFrame, folder: Path, name: str) -> None:
    """Put a file where a source looks."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / f"{name}.csv", index=False)


def land_bikes(since: datetime, until: datetime, root: Path = SETTINGS.landing) -> None:
    """The hours of a stretch, and the counts that became known in it, with faults of every kind among the first."""
    features, labels, name = root / "golden_bikes", root / "golden_bikes_labels", f"{until:%Y%m%d}"
    rows, counts = between(since, until), between(since, until, "known_at")
    late = (ROWS["date"] == "2011-02-08") & (ROWS["hr"] > 20)
    never = (ROWS["date"] == "2011-05-11") & (ROWS["hr"] > 19)
    rows = rows[~(late | never)[rows.index]]
    if until == day("02-17"):
        rows.loc[rows.index[5:7], "hum"] = 7.0
        land(rows.head(24)[["date", "hr"]], features, f"{name}_without_weather")
    if until == day("02-24"):
        rows = pd.concat([rows, ROWS[late]])
        counts.loc[counts.index[3], "cnt"] = -5
        # Newer words on two hours, and an older one on a third.
        again = counts.iloc[[4, 9, 10]].assign(cnt=[50, 60, 70])
        again["known_at"] += pd.to_timedelta([24, 24, -24], unit="h")
        land(again[LABELS], labels, f"{name}_corrected")
        land(counts.head(5)[["date", "hr", "cnt"]], labels, f"{name}_without_time")
    land(rows[FEATURES], features, name)
    land(counts[LABELS], labels, name)


def watch(model: str, now: datetime) -> Any:
    """A monitor's run."""
    clock(now)
    seen = flows.monitor.monitor(model, at=now)
    told = (seen.verdict, seen.doubt, str(seen.performance.verdict), str(seen.shadow.verdict), seen.rolled_back)
    print(now, model, seen.champion, *told, flush=True)
    return seen


def learn(model: str, now: datetime, reason: str, **asked: Any) -> None:
    """A retraining."""
    clock(now)
    made = flows.retrain.retrain(model, reason=reason, at=now, **asked)
    print("  ", now, reason, made.outcome, made.version, made.explanation, flush=True)


def event(number: int) -> str:
    """The id of an event."""
    return f"00000000-0000-4000-8000-{number:012}"


def bikes() -> None:
    """Late labels, automatic approval: drift, performance, a promotion that hurt, a person who knows better."""
    model, now = "golden_bikes", day("02-17")
    land_bikes(day("01-06"), now)
    learn(model, now, "first")
    learn(model, now + HOUR, "schedule")
    watch(model, now + 2 * HOUR)
    while now < day("05-26"):
        before, now = now, now + WEEK
        land_bikes(before, now)
        if now == day("05-12"):
            learn(model, now, "schedule")
        seen = watch(model, now)
        if now == day("03-10"):
            follow_up(model, now + HOUR / 2)
        found = {"performance": (1, seen.performance.decision_id), "drift": (2, seen.decision_id)}
        for reason in found if seen.rolled_back else ANSWERED.get(f"{now:%m-%d}", ()):
            hours, decision = found[reason]
            learn(model, now + hours * HOUR, reason, decision_id=decision, event_id=event(now.toordinal()))
        if now == day("03-10"):
            # Three more hours: the same question anew, while the last answer cools down.
            land(between(now, now + 3 * HOUR)[FEATURES], SETTINGS.landing / model, "20110310_early")
            watch(model, now + 4 * HOUR)
            follow_up(model, now + 5 * HOUR)
        if now == day("03-24"):
            learn(model, now + HOUR, "manual", force=True, params={"model__learning_rate": 0.001})
        if now == day("05-05"):
            clock(now + HOUR)
            flows.rollback.rollback(model, "it was right after all", 7, "Ada Lovelace")
        if now == day("05-12"):
            clock(now + HOUR)
            flows.rollback.rollback(model, "the vans ran empty", 6)
        if now >= day("05-19"):
            learn(model, now + HOUR, "schedule")
        clock(now + 6 * HOUR)
        if now < day("05-26"):
            flows.score.score(model)
        if now in (day("03-03"), day("05-26")):
            flows.score.score(model, str(INPUTS / "scored_hours.csv"))


def follow_up(model: str, now: datetime) -> None:
    """What the flow `reconcile` does for one model; its deployment has no worker."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    from tasks.follow_up import follow_up as look

    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name="nobody", type="process"))
        flow = client.create_flow(flows.retrain.retrain)
        client.create_deployment(flow_id=flow, name=dashed("retrain", model), work_pool_name="nobody")
    print("  ", now, *(step.what for step in look(SETTINGS, model, now, HOUR / 6).steps), flush=True)


def rush() -> None:
    """Labels at once, a person approves: approvals and rejections, drift in doubt, a killed move, cleaned files."""
    model, promote = "golden_rush", flows.promote.promote
    ends = ["02-17", "02-24", "03-03", "03-10", "03-17", "03-24", "03-31", "04-07"]
    for begin, end in zip(["01-20", *ends], ends, strict=False):
        now = day(end)
        land(between(day(begin), now)[[*FEATURES, "cnt"]], SETTINGS.landing / model, f"{now:%Y%m%d}")
        seen = watch(model, now)
        if end in ("02-17", "02-24", "03-03"):
            learn(model, now + HOUR, "data", decision_id=seen.data)
        if end == "03-17":
            learn(model, now + HOUR, "drift", decision_id=seen.decision_id, event_id=event(2))
        if end == "03-24":
            learn(model, now + HOUR, "manual", force=True, params={"model__max_leaf_nodes": 4})
        if end == "04-07":
            learn(model, now + HOUR, "performance", decision_id=seen.performance.decision_id)
        clock(now + 2 * HOUR)
        if end == "02-17":
            promote(model, "there was none before", by="Grace Hopper")
        if end == "03-03":
            promote(model, "not on a Friday", reject=True, by="Grace Hopper")
            flows.score.score(model)
        if end == "03-17":
            promote(model, "the weather is another one")
        if end == "03-24":
            # The move is written down and not made, and then the version is gone: the next run gives it up.
            with killed(promotion, "_carry_out"):
                promote(model, "it is smaller", by="Grace Hopper")
            Registry(SETTINGS).client.delete_model_version(model, "4")
    flows.score.score(model, str(INPUTS / "scored_hours.csv"))
    timetravel.clean(model, older_than=0, keep=1, quarantine=None, yes=True)


@contextmanager
def killed(module: Any, name: str) -> Iterator[None]:
    """End the process that calls a function."""

    def end(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    real = getattr(module, name)
    setattr(module, name, end)
    with suppress(KeyboardInterrupt):
        yield
    setattr(module, name, real)


def trips() -> None:
    """Rows and counts of a database, read on from marks; one batch of rows is refused whole, and its counts wait."""
    rows = between(day("01-06"), day("01-21")).reset_index(drop=True)
    at, known = rows["at"].dt.strftime("%Y-%m-%d %H:%M:%S"), rows["known_at"].astype(str)
    rows = rows.assign(id=rows.index, at=at, known_at=known)
    rows.loc[120:140, "temp"] = 9.0
    with closing(sqlite3.connect(SETTINGS.landing / "trips.db")) as database:
        rows[["id", "at", "hr", "temp"]].to_sql("trips", database, index=False)
        rows[["id", "cnt", "known_at"]].to_sql("counts", database, index=False)
    learn("golden_trips", day("01-30"), "first")
    watch("golden_trips", day("01-30") + HOUR)
    # A version that no gate has seen is left.
    with killed(flows.retrain, "gate"):
        learn("golden_trips", day("01-30") + 2 * HOUR, "manual", force=True)


def inputs() -> None:
    """What the commands are given: a file that was scored before, one that was not, and what lands next."""
    shutil.rmtree(INPUTS, ignore_errors=True)
    scored, new = between(day("01-06"), day("01-08")), between(day("06-03"), day("06-05"))
    scored.loc[scored.index[7], "hum"] = new.loc[new.index[11], "hum"] = 7.0
    land(scored[FEATURES], INPUTS, "scored_hours")
    land(new[FEATURES], INPUTS, "new_hours")
    land_bikes(day("05-26"), day("06-02"), INPUTS)
    land(between(day("04-07"), day("04-14"))[[*FEATURES, "cnt"]], INPUTS / "golden_rush", "20110414")


def prune() -> None:
    """Delete what no command reads: pages of drift reports and locks."""
    gc.collect()
    pages = HOME.glob("artifacts/*/*/artifacts/drift")
    for place in (*pages, HOME / "reports", HOME / "locks", HOME / "scratch"):
        shutil.rmtree(place, ignore_errors=True)
    with closing(sqlite3.connect(HOME / "mlflow.db")) as database:
        database.execute("VACUUM")


def record_answers() -> None:
    """Run each case on its own copy of the state, at another place than it was made at."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    shutil.rmtree(answers.ANSWERS, ignore_errors=True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as place:
            home = Path(place) / "home"
            unpack(home)
            relocate(home)
            os.chdir(home)
            os.environ["EVERGREEN_HOME"] = str(home)
            with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: home / "storage"}):
                answers.record(case, answers.ask(case, home))
            os.chdir(HERE)
            print(case.name, flush=True)


def main() -> None:
    """Make everything; with `answers` only these, of the state that is there."""
    git = ["git", "-C", str(PROJECT)]
    head = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True)
    changed = subprocess.check_output([*git, "status", "--porcelain"], text=True)
    if not head.startswith(COMMIT) or changed:
        sys.exit(f"{PROJECT} is not commit {COMMIT} as it was: see the first lines of {__file__}")
    if sys.argv[1:] != ["answers"]:
        shutil.rmtree(HOME, ignore_errors=True)
        SETTINGS.landing.mkdir(parents=True)
        os.chdir(HOME)
        for step in (inputs, bikes, rush, trips, prune):
            step()
        pack(HOME)
    record_answers()


if __name__ == "__main__":
    main()
