"""A model's rows: contract, coercion, observations, snapshots, windows, label rules, prediction log."""
