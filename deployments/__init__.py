"""The command line, the local stack, prefect.yaml, automations and the demo."""
