"""evergreen serve: answer predictions of the champions over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import guard, load_settings
from evergreen.naming import predict_path

if TYPE_CHECKING:
    from evergreen.settings import Settings
    from serving.app import App
    from serving.options import Options


def serve(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models; by default those whose file says serve=Serve()."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Beyond this machine it needs an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535)] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, max=64, help="Processes that share the port.")
    ] = 1,
    poll: Annotated[
        float, typer.Option("--poll", metavar="SECONDS", min=0.1, help="Between two looks at the champion alias.")
    ] = 1.0,
    add_key: Annotated[
        str | None, typer.Option("--add-key", metavar="NAME", help="Make an API key, print it once, and stop.")
    ] = None,
) -> None:
    """Answer predictions of the champions over HTTP.

    A new champion takes over without a lost request. Every answer names its
    version and lands in the prediction log.
    """

    def work() -> None:
        from serving.options import Options, require_served, served_models

        settings = load_settings()
        if add_key is not None:
            _add_key(settings, add_key)
            return
        options = Options((), host, port, workers, poll)
        require_served(options, settings)
        _run(Options(served_models(names or [], settings), host, port, workers, poll), settings)

    guard(work, as_json=False)


def _add_key(settings: Settings, name: str) -> None:
    from deployments.cli import console
    from serving.access import add_key

    key = add_key(settings.serving_keys_file, name)
    console.err.print(f"A key for {name}; it is shown once, and {settings.serving_keys_file} has its hash alone.")
    console.out.print(key, soft_wrap=True)


def _run(options: Options, settings: Settings) -> None:
    from deployments.cli import console
    from serving.server import build, prepare_process, run

    prepare_process(settings)
    if options.workers > 1:
        console.err.print(f"{options.workers} processes serve {', '.join(options.models)} on {_address(options)}.")
        run(options)
        return
    with console.err.status("[dim]loading the champions[/]"):
        app = build(options, settings)
        app.parts.follower.look()
    _show(app, options)
    run(options, app)


def _address(options: Options) -> str:
    return f"http://{options.host}:{options.port}"


def _show(app: App, options: Options) -> None:
    """What is served, and how it is asked."""
    from rich.markup import escape

    from deployments.cli import console

    for name, followed in app.parts.follower.models.items():
        version = followed.current
        if version is None:
            console.err.print(f"[yellow]{name}[/]: {escape(followed.stale)} It answers as soon as there is a champion.")
            continue
        how = f"as frames: {version.slow_because}" if version.slow_because else "compiled"
        console.err.print(f"[green]{name}[/] version {version.number}, {escape(how)}")
        if followed.challenger is not None:
            beside = f"version {followed.challenger.number}, the challenger, answers {followed.share} % of the requests"
            console.err.print(f"[green]{name}[/] {beside}")
        if version.example:
            console.err.print("Ask it in another terminal:")
            # Printed as it is: a line that is broken cannot be copied.
            console.err.print(_curl(name, version.example, options), soft_wrap=True, markup=False)
    console.err.print(f"[dim]{_address(options)}/openapi.json lists what can be asked. Ctrl-C ends it.[/]")


def _curl(name: str, example: object, options: Options) -> str:
    """A command that asks for one prediction."""
    row = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
    return (
        f"  curl {_address(options)}{predict_path(name)} \\\n    -H 'content-type: application/json' \\\n    -d '{row}'"
    )
