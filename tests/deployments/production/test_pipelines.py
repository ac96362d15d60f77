"""The CI templates: both say the same, what they call is there, and every secret that they use is explained.

What their jobs do on a real server is tests/live/test_pipelines.py.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from deployments.cli.main import app
from tests.deployments.production.pipelines import CI, PROJECT, TEMPLATES, read, read_jobs

PAGE = (PROJECT / "docs" / "pipelines.md").read_text()
SCRIPTS = sorted(CI.glob("*.sh"))
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
YAMLLINT = """{extends: default, rules: {
  # As long as the lines of Python here.
  line-length: {max: 120},
  # Each file is one document, and neither CI asks for the mark.
  document-start: disable,
  # GitHub's key `on` is no truth value.
  truthy: {check-keys: false},
  # One space before the comment with an action's version, as Dependabot and Renovate write it.
  comments: {min-spaces-from-content: 1},
}}"""


def test_both_templates_have_the_same_jobs_and_steps() -> None:
    """Whoever changes one is told of the other."""
    github, gitlab = read_jobs("github"), read_jobs("gitlab")
    assert list(github) == list(gitlab) == ["check", "staging", "prod", "rollback"]
    for name, job in github.items():
        assert job.lines == gitlab[name].lines
        assert job.lines[0] == "make install"
    assert "deployments/production/ci/try.sh" not in github["prod"].lines


MAIN = {"CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}


@pytest.mark.parametrize(
    ("source", "more", "wanted"),
    [
        ("merge_request_event", {"CI_DEFAULT_BRANCH": "main"}, ["check"]),
        ("push", MAIN, ["staging"]),
        ("push", MAIN | {"CI_COMMIT_BRANCH": "another"}, None),
        ("push", {"CI_COMMIT_TAG": "v1", "CI_DEFAULT_BRANCH": "main"}, ["prod"]),
        ("web", MAIN, ["rollback"]),
        ("web", {"CI_COMMIT_TAG": "v1", "CI_DEFAULT_BRANCH": "main"}, ["rollback"]),
        ("schedule", MAIN, None),
    ],
)
def test_each_event_starts_its_job_on_gitlab(source: str, more: dict[str, str], wanted: list[str] | None) -> None:
    """And no other; None where there is no pipeline."""
    document, variables = read("gitlab"), more | {"CI_PIPELINE_SOURCE": source}

    def holds(rule: str) -> bool:
        terms = [re.fullmatch(r'\$(\w+)(?: == (?:"(\w+)"|\$(\w+)))?', term) for term in rule.split(" && ")]
        found = [(variables.get(term[1]), term[2] or variables.get(term[3] or "")) for term in terms if term]
        assert len(found) == len(terms), rule
        return all(has and (wants is None or has == wants) for has, wants in found)

    def applies(rules: list[dict[str, str]]) -> bool:
        return any(holds(rule["if"]) for rule in rules)

    started = [name for name in read_jobs("gitlab") if applies(document[name]["rules"])]
    assert applies(document["workflow"]["rules"]) is (wanted is not None)
    assert started == (wanted or [])


def test_each_event_starts_its_job_on_github() -> None:
    """What is pushed elsewhere than to main starts nothing, nor does a prerelease; no event starts two jobs."""
    document = read("github")
    # YAML 1.1 reads `on` as true.
    events = document[True]
    assert set(events) == {"pull_request", "push", "release", "workflow_dispatch"}
    assert events["push"] == {"branches": ["main"]}
    assert events["release"] == {"types": ["published"]}
    assert {name: job["if"] for name, job in document["jobs"].items()} == {
        "check": "github.event_name == 'pull_request'",
        "staging": "github.event_name == 'push'",
        "prod": "github.event_name == 'release' && !github.event.release.prerelease",
        "rollback": "github.event_name == 'workflow_dispatch'",
    }


def test_every_command_exists() -> None:
    """A make target, a script that may be run, an evergreen command with these options."""
    called = {line for template in TEMPLATES for job in read_jobs(template).values() for line in job.lines}
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    scripts = {line for line in called if line.endswith(".sh")}
    assert {line.removeprefix("make ") for line in called if line.startswith("make ")} == {"install", "check", "test"}
    assert {"install", "check", "test"} <= targets
    assert {PROJECT / script for script in scripts} | {CI / "variables.sh"} == set(SCRIPTS)
    assert all(os.access(PROJECT / script, os.X_OK) for script in scripts)
    text = "\n".join([*called, *(script.read_text() for script in SCRIPTS)])
    lines = re.findall(r"^\.venv/bin/evergreen (.+?)(?: \|\|)?$", text, flags=re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        command: Any = typer.main.get_command(app)
        for word in shlex.split(line):
            if word == "--":
                break
            if word.startswith("--"):
                assert word.partition("=")[0] in {flag for each in command.params for flag in each.opts}, line
            elif hasattr(command, "commands"):
                command = command.commands[word]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_bash_parses_a_script(script: Path) -> None:
    """Without running it."""
    subprocess.run(["bash", "-n", script], check=True)


def test_github_is_given_no_more_than_it_needs() -> None:
    """No permission by default and reading in each job, one action by its commit, no login left in the clone."""
    document = read("github")
    assert document["permissions"] == {}
    for job in document["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        uses = [step for step in job["steps"] if "uses" in step]
        assert [step["uses"] for step in uses] == ["actions/checkout@d23441a48e516b6c34aea4fa41551a30e30af803"]
        assert uses[0]["with"] == {"persist-credentials": False}
    assert "env" not in document["jobs"]["check"]
    assert "environment" not in document["jobs"]["check"]


def test_two_deployments_to_an_environment_never_overlap() -> None:
    """Each has a group of its own, in which nothing that runs is cancelled; a rollback waits for no deployment."""
    groups = {name: job["concurrency"] for name, job in read("github")["jobs"].items()}
    document = read("gitlab")
    for name in ("staging", "prod"):
        assert groups[name] == {"group": f"evergreen-{name}", "cancel-in-progress": False}
        assert document[name]["resource_group"] == f"evergreen-{name}"
        assert "interruptible" not in document[name]
        assert document[name]["environment"]["name"] == read("github")["jobs"][name]["environment"] == name
    assert groups["rollback"]["group"].startswith("evergreen-rollback-${{ inputs.target }}")
    assert groups["rollback"]["cancel-in-progress"] is False
    assert document["rollback"]["resource_group"] == "evergreen-rollback-$TARGET"


@pytest.mark.parametrize("template", TEMPLATES)
def test_nothing_that_was_written_elsewhere_becomes_shell(template: str) -> None:
    """No line of shell has an expression of the CI, nor the model, the reason or a secret in its text."""
    for job in read_jobs(template).values():
        for line in job.lines:
            assert "$" not in line
    for script in SCRIPTS:
        assert _unquoted(script.read_text()) == []
        assert "AUTH_STRING" not in script.read_text()
    for planted in ("evergreen rollback $MODEL", 'eval "evergreen"', "rollback --reason=${REASON}", 'sh -c "x $BY"'):
        assert _unquoted(planted) == [planted]


def _unquoted(text: str) -> list[str]:
    """The lines in which what a person wrote is more than one word of its own, or a text is run as shell."""
    lone = re.compile(r'(?<![^\s=])"\$\{?(?:MODEL|REASON|BY)(?::-)?\}?"(?!\S)')
    written = re.compile(r"\$\{?(?:MODEL|REASON|BY)\b|\beval\b")
    return [line for line in text.splitlines() if written.search(lone.sub("", line))]


def test_every_secret_is_explained() -> None:
    """The table of docs/pipelines.md has the secrets and variables that the jobs take, and no others."""
    table = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (secret|variable) \|", PAGE, flags=re.MULTILINE))
    jobs, names = read_jobs("github"), {"secrets": "secret", "vars": "variable"}
    for name in ("staging", "prod", "rollback"):
        taken = re.findall(
            r"(\w+)=\$\{\{ (secrets|vars)\.(\w+) \}\}", "\n".join(map("=".join, jobs[name].given.items()))
        )
        assert {variable: names[context] for variable, context, _ in taken} == table
        assert all(variable == stored for variable, _, stored in taken)
    required = re.findall(r"for name in ([A-Z_ ]+); do", (CI / "variables.sh").read_text())[0].split()
    marked = re.findall(r"^\| `([A-Z0-9_]+)` \| \w+ \| yes \|", PAGE, flags=re.MULTILINE)
    assert sorted(marked) == sorted(required)


def test_a_variable_that_is_missing_is_named(tmp_path: Path) -> None:
    """Before anything is done; an empty one, which is what a CI hands over for it, counts as missing."""
    whole = dict.fromkeys(("PREFECT_API_URL", "EVERGREEN_LAKE", "EVERGREEN_TRACKING_URI"), "x")
    whole |= {"EVERGREEN_ENVIRONMENT": "staging", "PATH": os.environ["PATH"]}
    script = tmp_path / "deployments" / "production" / "ci" / "show.sh"
    shutil.copytree(CI, script.parent)
    script.write_text('source "$(dirname "$0")/variables.sh"\npwd\nenv\n')

    def run(**changes: str | None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in (whole | changes).items() if value is not None}
        return subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=False)

    for name in whole.keys() - {"PATH"}:
        done = run(**{name: None})
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{name} is not set" in done.stderr
        if name != "EVERGREEN_ENVIRONMENT":
            assert f"{name} is not set" in run(**{name: ""}).stderr
    done = run(EVERGREEN_ENVIRONMENT="", PREFECT_API_KEY="", AWS_ENDPOINT_URL="", MINE="")
    assert done.stdout.startswith(f"{tmp_path}\n")
    kept = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert {"PREFECT_API_URL", "MINE"} <= kept
    assert not {"EVERGREEN_ENVIRONMENT", "PREFECT_API_KEY", "AWS_ENDPOINT_URL"} & kept


def _find(tool: str) -> str | None:
    """A linter of this machine, or of the folder that EVERGREEN_TEST_TOOLS names."""
    return shutil.which(tool, path=os.pathsep.join([os.environ.get("EVERGREEN_TEST_TOOLS", ""), os.environ["PATH"]]))


def require_tool(tool: str) -> str:
    """The path of a linter; the test is skipped without it."""
    found = _find(tool)
    return found or pytest.skip(f"{tool} is not installed; EVERGREEN_TEST_TOOLS names a folder that has it")


@pytest.mark.parametrize(
    ("tool", "template"),
    [
        ("zizmor", "github"), ("check-jsonschema", "github"), ("check-jsonschema", "gitlab"),
        ("yamllint", "github"), ("yamllint", "gitlab"), ("actionlint", "github"),
    ],
)  # fmt: skip
def test_the_linters_find_nothing(tool: str, template: str) -> None:
    """Each that is installed; zizmor and actionlint read GitHub's files only."""
    words = {
        "zizmor": ["--offline", "--persona", "pedantic"],
        "check-jsonschema": ["--builtin-schema", SCHEMAS[template]],
        "yamllint": ["--strict", "--config-data", YAMLLINT],
        "actionlint": [],
    }[tool]
    command = [require_tool(tool), *words, TEMPLATES[template]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_finds_nothing() -> None:
    """Where it is installed."""
    scripts = [*SCRIPTS, CI.parent / "postgres-init.sh", PROJECT / ".ci/run"]
    words = [require_tool("shellcheck"), "--external-sources", "--source-path=SCRIPTDIR", *scripts]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
