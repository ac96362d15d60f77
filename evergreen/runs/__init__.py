"""One run: its context, results, recorder, history."""
