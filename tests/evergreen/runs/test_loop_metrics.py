"""What Prometheus is told of the loop: one number for each thing that is known, and nothing for what is not."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from evergreen.decision import Decision, Kind
from evergreen.details.watch import WindowFigure
from evergreen.ledger.reconciliation import LedgerState
from evergreen.runs.history import Run
from evergreen.runs.loop_facts import LoopFacts
from evergreen.runs.loop_metrics import FAMILIES, loop_families
from evergreen.spec.retraining import Retraining
from tests.details import detail_of
from tests.series import Series

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PROMTOOL = shutil.which("promtool")
SINCE = NOW - 20 * DAY
WINDOWS = (WindowFigure("2026-02-01T00:00:00+00:00", 100, 0.75, 2.0, None),)


class _Collector:
    def __init__(self, *facts: LoopFacts, aliases: Mapping[str, int] | None) -> None:
        self.facts, self.aliases = facts, aliases

    def collect(self) -> Any:
        return loop_families(self.facts, self.aliases)


def text_of(*facts: LoopFacts, aliases: Mapping[str, int] | None = None) -> str:
    """What a scrape would get of some models."""
    registry = CollectorRegistry()
    registry.register(_Collector(*facts, aliases=aliases))  # type: ignore[arg-type]
    return generate_latest(registry).decode()


def read(*facts: LoopFacts, aliases: Mapping[str, int] | None = None) -> Series:
    """The series of some models."""
    return Series(text_of(*facts, aliases=aliases))


def decided(kind: Kind, outcome: str, *, days: float = 1, champion: int | None = 1, **detail: Any) -> Decision:
    """A decision some days ago."""
    about = f"{kind}-{outcome}-{days}"
    return Decision(about, kind, NOW - days * DAY, outcome, champion, 3, "digest", "why", detail_of(kind, **detail))


@pytest.fixture
def whole(make_spec: Callable[..., Any]) -> LoopFacts:
    """Everything that can be known, at once."""
    drift = decided("drift", "FAIL", days=2)
    asking, canary = decided("retrain", "awaiting-approval", days=9), decided("retrain", "in-canary", days=8)
    newest = [
        drift,
        decided("performance", "PASS", windows=WINDOWS, immature=4, bound=3.0),
        decided("skew", "PASS"),
        decided("shadow", "INCONCLUSIVE"),
        decided("canary", "step"),
    ]
    run = Run("monitor", "run-1", NOW - DAY / 2, 4.0, 200, 1.5, "drift FAIL", 2.5)
    return LoopFacts(
        "toy",
        spec=make_spec(retraining=Retraining(triggers=("drift", "performance"))),
        ledger=LedgerState((asking, canary, drift, decided("escalation", "ESCALATED")), 1, SINCE),
        newest={each.kind: each for each in newest},
        worst=("x", 3.5),
        rows=1000,
        data_end=NOW - DAY,
        batches_refused=2,
        rows_refused={"number": 5, "time": 1},
        runs={"monitor": run, "retrain": replace(run, flow="retrain", cpu_seconds=None)},
    )


def test_every_family_is_there_with_its_value(whole: LoopFacts) -> None:
    """Of a model of which everything is known; ages are times, and counts begin with 0."""
    told = read(whole, aliases={"toy": 1})
    assert {each.name.removesuffix("_total") for each in told.families} == {
        f"evergreen_{name.removesuffix('_total')}" for name in FAMILIES
    }
    assert all(each.samples for each in told.families)
    model = {"model": "toy"}
    assert told.value("champion_version", **model) == 1
    assert told.value("champion_since_timestamp_seconds", **model) == SINCE.timestamp()
    assert told.value("champion_resolvable", **model) == 1
    assert told.all("report_info") == dict.fromkeys(
        [
            ("toy", "canary", "step"),
            ("toy", "drift", "FAIL"),
            ("toy", "performance", "PASS"),
            ("toy", "shadow", "INCONCLUSIVE"),
            ("toy", "skew", "PASS"),
        ],
        1,
    )
    assert told.value("drift_watched_timestamp_seconds", **model) == (NOW - DAY / 2).timestamp()
    assert told.value("drift_worst_column_ratio", **model, column="x") == 3.5
    assert (told.value("drift_share_ratio", **model), told.value("drift_threshold_ratio", **model)) == (0.5, 0.3)
    assert told.value("performance_value", **model, metric="mae") == 2.0
    assert told.value("performance_interval_high", **model, metric="mae") == 2.5
    assert told.value("windows_waiting", **model) == 4
    assert told.value("label_coverage_ratio", **model) == 0.75
    assert told.value("quarantined_batches_total", **model) == 2
    assert told.all("quarantined_rows_total") == {("toy", "number"): 5, ("toy", "time"): 1}
    assert told.value("decisions_open", **model) == 1
    assert told.value("decision_open_timestamp_seconds", **model) == (NOW - 2 * DAY).timestamp()
    assert told.value("retrains_total", **model, outcome="in-canary") == 1
    assert told.value("retrains_total", **model, outcome="promoted") == 0
    assert told.value("escalated", **model) == told.value("approval_waiting", **model) == 1
    assert told.all("canary_share_ratio") == {("toy", "2"): 0.25}
    assert told.all("run_cpu_seconds") == {("monitor", "toy"): 2.5}


def test_what_is_not_known_is_left_out(make_spec: Callable[..., Any]) -> None:
    """A model without a champion has no version, no age and no report, and no 0 in their place."""
    told = read(LoopFacts("toy", spec=make_spec()), aliases={})
    names = {each.name for each in told.samples}
    assert "evergreen_champion_version" not in names
    assert "evergreen_drift_share_ratio" not in names
    assert "evergreen_champion_resolvable" not in names
    assert told.value("decisions_open", model="toy") == told.value("model_problem", model="toy") == 0


def test_a_model_that_cannot_be_read_hides_no_other(whole: LoopFacts) -> None:
    """Of it nothing is told but that; of the others everything."""
    told = read(LoopFacts("torn", problem="Its table is damaged."), whole, aliases={"toy": 1})
    assert told.all("model_problem") == {("torn",): 1, ("toy",): 0}
    assert {each.labels["model"] for each in told.samples if each.name != "evergreen_model_problem"} == {"toy"}
    assert told.value("champion_version", model="toy") == 1


@pytest.mark.parametrize(("aliases", "resolvable"), [({"toy": 1}, 1), ({"toy": 2}, 0), ({}, 0), (None, None)])
def test_the_alias_is_held_against_the_log(
    whole: LoopFacts, aliases: Mapping[str, int] | None, resolvable: int | None
) -> None:
    """Gone or moved by somebody else it is not resolvable; of a registry that is away nothing is known."""
    assert read(whole, aliases=aliases).value("champion_resolvable", model="toy") == resolvable


def test_a_report_on_a_former_champion_is_no_verdict_on_this_one(whole: LoopFacts) -> None:
    """The new one is watched from its promotion on."""
    told = read(replace(whole, ledger=replace(whole.ledger, champion=2), runs={}), aliases={"toy": 2})
    assert {labels[1] for labels in told.all("report_info")} == {"canary"}
    assert told.value("drift_share_ratio", model="toy") is None
    assert told.value("drift_watched_timestamp_seconds", model="toy") == SINCE.timestamp()


def test_a_monitor_that_found_nothing_new_has_looked(whole: LoopFacts) -> None:
    """It leaves the report that there was, whose time stands still."""
    watched = "drift_watched_timestamp_seconds"
    assert read(replace(whole, runs={})).value(watched, model="toy") == (NOW - 2 * DAY).timestamp()
    assert read(whole).value(watched, model="toy") == (NOW - DAY / 2).timestamp()


def test_a_hundred_models_are_under_half_a_megabyte(whole: LoopFacts) -> None:
    """With everything that can be known of each."""
    text = text_of(*(replace(whole, model=f"demand_of_region_{number}") for number in range(100)), aliases={})
    assert len(text) < 500_000


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here; Debian has it in the package prometheus.")
def test_promtool_accepts_what_a_scrape_gets(whole: LoopFacts) -> None:
    """Names, types and help texts, as Prometheus' own check wants them."""
    told = text_of(whole, aliases={"toy": 1})
    words = [str(PROMTOOL), "check", "metrics"]
    done = subprocess.run(words, input=told, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_names_and_labels_are_as_prometheus_wants_them() -> None:
    """Base units, `_total` for counts, and no label that could be an id or a value of a row."""
    for name, (labels, text) in FAMILIES.items():
        assert re.fullmatch(r"[a-z][a-z_]+", name)
        assert not re.search(r"_(ms|minutes|hours|days|percent|mb|kb|id)$", name)
        assert set(labels.split()) <= {"report", "verdict", "column", "metric", "reason", "outcome", "version", "flow"}
        assert text.endswith(".")
