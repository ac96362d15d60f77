"""evergreen backup and evergreen restore: everything that an environment knows, as one folder. They need no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, guard, load_settings
from evergreen.errors import BusyError
from evergreen.markdown import many

if TYPE_CHECKING:
    from evergreen.maintenance.backup_manifest import Manifest
    from evergreen.maintenance.restore import Restored
    from evergreen.settings import Settings

_MEGABYTE = 1e6


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is empty or not there yet.")],
    landing: Annotated[bool, typer.Option("--landing", help="Copy landing folders as well.")] = False,
    as_json: Json = False,
) -> None:
    """Copy tables, registry, versions and reports to a folder, of one moment.

    Runs and servers may go on meanwhile. To put it back, also on another machine: evergreen restore.
    """

    def work() -> None:
        from deployments.cli import console
        from evergreen.maintenance.backup import back_up
        from evergreen.maintenance.backup_files import Tellers

        settings = load_settings()
        with console.show_work(f"backing up {settings.root}", of="file", within="this part") as (step, progress):
            manifest = back_up(
                settings, _local(folder), landing=landing, now=datetime.now(UTC), tell=Tellers(step, progress)
            )
        if as_json:
            facts = {name: value for name, value in asdict(manifest).items() if name != "files"}
            console.print_json(
                {"backup": str(folder.absolute()), "bytes": manifest.bytes, "files": len(manifest.files), **facts}
            )
        else:
            _show_backup(folder, manifest)

    guard(work, as_json)


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What evergreen backup wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Move what is there aside; nothing is deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Put a backup where the settings say: here, in another folder or on another machine.

    It is verified before anything is changed. Where something is there already, it says what, and needs --yes.
    """

    def work() -> None:
        from deployments.cli import console
        from evergreen.maintenance.backup_files import Tellers
        from evergreen.maintenance.restore import restore as put_back

        settings = load_settings()
        _require_stopped(settings)
        with console.show_work(f"restoring to {settings.root}", of="file", within="this part") as (step, progress):
            result = put_back(
                settings, _local(folder), replace=yes, now=datetime.now(UTC), tell=Tellers(step, progress)
            )
        console.print_result(result, _show_restored, as_json=as_json)

    guard(work, as_json)


def _local(folder: Path) -> Path:
    return folder.expanduser().absolute()


def _require_stopped(settings: Settings) -> None:
    from deployments.stack.supervisor import is_listening

    if is_listening(settings):
        raise BusyError(
            f"The stack of {settings.root} is running: its runs would write to what is replaced.",
            "Stop it first: evergreen down",
        )


def _show_backup(folder: Path, manifest: Manifest) -> None:
    from deployments.cli.console import out, print_link

    out.print(
        f"[green]Backed up.[/] {many(len(manifest.tables), 'table')} and {many(len(manifest.files), 'file')}, "
        f"{manifest.bytes / _MEGABYTE:.2f} MB, as they were at {manifest.made[:19].replace('T', ' ')} UTC."
    )
    print_link("backup", str(folder.absolute()))
    _warn("Not in it:", manifest.left_out)
    _warn("Damaged before:", manifest.damaged)


def _show_restored(result: Restored) -> None:
    from deployments.cli.console import out, print_link

    out.print(
        f"[green]Restored.[/] {many(result.tables, 'table')} and {many(result.files, 'file')} of "
        f"{result.made[:19].replace('T', ' ')} UTC; the registry has {result.places} places of files anew."
    )
    print_link("home", result.home)
    for folder in dict.fromkeys(str(Path(moved.aside).parent) for moved in result.aside):
        print_link("aside", folder)
    versions = [
        f"It was made with {name} {then}, and {now} is installed."
        for name, (then, now) in result.other_versions.items()
    ]
    _warn("Other versions:", versions)
    _warn("Damaged before:", result.damaged)
    out.print("Look at it before anything runs: [bold]evergreen doctor[/]")


def _warn(title: str, lines: Sequence[str]) -> None:
    from deployments.cli.console import bullets, err

    if lines:
        err.print(f"[yellow]{title}[/]")
        err.print(bullets(lines))
