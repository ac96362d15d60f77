"""Plan, fit, candidate, reference, importance, evaluate."""
