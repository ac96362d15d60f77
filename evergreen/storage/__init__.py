"""Delta tables, row digests and row look-up, locks and credentials; the only folder that knows deltalake."""
