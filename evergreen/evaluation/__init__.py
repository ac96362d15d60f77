"""Pure judgement on arrays: measure, bootstrap, slices, gates."""
