"""Reads the CI templates as the CI would: jobs, the shell lines of each in order, and the variables that they get."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[3]
CI = PROJECT / "deployments" / "production" / "ci"
TEMPLATES = {name: CI / f"{name}.yml" for name in ("github", "gitlab")}
_GLOBAL = ("workflow", "variables", "default")
_EXPRESSION = re.compile(r"\$\{\{ (?:(secrets|vars|inputs)\.(\w+)|github\.actor) \}\}")


@dataclass(frozen=True)
class Form:
    """What a person fills in to start a rollback, and who it is."""

    target: str = "staging"
    model: str = ""
    reason: str = ""
    actor: str = "ann"


@dataclass(frozen=True)
class Job:
    """A job: `steps` are its shell texts, each a process of its own; `given` its variables as the template has them."""

    name: str
    steps: tuple[str, ...]
    given: Mapping[str, str]
    expands: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """Every line of shell, in order."""
        return tuple(line for step in self.steps for line in step.splitlines() if line != _STRICT)

    def variables(self, stored: Mapping[str, str], form: Form) -> dict[str, str]:
        """What the job's shell gets, of what the CI's environment stores and of what a person wrote."""
        written = {"TARGET": form.target, "MODEL": form.model, "REASON": form.reason, "GITLAB_USER_LOGIN": form.actor}
        if self.expands:
            own = {
                name: written.get(value[1:], "") if value[:1] == "$" else value for name, value in self.given.items()
            }
            return {**stored, **written, **own}
        return {name: self._evaluate(value, stored, form) for name, value in self.given.items()}

    @staticmethod
    def _evaluate(value: str, stored: Mapping[str, str], form: Form) -> str:
        found = _EXPRESSION.fullmatch(value)
        if found is None:
            assert "${{" not in value, f"{value} is not understood"
            return value
        context, name = found.groups()
        # A secret or variable that is not stored is an empty text.
        return form.actor if context is None else getattr(form, name) if context == "inputs" else stored.get(name, "")


_STRICT = "set -eo pipefail"


def read_jobs(template: str) -> dict[str, Job]:
    """The jobs of a template, `github` or `gitlab`, by name."""
    document = read(template)
    if template == "github":
        return {name: _github(name, job) for name, job in document["jobs"].items()}
    before = document["default"]["before_script"]
    found = {}
    for name, job in document.items():
        if name not in _GLOBAL:
            # GitLab's runner joins the lines of a job in one shell.
            text = "\n".join([_STRICT, *before, *job["script"]])
            found[name] = Job(name, (text,), job.get("variables", {}), expands=True)
    return found


def read(template: str) -> Any:
    """A template as it is parsed; YAML 1.1 reads the key `on` as true."""
    return yaml.safe_load(TEMPLATES[template].read_text())


def _github(name: str, job: Mapping[str, Any]) -> Job:
    steps, given = [], dict(job.get("env", {}))
    for step in job["steps"]:
        given |= step.get("env", {})
        steps += [step["run"]] if "run" in step else []
    return Job(name, tuple(steps), given)


def run_job(job: Job, project: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a job's steps as its CI does, but the make targets, which install and test, up to the first that fails."""
    said, status = "", 0
    for step in job.steps:
        text = "\n".join(line for line in step.splitlines() if not line.startswith("make "))
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-c", text],
            cwd=project, env={**variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=1200, check=False,
        )  # fmt: skip
        said, status = said + done.stdout, done.returncode
        if status:
            break
    return subprocess.CompletedProcess(job.name, status, said)
