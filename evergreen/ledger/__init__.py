"""Decisions and promotions as tables; what is open; the timeline behind `why`."""
