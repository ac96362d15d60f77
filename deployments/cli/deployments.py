"""evergreen deployments: write the models into prefect.yaml, bring it to the server, and try what was brought."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, guard, load_settings, use_prefect
from evergreen.errors import EvergreenError
from evergreen.markdown import many
from evergreen.naming import work_pool

if TYPE_CHECKING:
    from deployments.automations.trial import TrialStep
    from deployments.manifest.apply import Applied
    from deployments.manifest.sync import Synced


def show_applied(environment: str, applied: Applied) -> None:
    """Print what was brought to the server."""
    from rich.markup import escape

    from deployments.cli.console import out

    if applied.made_pool:
        out.print(f"Created the work pool {work_pool(environment)}, of type process.")
    out.print(f"{len(applied.deployed)} deployed, {len(applied.unchanged)} unchanged.")
    for name in applied.deployed:
        out.print(f"  {escape(name)}")
    for state, names in (("Paused", applied.paused), ("Switched off", applied.off)):
        for name in names:
            out.print(f"[yellow]{state} on the server, and not changed:[/] {escape(name)}", soft_wrap=True)
    for name in applied.strangers:
        fix = f"To delete it: prefect deployment delete '{escape(name)}'"
        out.print(f"[yellow]On the server, but not in prefect.yaml:[/] {escape(name)}. {fix}", soft_wrap=True)


def show_synced(synced: Synced, *, check: bool) -> None:
    """Print what a sync changed, or with `check` would change."""
    from rich.markup import escape

    from deployments.cli.console import out

    for change in synced.changes:
        out.print(f"  {escape(change)}", soft_wrap=True)
    for name in synced.orphans:
        out.print(f"[yellow]{escape(name)}: its model does not exist. Remove it with --prune.[/]", soft_wrap=True)
    if not synced.changes:
        out.print("prefect.yaml is up to date.")
    elif check:
        out.print("Nothing was written. Run: [bold]evergreen deployments sync[/]")
    else:
        out.print("Read it in prefect.yaml, then run: [bold]evergreen deployments apply[/]")


commands = typer.Typer(no_args_is_help=True, help="Keep prefect.yaml and the server in step with models/.")


@commands.command("sync")
def sync_deployments(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 if prefect.yaml is not up to date.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove the deployments of models that do not exist.")] = False,
    as_json: Json = False,
) -> None:
    """Add the models in models/ to prefect.yaml.

    What you wrote there is not changed.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.manifest import sync

        synced = sync.sync(load_settings(), check=check, prune=prune)
        console.print_result(synced, lambda result: show_synced(result, check=check), as_json=as_json)
        if check and synced.changes:
            raise typer.Exit(1)

    guard(work, as_json)


@commands.command("apply")
def apply_deployments(as_json: Json = False) -> None:
    """Bring prefect.yaml to the Prefect server.

    What was paused or switched off there stays so.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.manifest import apply

        settings = load_settings()
        use_prefect(settings)
        with console.err.status("[dim]deploying[/]"):
            applied = apply.apply(settings.environment)
        console.print_result(applied, lambda result: show_applied(settings.environment, result), as_json=as_json)

    guard(work, as_json)


@commands.command("try")
def try_deployments(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Models; without a name, all of them.")
    ] = None,
    minutes: Annotated[int, typer.Option("--minutes", min=1, help="The longest wait for each run.")] = 60,
    as_json: Json = False,
) -> None:
    """Rehearse, retrain and monitor each model on the workers.

    The exit status is 1 if a link of the chain is broken, a run does not
    complete, a candidate is rejected, or the champion's performance fails.
    """

    def work() -> None:
        import models
        from deployments.automations.trial import Trial
        from deployments.cli import console
        from deployments.connection import open_client
        from evergreen.registry.lineage import current_commit

        settings = load_settings()
        use_prefect(settings)
        specs = [models.load_spec(name, settings.models) for name in names or models.names(settings.models)]
        with open_client("Deployments"):
            # The server answers, and lets us in.
            pass
        trial = Trial(settings, current_commit(), datetime.now(UTC), minutes * 60.0, console.print_run_line)
        steps = []
        for spec in specs:
            console.err.print(spec.name, style="bold")
            for step in trial.steps(spec):
                steps.append(step)
                if not as_json:
                    show_trial_step(step)
        failed = sorted({step.model for step in steps if not step.ok})
        if as_json:
            console.print_json({"ok": not failed, "steps": [step.to_json() for step in steps]})
        if failed:
            what = f"{len(failed)} of {many(len(specs), 'model')} failed the trial: {', '.join(failed)}."
            console.print_error(EvergreenError(what, "The reasons are above."))
            raise typer.Exit(1)

    guard(work, as_json)


def show_trial_step(step: TrialStep) -> None:
    """Print what came of a step of a trial, with its fix if it is not ok."""
    from rich.markup import escape

    from deployments.cli.console import out

    mark = "[green]ok [/]" if step.ok else "[red]bad[/]"
    out.print(f"{mark} [bold]{step.model} {step.step}[/]: {escape(step.told)} {escape(step.fix)}", soft_wrap=True)
