"""Land each batch once: read position, pending labels, quarantine."""
