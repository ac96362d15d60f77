"""What a model file may say: ModelSpec and its sections, metrics and retraining policies.

The door for model files: `from evergreen.spec import Features, Metric, ModelSpec`.
"""

from evergreen.spec.data import Features, Labels
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftPolicy, PerformancePolicy, Shadow
from evergreen.spec.policies import (
    AtLeast,
    Budget,
    Every,
    Never,
    OnData,
    OnDrift,
    OnPerformance,
    Scheduled,
    all_of,
    any_of,
    at_least,
)
from evergreen.spec.policy import Answer, Occasion, Policy
from evergreen.spec.training import Holdout, Search, Training

__all__ = [
    "Answer",
    "AtLeast",
    "Budget",
    "DriftPolicy",
    "Every",
    "Features",
    "Gates",
    "Holdout",
    "Labels",
    "Metric",
    "ModelSpec",
    "Never",
    "Occasion",
    "OnData",
    "OnDrift",
    "OnPerformance",
    "PerformancePolicy",
    "Policy",
    "Scheduled",
    "Search",
    "Shadow",
    "Training",
    "all_of",
    "any_of",
    "at_least",
]
