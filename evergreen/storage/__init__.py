"""Delta tables, row digests and look-up, locks and credentials; the only place that knows deltalake."""
