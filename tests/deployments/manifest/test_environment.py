"""One prefect.yaml serves every environment: names, tags, pool and triggers follow, and schedules may differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.manifest.apply import read_document
from deployments.manifest.build_step import STEP, here
from deployments.manifest.environment import KEY, of_environment
from deployments.manifest.sync import sync
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings


def _entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in document["deployments"] if entry["name"] == name)
    return found


def test_without_an_environment_nothing_is_changed() -> None:
    """What is brought to the server is the file, word for word."""
    document = read_document()
    assert of_environment("", document) == document


def test_every_entry_gets_the_environment_s_names() -> None:
    """Name, tag, pool, triggers and what they match; parameters, schedules and the model's own tag stay."""
    document = read_document()
    staging = of_environment("staging", document)
    assert [entry["name"] for entry in staging["deployments"]] == [
        f"staging-{entry['name']}" for entry in document["deployments"]
    ]
    before, after = _entry(document, "retrain-iris"), _entry(staging, "staging-retrain-iris")
    assert after["tags"] == ["evergreen-staging", "iris", "retrain"]
    assert after["work_pool"]["name"] == "evergreen-staging"
    assert after["work_pool"]["job_variables"]["env"] == {
        **before["work_pool"]["job_variables"]["env"],
        "EVERGREEN_ENVIRONMENT": "staging",
    }
    (trigger,) = after["triggers"]
    assert trigger["name"] == "staging-retrain-iris-on-drift"
    assert trigger["match"] == {"prefect.resource.id": "evergreen-staging.model.iris"}
    kept = ("entrypoint", "parameters", "schedules", "concurrency_limit", "description", "version")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert {key: trigger[key] for key in trigger if key not in ("name", "match")} == {
        key: each for key, each in before["triggers"][0].items() if key not in ("name", "match")
    }
    assert staging["build"] == [{STEP: {"id": "here", "environment": "staging"}}]
    assert document == read_document()


def test_what_a_person_named_stays(tmp_path: Path) -> None:
    """A pool, a tag and a resource that are not Evergreen's, and a compound trigger's own parts, are left or found."""
    document = read_document()
    entry = _entry(document, "score-iris")
    entry["work_pool"] = {"name": "gpu"}
    entry["tags"] = ["nightly"]
    inner = {"match": {"prefect.resource.id": ["evergreen.model.iris", "s3://evergreen.model.iris"]}}
    related = {"match_related": {"prefect.resource.id": "prefect.tag.evergreen"}, "expect": ["evergreen.model.x"]}
    entry["triggers"] = [{"type": "compound", "require": "all", "triggers": [inner, related]}]
    found = _entry(of_environment("staging", document), "staging-score-iris")
    assert (found["work_pool"]["name"], found["tags"]) == ("gpu", ["nightly"])
    assert found["triggers"][0]["triggers"] == [
        {"match": {"prefect.resource.id": ["evergreen-staging.model.iris", "s3://evergreen.model.iris"]}},
        {"match_related": {"prefect.resource.id": "prefect.tag.evergreen-staging"}, "expect": ["evergreen.model.x"]},
    ]


def test_an_environment_may_have_other_schedules() -> None:
    """What stands under `environments` takes the place of a key of the entry, in that environment alone."""
    document = read_document() | {KEY: {"staging": {"monitor-iris": {"schedules": []}}}}
    assert _entry(of_environment("staging", document), "staging-monitor-iris")["schedules"] == []
    assert _entry(of_environment("staging", document), "staging-score-iris")["schedules"]
    for other in ("", "prod"):
        found = of_environment(other, document)
        assert all(entry["schedules"] for entry in found["deployments"] if "monitor" in entry["name"])
        assert KEY not in found


@pytest.mark.parametrize(
    ("environments", "message"),
    [
        ({"staging": {"monitor-irs": {"schedules": []}}}, "environments.staging: there is no deployment 'monitor-irs'"),
        ({"Staging": {}}, "environments: 'Staging' does not say"),
        ({"staging": []}, "environments: 'staging' does not say"),
        (["staging"], "environments: '' does not say"),
        (
            {"prod": {"monitor-iris": {"name": "x"}}},
            "environments.prod.monitor-iris: it changes keys, and not the name",
        ),
        ({"prod": {"monitor-iris": None}}, "environments.prod.monitor-iris: it changes keys, and not the name"),
    ],
)
def test_a_mistake_in_them_is_refused(environments: Any, message: str) -> None:
    """Whichever environment is applied, place and name are told, and how to write it."""
    for environment in ("", "staging"):
        with pytest.raises(EvergreenError, match=message) as error:
            of_environment(environment, read_document() | {KEY: environments})
        assert "schedules: []" in error.value.fix


def test_a_sync_leaves_them_alone(tmp_path: Path) -> None:
    """The file keeps the names without an environment, and what environments have otherwise."""
    path = tmp_path / "prefect.yaml"
    text = (PROJECT / "prefect.yaml").read_text() + "\nenvironments:\n  dev:\n    monitor-iris: {schedules: []}\n"
    path.write_text(text)
    assert not sync(Settings(environment="dev"), path).changes
    assert path.read_text() == text


def test_prefect_deploy_by_hand_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would write the names without an environment, which are another's; the sentence names what to run."""
    monkeypatch.setenv("EVERGREEN_ENVIRONMENT", "staging")
    with pytest.raises(EvergreenError, match="EVERGREEN_ENVIRONMENT is 'staging'") as error:
        here()
    assert error.value.fix == "Run: evergreen deployments apply"
    assert here(environment="staging")["project"] == str(PROJECT)
    monkeypatch.delenv("EVERGREEN_ENVIRONMENT")
    with pytest.raises(EvergreenError, match="the environment staging"):
        here(environment="staging")
