"""Rows of a request are coerced and checked as in batch scoring."""
