"""evergreen stream: score the rows that arrive on a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import guard, load_settings

if TYPE_CHECKING:
    from evergreen.spec.stream import Stream
    from serving.streams.consumer import Plan
    from serving.streams.run import Consumers


def stream(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models; by default those whose file has a Stream."),
    ] = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="Take rows here, such as amqp://host/#queue or env:NAME."),
    ] = "",
    target: Annotated[str, typer.Option("--to", metavar="URL", help="Publish predictions here.")] = "",
    dead_letters: Annotated[
        str | None,
        typer.Option("--dead-letters", metavar="URL", help="Publish what is refused here; by default it is kept."),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, max=1_000, help="Messages that are committed together.")
    ] = 1_000,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.01, max=60, help="How long a batch waits to be full.")
    ] = 1.0,
    claim: Annotated[
        float,
        typer.Option("--claim", metavar="SECONDS", min=1, max=3_600, help="Redis: after it, take over from the dead."),
    ] = 30.0,
    poll: Annotated[
        float, typer.Option("--poll", metavar="SECONDS", min=0.1, help="Between two looks at the champion alias.")
    ] = 1.0,
) -> None:
    """Score the rows that arrive on a broker, each once.

    A message is acknowledged when its prediction is in the lake and published.
    RabbitMQ, Redis streams and Kafka; see docs/streams.md for the URLs.
    """

    def work() -> None:
        from evergreen.errors import EvergreenError
        from evergreen.spec.stream import Stream
        from serving.streams.feed import require_library
        from serving.streams.options import asked_streams
        from serving.streams.run import read_plan

        settings = load_settings()
        require_library()
        is_given = bool(source or target or dead_letters)
        if not is_given:
            plans = _plans(asked_streams(settings, names or []))
        else:
            import models

            if not names or len(names) > 1 or not source or not target:
                raise EvergreenError(
                    "--from and --to go together, with the name of one model.",
                    "Run: evergreen stream NAME --from URL --to URL",
                )
            models.load(names[0], settings.models)
            _refuse_secrets(source, target, dead_letters)
            asked = Stream(source=source, target=target, dead_letters=dead_letters, batch=batch, wait=wait, claim=claim)
            plans = [read_plan(names[0], asked)]
        _run(plans, is_patient=not is_given, poll=poll)

    guard(work, as_json=False)


def _plans(asked: Mapping[str, Stream]) -> list[Plan]:
    """The plans of model files; one that cannot be carried out does not keep the others from it."""
    from rich.markup import escape

    from deployments.cli import console
    from evergreen.errors import EvergreenError
    from serving.streams.run import read_plan

    plans = []
    for name, stream in asked.items():
        try:
            plans.append(read_plan(name, stream))
        except EvergreenError as error:
            if len(asked) == 1:
                raise
            console.err.print(f"[red]{name}: {escape(error.what)}[/] {escape(error.fix)}", soft_wrap=True)
    if not plans:
        raise EvergreenError("No stream can be scored.", "Mend what is said above.")
    return plans


def _refuse_secrets(*urls: str | None) -> None:
    from evergreen.errors import EvergreenError
    from evergreen.storage.credentials import holds_secret

    if any(holds_secret(url or "") for url in urls):
        raise EvergreenError(
            "A URL holds a password, which the shell's history and the list of processes would show.",
            "Put it into a variable and name that one: --from env:NAME",
        )


def _run(plans: Sequence[Plan], *, is_patient: bool, poll: float) -> None:
    from serving.server import prepare_process
    from serving.streams.run import in_loop, quiet_drivers, run

    settings = load_settings()
    prepare_process(settings)
    quiet_drivers()
    for plan in plans:
        _announce(plan)
    in_loop(run(plans, settings, is_patient=is_patient, told=_show, poll_seconds=poll))


def _announce(plan: Plan) -> None:
    from rich.markup import escape

    from deployments.cli import console

    refused = str(plan.dead_letters) if plan.dead_letters is not None else "the quarantine"
    line = f"rows come from {plan.source}, predictions go to {plan.target}, what is refused to {refused}."
    console.err.print(f"{escape(plan.model)}: {escape(line)}", soft_wrap=True)


def _show(consumers: Consumers) -> None:
    """Which version answers."""
    from rich.markup import escape

    from deployments.cli import console

    for name, followed in consumers.follower.models.items():
        version = followed.current
        if version is None:
            console.err.print(
                f"[yellow]{name}[/]: {escape(followed.stale)} It takes rows as soon as there is a champion."
            )
            continue
        how = f"as frames: {version.slow_because}" if version.slow_because else "compiled"
        console.err.print(f"[green]{name}[/] version {version.number}, {escape(how)}")
    console.err.print("[dim]Ctrl-C ends it, when what it took is done.[/]")
