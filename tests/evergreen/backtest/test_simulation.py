"""A replay: nothing of the future is read, what was worked out is kept, and bad input is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.backtest.history import History
from evergreen.backtest.job_cache import JobCache, fit_fingerprint, verdict_fingerprint
from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.jobs import JobContext
from evergreen.backtest.outcomes import Harmful, count_harmful, stale_steps
from evergreen.backtest.progress import Forecast, Report, Watch
from evergreen.backtest.report import Backtest
from evergreen.backtest.request import Request, margins_of, named, steps_of, usual, window_name, window_of
from evergreen.backtest.run import run
from evergreen.backtest.scores import Prices
from evergreen.backtest.simulation import HeavySteps, Simulation, SimulationPlan, SimulationResult, Trained
from evergreen.data.observations import Observations
from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.settings import Settings
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds
from evergreen.spec.policies import Every, Never, OnDrift, OnPerformance, any_of
from evergreen.spec.retraining import Retraining
from evergreen.spec.training import Holdout, Training

PROJECT = Path(__file__).resolve().parents[3]
Canonical = Callable[..., str]
DAY = timedelta(days=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
Make = Callable[..., Any]


@pytest.fixture
def spec(make_spec: Make) -> ModelSpec:
    """The toy, looked at every day; what it learns is at most six days old, a quarter of each day judges it."""
    found: ModelSpec = make_spec(
        performance=PerformanceThresholds(window=DAY, min_rows=20, tolerance=0.3, last=2 * DAY),
        drift=DriftThresholds(min_rows=20, last=3 * DAY),
        training=Training(min_rows=48, last=6 * DAY),
        holdout=Holdout(strategy="blocked", block=DAY / 4, every=4, min_rows=10),
    )
    return found


@pytest.fixture
def rows(make_rows: Make) -> pd.DataFrame:
    """Fourteen days of hours; from the eighth on another law."""
    before, after = make_rows(7 * 24), make_rows(7 * 24, start=7 * 24, slope=-2.0, shift=0.5)
    frame: pd.DataFrame = pd.concat([before, after], ignore_index=True)
    return frame.assign(at=frame["at"].dt.tz_localize("UTC"))


@pytest.fixture
def bench(settings: Settings, spec: ModelSpec, tmp_path: Path) -> Callable[..., JobContext]:
    """Land rows and open a bench on them: bench(rows, delay=...)."""
    made = 0

    def open_bench(frame: pd.DataFrame, delay: timedelta | None = None, own: ModelSpec = spec) -> JobContext:
        nonlocal made
        made += 1
        observations = Observations(str(settings.root / f"lake{made}"), own)
        observations.land(frame, "b", "test", now=START)
        return JobContext(own, History.of(observations, delay), JobCache(tmp_path / "backtest"))

    return open_bench


def lived(bench: JobContext, policy: Any = None, **changes: Any) -> SimulationResult:
    """One policy's story over all steps."""
    course = SimulationPlan(steps_of(bench.history), "hash", **changes)
    return Simulation(JobRunner(bench), course, policy).run()


def told(bench: JobContext, until: datetime, canonical: Canonical) -> list[str]:
    """What was decided by a time."""
    course = SimulationPlan([step for step in steps_of(bench.history) if step <= until + DAY], "hash")
    simulation = Simulation(JobRunner(bench), course, any_of(OnDrift(), OnPerformance(), Every(days=3)))
    story = simulation.run()
    return canonical(story.decisions, story.moves).splitlines()


def test_what_comes_later_changes_nothing_and_a_planted_leak_is_found(
    bench: Make, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, canonical: Canonical
) -> None:
    """Decisions up to a time are the same whatever the rows and the labels say that were not known by then."""
    until, delay = START + 10 * DAY, DAY
    late, later = (rows["at"] + delay >= until).to_numpy(), (rows["at"] >= until).to_numpy()
    other = rows.assign(y=np.where(late, 50.0, rows["y"]), x=np.where(later, 9.0, rows["x"]))
    honest = told(bench(rows, delay), until, canonical)
    kinds = {line.split(", ")[1].strip('"') for line in honest}
    assert {"drift", "performance", "retrain", "promote"} <= kinds
    assert told(bench(other, delay), until, canonical) == honest

    at, of = History.at, History.of
    leaks: dict[str, Callable[[], None]] = {
        "rows": lambda: monkeypatch.setattr(History, "at", lambda self, now, spec=None: at(self, now + DAY, spec)),
        "labels": lambda: monkeypatch.setattr(History, "of", lambda observations, _delay: of(observations)),
    }
    for name, plant in leaks.items():
        plant()
        assert told(bench(other, delay), until, canonical) != told(bench(rows, delay), until, canonical), (
            f"a leak of {name} was not found"
        )
        monkeypatch.undo()


def test_a_view_of_the_past_is_the_lake_as_it_was(settings: Settings, spec: ModelSpec, rows: pd.DataFrame) -> None:
    """Rows, labels, digest and range are those of a lake that had only got so far; asking for more gives no more."""
    whole, then = Observations(str(settings.root / "all"), spec), Observations(str(settings.root / "then"), spec)
    whole.land(rows, "b", "test", now=START)
    now = START + 5 * DAY
    early = rows[rows["at"] < now]
    then.land(early.assign(y=early["y"].where(early["at"] + DAY < now)), "b", "test", now=START)
    past = History.of(whole, DAY).at(now)
    mine, real = past.snapshot(), then.snapshot()
    for name in ("rows", "start", "end", "next_row", "digest"):
        assert getattr(mine, name) == getattr(real, name)
    pd.testing.assert_frame_equal(past.frame(0), then.frame(real.version))
    assert past.frame(0, as_of=START + 99 * DAY)["y"].notna().sum() == 4 * 24


def test_a_new_version_serves_once_its_training_is_over(bench: Make, rows: pd.DataFrame) -> None:
    """With six hours of training the first rows of the step are still the former champion's."""
    opened = bench(rows)
    story = lived(opened, Every(days=1), train_time=timedelta(hours=6))
    moved = {move.at for move in story.moves if move.before is not None}
    assert moved
    for step in story.predicted[1:]:
        sizes = [last - first for first, last, _ in step.pieces]
        assert sizes == ([6, 18] if step.start in moved else [24]), step.start
    assert [last - first for first, last, _ in story.predicted[0].pieces] == [18]
    with pytest.raises(EvergreenError, match="no shorter than a step"):
        lived(opened, Never(), train_time=DAY)


def test_what_two_policies_ask_for_is_done_once(bench: Make, rows: pd.DataFrame) -> None:
    """A fit for each step, whoever asks; a second run does nothing anew, and finds the same."""
    opened = bench(rows)
    course = SimulationPlan(steps_of(opened.history), "hash")
    begun: list[Forecast] = []
    shown: list[Report] = []
    watch = Watch(begun=begun.append, show=shown.append)
    pool = JobRunner(opened, progress=watch.spend)
    first = run(pool, course, Request(), watch)
    steps = len(course.steps) - 1
    assert pool.spent.fresh["fit"] == steps
    again = JobRunner(opened)
    assert run(again, course, Request(), Watch(begun=begun.append)).to_json() == first.to_json()
    assert again.spent.fresh == {}
    # What is told before it begins is what is done; the second time every fit is known, with its cost.
    assert [(each.steps, each.policies, each.fits, each.known_fits) for each in begun] == [
        (steps, len(usual(opened.spec)) + 1, steps, 0),
        (steps, len(usual(opened.spec)) + 1, 0, steps),
    ]
    assert begun[1].fit_seconds and begun[1].fit_seconds > 0
    assert (shown[-1].steps, shown[-1].share, shown[-1].fits) == (shown[-1].of, 1.0, steps)
    assert [each.steps for each in shown] == sorted(each.steps for each in shown)
    assert {row.variant.label for row in first.rows} == set(usual(opened.spec))


def test_results_are_known_by_what_they_follow_from(make_spec: Make, spec: ModelSpec) -> None:
    """Another seed is another fit; another policy is none, and another drift policy is another verdict only."""
    assert fit_fingerprint(spec) != fit_fingerprint(spec.model_copy(update={"seed": 1}))
    for same in ({"policy": Never()}, {"triggers": ()}, {"cooldown": DAY}):
        changed = spec.model_copy(update={"retraining": Retraining(**same)})
        assert (fit_fingerprint(changed), verdict_fingerprint(changed)) == (
            fit_fingerprint(spec),
            verdict_fingerprint(spec),
        )
    drift = spec.model_copy(update={"drift": DriftThresholds(share=0.9)})
    # A function is known by its code, for its address is another one in every process.
    rules = [spec.model_copy(update={"gates": Gates(baseline=lambda rows: rows["x"])}) for _ in range(2)]
    assert len({verdict_fingerprint(rule) for rule in rules}) == 1
    assert verdict_fingerprint(rules[0]) != verdict_fingerprint(spec)
    assert fit_fingerprint(drift) == fit_fingerprint(spec) and verdict_fingerprint(drift) != verdict_fingerprint(spec)


def reported(bench: JobContext, **asked: Any) -> Backtest:
    course = SimulationPlan(steps_of(bench.history), "hash")
    return run(JobRunner(bench), course, Request(**asked))


def test_the_report_chooses_on_the_first_part(bench: Make, rows: pd.DataFrame) -> None:
    """A change of law in the first part: staying is proven worse, and the rest is reported beside never and always."""
    found = reported(bench(rows), change=START + 7 * DAY, report_from=START + 10 * DAY)
    table = {row.variant.label: row for row in found.rows}
    assert table["never"].regret["always"].value > 0.5
    assert table["always"].regret["always"].value == 0
    assert all(row.regret["oracle"].value > -0.05 for row in found.rows)
    assert table["never"].retrains == 0 and table["always"].retrains == len(found.steps) - found.chosen
    assert table["on performance"].late is not None and table["on performance"].late <= 4 * DAY
    assert table["never"].late is None
    assert [remark.partition(":")[0] for remark in found.remarks if "after the change" in remark] == ["on performance"]
    beyond = reported(bench(rows), change=START + 99 * DAY, report_from=START + 10 * DAY)
    assert beyond.row("on drift").false_triggers is None
    assert "is after the scored steps" in beyond.remarks[0]
    assert "too short" in found.warning
    told = found.to_json()
    assert set(told) >= {"model", "steps", "policies", "recommended", "reason"}
    assert set(told["policies"][0]) >= {
        "name",
        "window",
        "error",
        "interval",
        "regret",
        "retrains",
        "rejected",
        "train_seconds",
    }
    priced = reported(bench(rows), prices=Prices(retrain=1e6, error=1.0), report_from=START + 10 * DAY)
    assert priced.row("never").cost < priced.row("always").cost


def test_windows_are_tried_with_the_best_policies_only(bench: Make, rows: pd.DataFrame) -> None:
    """Two policies with two more windows, whatever the number of policies; of two that did the same, one."""
    some = {"never": Never(), "always": Every(days=1), "likewise": Every(days=0.5), "rarely": Every(days=5)}
    found = reported(bench(rows), policies=some, windows=("5d", "half-life 4d", "6d"))
    labels = {row.variant.label for row in found.rows if "·" in row.variant.label}
    assert labels == {f"{name} · {window}" for name in ("always", "rarely") for window in ("5d", "half-life 4d")}
    assert {window_name(window_of(text, Training())) for text in ("all", "90d", "half-life 9d")} == {
        "all",
        "90d",
        "half-life 9d",
    }
    longer = reported(bench(rows), policies=some, windows=("all", "99d", "1d"))
    assert {row.variant.window for row in longer.rows} == {"6d", "all"}
    assert any("99d is longer than the history of 14 days" in remark for remark in longer.remarks)
    assert all("nothing was ever trained" in why for label, why in longer.left_out.items())
    assert set(longer.left_out) == {"always · 1d", "rarely · 1d"}
    assert window_of("all", Training(last=DAY, min_rows=9)) == Training(min_rows=9)
    with pytest.raises(EvergreenError, match="not a training window"):
        window_of("some", Training())


def test_burdens_of_proof_are_tried_with_the_best_policies(bench: Make, rows: pd.DataFrame) -> None:
    """A routine candidate passes more often with a margin, and fewer steps are stale; harm is counted on both sides."""
    opened, some = bench(rows), {"never": Never(), "always": Every(days=1)}
    course = SimulationPlan(steps_of(opened.history), "hash", recipe="one")
    asked = Request(some, routine_margins=(0.5, 0.5), report_from=START + 5 * DAY)
    table = {row.variant.label: row for row in run(JobRunner(opened), course, asked).rows}
    assert set(table) == {"never", "always", "always · margin 0.5"}
    strict, lenient = table["always"], table["always · margin 0.5"]
    assert strict.harmful is not None and lenient.harmful is not None
    assert lenient.harmful.promotions > strict.harmful.promotions
    assert lenient.stale < strict.stale
    assert lenient.rejected < strict.rejected
    told = {one["name"]: one for one in run(JobRunner(opened), course, asked).to_json()["policies"]}
    assert (told["always"]["routine_margin"], told["always"]["stale_steps"]) == (0.5, lenient.stale)
    assert (told["never"]["routine_margin"], told["never"]["promotions"]) == (None, 0)
    unknown = run(JobRunner(opened), SimulationPlan(steps_of(opened.history), "hash"), asked)
    assert unknown.row("always · margin 0.5").rejected == strict.rejected
    assert reported(opened, policies=some).row("always").harmful is None


def test_margins_are_read_as_typed() -> None:
    """Shares from 0 on and below 1; anything else is one line."""
    assert margins_of("0, 0.1,0.25,") == (0.0, 0.1, 0.25)
    assert margins_of("") == ()
    for wrong in ("1", "-0.1", "nan", "much"):
        with pytest.raises(EvergreenError, match=f"'{wrong}' is not a margin for routine candidates"):
            margins_of(f"0.1,{wrong}")


def test_a_planted_harmful_promotion_is_counted(bench: Make, rows: pd.DataFrame) -> None:
    """The promotions of a policy, told the other way round, replaced a fresh champion by a stale one: each did harm."""
    opened = bench(rows)
    course = SimulationPlan(steps_of(opened.history), "hash")
    story = Simulation(JobRunner(opened), course, Every(days=1)).run()
    heavy = HeavySteps(JobRunner(opened), opened.spec.training)
    honest = count_harmful(heavy, course, story, START)
    assert honest.promotions > 0 and honest.harmful == 0
    turned = tuple(replace(move, before=move.after, after=move.before) for move in story.moves if move.before)
    planted = count_harmful(heavy, course, replace(story, moves=turned), START)
    assert planted == Harmful(honest.promotions, honest.promotions)
    assert count_harmful(heavy, course, story, START + 99 * DAY) == Harmful(0, 0)


def test_a_step_is_stale_where_the_last_candidate_was_not_promoted() -> None:
    """From the refusal on until a promotion; without a candidate nothing is stale."""
    outcomes = {1: "promoted", 3: "inconclusive", 4: "rejected", 6: "promoted"}
    trained = [Trained(START + day * DAY, "schedule", outcome, 1, 0.0, "") for day, outcome in outcomes.items()]
    steps = [START + day * DAY for day in range(8)]
    assert stale_steps(trained, steps) == 3
    assert stale_steps(trained, steps[6:]) == 0
    assert stale_steps([], steps) == 0


def raising(_seen: Any) -> bool:
    raise ZeroDivisionError("by nothing")


def test_bad_input_is_one_line(bench: Make, rows: pd.DataFrame, spec: ModelSpec, make_spec: Make) -> None:
    """No time, too little history, no labels, a policy that fails, gates that nothing passes, an unknown policy."""
    timeless = make_spec(time=None, holdout=Holdout(strategy="random", min_rows=10))
    cases: list[tuple[type[EvergreenError], str, Callable[[], Any]]] = [
        (DataError, "no time column", lambda: bench(rows, own=timeless)),
        (DataError, "too short to be replayed", lambda: steps_of(bench(rows.head(96)).history)),
        (DataError, "labelled rows are too few", lambda: steps_of(bench(rows.head(40)).history)),
        (DataError, "no row has a known 'y'", lambda: bench(rows.assign(y=np.nan))),
        (DataError, "there are no rows", lambda: bench(rows.head(0))),
        (
            ModelFileError,
            r"raising\(\): ZeroDiv.* policy of toy for 2025-01-",
            lambda: lived(bench(rows), raising),
        ),
        (EvergreenError, "'monthly' is not a policy", lambda: named(["monthly"], spec)),
        (
            DataError,
            "only 0 steps of 1 day lie between 2098",
            lambda: steps_of(bench(rows).history, START + 27000 * DAY),
        ),
        (EvergreenError, "no step to choose by", lambda: reported(bench(rows), report_from=START)),
    ]
    for kind, line, work in cases:
        with pytest.raises(kind, match=line) as error:
            work()
        assert "\n" not in str(error.value)
    strict = spec.model_copy(update={"metric": Metric(name="mae", bound=1e-9)})
    with pytest.raises(DataError, match=r"no version ever passed its gates, of \d+ that were trained.*mae"):
        reported(bench(rows, own=strict))
    never = reported(bench(rows), policies={"nobody": lambda _seen: False})
    assert [(row.variant.label, row.retrains) for row in never.rows] == [("nobody", 0)]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("never", Never()),
        ("every 14 days", Every(days=14)),
        ("every 500 rows", Every(rows=500)),
        ("on drift or every 90 days", any_of(OnDrift(), Every(days=90))),
        ("OnDrift(confirm=2, of=3)", OnDrift(confirm=2, of=3)),
        (
            "any_of(OnDrift(cooldown=timedelta(days=7)), OnPerformance())",
            any_of(OnDrift(cooldown=7 * DAY), OnPerformance()),
        ),
    ],
)
def test_a_policy_is_understood_as_typed(text: str, policy: Any, spec: ModelSpec) -> None:
    """Names, spans and Python; nothing else is called."""
    assert list(named([text], spec).values()) == [policy]
    for wrong in ("__import__('os')", "Every(", "Every(days=-1)", "1", "OnDrift.holds"):
        with pytest.raises(EvergreenError, match="is not a policy"):
            named([wrong], spec)


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from datetime import timedelta
import models
from evergreen.backtest.run import run
from evergreen.backtest.request import Request, named, steps_of
from evergreen.data.observations import Observations
from evergreen.backtest.history import History
from evergreen.backtest.simulation import SimulationPlan
from evergreen.backtest.progress import Forecast, Report, Watch
from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.job_cache import JobCache
from evergreen.backtest.jobs import JobContext
import json
spec = models.load("toy", Path({models!r})).spec
bench = JobContext(spec, History.of(Observations({lake!r}, spec)), JobCache(Path({store!r})))
pool = JobRunner(bench)
found = run(pool, SimulationPlan(steps_of(bench.history), "hash"), Request(named(["every 14 days"], spec)))
told = found.to_json()
print(json.dumps([pool.spent.fresh, pool.spent.known, told], default=str))
"""


@pytest.fixture
def killable(tmp_path: Path, make_rows: Make) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a backtest of the toy of the fault tests in a process of its own, with a store of that name."""
    folder = PROJECT / "tests" / "faults" / "models"
    import models

    spec = models.load("toy", folder).spec
    frame = make_rows(42 * 24)
    lake = str(tmp_path / "lake")
    Observations(lake, spec).land(frame.assign(at=frame["at"].dt.tz_localize("UTC")), "b", "test", now=START)
    begun: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        where = {"path": [str(PROJECT)], "models": str(folder), "lake": lake, "store": str(tmp_path / name)}
        words = [sys.executable, "-c", KILLED.format(**where)]
        begun.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ), cwd=PROJECT))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_where_it_was(killable: Make, tmp_path: Path) -> None:
    """What a killed run had worked out is not worked out again, and the report is that of an undisturbed run."""
    import json

    store, process = tmp_path / "one", killable("one")
    deadline = time.monotonic() + 120
    while len(list(store.glob("gate/*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(list(store.glob("fit/*.json")))
    fresh, known, told = json.loads(killable("one").communicate(timeout=120)[0])
    assert 0 < there <= known["fit"]
    _, nothing, other = json.loads(killable("two").communicate(timeout=120)[0])
    assert nothing == {} and fresh.get("fit", 0) + there == len(list((tmp_path / "two").glob("fit/*.json")))
    for report in (told, other):
        for row in report["policies"]:
            del row["train_seconds"]
    assert told == other
