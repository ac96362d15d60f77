"""README, docs, settings and prefect.yaml say what is true."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import evergreen.sources
import evergreen.spec
import models
from deployments.cli.main import app
from evergreen.decision import Decision
from evergreen.events import TRIGGER_EVENTS, decision_event
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from tests.details import detail_of
from tests.shipped import MODELS as SHIPPED

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((PROJECT / "docs").rglob("*.md"))
SITE = ["--fail-on-warning", "--keep-going", "--quiet", "--builder", "html"]
CANARY = (PROJECT / "docs" / "canary.md").read_text()
DEPLOYMENTS = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_merged(page: Path) -> None:
    """No page holds the marks of a merge that was not finished, nor a figure that was to be filled in."""
    assert re.findall(r"^(?:<{7}|>{7}|={7}) ?.*$|^[A-Z]+TABLE$|TODO|XXX", page.read_text(), flags=re.MULTILINE) == []


def _commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_named_in_a_page_exist(page: Path) -> None:
    """A file or folder that a page names in backticks, or links to, is there."""
    text = page.read_text()
    named = re.findall(r"`((?:docs|evergreen|models|flows|tasks|deployments|tests|benchmarks)/[\w./-]*)`", text)
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    wanted = [PROJECT / name for name in named] + [page.parent / link for link in linked]
    made_by_users = {
        f"models/{name}.py" for name in ("NAME", "churn", "load", "reviews", "team/churn", "team/_features")
    }
    missing = [
        str(path) for path in wanted if str(path.relative_to(PROJECT)) not in made_by_users and not path.exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_a_page_exist(page: Path) -> None:
    """A make target or an evergreen command that a page names is there, with the options it names."""
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)(?:$|`| )", text, flags=re.MULTILINE)) <= targets
    known = _commands()
    for line in re.findall(r"(?:`|^|bin/)evergreen ([a-z][^`\n|]*)", text, flags=re.MULTILINE):
        words = shlex.split(line)
        assert words[0] in known, line
        options = {flag for option in known[words[0]].params for flag in option.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_every_proof_has_its_line() -> None:
    """docs/proofs.md, from which `make prove` takes its list, names the proofs that there are, in their order."""
    listed = re.findall(
        r"^\| `([a-z-]+)` \| [^|]+ \|", (PROJECT / "docs" / "proofs.md").read_text(), flags=re.MULTILINE
    )
    marked = [re.findall(r'proof\(name="([^"]+)"\)', file.read_text()) for file in (PROJECT / "tests").rglob("*.py")]
    assert listed == sorted({name for names in marked for name in names})


def test_readme_names_every_command() -> None:
    """No command is missing from the README's table."""
    text = (PROJECT / "README.md").read_text()
    assert not [name for name in _commands() if f"`evergreen {name}" not in text]


def test_model_file_page_names_every_field() -> None:
    """docs/model-files.md explains each field of a model file."""
    text = (PROJECT / "docs" / "model-files.md").read_text()
    absent = [name for name in ModelSpec.model_fields if f"`{name}`" not in text]
    assert not absent


def test_env_example_names_every_setting() -> None:
    """.env.example shows each EVERGREEN_ variable, and none that does nothing."""
    shown = set(re.findall(r"^# (EVERGREEN_\w+)=", (PROJECT / ".env.example").read_text(), flags=re.MULTILINE))
    assert shown == {f"EVERGREEN_{name.upper()}" for name in Settings.model_fields}


def _flow(deployment: dict[str, Any]) -> Any:
    module, _, function = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), function)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_deployments_fit_their_flows(deployment: dict[str, Any]) -> None:
    """An entrypoint imports; what the deployment, its schedules and its triggers pass is what the flow takes."""
    flow = _flow(deployment)
    passed = deployment["parameters"]
    given = [passed, *(passed | schedule.get("parameters", {}) for schedule in deployment["schedules"])]
    event = {"{{ event.payload.share | default(none) }}": 0.5}
    for trigger in deployment.get("triggers", []):
        given.append(passed | {key: event.get(value, value) for key, value in trigger["parameters"].items()})
    for parameters in given:
        flow.validate_parameters(parameters)
        assert set(parameters) <= set(flow.parameters.properties)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_deployments_are_named_scheduled_and_bounded(deployment: dict[str, Any]) -> None:
    """By flow and model; each schedule has a zone and a slug, without which a redeploy would undo a pause.

    Only the backtest has none: a person asks for it.
    """
    model = deployment["parameters"].get("model")
    function = deployment["entrypoint"].rpartition(".")[2]
    assert deployment["name"] == (f"{function}-{model.replace('_', '-')}" if model else function)
    assert {"evergreen", function, *([model] if model else [])} == set(deployment["tags"])
    assert bool(deployment["schedules"]) is (function != "backtest")
    for schedule in deployment["schedules"]:
        assert {"cron", "timezone", "slug"} <= set(schedule) <= {"cron", "timezone", "slug", "parameters"}
    assert deployment["concurrency_limit"]["collision_strategy"] == "CANCEL_NEW"
    assert deployment["concurrency_limit"]["limit"] == 1 or not model
    assert deployment["description"]
    assert deployment["version"] == importlib.metadata.version("evergreen")


def test_every_model_is_deployed() -> None:
    """Each model that ships is watched and retrained; its triggers wait for what its file asks for, and as long."""
    by_name = {deployment["name"]: deployment for deployment in DEPLOYMENTS}
    for name in SHIPPED:
        spec, dashed = models.load(name, PROJECT / "models").spec, name.replace("_", "-")
        assert f"monitor-{dashed}" in by_name
        told = {
            (trigger["name"], *trigger["expect"], trigger["match"]["prefect.resource.id"], trigger["within"])
            for trigger in by_name[f"retrain-{dashed}"].get("triggers", [])
        }
        wait = int(spec.retraining.cooldown.total_seconds())
        assert told == {
            (f"retrain-{dashed}-on-{ground}", TRIGGER_EVENTS[ground], f"evergreen.model.{name}", wait)
            for ground in spec.retraining.triggers
        }


def test_every_event_that_is_waited_for_is_sent() -> None:
    """The names in prefect.yaml are among those that a monitor run sends of its decisions."""
    waited = {name for one in DEPLOYMENTS for trigger in one.get("triggers", []) for name in trigger["expect"]}
    sent = {
        decision_event("iris", Decision("id", kind, datetime.now(UTC), "FAIL", 1, 1, "", "", detail_of(kind))).name
        for kind in TRIGGER_EVENTS
    }
    assert waited <= sent == set(TRIGGER_EVENTS.values())
    assert (
        "announce(context.settings.environment, decision_event("
        in (PROJECT / "flows" / "shared" / "conclude.py").read_text()
    )


def test_readme_begins_with_three_pictures() -> None:
    """They are there, together smaller than 400 kB, and each is described, as are the two of a canary.

    No picture is there that no page shows.
    """
    start = (PROJECT / "README.md").read_text().split("\n## ")[0]
    shown = re.findall(r"^!\[(.{40,})\]\((docs/pictures/\w+\.png)\)$", start, flags=re.MULTILINE)
    assert len(shown) == 3
    others = re.findall(r"^!\[.{40,}\]\(pictures/([\w-]+\.png)\)$", CANARY, flags=re.MULTILINE)
    assert len(others) == 2
    found = {path.name for path in (PROJECT / "docs" / "pictures").glob("*.png")}
    assert found == {*others, *(path.rsplit("/")[-1] for _, path in shown)}
    assert sum((PROJECT / path).stat().st_size for _, path in shown) < 400_000


def test_the_lock_holds_no_address() -> None:
    """The lock file has versions and hashes, and no place that they were fetched from."""
    assert "://" not in (PROJECT / "requirements.lock").read_text()


def _build_site(pages: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs, into a folder of the test's own."""
    command = [sys.executable, "-m", "sphinx", *SITE, "-d", str(out / "read"), str(pages), str(out / "site")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def test_the_site_is_built_and_no_link_is_broken(tmp_path: Path) -> None:
    """`make docs` makes a page of each file, which asks no other machine for anything; it has the words of the test."""
    assert f"sphinx {' '.join(SITE[:3])} " in (PROJECT / "Makefile").read_text()
    built = _build_site(PROJECT / "docs", tmp_path)
    assert built.returncode == 0, built.stderr
    for page in (PROJECT / "docs").rglob("*.md"):
        made = tmp_path / "site" / page.relative_to(PROJECT / "docs").with_suffix(".html")
        assert made.exists() is (page != PROJECT / "docs" / "README.md"), page
    asked = r"<(?:script|img|link)[^>]*(?:src|href)=\"(?:https?:)?//"
    assert not [page for page in (tmp_path / "site").rglob("*.html") if re.search(asked, page.read_text())]
    assert "@import" not in "".join(sheet.read_text() for sheet in (tmp_path / "site").rglob("*.css"))


def test_a_broken_link_fails_the_site(tmp_path: Path) -> None:
    """A page that is not there, a heading that is not there and a page that the navigation lacks are each told."""
    pages = tmp_path / "docs"
    pages.mkdir()
    shutil.copy(PROJECT / "docs" / "conf.py", pages)
    (pages / "index.md").write_text("# Start\n\n[a](gone.md), [b](lost.md#nowhere)\n")
    (pages / "lost.md").write_text("# Lost\n")
    built = _build_site(pages, tmp_path)
    assert built.returncode != 0
    told = [line for line in built.stderr.splitlines() if "WARNING" in line]
    assert len(told) == 3, built.stderr
    for line, word in zip(
        sorted(told, key=lambda line: "toctree" in line), ("gone.md", "nowhere", "lost.md"), strict=True
    ):
        assert word in line


def test_the_index_names_every_page() -> None:
    """docs/README.md and docs/decisions/README.md link each page beside them once, and the glossary is short."""
    for folder in (PROJECT / "docs", PROJECT / "docs" / "decisions"):
        index = (folder / "README.md").read_text()
        pages = sorted(page.name for page in folder.glob("*.md") if page.name not in ("README.md", "index.md"))
        assert [page for page in pages if index.count(f"({page})") != 1] == []
    words = re.findall(r"^\| (?!word |---)(.+?) \|", (PROJECT / "docs" / "glossary.md").read_text(), flags=re.MULTILINE)
    assert len(words) <= 30 and words == sorted(words)


def test_the_architecture_page_names_every_folder() -> None:
    """Each folder of evergreen/ and deployments/ is in docs/architecture.md."""
    text = (PROJECT / "docs" / "architecture.md").read_text()
    for root in ("evergreen", "deployments"):
        folders = [place.parent.name for place in (PROJECT / root).glob("*/__init__.py")]
        assert [name for name in folders if f"`{name}/`" not in text and f"`{name}`" not in text] == []


# Worked examples have tests of their own, as have environments, and this one would send to a server.
_APART = ("model-files.md", "environments.md", "automations.md")
_EXCERPTS = [page for page in PAGES if page.name not in _APART]


@pytest.mark.parametrize("page", _EXCERPTS, ids=lambda page: page.name)
def test_excerpts_of_a_model_file_are_valid(page: Path) -> None:
    """Python in a page runs with the names of a model file, and what it gives to MODEL are fields of it."""
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        scope: dict[str, Any] = {"timedelta": timedelta} | vars(evergreen.spec) | vars(evergreen.sources)
        scope["ModelSpec"] = lambda *_, **fields: fields
        exec(code, scope)  # noqa: S102 - our own page
        assert set(scope.get("MODEL", ())) <= set(ModelSpec.model_fields), code
