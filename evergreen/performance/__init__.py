"""The champion on labelled rows; the former champion in its shadow; what is served beside what lands."""
