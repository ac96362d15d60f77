"""What Evergreen costs, as ratios that are measured in one run. `make bench`, or `python -m benchmarks PART ...`."""
