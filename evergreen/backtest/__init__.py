"""Simulate retraining policies on the history."""
