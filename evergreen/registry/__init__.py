"""MLflow: versions, aliases, artifacts, lineage; the only code that moves `champion`; approval."""
