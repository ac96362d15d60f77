"""Reference against current; Evidently in one file."""
