"""Alerts, channels, rehearsal, following runs."""
