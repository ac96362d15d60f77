"""Predict in chunks, commit in order, export."""
