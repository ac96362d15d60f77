"""prefect.yaml: sync, apply, compare, build step, work pool."""
