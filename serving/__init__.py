"""Online serving: answer predictions of the `champion` alias over HTTP."""
