"""A fitted pipeline compiled for one row, and the proof that it answers as the pipeline does."""
