"""What a model file may say: ModelSpec and its sections, metrics and retraining policies.

The door for model files: `from evergreen.spec import Features, Metric, ModelSpec`.
"""

from evergreen.spec.canary import Canary
from evergreen.spec.data import Features, Labels, Notation, Reading
from evergreen.spec.fields import Rows
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds, Shadow, Skew
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
from evergreen.spec.policy import PolicyContext, RetrainAnswer, RetrainPolicy
from evergreen.spec.retraining import Approval, Retraining
from evergreen.spec.serving import Lookup, Serve
from evergreen.spec.stream import Stream
from evergreen.spec.training import Holdout, Search, Training

DriftPolicy, PerformancePolicy = DriftThresholds, PerformanceThresholds
"""Their names in model files of version 0.1.0."""

__all__ = [
    "Approval",
    "AtLeast",
    "Budget",
    "Canary",
    "DriftPolicy",
    "DriftThresholds",
    "Every",
    "Features",
    "Gates",
    "Holdout",
    "Labels",
    "Lookup",
    "Metric",
    "ModelSpec",
    "Never",
    "Notation",
    "OnData",
    "OnDrift",
    "OnPerformance",
    "PerformancePolicy",
    "PerformanceThresholds",
    "PolicyContext",
    "Reading",
    "RetrainAnswer",
    "RetrainPolicy",
    "Retraining",
    "Rows",
    "Scheduled",
    "Search",
    "Serve",
    "Shadow",
    "Skew",
    "Stream",
    "Training",
    "all_of",
    "any_of",
    "at_least",
]
