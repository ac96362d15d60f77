"""evergreen deploy: take a version to SageMaker, Azure ML or Vertex AI, or away from there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from deployments.cli.command import Json, Name, guard, load_settings

if TYPE_CHECKING:
    from rich.status import Status

    from deployments.production.clouds.steps import Progress, Step
    from deployments.production.clouds.target import Served, Target
    from evergreen.settings import Settings


class Cloud(StrEnum):
    """Where models are served by others."""

    SAGEMAKER = "sagemaker"
    AZUREML = "azureml"
    VERTEX = "vertex"


_TITLES = {Cloud.SAGEMAKER: "SageMaker", Cloud.AZUREML: "Azure ML", Cloud.VERTEX: "Vertex AI"}
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")


class _Platform(Protocol):
    """The module of a platform."""

    INSTANCE: str

    def plan(self, target: Target) -> tuple[Step, ...]: ...

    def deploy(self, target: Target, progress: Progress) -> dict[str, Any]: ...

    def delete_plan(self, served: Served) -> tuple[Step, ...]: ...

    def delete(self, served: Served, progress: Progress) -> list[str]: ...


def deploy(
    cloud: Annotated[Cloud, typer.Argument(metavar="CLOUD", help="sagemaker, azureml or vertex.")],
    name: Name,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help="The version; by default the champion.")
    ] = None,
    registry: Annotated[
        str, typer.Option("--registry", metavar="PLACE", help="The registry that the image is pushed to.")
    ] = "",
    image: Annotated[
        str, typer.Option("--image", metavar="URI", help="An image of this version that is in a registry already.")
    ] = "",
    role: Annotated[
        str, typer.Option("--role", metavar="ARN", help="The role as which SageMaker runs the container.")
    ] = "",
    instance_type: Annotated[
        str, typer.Option("--instance-type", metavar="TYPE", help="The machine; by default a small one.")
    ] = "",
    remove: Annotated[
        bool, typer.Option("--delete", help="Remove the endpoint, and what else was made for it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this the plan is printed.")] = False,
    as_json: Json = False,
) -> None:
    """Take a version to an endpoint of SageMaker, Azure ML or Vertex AI.

    It prints the commands, and runs them with --yes. The same again with another version updates the endpoint.
    """

    def work() -> None:
        settings = load_settings()
        platform: _Platform = import_module(f"deployments.production.clouds.{cloud.value}")
        if remove:
            _delete(platform, cloud, name, settings, yes=yes, as_json=as_json)
            return
        _require_role(cloud, role)
        from deployments.cli import console
        from deployments.production.clouds.target import prepare_target

        with console.err.status(f"[dim]writing what the image of {name} is built from[/]"):
            target = prepare_target(
                settings,
                cloud.value,
                name,
                version,
                image=image,
                registry=registry,
                instance=instance_type or platform.INSTANCE,
                role=role,
            )
        steps = platform.plan(target)
        facts = {"cloud": cloud.value, "model": name, "version": target.version, "endpoint": target.served.endpoint}
        if yes:
            with _progress(f"{name} to {_TITLES[cloud]}") as progress:
                done = platform.deploy(target, progress)
            if as_json:
                console.print_json(facts | done | {"done": True})
            else:
                console.out.print(f"[bold]{name}[/] version {target.version} is served by {done['endpoint']}.")
        elif as_json:
            console.print_json(facts | {"image": target.uri, "steps": _as_json(steps), "done": False})
        else:
            title = f"{name} version {target.version} to {_TITLES[cloud]}, endpoint {target.served.endpoint}:"
            _show(title, steps)

    guard(work, as_json)


def _require_role(cloud: Cloud, role: str) -> None:
    from evergreen.errors import EvergreenError

    if cloud is Cloud.SAGEMAKER and not _ROLE.fullmatch(role):
        what = f"--role {role[:100]} is no ARN of a role." if role else "SageMaker runs a container as a role."
        raise EvergreenError(what, "Name one: --role arn:aws:iam::ACCOUNT:role/NAME")
    if cloud is not Cloud.SAGEMAKER and role:
        raise EvergreenError(f"--role is for SageMaker, not for {_TITLES[cloud]}.", "Leave it out.")


def _delete(platform: _Platform, cloud: Cloud, name: str, settings: Settings, *, yes: bool, as_json: bool) -> None:
    from deployments.cli import console
    from deployments.production.clouds.target import served_by

    served = served_by(settings, name)
    facts = {"cloud": cloud.value, "model": name, "endpoint": served.endpoint}
    if not yes:
        steps = platform.delete_plan(served)
        if as_json:
            console.print_json(facts | {"steps": _as_json(steps), "done": False})
        elif steps:
            _show(f"{name} away from {_TITLES[cloud]}, endpoint {served.endpoint}:", steps)
        else:
            console.out.print(f"Nothing of {name} is on {_TITLES[cloud]}.")
        return
    with _progress(f"{name} away from {_TITLES[cloud]}") as progress:
        removed = platform.delete(served, progress)
    if as_json:
        console.print_json(facts | {"removed": removed, "done": True})
    else:
        console.out.print(f"Removed: {', '.join(removed)}." if removed else f"Nothing of {name} is there.")


def _as_json(steps: Sequence[Step]) -> list[dict[str, str]]:
    return [{"what": step.what, "when": step.when, "command": step.command} for step in steps]


def _show(title: str, steps: Sequence[Step]) -> None:
    """Print a plan; its commands are never broken, so that they can be copied."""
    from deployments.cli.console import out

    out.print(title, soft_wrap=True, markup=False)
    for number, step in enumerate(steps, start=1):
        out.print(f"{number:>2}. {step.what}{f', {step.when}' if step.when else ''}", soft_wrap=True, markup=False)
        if step.command:
            out.print(f"    {step.command}", soft_wrap=True, markup=False)
    out.print("Nothing of this was done. Do it with the same command and --yes.")


class _Told:
    """A spinner for what is being waited for, and a line for each step that is done."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def done(self, line: str) -> None:
        """Print a line."""
        from deployments.cli.console import print_step

        print_step(line)

    def waiting(self, line: str) -> None:
        """Show it beside the spinner."""
        from rich.markup import escape

        self._status.update(f"[dim]{escape(line)}[/]")


@contextmanager
def _progress(title: str) -> Iterator[Progress]:
    from deployments.cli import console

    with console.err.status(f"[dim]{title}[/]") as status:
        yield _Told(status)
