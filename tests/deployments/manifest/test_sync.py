"""`evergreen deployments sync`: what is missing comes into prefect.yaml, and what a person wrote stays."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.manifest import sync, yaml_text
from evergreen.errors import EvergreenError
from evergreen.settings import Settings
from tests.shipped import copy_shipped

PROJECT = Path(__file__).resolve().parents[3]
SHIPPED = (PROJECT / "prefect.yaml").read_text()
IRIS = (PROJECT / "models" / "iris.py").read_text()
BY_HAND = """\
# Ours since 2024; ask operations before you touch it.
name: evergreen
prefect-version:   3.8.8      # aligned, on purpose

definitions:
    pool: &pool
        name: evergreen
        job_variables:
            env: {TEAM: "fleet",   STAGE: 'prod'}
            command: python -m prefect.engine

deployments:

    # --- what we care for most ---
    - name:        retrain-flower       # do not rename
      entrypoint:  flows.retrain.retrain
      description: >-
          Retrains the flower,
          slowly.
      parameters: { model: flower,   force: no }
      paused: true
      tags: [evergreen, flower, "retrain",
             ours]
      schedules:
          - {cron: '0 2 * * 6', timezone: Europe/Paris, slug: first, active: no, day_or: no}   # not before summer
          - cron: "0 2 * * 0"
            slug: sunday
      triggers:
          # drift first
          - name: retrain-flower-on-drift
            enabled: false      # until the sensor is mended
            expect: [evergreen.drift.failed]
            match:
                prefect.resource.id: evergreen.model.flower
            for_each: [prefect.resource.id]
            threshold: 1
            within:    60        # a minute
            parameters: {model: flower, reason: drift, decision_id: "{{ event.payload.decision_id }}"}
          # our own, from the factory
          - name: on-harvest
            expect: [factory.harvest]
            match: {prefect.resource.id: "factory.*"}
            parameters: {model: flower, reason: harvest}
      work_pool: *pool

    # a colleague's, nothing to do with us
    - {name: nightly-report, entrypoint: 'reports/nightly.py:report', parameters: {}, work_pool: *pool}
# the end
"""


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Settings]:
    """Make a folder of models: made(flower='retrain_on=("drift",)')."""
    folder = tmp_path / "models"
    folder.mkdir()

    def make(**fields: str) -> Settings:
        for old in folder.glob("*.py"):
            old.unlink()
        for name, more in fields.items():
            text = IRIS.replace('name="iris"', f'name="{name}"').replace(
                "MODEL = ModelSpec(", f"MODEL = ModelSpec({more}"
            )
            head = "from datetime import timedelta\n" if "timedelta" in more else ""
            (folder / f"{name}.py").write_text(text.replace("from typing", f"{head}from typing", 1))
        return Settings(home=tmp_path / "home", models=folder)

    return make


def is_within(lines: list[str], text: str) -> bool:
    """Whether all the lines are in the text, in their order."""
    found = iter(text.splitlines())
    return all(line in found for line in lines)


def test_the_shipped_file_has_every_shipped_model(tmp_path: Path) -> None:
    """A sync of this repository has nothing to do; what a user adds to it is no orphan of ours to judge."""
    found = sync.sync(Settings(models=copy_shipped(tmp_path / "models")), check=True)
    assert (found.path, found.changes) == (str(sync.PATH), ())


@pytest.mark.parametrize("count", [2, 20])
def test_the_file_is_read_once_whatever_the_number_of_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Once for its meaning and once more to check the outcome, and no more for twenty models than for two."""
    chosen = Settings(home=tmp_path / "home", models=tmp_path / "models")
    chosen.models.mkdir()
    for number in range(count):
        (chosen.models / f"model_{number}.py").write_text(IRIS.replace('name="iris"', f'name="model_{number}"'))
    (tmp_path / "prefect.yaml").write_text(SHIPPED)
    calls: Counter[str] = Counter()

    def counted(name: str, function: Callable[[str], Any]) -> Callable[[str], Any]:
        def call(text: str) -> Any:
            calls[name] += 1
            return function(text)

        return call

    parsed = SimpleNamespace(parse=counted("tree", yaml_text.YamlFile.parse))
    monkeypatch.setattr(yaml_text, "YamlFile", parsed)
    monkeypatch.setattr(yaml_text.yaml, "safe_load", counted("meaning", yaml.safe_load))
    assert len(sync.sync(chosen, tmp_path / "prefect.yaml").changes) == 3 * count
    assert calls == {"tree": 3, "meaning": 2}
    calls.clear()
    assert sync.sync(chosen, tmp_path / "prefect.yaml").changes == ()
    assert calls == {"tree": 2, "meaning": 1}


def test_a_new_model_comes_in_with_what_the_others_have(tmp_path: Path, made: Callable[..., Settings]) -> None:
    """Its three deployments are added, the shared parts by alias; no line that was there changes; then all is said."""
    path = tmp_path / "prefect.yaml"
    path.write_text(SHIPPED)
    shutil.copy(PROJECT / "models" / "bike_demand.py", tmp_path / "models")
    chosen = made(iris="", rose_garden='retrain_on=("drift", "data"), cooldown=timedelta(minutes=90), ')
    shutil.copy(PROJECT / "models" / "bike_demand.py", tmp_path / "models")
    found = sync.sync(chosen, path)
    assert found.changes == tuple(f"added {flow}-rose-garden" for flow in ("monitor", "retrain", "score"))
    after = path.read_text()
    assert after.startswith(SHIPPED)
    fresh = after.removeprefix(SHIPPED)
    assert fresh.count("work_pool: *pool") == fresh.count("version: *version") == 3
    assert fresh.startswith("\n  - name: monitor-rose-garden\n")
    monitor, retrain, score = yaml.safe_load(after)["deployments"][-3:]
    assert [(one["name"], one["expect"], one["within"]) for one in retrain["triggers"]] == [
        ("retrain-rose-garden-on-drift", ["evergreen.drift.failed"], 5400),
        ("retrain-rose-garden-on-data", ["evergreen.data.landed"], 5400),
    ]
    for one in (monitor, retrain, score):
        assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    minutes = {one["schedules"][0]["cron"].split()[0] for one in (monitor, score)}
    assert len(minutes) == 2, "the hourly ones start together"
    stamp = path.stat().st_mtime_ns
    assert sync.sync(chosen, path) == sync.Synced(str(path), (), ())
    assert (path.read_text(), path.stat().st_mtime_ns) == (after, stamp)


def test_what_a_person_wrote_stays(tmp_path: Path, made: Callable[..., Settings]) -> None:
    """Of a file that was edited by hand one figure changes, and what is missing is added; every other byte stays."""
    path = tmp_path / "prefect.yaml"
    path.write_text(BY_HAND)
    chosen = made(flower='retrain_on=("drift", "performance"), cooldown=timedelta(hours=2), ')
    found = sync.sync(chosen, path)
    assert found.changes == (
        "added monitor-flower",
        "retrain-flower-on-drift: within was 60, is 7200",
        "added trigger retrain-flower-on-performance",
        "added score-flower",
    )
    after = path.read_text()
    changed = [line for line in BY_HAND.splitlines() if line not in after.splitlines()]
    assert changed == ["            within:    60        # a minute"]
    assert re.search(r"within: +7200 +# a minute\n", after)
    assert is_within([line for line in BY_HAND.splitlines() if line not in changed], after)
    before, now = yaml.safe_load(BY_HAND), yaml.safe_load(after)
    assert [one["name"] for one in now["deployments"]] == [
        *("retrain-flower", "nightly-report", "monitor-flower", "score-flower")
    ]
    assert now["deployments"][1] == before["deployments"][1]
    mine, his = now["deployments"][0], before["deployments"][0]
    assert mine["triggers"][:2] == [his["triggers"][0] | {"within": 7200}, his["triggers"][1]]
    assert {**mine, "triggers": 0} == {**his, "triggers": 0}
    assert not sync.sync(chosen, path).changes


def test_a_ground_that_the_model_file_dropped_goes(tmp_path: Path, made: Callable[..., Settings]) -> None:
    """The trigger of a ground that is not asked for any more is taken out; a trigger of a person's own stays."""
    path = tmp_path / "prefect.yaml"
    path.write_text(BY_HAND)
    found = sync.sync(made(flower="retrain_on=(), "), path)
    assert "removed trigger retrain-flower-on-drift: the model file does not name drift" in found.changes
    kept = yaml.safe_load(path.read_text())["deployments"][0]["triggers"]
    assert [one["name"] for one in kept] == ["on-harvest"]
    assert "# our own, from the factory" in path.read_text()


def test_deployments_of_a_lost_model_are_named_and_kept(tmp_path: Path, made: Callable[..., Settings]) -> None:
    """They are told of and left; `prune` takes them out, with nothing else and no one's comment."""
    path = tmp_path / "prefect.yaml"
    path.write_text(BY_HAND)
    chosen = made()
    found = sync.sync(chosen, path)
    assert (found.changes, found.orphans) == ((), ("retrain-flower",))
    assert path.read_text() == BY_HAND
    assert sync.sync(chosen, path, prune=True).changes == ("removed retrain-flower",)
    after = path.read_text()
    assert yaml.safe_load(after)["deployments"] == yaml.safe_load(BY_HAND)["deployments"][1:]
    for comment in ("# a colleague's, nothing to do with us", "# the end", "# Ours since 2024", "# --- what we care"):
        assert comment in after
    assert after.startswith(BY_HAND[: BY_HAND.index("deployments:")])


def test_an_anchor_that_others_use_stays_with_them(tmp_path: Path, made: Callable[..., Settings]) -> None:
    """A deployment is taken out that holds what others name by alias: they mean what they meant."""
    path = tmp_path / "prefect.yaml"
    path.write_text(
        "deployments:\n"
        "- name: retrain-lost\n  entrypoint: flows.retrain.retrain\n  parameters: {model: lost}\n"
        "  work_pool: &pool {name: evergreen}   # ours\n"
        "- name: other\n  entrypoint: other.flow\n  work_pool: *pool\n"
        "- name: third\n  entrypoint: other.flow\n  work_pool: *pool   # as the others\n"
    )
    others = yaml.safe_load(path.read_text())["deployments"][1:]
    assert sync.sync(made(), path, prune=True).changes == ("removed retrain-lost",)
    assert yaml.safe_load(path.read_text())["deployments"] == others
    assert path.read_text().endswith("  work_pool: *pool   # as the others\n")


@pytest.mark.parametrize("names", [("retrain-rose", "other"), ("other", "retrain-rose")])
@pytest.mark.parametrize(
    ("anchored", "by_alias"),
    [
        ("&t [{name: retrain-rose-on-drift, within: 1}]", "*t"),
        ("\n  - &t {name: retrain-rose-on-drift, within: 1}", "[*t]"),
    ],
)
def test_an_edit_that_others_would_share_is_refused(
    anchored: str, by_alias: str, names: tuple[str, str], tmp_path: Path, made: Callable[..., Settings]
) -> None:
    """Where an edit would leave a file that means something else, nothing is changed, and what to do is said."""
    path, entry = tmp_path / "prefect.yaml", "- name: {}\n  entrypoint: a.b\n  triggers: {}\n".format
    text = f"deployments:\n{entry(names[0], anchored)}{entry(names[1], by_alias)}"
    path.write_text(text)
    with pytest.raises(EvergreenError, match=r"by hand: .*retrain-rose-on-drift: expect was absent") as refused:
        sync.sync(made(rose=""), path)
    assert "nothing was changed" in refused.value.what
    assert path.read_text() == text


@pytest.mark.parametrize(
    "entry",
    [
        "{name: retrain-rose, entrypoint: flows.retrain.retrain, parameters: {model: rose}}",
        "{name: retrain-rose, entrypoint: f, triggers: []}",
        "{name: retrain-rose, entrypoint: f, triggers: [{name: x, expect: [e]}, {name: retrain-rose-on-data}]}",
        "{name: retrain-rose, triggers: [{name: retrain-rose-on-drift}]}",
        "\n    name: retrain-rose\n    triggers: # none yet",
        "name: retrain-rose\n    triggers: []   # none yet\n    entrypoint: f",
        "name: retrain-rose\n    triggers:\n    - name: retrain-rose-on-drift\n"
        "      match: # a: b\n        a: b\n      expect:\n      - c",
        "name: retrain-rose\n    triggers: &t\n    - name: retrain-rose-on-data\n    - name: other\n"
        "    description: |\n      two\n\n      lines\n",
    ],
)
def test_entries_in_every_form_of_yaml(entry: str, tmp_path: Path, made: Callable[..., Settings]) -> None:
    """Braces, empty lists, no lists, blocks: the trigger comes in, and what else there was means the same."""
    path = tmp_path / "prefect.yaml"
    path.write_text(f"deployments:\n  - {entry}\n  - {{name: other, entrypoint: 'o.p'}}   # last\n")
    before = yaml.safe_load(path.read_text())["deployments"]
    sync.sync(made(rose=""), path)
    first, other, added, scoring = yaml.safe_load(path.read_text())["deployments"]
    assert (other, added["name"], scoring["name"]) == (before[1], "monitor-rose", "score-rose")
    assert {**first, "triggers": 0} == {**before[0], "triggers": 0}
    kept = [one for one in before[0].get("triggers") or [] if not one["name"].startswith("retrain-rose")]
    assert [one for one in first["triggers"] if not one["name"].startswith("retrain-rose")] == kept
    (ours,) = [one for one in first["triggers"] if one not in kept]
    assert (ours["name"], ours["expect"]) == ("retrain-rose-on-drift", ["evergreen.drift.failed"])
    assert ours["match"] == {"prefect.resource.id": "evergreen.model.rose"}
    assert "# last" in path.read_text()
    assert not sync.sync(made(rose=""), path).changes


@pytest.mark.parametrize("text", ["name: x\n", "name: x\ndeployments:\n", "name: x\ndeployments: []\n"])
def test_a_file_without_deployments_gets_them(text: str, tmp_path: Path, made: Callable[..., Settings]) -> None:
    """The first deployments can be deployed as they are: pool, limit and command are there."""
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    sync.sync(made(rose=""), path)
    first = yaml.safe_load(path.read_text())["deployments"][0]
    assert first["work_pool"] == {"name": "evergreen", "job_variables": {"command": "python -m prefect.engine"}}


def test_line_ends_of_another_system_stay(tmp_path: Path, made: Callable[..., Settings]) -> None:
    """A file with CRLF keeps them, in the new lines too."""
    path = tmp_path / "prefect.yaml"
    path.write_bytes(BY_HAND.replace("\n", "\r\n").encode())
    sync.sync(made(flower="", rose=""), path)
    assert b"rose" in path.read_bytes()
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")


COMMENTS = st.sampled_from(["# kept", "#", "# - name: retrain-rose", "# deployments:", "", "   ", "# ünïcode: {a: [b"])


@pytest.mark.slow
@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), source=st.sampled_from([SHIPPED, BY_HAND]))
def test_whatever_stands_between_the_lines_stays(
    data: st.DataObject, source: str, tmp_path: Path, made: Callable[..., Settings]
) -> None:
    """Comments, blank lines and spaces anywhere in a file: all of them, and all lines, are there in their order."""
    lines = source.splitlines()
    # Within a text of several lines a comment is not one.
    inside = {
        number for number, line in enumerate(lines) if line.strip() in ("Retrains the flower,", "slowly.", "ours]")
    }
    places = [number for number in range(len(lines)) if number not in inside]
    for place in sorted(data.draw(st.lists(st.sampled_from(places), max_size=8)), reverse=True):
        lines.insert(place, " " * data.draw(st.integers(0, 8)) + data.draw(COMMENTS))
    path = tmp_path / "prefect.yaml"
    text = "\n".join(lines) + data.draw(st.sampled_from(["", "\n", "\n\n"]))
    path.write_text(text)
    before = yaml.safe_load(text)
    chosen = made(flower="cooldown=timedelta(seconds=60), ", rose="")
    found = sync.sync(chosen, path)
    assert "added retrain-rose" in found.changes
    after = path.read_text()
    assert is_within([line for line in lines if line.strip()], after)
    now = yaml.safe_load(after)
    assert now["deployments"][: len(before["deployments"])] == before["deployments"]
    assert {**now, "deployments": 0} == {**before, "deployments": 0}
    again = path.read_bytes()
    assert not sync.sync(chosen, path).changes
    assert path.read_bytes() == again


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deployments: [\n", "prefect.yaml: line 2"),
        ("deployments:\n  - name: a\n - name: b\n", "prefect.yaml: line 3"),
        ("name: a\nname: b\n", "prefect.yaml: line 2"),
        ("deployments:\n  - name: a\n    work_pool: *none\n", "prefect.yaml: line 3"),
        ("just words\n", "not a mapping"),
        ("", "not a mapping"),
        ("deployments: {a: b}\n", "not a list"),
        ("deployments: [a]\n", "entry 1 is not a deployment"),
        ("deployments:\n- {name: a, triggers: 3}\n", "entry 1 is not a deployment"),
        ("\x00", "prefect.yaml"),
    ],
)
def test_a_broken_file_is_one_line(text: str, told: str, tmp_path: Path, made: Callable[..., Settings]) -> None:
    """What is wrong and where; the file is left as it is."""
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    with pytest.raises(EvergreenError, match=re.escape(told)) as error:
        sync.sync(made(rose=""), path)
    assert error.value.fix
    assert "\n" not in str(error.value)
    assert path.read_text() == text


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, made: Callable[..., Settings]) -> None:
    """It says how to have it back."""
    with pytest.raises(EvergreenError, match="git checkout"):
        sync.sync(made(rose=""), tmp_path / "prefect.yaml")


def test_check_writes_nothing_and_says_so_by_its_status(
    tmp_path: Path, made: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1 where a sync would change something, 0 where not; `--json` is one object."""
    path = tmp_path / "prefect.yaml"
    path.write_text(BY_HAND)
    chosen = made(flower="")
    monkeypatch.setenv("EVERGREEN_MODELS", str(chosen.models))
    monkeypatch.setattr(sync.sync, "__defaults__", (path,))
    run = CliRunner()
    checked = run.invoke(app, ["deployments", "sync", "--check", "--json"])
    assert checked.exit_code == 1
    assert json.loads(checked.stdout)["changed"] is True
    assert path.read_text() == BY_HAND
    assert run.invoke(app, ["deployments", "sync"]).exit_code == 0
    assert run.invoke(app, ["deployments", "sync", "--check"]).exit_code == 0
    path.write_text("deployments: [\n")
    assert run.invoke(app, ["deployments", "sync"]).exit_code == 2
