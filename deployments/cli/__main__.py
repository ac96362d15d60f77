"""`python -m deployments.cli` is the `evergreen` command."""

from deployments.cli.main import main

main()
