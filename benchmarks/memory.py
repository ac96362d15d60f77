"""Whether landing one more batch takes more memory the more batches were landed before."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Finding, Run, Scale, console, fresh, middle, python, table, within

ROWS = 500
"""Rows of a batch."""


def run(scale: Scale, folder: Path, _api: str) -> list[Finding]:
    """Land batches one by one; at each of the scale's numbers, measure the next ones in fresh processes."""
    home = folder / "memory"
    shown, landed = [], 0
    for number in scale.batches:
        fresh(python("benchmarks.sides", "batches", home, landed, number, ROWS))
        landed = number
        runs: list[Run] = []
        for _ in range(min(scale.rounds, 3)):
            fresh(python("benchmarks.sides", "batch", home, landed, ROWS))
            runs.append(fresh(python("benchmarks.sides", "ingest", home)))
            landed += 1
        shown.append((number, middle(runs, lambda run: run.peak_mb), middle(runs), middle(runs, lambda run: run.cpu)))
    table(f"One more batch of {ROWS} rows", ("batches before", "peak MB", "wall s", "CPU s"), shown)
    (first, least, *_), (last, most, *_) = shown[0], shown[-1]
    console.print(f"[dim]{1000 * (most - least) / (last - first):.0f} kB for each batch that was there before.[/]")
    # Delta holds one entry a file in memory, so it is not nothing; the rows themselves are never held.
    return [within(f"memory at {last} batches against {first}", most / least, 1.05)]
