"""Rows that arrive on a broker: taken, predicted, kept once, published, acknowledged."""
