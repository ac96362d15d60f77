"""How what belongs to a model is called in Prefect: one rule for deployments, triggers and artifacts."""

from __future__ import annotations


def dashed(what: str, model: str) -> str:
    """Such as `retrain-bike-demand`; the key of a Prefect artifact may hold no underscore."""
    return f"{what}-{model}".replace("_", "-")
