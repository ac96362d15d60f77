"""Server, MLflow, pages and worker on this machine."""
