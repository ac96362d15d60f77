"""`evergreen new`: write and edit model files."""
