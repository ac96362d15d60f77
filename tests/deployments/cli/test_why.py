"""`evergreen why`: the ledger for people and as JSON, from what is stored; and a whole story of real flows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from deployments.cli import console
from deployments.cli.main import app
from evergreen.decision import Decision
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.settings import Settings
from evergreen.verdicts import Check, Verdict
from tests.details import detail_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROJECT = Path(__file__).resolve().parents[3]
FIELDS = """
    drift=DriftThresholds(min_rows=50, share=0.5),
    slices=("kind",),
    training=Training(last=timedelta(hours=300)),
    retrain_on=("drift", "performance"),
    performance=PerformanceThresholds(window=timedelta(days=1)),
    max_rejected=0.2,
"""
Run = Callable[..., Result]


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Invoke the command line in a terminal of some width: run("why", "iris", width=80)."""

    def invoke(*words: str, width: int = 200) -> Result:
        monkeypatch.setattr(console, "out", Console(highlight=False, width=width))
        return CliRunner().invoke(app, list(words))

    return invoke


@pytest.fixture
def stored(settings: Settings) -> None:
    """A champion of iris, a failed drift report an hour later, and what came of it."""
    Promotions(settings.lake_uri, "iris").write(Move("m1", NOW, "promote", "done", None, 1, "better", "d0", "retrain"))
    detail = detail_of("drift", report="/reports/[x].html")
    asked = Decision("d1", "drift", NOW + timedelta(hours=1), "FAIL", 1, 3, "digest", "[bold]half", detail, "run-1")
    gates = (
        Check("champion", Verdict.FAIL, float("nan"), 0.0, "worse"),
        *(Check(f"gate {n}", Verdict.PASS, 1.0, 2.0, "fine") for n in range(5)),
    )
    answered = detail_of("retrain", checks=gates)
    decisions = Decisions(settings.lake_uri, "iris")
    decisions.record(asked)
    decisions.record(
        Decision("d1", "retrain", NOW + timedelta(hours=2), "rejected", 1, 3, "digest", "worse", answered, "run-2")
    )


@pytest.mark.usefixtures("stored")
def test_entries_for_people(run: Run) -> None:
    """One block an entry, the newest last: when, what, why, the worst figures with bounds, what followed, where."""
    shown = run("why", "iris")
    assert shown.exit_code == 0
    heads = [line for line in shown.stdout.splitlines() if line.startswith("2026")]
    assert heads == [
        "2026-01-01 12:00:00 UTC  promote done  m1",
        "2026-01-01 13:00:00 UTC  drift FAIL  d1",
        "2026-01-01 14:00:00 UTC  retrain rejected  d1",
    ]
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "question Make a version the champion? (by: retrain)" in lines
    assert "reason [bold]half" in lines
    assert "measured FAIL share of drifted columns 0.5, bound 0.3" in lines
    assert "afterwards 2026-01-01 14:00:00 UTC: a retraining made version 2, which was rejected: worse" in lines
    assert "report /reports/[x].html" in lines
    assert "question Retrain? (started for drift)" in lines
    assert "measured FAIL champion not measured, bound 0" in lines
    assert "and 2 PASS" in lines
    narrow = run("why", "iris", width=60).stdout.splitlines()
    assert max(map(len, narrow)) <= 60


@pytest.mark.usefixtures("stored")
def test_entries_as_json(run: Run) -> None:
    """A list of entries with the documented fields, times ISO 8601, and no number that JSON does not have."""
    result = run("why", "iris", "--json", "--last", "2")
    told = json.loads(result.stdout, parse_constant=pytest.fail)
    assert [entry["kind"] for entry in told] == ["drift", "retrain"]
    page = (PROJECT / "docs" / "why.md").read_text()
    assert not [field for field in (*told[0], *told[0]["seen"][0]) if f"`{field}`" not in page]
    assert told[0]["at"] == "2026-01-01T13:00:00+00:00"
    assert told[0]["links"] == {"report": "/reports/[x].html", "flow_run": "run-1"}
    assert told[1]["seen"][0] | {"interval": 0, "weight": 0} == {
        **{"name": "champion", "value": None, "bound": 0.0, "verdict": "FAIL", "reason": "worse"},
        **{"interval": 0, "weight": 0},
    }
    (then,) = json.loads(run("why", "iris", "--json", "--at", "2026-01-01T14:30+02:00").stdout)
    assert (then["kind"], then["decided"]) == ("promote", "Version 1 becomes the first champion.")
    (drift,) = json.loads(run("why", "iris", "--json", "--last", "1", "--at", "2026-01-01 13:30").stdout)
    assert drift["followed"] == ["nothing yet: no retraining has answered it"]


def test_bad_input_is_one_line(run: Run) -> None:
    """No such model, no time, a number that is none: one line and status 2; an empty ledger says how to begin."""
    for words, said in (
        (["why", "nothing_of_this_name"], "Unknown model 'nothing_of_this_name'"),
        (["why", "iris", "--at", "noon"], "--at 'noon' is not a time. Such as 2026-11-21T10:00:00+01:00"),
        (["why", "iris", "--at", "0001-01-01T00:00+10:00"], "is not a time"),
    ):
        result = run(*words)
        assert (result.exit_code, result.stderr.count("\n"), said in result.stderr) == (2, 1, True)
    assert run("why", "iris", "--last", "0").exit_code == 2
    empty = run("why", "iris")
    assert empty.exit_code == 0
    assert empty.stdout == "iris: nothing was checked or decided yet. Run: evergreen retrain iris\n"
    assert "by 2025-01-01 00:00:00 UTC" in run("why", "iris", "--at", "2025-01-01").stdout
    assert run("why", "iris", "--json").stdout == "[]\n"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's model file, retrained on drift and on errors, judged by slices."""
    folder = tmp_path / "models"
    folder.mkdir()
    text = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
    text = text.replace("    drift=DriftThresholds(min_rows=50),\n", FIELDS.removeprefix("\n"))
    text = text.replace("import DriftThresholds,", "import DriftThresholds, PerformanceThresholds, Training,")
    (folder / "toy.py").write_text(text.replace("from typing", "from datetime import timedelta\nfrom typing", 1))
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))


@pytest.fixture
def deployment(in_process: None) -> Iterator[None]:
    """The deployment `retrain-toy` on a pool without a worker, and no run that seems to be alive."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.exceptions import ObjectAlreadyExists

    from flows.retrain import retrain

    alive = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    with get_client(sync_client=True) as client:
        for one in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(alive)):
            client.delete_flow_run(one.id)
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name="nobody", type="process"))
        flow = client.create_flow(retrain)
        made = client.create_deployment(
            flow_id=flow, name="retrain-toy", work_pool_name="nobody", enforce_parameter_schema=False
        )
        yield
        client.delete_deployment(made)


@pytest.mark.usefixtures("toy", "deployment")
def test_a_story_of_real_flows(run: Run, settings: Settings, make_rows: Callable[..., Any]) -> None:
    """Drift that fired, a cooldown, a lost event, a slice gate, a refused batch, a rollback by hand: each is told."""
    from flows.monitor import monitor
    from flows.reconcile import reconcile
    from flows.retrain import retrain as retrain_flow
    from flows.rollback import rollback

    retrain: Callable[..., Any] = retrain_flow
    landing, landed = settings.landing / "toy", 0
    landing.mkdir(parents=True)

    def land(rows: int, change: Callable[[Any], Any] = lambda frame: frame, **law: float) -> None:
        nonlocal landed
        change(make_rows(rows, start=landed, **law)).to_csv(landing / f"{landed:06}.csv", index=False)
        landed += rows

    def two_laws(frame: Any) -> Any:
        # One kind has a new law; the labels of the other one are off, but for those that the holdout is made of.
        off = (frame["kind"] == "b") & (frame.index < 320)
        return frame.assign(y=frame["y"] + 40.0 * (frame["kind"] == "a") + 8.0 * off)

    land(300)
    assert retrain("toy").outcome == "promoted"
    assert retrain("toy", reason="schedule").outcome == "unchanged"
    assert retrain("toy", reason="schedule").outcome == "unchanged"
    land(50, lambda frame: frame.assign(x="oops"))
    land(200, slope=4.0, shift=3.0)
    fired = monitor("toy").decision_id
    assert retrain("toy", reason="drift", decision_id=fired).version == 2
    land(100, slope=4.0, shift=-6.0)
    late = monitor("toy")
    assert retrain("toy", reason="drift", decision_id=late.decision_id).outcome == "unchanged"
    assert [step.about for step in reconcile(grace_minutes=0.001)] == [late.performance.decision_id]
    land(400, two_laws, slope=4.0, shift=-6.0)
    assert retrain("toy").outcome == "rejected"
    rollback("toy", "customers complained")

    result = run("why", "toy", "--last", "50", "--json")
    entries = json.loads(result.stdout)
    named = {(entry["kind"], entry["id"]): entry for entry in entries}
    drift = named["drift", fired]
    assert "a retraining made version 2 the champion: " in drift["followed"][0]
    assert [line[25:] for line in drift["followed"]][-1] == (
        "version 1 is champion again in place of version 2, by a person: customers complained"
    )
    assert {"x", "prediction"} <= {seen["name"] for seen in drift["seen"] if seen["verdict"] == "FAIL"}
    assert all(seen["value"] > seen["bound"] for seen in drift["seen"] if seen["verdict"] == "FAIL")
    held = [entry for entry in entries if entry["kind"] == "suppressed"]
    assert [entry["reason"][:20] for entry in held] == ["nothing is new since", "cooling down after t"]
    assert "held back: cooling down" in named["drift", late.decision_id]["followed"][0]
    (lost,) = [entry for entry in entries if entry["kind"] == "reconciled"]
    assert lost["detail"]["decision"] == late.performance.decision_id
    assert lost["reason"].startswith("no run came of its event; open since")
    assert (
        f"it was taken up again: {lost['reason']}" in named["performance", late.performance.decision_id]["followed"][0]
    )
    rejected = next(entry for entry in entries if entry["outcome"] == "rejected")
    assert (rejected["seen"][0]["name"], rejected["seen"][0]["verdict"]) == ("slice kind=b", "FAIL")
    (refused,) = [entry for entry in entries if entry["kind"] == "quarantine"]
    assert "the whole batch refused: 50 of 50 rows break the contract" in refused["reason"]
    assert (entries[-1]["kind"], entries[-1]["reason"]) == ("rollback", "customers complained")
    shown = run("why", "toy", "--last", "50", width=80).stdout.splitlines()
    assert max(len(line) for line in shown if not line.startswith("    report ")) <= 80
    assert sum(line.startswith("20") for line in shown) == len(entries)


def test_a_champion_that_cannot_be_loaded_is_told_at_the_end(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it needs stands in the log; where the setting forbids to go by that, nothing will follow, and it is said."""
    move = Move("m1", NOW, "promote", "done", None, 1, "better", "d0", "retrain", "5" * 64, ("os.system",))
    Promotions(settings.lake_uri, "iris").write(move)
    assert "Problem" not in run("why", "iris").output
    monkeypatch.setenv("EVERGREEN_TRUST_LOG", "false")
    assert run("why", "iris").output.endswith(
        "Problem: iris version 1 cannot be loaded: it holds os.system, which models/iris.py does not trust, and "
        "EVERGREEN_TRUST_LOG=false forbids to go by the promotion log. If you trust it, write in models/iris.py: "
        "trusted=('os.system',)\n"
    )
    assert isinstance(json.loads(run("why", "iris", "--json").stdout), list)
