"""evergreen image: write what the image of a served model is built from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, Name, guard, load_settings
from evergreen.naming import predict_path

if TYPE_CHECKING:
    from deployments.production.image import WrittenImage
    from evergreen.settings import Settings


def image(
    name: Name,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help="The version to pin; by default the champion.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Pin no version: follow the champion, by a registry.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write; by default in EVERGREEN_HOME.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the image of a model's server: a folder to build from.

    It answers on port 8080 as SageMaker, Vertex AI, Azure ML and KServe ask.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.production.image import write_image
        from evergreen.errors import EvergreenError

        if follow and version is not None:
            raise EvergreenError("--follow pins no version.", "Leave out --version, or --follow.")
        settings, place = load_settings(), out.expanduser().absolute() if out else None
        with console.err.status(f"[dim]writing what the image of {name} is built from[/]"):
            written = write_image(settings, name, number=version, follow=follow, out=place)
        if as_json:
            commands = {"build": _build(written), "run": _run(written, settings)}
            console.print_json(asdict(written) | {"folder": str(written.folder)} | commands)
        else:
            _show(written, settings)

    guard(work, as_json)


def _show(written: WrittenImage, settings: Settings) -> None:
    from rich.markup import escape

    from deployments.cli import console

    what = ", which follows the champion" if written.version is None else f" version {written.version}"
    how = f", as frames: {written.slow_because}" if written.slow_because else ""
    console.out.print(f"Wrote [bold]{escape(str(written.folder))}[/]:", soft_wrap=True)
    console.out.print(f"{written.model}{what}{escape(how)}; {written.packages} packages on {written.base}.")
    if written.note:
        console.out.print(f"[yellow]{escape(written.note)}[/]")
    if not settings.serving_keys_file.exists():
        console.out.print("It asks for API keys, and there is none yet. Make one: evergreen serve --add-key NAME")
    commands = {"Build": _build(written), "Run": _run(written, settings), "Ask": _ask(written)}
    for word, command in commands.items():
        # Printed as it is: a line that is broken cannot be copied.
        console.out.print(f"{word} it:\n  {command}", soft_wrap=True, markup=False)


def _build(written: WrittenImage) -> str:
    return f"docker build --tag {written.tag} {written.folder}"


def _run(written: WrittenImage, settings: Settings) -> str:
    keys = f'-e EVERGREEN_SERVING_KEYS="$(cat {settings.serving_keys_file})"'
    places = " -e EVERGREEN_TRACKING_URI -e EVERGREEN_LAKE" if written.version is None else ""
    return f"docker run --rm -p 8080:8080 {keys}{places} {written.tag}"


def _ask(written: WrittenImage) -> str:
    row = json.dumps(dict(written.example), ensure_ascii=False).replace("'", "'\\''") if written.example else "{...}"
    return (
        f"curl http://127.0.0.1:8080{predict_path(written.model)} -H 'X-API-Key: ...' "
        f"-H 'content-type: application/json' -d '{row}'"
    )
