"""The `evergreen` command, one file a command group; the only code that knows typer and rich."""
