"""Rebuild a past version, bound the disk."""
