"""The logic of Evergreen as plain Python: what to land, when to retrain, what may be promoted. It knows no Prefect."""

__version__ = "0.1.0"
